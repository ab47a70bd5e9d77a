"""Random scenes of the embedded data set: objects, places, poses and relations.

A scene is made here as data, with `groups`, and drawn by `render`.
Positions are drawn first and the cue after them from an independent draw, so that between the same
two classes in the same places either relation occurs and only the picture shows which:

    holding / near          the arm reaches for the ball, or a string ends in the hand;
                            or the hand waves
    riding / behind         a leg lies over the horse or bends to the pedals; or the legs are hidden
    wearing / holding       a hat sits on the head, or a hand lifts it
    tied to / near, above   a rope is drawn, or not
    looking at / near, ...  the face is turned to the thing, or not
    in front of / behind    which of two overlapping things hides the other
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from autoenc_sg.data.base.samples import random_stream
from autoenc_sg.data.scenes.builder import (
    HAND,
    MAX_OBJECTS,
    MIN_OBJECTS,
    SIDE,
    TINT,
    Box,
    Scene,
    SceneBuilder,
    Thing,
)
from autoenc_sg.data.scenes.groups import place_ground_things

_LOOKED_AT = frozenset({"person", "dog", "horse", "ball", "balloon", "house", "tree", "bicycle"})


def random_scene(seed: int, split: str, index: int, tint: int = TINT) -> Scene:
    """Scene number `index` of a split: a function of the arguments."""
    return built_scene(seed, split, index, tint).scene()


def built_scene(seed: int, split: str, index: int, tint: int = TINT) -> SceneBuilder:
    """The builder of `random_scene`, with all objects and relations stated."""
    builder = SceneBuilder(random_stream("scene", seed, split, index), tint)
    while len(builder.things) < MIN_OBJECTS:
        builder = SceneBuilder(builder.rng, tint)
        ground = _backgrounds(builder)
        _sky_things(builder)
        place_ground_things(builder, ground)
        _boat(builder)
        _hats(builder)
    _gazes(builder)
    _plain_relations(builder, ground)
    return builder


def _backgrounds(builder: SceneBuilder) -> int:
    """Sky, perhaps a mountain and a strip of water, and the ground: its row."""
    rng = builder.rng
    horizon = rng.uniform(50, 64)
    sky = builder.add(Thing("night" if builder.chance(0.16) else "sky", (0, 0, SIDE, horizon)), -9)
    top = horizon
    if builder.chance(0.27):
        width, left = rng.uniform(60, 90), rng.uniform(-6, 60)
        box = (max(left, 0), horizon - rng.uniform(24, 36), min(left + width, SIDE), horizon)
        builder.suggest(0.3, builder.add(Thing("mountain", box), -8), "in front of", sky)
    if builder.chance(0.24):
        top = horizon + rng.uniform(18, 26)
        water = builder.add(Thing("water", (0, horizon, SIDE, top)), -7)
        builder.suggest(0.3, sky, "above", water)
    ground = builder.add(
        Thing("sand" if builder.chance(0.3) else "grass", (0, top, SIDE, SIDE)), -6
    )
    builder.suggest(0.4, sky, "above", ground)
    return ground


def _sky_things(builder: SceneBuilder) -> None:
    """Clouds, the sun and a loose balloon, side by side in the upper part of the sky."""
    rng = builder.rng
    (sky,) = builder.rows("sky", "night")
    places = [rng.uniform(4, 14), rng.uniform(46, 56), rng.uniform(88, 96)]
    rng.shuffle(places)
    kinds = ["cloud"] * rng.choice((0, 0, 1, 1, 2))
    if builder.things[sky].name == "sky" and builder.chance(0.25):
        kinds.append("sun")
    for kind, left in zip(kinds, places):
        width, height = (rng.uniform(28, 38), rng.uniform(15, 19)) if kind == "cloud" else (22, 22)
        top = rng.uniform(1, 7)
        row = builder.add(Thing(kind, (left, top, left + width, top + height)), -5)
        builder.suggest(0.7, row, "in", sky)


def _boat(builder: SceneBuilder) -> None:
    """A boat on the water where nothing on the ground hides it."""
    for water in builder.rows("water"):
        bottom = builder.things[water].frame[3] - builder.rng.uniform(3, 7)
        left, size = builder.rng.uniform(2, 94), builder.rng.uniform(28, 33)
        frame = (left, bottom - size, left + size, bottom)
        hidden = any(
            _overlap(builder.things[row].frame, frame) > 0.2 * size**2 for row in builder.nearer
        )
        if hidden or len(builder.things) >= MAX_OBJECTS or not builder.chance(0.7):
            continue
        row = builder.add(Thing("boat", frame), -4)
        builder.suggest(0.9, row, "on", water)
        for mountain in builder.rows("mountain"):
            builder.suggest(0.5, mountain, "behind", row)


def _overlap(a: Box, b: Box) -> float:
    """Area that two boxes share."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)


def _hats(builder: SceneBuilder) -> None:
    """A hat on every third head; a hand lifts two of five."""
    for row in builder.rows("person"):
        if not builder.chance(0.36) or len(builder.things) >= MAX_OBJECTS:
            continue
        person = builder.things[row]
        x0, y0, x1, _ = person.frame
        free = [side for side in (-1, 1) if person.hands[side > 0] is None]
        lifting = builder.chance(0.4)
        lift = builder.rng.uniform(1, 5) if lifting else builder.rng.uniform(0, 4)
        brim = y0 + 6 - lift
        middle = (x0 + x1) / 2
        hat = Thing("hat", (middle - 12, brim - 14, middle + 12, brim))
        if lifting:
            side = builder.rng.choice(free)
            left, right = person.hands
            point = (middle + side * (0.49 * (x1 - x0) - HAND), brim + 1.5)
            builder.things[row] = replace(
                person, hands=(left, point) if side > 0 else (point, right)
            )
        hat_row = builder.add(hat, builder.depth[row] + 0.01)
        builder.relate(row, "holding" if lifting else "wearing", hat_row)


def _gazes(builder: SceneBuilder) -> None:
    """Whoever faces a neighbour looks at it, unless there is another cue."""
    for row in builder.rows("person", "dog", "horse"):
        target = thing_ahead(builder.things, row)
        if target is not None:
            builder.look(row, target)


def thing_ahead(things: Sequence[Thing], row: int) -> int | None:
    """The nearest thing within 46 px on the side that a creature faces: what it looks at."""
    thing = things[row]
    x, y = thing.centre
    reach = {}
    for number, other in enumerate(things):
        ox, oy = other.centre
        ahead = (ox - x) * thing.facing
        if other.name in _LOOKED_AT and number != row and 12 < ahead < 46 and abs(oy - y) < 36:
            reach[ahead] = number
    return reach[min(reach)] if reach else None


def _plain_relations(builder: SceneBuilder, ground: int) -> None:
    """Relations that follow from places: on the ground, left and right of neighbours, above."""
    for row in builder.standing:
        builder.suggest(0.75, row, "on", ground)
    row_order = sorted(builder.standing, key=lambda i: builder.things[i].centre[0])
    for a, b in pairwise(row_order):
        builder.suggest_either(0.5, (a, "left of", b), (b, "right of", a))
    for mountain in builder.rows("mountain"):
        for tall in builder.rows("house", "tree")[:1]:
            builder.suggest(0.4, mountain, "behind", tall)
    for high in builder.rows("cloud", "sun")[:1]:
        for low in builder.rows("house", "mountain", "tree")[:1]:
            builder.suggest(0.3, high, "above", low)
