"""Things on the ground of a scene: single ones, and pairs with or without a visible cue.

Positions are drawn before the cue and independently of it, and what the cue would add to a box
(a reaching arm) the other case adds too (a waving one).
"""

from __future__ import annotations

from dataclasses import replace

from autoenc_sg.data.scenes.builder import MAX_OBJECTS, SIDE, Point, SceneBuilder, Thing


def place_ground_things(builder: SceneBuilder, ground: int) -> None:
    """Groups of one or two things from left to right, as many as there is room for."""
    rng = builder.rng
    chosen: list[str] = []
    room = SIDE - 4
    while len(chosen) < 5:
        name = rng.choices(list(_GROUPS), [group[0] for group in _GROUPS.values()])[0]
        _, width, size = _GROUPS[name]
        if (
            width > room
            or len(builder.things) + sum(_GROUPS[c][2] for c in chosen) + size > MAX_OBJECTS
        ):
            break
        chosen.append(name)
        room -= width
    top = builder.things[ground].frame[1]
    gaps = sorted(rng.uniform(0, room) for _ in chosen)
    left = 2.0
    for i, name in enumerate(chosen):
        base = rng.uniform(max(92.0, top + 14), 125)
        _place(builder, name, left + gaps[i], base)
        left += _GROUPS[name][1]


# Name: weight, width in pixels, number of things.
_GROUPS: dict[str, tuple[float, float, int]] = {
    "tree": (16, 34, 1),
    "house": (9, 42, 1),
    "person": (14, 27, 1),
    "dog": (8, 32, 1),
    "horse": (3, 48, 1),
    "ball": (4, 20, 1),
    "bicycle": (2, 44, 1),
    "person ball": (11, 44, 2),
    "person balloon": (8, 44, 2),
    "person dog": (6, 58, 2),
    "person horse": (9, 50, 2),
    "person bicycle": (5, 46, 2),
    "tree dog": (6, 62, 2),
    "tree horse": (5, 78, 2),
    "house tree": (7, 60, 2),
    "house balloon": (5, 44, 2),
}


def _place(builder: SceneBuilder, group: str, left: float, base: float) -> None:
    name, _, other = group.partition(" ")
    if not other:
        middle = left + _GROUPS[group][1] / 2
        builder.add(_single(builder, name, middle, base), base, standing=True)
    elif name == "person":
        _PERSON_GROUPS[other](builder, left, base)
    elif other == "tree":
        _house_and_tree(builder, left, base)
    elif other == "balloon":
        _house_and_balloon(builder, left, base)
    else:
        _tree_and_animal(builder, other, left, base)


_SIZES: dict[str, tuple[Point, Point]] = {  # least and greatest (width, height)
    "person": ((20, 46), (22, 52)),
    "tree": ((28, 52), (33, 60)),
    "house": ((36, 38), (41, 46)),
    "dog": ((27, 22), (30, 25)),
    "horse": ((43, 38), (47, 41)),
    "ball": ((15, 15), (19, 19)),
    "bicycle": ((40, 27), (43, 29)),
    "balloon": ((15, 19), (17, 22)),
}


def _single(builder: SceneBuilder, name: str, middle: float, base: float) -> Thing:
    """A thing of the class's usual size, standing at (middle, base)."""
    least, most = _SIZES[name]
    grown = builder.rng.random()
    width, height = (low + grown * (high - low) for low, high in zip(least, most))
    if name == "ball":
        height = width
    facing = builder.rng.choice((-1, 1) if name in ("dog", "horse", "bicycle") else (-1, 0, 0, 1))
    return Thing(name, (middle - width / 2, base - height, middle + width / 2, base), facing=facing)


def _hand(person: Thing, side: int, height: float, reach: float = 0.0) -> Thing:
    """The person with one hand `reach` px beyond the frame, at a fraction of the height."""
    x0, y0, x1, y1 = person.frame
    point = (x1 + reach if side > 0 else x0 - reach, y0 + height * (y1 - y0))
    left, right = person.hands
    return replace(person, hands=(left, point) if side > 0 else (point, right))


def _person_and_ball(builder: SceneBuilder, left: float, base: float) -> None:
    side, reach = builder.side(), 4.0
    person = _single(builder, "person", left + (13 if side > 0 else 31), base)
    ball = _single(builder, "ball", 0, 0)
    radius = (ball.frame[2] - ball.frame[0]) / 2
    x0, y0, x1, y1 = person.frame
    height = builder.rng.uniform(0.42, 0.6)
    x = x1 + reach + radius - 2 if side > 0 else x0 - reach - radius + 2
    y = y0 + height * (y1 - y0)
    holding = builder.chance(0.5)
    person = _hand(person, side, height if holding else 0.12, reach)
    ball_frame = (x - radius, y - radius, x + radius, y + radius)
    ball_row = builder.add(replace(ball, frame=ball_frame), base + 0.2)
    row = builder.add(person, base + 0.1, standing=True)
    builder.relate(row, "holding" if holding else "near", ball_row)


def _person_and_balloon(builder: SceneBuilder, left: float, base: float) -> None:
    side, reach = builder.side(), 3.0
    person = _single(builder, "person", left + (13 if side > 0 else 31), base)
    height = builder.rng.uniform(0.3, 0.5)
    person = _hand(person, side, height, reach)
    hand = person.hands[side > 0]
    assert hand is not None
    bottom = person.frame[1] + builder.rng.uniform(-4, 4)
    x = hand[0] + side * builder.rng.uniform(5, 8)
    balloon = builder.add(_single(builder, "balloon", x, bottom), base)
    row = builder.add(person, base + 0.1, standing=True)
    holding = builder.chance(0.55)
    if holding:
        builder.ropes.append(((x, bottom - 1), hand))
    builder.relate(row, "holding" if holding else "near", balloon)


