"""The same world with another relation: a scene as the program would draw it if p held.

Things and their places stay; of two things' drawing only what shows a relation changes:

    holding         a hand at the object, or a string from a hand to a balloon
    riding          a leg over the object, the rider before it, facing as it does
    wearing         no hand at the hat
    tied to         a rope
    looking at      the face turned to the object
    behind,         which of the two is drawn first
    in front of

Each leaves out what shows the others: there is no rope unless it is `tied to`, and so on. Where a
relation is shown already, nothing changes; so redrawing a scene's own relation gives the scene.
All other predicates show nothing. They are drawn alike, although some imply places (`left of`):
places stay. So is a predicate that cannot be shown (a tree does not hold things).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from autoenc_sg.data.scenes.builder import HAND, Point, Scene, Thing
from autoenc_sg.data.scenes.random_scene import thing_ahead

CUES = ("holding", "riding", "wearing", "tied to", "looking at", "behind", "in front of")
_WITH_ANY_FACE = ("holding", "riding", "tied to")  # who holds a thing may look at it, or not
_CREATURES = ("person", "dog", "horse")
_WAVING = 0.12  # of the height: a hand that does not hold the ball or the handlebar
_MARGIN = 2.0  # pixels of a 128 px image: a hand so near to a thing holds it


def redrawn(scene: Scene, subject: int, predicate: str, obj: int) -> Scene:
    """The scene as it is drawn if this is the relation of two of its things.

    Rows may change, as they are the order of drawing; the result states no relations.

    Args:
        scene: to start from.
        subject: row of the one thing.
        predicate: one of `builder.PREDICATES`.
        obj: row of the other thing.
    """
    pair = _Pair(scene, subject, obj)
    if predicate != "tied to":
        pair.untie()
    if predicate != "holding":
        pair.let_go()
    if predicate != "riding":
        pair.get_off()
    if predicate not in _WITH_ANY_FACE or not pair.can_show(predicate):
        pair.turn(to=predicate == "looking at" and pair.can_show(predicate))
    if predicate == "holding" and pair.can_show(predicate):
        pair.hold()
    elif predicate == "riding" and pair.can_show(predicate):
        pair.ride()
    elif predicate == "tied to":
        pair.tie()
    return pair.scene(before={"behind": True, "in front of": False}.get(predicate, pair.before))


class _Pair:
    """Two things of a scene, being redrawn.

    Attributes:
        before: whether the subject is drawn before the object; None: as it is in the scene.
    """

    def __init__(self, scene: Scene, subject: int, obj: int) -> None:
        self._things = list(scene.things)
        self._ropes = list(scene.ropes)
        self._rows = subject, obj
        self.before: bool | None = None

    @property
    def _one(self) -> Thing:
        return self._things[self._rows[0]]

    @property
    def _other(self) -> Thing:
        return self._things[self._rows[1]]

    def _change(self, thing: Thing) -> None:
        self._things[self._rows[0]] = thing

    def can_show(self, predicate: str) -> bool:
        """Whether the subject has what shows the predicate: hands, legs, a face."""
        if predicate in ("holding", "riding"):
            return self._one.name == "person"
        return predicate != "looking at" or self._one.name in _CREATURES

    # Ropes and strings ------------------------------------------------------------------------

    def tie(self) -> None:
        """Draw a rope between the two, unless there is one."""
        ends = rope_ends(self._one, self._other)
        if self._rope(*ends) is None:
            self._ropes.append(ends)

    def untie(self) -> None:
        """Leave the rope out."""
        rope = self._rope(*rope_ends(self._one, self._other))
        if rope is not None:
            del self._ropes[rope]

    def _rope(self, start: Point, end: Point) -> int | None:
        """The rope that joins two points."""
        for i, (a, b) in enumerate(self._ropes):
            if any(_close(a, p) and _close(b, q) for p, q in ((start, end), (end, start))):
                return i
        return None

    def _string(self) -> int | None:
        """The string of the object from a hand of the subject."""
        hands = [hand for hand in self._one.hands if hand is not None]
        found = (self._rope(_anchor(self._other, self._one), hand) for hand in hands)
        return next((rope for rope in found if rope is not None), None)

    # Hands ------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Put a hand to the object, or a string of a balloon into one."""
        if self._other.name == "balloon":
            if self._string() is None:
                hand = self._one.hands[self._side()] or self._moved_hand(self._side(), 0.4)
                self._ropes.append((_anchor(self._other, self._one), hand))
        elif self._holding_hand() is None:
            side = self._side()
            if self._other.name == "hat":
                free = [i for i in (0, 1) if self._one.hands[i] is None]
                side = free[0] if free and side not in free else side
            self._set_hand(side, self._place_to_hold(side))

    def let_go(self) -> None:
        """Take the hand away, or the string of a balloon."""
        string, hand = self._string(), self._holding_hand()
        if string is not None:
            del self._ropes[string]
        elif hand is not None and self._other.name == "hat":
            self._set_hand(hand, None)
        elif hand is not None:
            self._moved_hand(hand, _WAVING)

    def _holding_hand(self) -> int | None:
        """Which hand of the subject (0: the left as seen, 1: the right) is at a ball or hat."""
        if self._other.name not in ("ball", "hat"):
            return None
        x0, y0, x1, y1 = self._other.frame
        for i, hand in enumerate(self._one.hands):
            if hand is not None:
                inside = x0 - _MARGIN < hand[0] < x1 + _MARGIN
                if inside and y0 - _MARGIN < hand[1] < y1 + _MARGIN:
                    return i
        return None

    def _side(self) -> int:
        """On which side of the subject the object is: 0 left, 1 right."""
        return int(self._other.centre[0] >= self._one.centre[0])

    def _place_to_hold(self, side: int) -> Point:
        x0, _, x1, y1 = self._other.frame
        if self._other.name == "hat":
            half = 0.49 * (self._one.frame[2] - self._one.frame[0]) - HAND
            return self._one.centre[0] + (half if side else -half), y1 + 1.5
        hand = self._one.hands[side]
        x = self._one.centre[0] if hand is None else hand[0]
        return min(max(x, x0 + _MARGIN), x1 - _MARGIN), self._other.centre[1]

    def _moved_hand(self, side: int, height: float) -> Point:
        """Set a hand beside the subject, at a fraction of its height; where it is."""
        x0, y0, x1, y1 = self._one.frame
        hand = self._one.hands[side]
        x = ((x0 - 3, x1 + 3)[side]) if hand is None else hand[0]
        point = (x, y0 + height * (y1 - y0))
        self._set_hand(side, point)
        return point

    def _set_hand(self, side: int, point: Point | None) -> None:
        left, right = self._one.hands
        self._change(replace(self._one, hands=(left, point) if side else (point, right)))

    # Legs and faces ---------------------------------------------------------------------------

    def ride(self) -> None:
        """Put a leg over the object, or the feet on a bicycle's pedals."""
        if self._rides():
            return
        one, other = self._one, self._other
        on_bicycle = other.name == "bicycle"
        facing = other.facing if other.name in ("horse", "bicycle") else one.facing
        self._change(replace(one, legs="pedalling" if on_bicycle else "astride", facing=facing))
        if on_bicycle:
            self._moved_hand(int(facing > 0), 0.58)
        self.before = False

    def get_off(self) -> None:
        """Both feet to the ground."""
        if self._rides():
            self._change(replace(self._one, legs="standing"))
            if self._other.name == "bicycle":
                self._moved_hand(int(self._other.facing > 0), _WAVING)

    def _rides(self) -> bool:
        """Whether the subject sits on the object."""
        legs = {"horse": "astride", "bicycle": "pedalling"}.get(self._other.name)
        apart = abs(self._one.centre[0] - self._other.centre[0])
        return self._one.legs == legs and apart < 10

    def turn(self, to: bool) -> None:
        """Face the object, or do not where it is what the subject looks at."""
        one, aside = self._one, self._other.centre[0] - self._one.centre[0]
        if to:
            facing = 1 if aside >= 0 else -1
        elif (
            one.name not in _CREATURES or thing_ahead(self._things, self._rows[0]) != self._rows[1]
        ):
            return
        else:
            facing = 0 if one.name == "person" else -one.facing
        self._change(replace(one, facing=facing))

    # The whole --------------------------------------------------------------------------------

    def scene(self, before: bool | None) -> Scene:
        """All of it, the subject drawn before (or after) the object."""
        (subject, obj), things = self._rows, list(self._things)
        if before is not None and before != (subject < obj):
            moved = things.pop(subject)
            at = things.index(self._other) + (not before)
            things.insert(at, moved)
        return Scene(tuple(things), (), tuple(self._ropes))


def rope_ends(one: Thing, other: Thing) -> tuple[Point, Point]:
    """Where a rope between two things is fixed."""
    return _anchor(one, other), _anchor(other, one)


def _anchor(thing: Thing, other: Thing) -> Point:
    """Where a rope to the other thing is fixed: below a balloon, at a neck, a trunk, a roof."""
    x0, y0, x1, y1 = thing.frame
    middle = thing.centre[0]
    if thing.name == "balloon":
        return middle, y1 - 1
    if (thing.name, other.name) == ("house", "balloon"):
        return middle, y0 + 2
    if thing.name in ("dog", "horse"):
        neck = 0.72 if thing.facing > 0 else 0.28
        return x0 + neck * (x1 - x0), y0 + 0.42 * (y1 - y0)
    if thing.name == "tree":
        return middle, y1 - 0.2 * (y1 - y0)
    return thing.centre


def _close(a: Sequence[float], b: Sequence[float]) -> bool:
    return math.dist(a, b) < 1e-6
