"""The embedded data set's small worlds: which objects, where, in which pose, in which relation.

A world is planned here as data, with `scene_groups`, and drawn by `scene_drawing`.
Positions are drawn first and the cue after them from an independent draw, so that between the same
two classes in the same places either relation occurs and only the picture tells which:

    holding / near          the arm reaches for the ball, or a string ends in the hand;
                            or the hand waves
    riding / behind         a leg lies over the horse or bends to the pedals; or the legs are hidden
    wearing / holding       a hat sits on the head, or a hand lifts it
    tied to / near, above   a rope is drawn, or not
    looking at / near, ...  the face is turned to the thing, or not
    in front of / behind    which of two overlapping things hides the other
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from autoenc_sg.data.base.samples import random_stream
from autoenc_sg.data.scenes.groups import place_ground_things
from autoenc_sg.data.scenes.plan import (
    HAND,
    MAX_OBJECTS,
    MIN_OBJECTS,
    SIDE,
    TINT,
    Box,
    Plan,
    Scene,
    Thing,
)


def sample_scene(seed: int, split: str, index: int, tint: int = TINT) -> Scene:
    """The world number `index` of a split: it follows from the arguments alone."""
    plan = Plan(random_stream("scene", seed, split, index), tint)
    while len(plan.things) < MIN_OBJECTS:
        plan = Plan(plan.rng, tint)
        ground = _backgrounds(plan)
        _sky_things(plan)
        place_ground_things(plan, ground)
        _boat(plan)
        _hats(plan)
    _gazes(plan)
    _plain_relations(plan, ground)
    return plan.scene()


def _backgrounds(plan: Plan) -> int:
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


def _sky_things(plan: Plan) -> None:
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


def _boat(plan: Plan) -> None:
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


def _hats(plan: Plan) -> None:
    """A hat on every third head; a hand lifts two of five."""
    for row in plan.rows("person"):
        if not plan.chance(0.36) or len(plan.things) >= MAX_OBJECTS:
            continue
        person = plan.things[row]
        x0, y0, x1, _ = person.frame
        free = [side for side in (-1, 1) if person.hands[side > 0] is None]
        lifting = plan.chance(0.4)
        lift = plan.rng.uniform(1, 5) if lifting else plan.rng.uniform(0, 4)
        brim = y0 + 6 - lift
        middle = (x0 + x1) / 2
        hat = Thing("hat", (middle - 12, brim - 14, middle + 12, brim))
        if lifting:
            side = plan.rng.choice(free)
            left, right = person.hands
            point = (middle + side * (0.49 * (x1 - x0) - HAND), brim + 1.5)
            plan.things[row] = replace(person, hands=(left, point) if side > 0 else (point, right))
        hat_row = plan.add(hat, plan.depth[row] + 0.01)
        plan.relate(row, "holding" if lifting else "wearing", hat_row)


def _gazes(plan: Plan) -> None:
    """Whoever faces a neighbour looks at it; this outranks `near`, not the other cues."""
    for row in plan.rows("person", "dog", "horse"):
        target = _seen(plan, row)
        if target is None:
            continue
        known = plan.certain.get((row, target)) or plan.certain.get((target, row))
        if known in (None, "near"):
            plan.certain.pop((target, row), None)
            plan.relate(row, "looking at", target)


def _seen(plan: Plan, row: int) -> int | None:
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


def _plain_relations(plan: Plan, ground: int) -> None:
    """What geometry tells: on the ground, left and right of neighbours, above."""
    for row in plan.standing:
        plan.suggest(0.75, row, "on", ground)
    row_order = sorted(plan.standing, key=lambda i: plan.things[i].centre[0])
    for a, b in pairwise(row_order):
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