def _person_and_dog(builder: SceneBuilder, left: float, base: float) -> None:
    side = builder.side()
    person = _single(builder, "person", left + (13 if side > 0 else 45), base)
    dog = _single(
        builder, "dog", left + (42 if side > 0 else 16), base + builder.rng.uniform(-3, 2)
    )
    row = builder.add(person, base, standing=True)
    dog_row = builder.add(dog, base + 0.1, standing=True)
    builder.suggest(0.6, dog_row, "near", row)


def _person_and_horse(builder: SceneBuilder, left: float, base: float) -> None:
    horse = _single(builder, "horse", left + 25, base)
    back = horse.frame[1] + 0.38 * (horse.frame[3] - horse.frame[1])
    person = _on_seat(builder, left + 25 - 3 * horse.facing, back + 1)
    riding = builder.chance(0.5)
    horse_row = builder.add(horse, base, standing=True)
    if riding:
        person = replace(person, legs="astride", facing=horse.facing)
        builder.relate(builder.add(person, base + 0.1), "riding", horse_row)
    else:
        _relate_depth(builder, builder.add(person, base - 0.1), horse_row)


def _on_seat(builder: SceneBuilder, x: float, seat: float) -> Thing:
    """A person whose hips, at 0.64 of the height, are near `seat`."""
    person = _single(builder, "person", x + builder.rng.uniform(-2.5, 2.5), 0)
    seat += builder.rng.uniform(-1.5, 1.5)
    height = 46.0
    x0, _, x1, _ = person.frame
    return replace(person, frame=(x0, seat - 0.64 * height, x1, seat + 0.36 * height))


def _person_and_bicycle(builder: SceneBuilder, left: float, base: float) -> None:
    bicycle = _single(builder, "bicycle", left + 23, base)
    height = bicycle.frame[3] - bicycle.frame[1]
    person = _on_seat(builder, left + 23 - 5 * bicycle.facing, bicycle.frame[1] + 0.2 * height)
    riding = builder.chance(0.5)
    person = _hand(person, bicycle.facing, 0.58 if riding else 0.12, 4.0)
    row = builder.add(bicycle, base, standing=True)
    if riding:
        person = replace(person, legs="pedalling", facing=bicycle.facing)
        builder.relate(builder.add(person, base + 0.1), "riding", row)
    else:
        _relate_depth(builder, builder.add(person, base - 0.1), row)


_PERSON_GROUPS = {
    "ball": _person_and_ball,
    "balloon": _person_and_balloon,
    "dog": _person_and_dog,
    "horse": _person_and_horse,
    "bicycle": _person_and_bicycle,
}


def _relate_depth(builder: SceneBuilder, far: int, near: int) -> None:
    """One of the two ways to say which of two overlapping things is in front."""
    builder.relate_either(0.6, (far, "behind", near), (near, "in front of", far))


def _house_and_tree(builder: SceneBuilder, left: float, base: float) -> None:
    side = builder.side()
    house = _single(builder, "house", left + (21 if side > 0 else 39), base)
    tree = _single(
        builder, "tree", left + (44 if side > 0 else 16), base + builder.rng.uniform(-2, 2)
    )
    hidden = builder.chance(0.5)
    row = builder.add(house, base, standing=True)
    tree_row = builder.add(tree, base + (-0.1 if hidden else 0.1), standing=True)
    _relate_depth(builder, *((tree_row, row) if hidden else (row, tree_row)))


def _house_and_balloon(builder: SceneBuilder, left: float, base: float) -> None:
    house = _single(builder, "house", left + 22, base)
    x = left + 22 + builder.rng.uniform(-9, 9)
    bottom = house.frame[1] - builder.rng.uniform(7, 13)
    row = builder.add(house, base, standing=True)
    balloon = builder.add(_single(builder, "balloon", x, bottom), base + 0.1)
    tied = builder.chance(0.5)
    if tied:
        builder.ropes.append(((x, bottom - 1), (left + 22, house.frame[1] + 2)))
    builder.relate(balloon, "tied to" if tied else "above", row)


def _tree_and_animal(builder: SceneBuilder, name: str, left: float, base: float) -> None:
    side, width = builder.side(), _GROUPS[f"tree {name}"][1]
    tree = _single(builder, "tree", left + (16 if side > 0 else width - 16), base)
    at = width - 16 if name == "dog" else width - 24
    animal = _single(
        builder, name, left + (at if side > 0 else width - at), base + builder.rng.uniform(-1, 3)
    )
    row = builder.add(tree, base, standing=True)
    animal_row = builder.add(animal, base + 0.1, standing=True)
    tied = builder.chance(0.5)
    if tied:
        x0, y0, x1, y1 = animal.frame
        neck = 0.72 if animal.facing > 0 else 0.28
        end = (x0 + neck * (x1 - x0), y0 + 0.42 * (y1 - y0))
        trunk = (tree.centre[0], base - 0.2 * (tree.frame[3] - tree.frame[1]))
        builder.ropes.append((trunk, end))
    builder.relate(animal_row, "tied to" if tied else "near", row)
