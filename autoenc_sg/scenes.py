"""The embedded data set's small worlds: which objects, where, in which pose, in which relation.

A world is planned here as data and drawn by `scene_drawing`. Lengths are pixels of a 128 px image.
Positions are drawn first and the cue after them from an independent draw, so that between the same
two classes in the same places either relation occurs and only the picture tells which:

    holding / near          the arm reaches for the ball or hat, or a string ends in the hand; or it waves
    riding / behind         a leg lies over the horse (bends to the pedals), or the animal hides the legs
    wearing / holding       a hat sits on the head, or a hand lifts it
    tied to / near, above   a rope is drawn, or not
    looking at / near, ...  the face is turned to the thing, or not
    in front of / behind    which of two overlapping things hides the other
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Literal

from autoenc_sg.samples import random_stream
from autoenc_sg.vocabulary import Vocabulary

SIDE = 128.0
OBJECTS = (
    "person", "tree", "sky", "grass", "cloud", "house", "hat", "dog", "ball",
    "sand", "horse", "balloon", "mountain", "sun", "water", "bicycle", "night", "boat",
)  # fmt: skip
PREDICATES = (
    "on", "in", "above", "left of", "right of", "near", "looking at",
    "behind", "holding", "in front of", "wearing", "tied to", "riding",
)  # fmt: skip
VOCABULARY = Vocabulary.from_names(OBJECTS, PREDICATES)
BACKGROUNDS = frozenset({"sky", "night", "grass", "sand", "water", "mountain"})
MIN_OBJECTS, MAX_OBJECTS = 5, 10
RELATIONS = (4, 12)  # fewest and most in an image

Point = tuple[float, float]
Box = tuple[float, float, float, float]
Legs = Literal["standing", "astride", "pedalling"]


@dataclass(frozen=True)
class Thing:
    """One object to draw.

    Attributes:
        name: its class.
        frame: (x0, y0, x1, y1) that the class's shape fills; reaching hands may leave it.
        tint: added to red, green and blue.
        facing: -1 left, 0 to the viewer, 1 right.
        legs: of a person.
        hands: where a person's left and right (as seen) hands are; None: hanging.
    """

    name: str
    frame: Box
    tint: tuple[int, int, int] = (0, 0, 0)
    facing: int = 0
    legs: Legs = "standing"
    hands: tuple[Point | None, Point | None] = (None, None)

    @property
    def centre(self) -> Point:
        """Of the frame."""
        x0, y0, x1, y1 = self.frame
        return (x0 + x1) / 2, (y0 + y1) / 2


@dataclass(frozen=True)
class Scene:
    """One world.

    Attributes:
        things: in drawing order, far to near.
        relations: (row of the subject, predicate's name, row of the object).
        ropes: pairs of end points, drawn last.
    """

    things: tuple[Thing, ...]
    relations: tuple[tuple[int, str, int], ...]
    ropes: tuple[tuple[Point, Point], ...]


def sample_scene(seed: int, split: str, index: int) -> Scene:
    """The world number `index` of a split: it follows from the arguments alone."""
    plan = _Plan(random_stream("scene", seed, split, index))
    while len(plan.things) < MIN_OBJECTS:
        plan = _Plan(plan.rng)
        ground = _backgrounds(plan)
        _sky_things(plan)
        _ground_things(plan, ground)
        _boat(plan)
        _hats(plan)
    _gazes(plan)
    _plain_relations(plan, ground)
    return plan.scene()


@dataclass
class _Plan:
    """A world being made; things are referred to by their row."""

    rng: random.Random
    things: list[Thing] = field(default_factory=list)
    depth: list[float] = field(default_factory=list)
    certain: dict[tuple[int, int], str] = field(default_factory=dict)
    optional: dict[tuple[int, int], str] = field(default_factory=dict)
    ropes: list[tuple[Point, Point]] = field(default_factory=list)
    standing: list[int] = field(default_factory=list)

    def add(self, thing: Thing, depth: float, standing: bool = False) -> int:
        """Add a thing; greater depth is drawn later. `standing`: it stands on the ground."""
        tint = (self.rng.randint(-10, 10), self.rng.randint(-10, 10), self.rng.randint(-10, 10))
        self.things.append(replace(thing, tint=tint))
        self.depth.append(depth)
        if standing:
            self.standing.append(len(self.things) - 1)
        return len(self.things) - 1

    def relate(self, subject: int, predicate: str, obj: int) -> None:
        """State a relation that is always annotated."""
        self.certain[subject, obj] = predicate

    def suggest(self, probability: float, subject: int, predicate: str, obj: int) -> None:
        """State a relation between a pair without one: annotated with this probability."""
        drawn = self.rng.random() < probability
        if (subject, obj) in self.certain or (obj, subject) in self.certain:
            return
        (self.certain if drawn else self.optional)[subject, obj] = predicate

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def side(self) -> int:
        return self.rng.choice((-1, 1))

    def rows(self, *names: str) -> list[int]:
        return [i for i, thing in enumerate(self.things) if thing.name in names]

    @property
    def nearer(self) -> list[int]:
        """The rows of what is on or above the ground, not far away."""
        return [i for i, depth in enumerate(self.depth) if depth > 0]

    def scene(self) -> Scene:
        """Order by depth and keep a person's number of relations."""
        fewest, most = RELATIONS
        chosen = dict(list(self.certain.items())[:most])
        spare = [item for item in self.optional.items() if item[0] not in chosen]
        self.rng.shuffle(spare)
        chosen |= dict(spare[: max(0, fewest - len(chosen))])
        order = sorted(range(len(self.things)), key=lambda i: self.depth[i])
        row = {old: new for new, old in enumerate(order)}
        relations = tuple((row[s], predicate, row[o]) for (s, o), predicate in chosen.items())
        return Scene(tuple(self.things[i] for i in order), relations, tuple(self.ropes))


def _backgrounds(plan: _Plan) -> int:
    """Sky, perhaps a mountain and a strip of water, and the ground: its row."""
    rng = plan.rng
    horizon = rng.uniform(50, 64)
    sky = plan.add(Thing("night" if plan.chance(0.16) else "sky", (0, 0, SIDE, horizon)), -9)
    top = horizon
    if plan.chance(0.27):
        width, left = rng.uniform(60, 90), rng.uniform(-6, 60)
        box = (max(left, 0), horizon - rng.uniform(24, 36), min(left + width, SIDE), horizon)
        plan.suggest(0.3, plan.add(Thing("mountain", box), -8), "in front of", sky)
    if plan.chance(0.24):
        top = horizon + rng.uniform(18, 26)
        water = plan.add(Thing("water", (0, horizon, SIDE, top)), -7)
        plan.suggest(0.3, sky, "above", water)
    ground = plan.add(Thing("sand" if plan.chance(0.3) else "grass", (0, top, SIDE, SIDE)), -6)
    plan.suggest(0.4, sky, "above", ground)
    return ground


def _sky_things(plan: _Plan) -> None:
    """Clouds, the sun and a loose balloon, side by side in the upper part of the sky."""
    rng = plan.rng
    (sky,) = plan.rows("sky", "night")
    places = [rng.uniform(4, 14), rng.uniform(46, 56), rng.uniform(88, 96)]
    rng.shuffle(places)
    kinds = ["cloud"] * rng.choice((0, 0, 1, 1, 2))
    if plan.things[sky].name == "sky" and plan.chance(0.25):
        kinds.append("sun")
    for kind, left in zip(kinds, places):
        width, height = (rng.uniform(28, 38), rng.uniform(15, 19)) if kind == "cloud" else (22, 22)
        top = rng.uniform(1, 7)
        row = plan.add(Thing(kind, (left, top, left + width, top + height)), -5)
        plan.suggest(0.7, row, "in", sky)


def _boat(plan: _Plan) -> None:
    """A boat on the water where nothing on the ground hides it."""
    for water in plan.rows("water"):
        bottom = plan.things[water].frame[3] - plan.rng.uniform(3, 7)
        left, size = plan.rng.uniform(2, 94), plan.rng.uniform(28, 33)
        frame = (left, bottom - size, left + size, bottom)
        hidden = any(_overlap(plan.things[row].frame, frame) > 0.2 * size**2 for row in plan.nearer)
        if hidden or len(plan.things) >= MAX_OBJECTS or not plan.chance(0.7):
            continue
        row = plan.add(Thing("boat", frame), -4)
        plan.suggest(0.9, row, "on", water)
        for mountain in plan.rows("mountain"):
            plan.suggest(0.5, mountain, "behind", row)


def _overlap(a: Box, b: Box) -> float:
    """Area that two boxes share."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)


def _ground_things(plan: _Plan, ground: int) -> None:
    """Groups of one or two things from left to right, as many as there is room for."""
    rng = plan.rng
    chosen, room = [], SIDE - 4
    while len(chosen) < 5:
        name = rng.choices(list(_GROUPS), [group[0] for group in _GROUPS.values()])[0]
        _, width, size = _GROUPS[name]
        if (
            width > room
            or len(plan.things) + sum(_GROUPS[c][2] for c in chosen) + size > MAX_OBJECTS
        ):
            break
        chosen.append(name)
        room -= width
    top = plan.things[ground].frame[1]
    gaps = sorted(rng.uniform(0, room) for _ in chosen)
    left = 2.0
    for i, name in enumerate(chosen):
        base = rng.uniform(max(92.0, top + 14), 125)
        _place(plan, name, left + gaps[i], base)
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


def _place(plan: _Plan, group: str, left: float, base: float) -> None:
    name, _, other = group.partition(" ")
    if not other:
        middle = left + _GROUPS[group][1] / 2
        plan.add(_single(plan, name, middle, base), base, standing=True)
    elif name == "person":
        _PERSON_GROUPS[other](plan, left, base)
    elif other == "tree":
        _house_and_tree(plan, left, base)
    elif other == "balloon":
        _house_and_balloon(plan, left, base)
    else:
        _tree_and_animal(plan, other, left, base)


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


def _single(plan: _Plan, name: str, middle: float, base: float) -> Thing:
    """A thing of the class's usual size, standing at (middle, base)."""
    least, most = _SIZES[name]
    grown = plan.rng.random()
    width, height = (low + grown * (high - low) for low, high in zip(least, most))
    if name == "ball":
        height = width
    facing = plan.rng.choice((-1, 1) if name in ("dog", "horse", "bicycle") else (-1, 0, 0, 1))
    return Thing(name, (middle - width / 2, base - height, middle + width / 2, base), facing=facing)


def _hand(person: Thing, side: int, height: float, reach: float = 0.0) -> Thing:
    """The person with the hand of one side `reach` px beyond the frame, at a fraction of the body."""
    x0, y0, x1, y1 = person.frame
    point = (x1 + reach if side > 0 else x0 - reach, y0 + height * (y1 - y0))
    left, right = person.hands
    return replace(person, hands=(left, point) if side > 0 else (point, right))


def _person_and_ball(plan: _Plan, left: float, base: float) -> None:
    side, reach = plan.side(), 4.0
    person = _single(plan, "person", left + (13 if side > 0 else 31), base)
    ball = _single(plan, "ball", 0, 0)
    radius = (ball.frame[2] - ball.frame[0]) / 2
    x0, y0, x1, y1 = person.frame
    height = plan.rng.uniform(0.42, 0.6)
    x = x1 + reach + radius - 2 if side > 0 else x0 - reach - radius + 2
    y = y0 + height * (y1 - y0)
    holding = plan.chance(0.5)
    person = _hand(person, side, height if holding else 0.12, reach)
    ball_frame = (x - radius, y - radius, x + radius, y + radius)
    ball_row = plan.add(replace(ball, frame=ball_frame), base + 0.2)
    row = plan.add(person, base + 0.1, standing=True)
    plan.relate(row, "holding" if holding else "near", ball_row)


def _person_and_balloon(plan: _Plan, left: float, base: float) -> None:
    side, reach = plan.side(), 3.0
    person = _single(plan, "person", left + (13 if side > 0 else 31), base)
    height = plan.rng.uniform(0.3, 0.5)
    person = _hand(person, side, height, reach)
    hand = person.hands[side > 0]
    assert hand is not None
    bottom = person.frame[1] + plan.rng.uniform(-4, 4)
    x = hand[0] + side * plan.rng.uniform(5, 8)
    balloon = plan.add(_single(plan, "balloon", x, bottom), base)
    row = plan.add(person, base + 0.1, standing=True)
    holding = plan.chance(0.55)
    if holding:
        plan.ropes.append(((x, bottom - 1), hand))
    plan.relate(row, "holding" if holding else "near", balloon)


def _person_and_dog(plan: _Plan, left: float, base: float) -> None:
    side = plan.side()
    person = _single(plan, "person", left + (13 if side > 0 else 45), base)
    dog = _single(plan, "dog", left + (42 if side > 0 else 16), base + plan.rng.uniform(-3, 2))
    row = plan.add(person, base, standing=True)
    dog_row = plan.add(dog, base + 0.1, standing=True)
    plan.suggest(0.6, dog_row, "near", row)


def _person_and_horse(plan: _Plan, left: float, base: float) -> None:
    horse = _single(plan, "horse", left + 25, base)
    back = horse.frame[1] + 0.38 * (horse.frame[3] - horse.frame[1])
    person = _on_seat(plan, left + 25 - 3 * horse.facing, back + 1)
    riding = plan.chance(0.5)
    horse_row = plan.add(horse, base, standing=True)
    if riding:
        person = replace(person, legs="astride", facing=horse.facing)
        plan.relate(plan.add(person, base + 0.1), "riding", horse_row)
    else:
        _relate_depth(plan, plan.add(person, base - 0.1), horse_row)


def _on_seat(plan: _Plan, x: float, seat: float) -> Thing:
    """A person whose hips are at `seat`, where the drawing has them: 0.64 of the height."""
    person = _single(plan, "person", x, 0)
    height = 46.0
    x0, _, x1, _ = person.frame
    return replace(person, frame=(x0, seat - 0.64 * height, x1, seat + 0.36 * height))


def _person_and_bicycle(plan: _Plan, left: float, base: float) -> None:
    bicycle = _single(plan, "bicycle", left + 23, base)
    height = bicycle.frame[3] - bicycle.frame[1]
    person = _on_seat(plan, left + 23 - 5 * bicycle.facing, bicycle.frame[1] + 0.2 * height)
    riding = plan.chance(0.5)
    person = _hand(person, bicycle.facing, 0.58 if riding else 0.12, 4.0)
    row = plan.add(bicycle, base, standing=True)
    if riding:
        person = replace(person, legs="pedalling", facing=bicycle.facing)
        plan.relate(plan.add(person, base + 0.1), "riding", row)
    else:
        _relate_depth(plan, plan.add(person, base - 0.1), row)


_PERSON_GROUPS = {
    "ball": _person_and_ball,
    "balloon": _person_and_balloon,
    "dog": _person_and_dog,
    "horse": _person_and_horse,
    "bicycle": _person_and_bicycle,
}


def _relate_depth(plan: _Plan, far: int, near: int) -> None:
    """One of the two ways to say which of two overlapping things is in front."""
    if plan.chance(0.6):
        plan.relate(far, "behind", near)
    else:
        plan.relate(near, "in front of", far)


def _house_and_tree(plan: _Plan, left: float, base: float) -> None:
    side = plan.side()
    house = _single(plan, "house", left + (21 if side > 0 else 39), base)
    tree = _single(plan, "tree", left + (44 if side > 0 else 16), base + plan.rng.uniform(-2, 2))
    hidden = plan.chance(0.5)
    row = plan.add(house, base, standing=True)
    tree_row = plan.add(tree, base + (-0.1 if hidden else 0.1), standing=True)
    _relate_depth(plan, *((tree_row, row) if hidden else (row, tree_row)))


def _house_and_balloon(plan: _Plan, left: float, base: float) -> None:
    house = _single(plan, "house", left + 22, base)
    x = left + 22 + plan.rng.uniform(-9, 9)
    bottom = house.frame[1] - plan.rng.uniform(7, 13)
    row = plan.add(house, base, standing=True)
    balloon = plan.add(_single(plan, "balloon", x, bottom), base + 0.1)
    tied = plan.chance(0.5)
    if tied:
        plan.ropes.append(((x, bottom - 1), (left + 22, house.frame[1] + 2)))
    plan.relate(balloon, "tied to" if tied else "above", row)


def _tree_and_animal(plan: _Plan, name: str, left: float, base: float) -> None:
    side, width = plan.side(), _GROUPS[f"tree {name}"][1]
    tree = _single(plan, "tree", left + (16 if side > 0 else width - 16), base)
    at = width - 16 if name == "dog" else width - 24
    animal = _single(
        plan, name, left + (at if side > 0 else width - at), base + plan.rng.uniform(-1, 3)
    )
    row = plan.add(tree, base, standing=True)
    animal_row = plan.add(animal, base + 0.1, standing=True)
    tied = plan.chance(0.5)
    if tied:
        x0, y0, x1, y1 = animal.frame
        neck = 0.72 if animal.facing > 0 else 0.28
        end = (x0 + neck * (x1 - x0), y0 + 0.42 * (y1 - y0))
        trunk = (tree.centre[0], base - 0.2 * (tree.frame[3] - tree.frame[1]))
        plan.ropes.append((trunk, end))
    plan.relate(animal_row, "tied to" if tied else "near", row)


def _hats(plan: _Plan) -> None:
    """A hat on every third head; a hand lifts two of five."""
    for row in plan.rows("person"):
        if not plan.chance(0.36) or len(plan.things) >= MAX_OBJECTS:
            continue
        person = plan.things[row]
        x0, y0, x1, _ = person.frame
        free = [side for side in (-1, 1) if person.hands[side > 0] is None]
        lifting = plan.chance(0.4)
        lift = plan.rng.uniform(1, 6) if lifting else plan.rng.uniform(0, 4)
        brim = y0 + 6 - lift
        middle = (x0 + x1) / 2
        hat = Thing("hat", (middle - 12, brim - 14, middle + 12, brim))
        if lifting:
            side = plan.rng.choice(free)
            left, right = person.hands
            point = (middle + side * 10, brim + 1.5)
            plan.things[row] = replace(person, hands=(left, point) if side > 0 else (point, right))
        hat_row = plan.add(hat, plan.depth[row] + 0.01)
        plan.relate(row, "holding" if lifting else "wearing", hat_row)


def _gazes(plan: _Plan) -> None:
    """Whoever faces a neighbour looks at it; this outranks `near`, not the other cues."""
    for row in plan.rows("person", "dog", "horse"):
        target = _seen(plan, row)
        if target is None:
            continue
        known = plan.certain.get((row, target)) or plan.certain.get((target, row))
        if known in (None, "near"):
            plan.certain.pop((target, row), None)
            plan.relate(row, "looking at", target)


def _seen(plan: _Plan, row: int) -> int | None:
    """The nearest thing within 46 px on the side that a creature faces."""
    thing = plan.things[row]
    x, y = thing.centre
    reach = {}
    for other in plan.rows("person", "dog", "horse", "ball", "balloon", "house", "tree", "bicycle"):
        ox, oy = plan.things[other].centre
        ahead = (ox - x) * thing.facing
        if other != row and 12 < ahead < 46 and abs(oy - y) < 36:
            reach[ahead] = other
    return reach[min(reach)] if reach else None


def _plain_relations(plan: _Plan, ground: int) -> None:
    """What geometry tells: on the ground, left and right of neighbours, above."""
    for row in plan.standing:
        plan.suggest(0.75, row, "on", ground)
    row_order = sorted(plan.standing, key=lambda i: plan.things[i].centre[0])
    for a, b in zip(row_order, row_order[1:]):
        if plan.chance(0.5):
            plan.suggest(0.5, a, "left of", b)
        else:
            plan.suggest(0.5, b, "right of", a)
    for mountain in plan.rows("mountain"):
        for tall in plan.rows("house", "tree")[:1]:
            plan.suggest(0.4, mountain, "behind", tall)
    for high in plan.rows("cloud", "sun")[:1]:
        for low in plan.rows("house", "mountain", "tree")[:1]:
            plan.suggest(0.3, high, "above", low)
