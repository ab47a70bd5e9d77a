"""The objects and relations of a drawn scene, and the builder that random scenes are made with.

Lengths are pixels of a 128 px image, whatever size is drawn.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Literal

from autoenc_sg.core.vocabulary import Vocabulary

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
TINT = 10  # how far an object's colours lie from its class's at most, of 255 a channel
HAND = 2.3  # radius of a reaching hand
RELATIONS = (4, 12)  # fewest and most in an image

Triple = tuple[int, str, int]  # row of the subject, predicate, row of the object
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
    """One scene, ready to be drawn.

    Attributes:
        things: in drawing order, far to near.
        relations: (row of the subject, predicate's name, row of the object).
        ropes: pairs of end points, drawn last.
    """

    things: tuple[Thing, ...]
    relations: tuple[tuple[int, str, int], ...]
    ropes: tuple[tuple[Point, Point], ...]


@dataclass
class SceneBuilder:
    """A scene under construction; things are referred to by their row.

    `tint` is the greatest number added to a colour. The rest of the scene does not depend on it:
    the random numbers are those of `TINT`, scaled. `statements` are the calls that state relations,
    with their arguments: which relations are annotated follows from them and from their chances.
    """

    rng: random.Random
    tint: int = TINT
    things: list[Thing] = field(default_factory=list)
    depth: list[float] = field(default_factory=list)
    certain: dict[tuple[int, int], str] = field(default_factory=dict)
    optional: dict[tuple[int, int], str] = field(default_factory=dict)
    ropes: list[tuple[Point, Point]] = field(default_factory=list)
    standing: list[int] = field(default_factory=list)
    statements: list[tuple[str, tuple[object, ...]]] = field(default_factory=list)

    def add(self, thing: Thing, depth: float, standing: bool = False) -> int:
        """Add a thing; greater depth is drawn later. `standing`: it stands on the ground."""
        self.things.append(replace(thing, tint=(self._tint(), self._tint(), self._tint())))
        self.depth.append(depth)
        if standing:
            self.standing.append(len(self.things) - 1)
        return len(self.things) - 1

    def _tint(self) -> int:
        return round(self.rng.randint(-TINT, TINT) * self.tint / TINT)

    def relate(self, subject: int, predicate: str, obj: int) -> None:
        """State a relation that is always annotated."""
        self._log("relate", subject, predicate, obj)
        self.certain[subject, obj] = predicate

    def relate_either(self, probability: float, one: Triple, other: Triple) -> None:
        """State one of two relations of a pair: the first with this probability."""
        self._log("relate_either", probability, one, other)
        subject, predicate, obj = one if self.chance(probability) else other
        self.certain[subject, obj] = predicate

    def look(self, subject: int, obj: int) -> None:
        """State that one looks at the other: this outranks `near`, not what else is certain."""
        self._log("look", subject, obj)
        relation = self.certain.get((subject, obj)) or self.certain.get((obj, subject))
        if relation in (None, "near"):
            self.certain.pop((obj, subject), None)
            self.certain[subject, obj] = "looking at"

    def suggest(self, probability: float, subject: int, predicate: str, obj: int) -> None:
        """State a relation between a pair without one: annotated with this probability."""
        self._log("suggest", probability, subject, predicate, obj)
        self._suggest(probability, (subject, predicate, obj))

    def suggest_either(self, probability: float, one: Triple, other: Triple) -> None:
        """Suggest one of two relations of a pair, either as likely, with this probability."""
        self._log("suggest_either", probability, one, other)
        self._suggest(probability, one if self.chance(0.5) else other)

    def _suggest(self, probability: float, triple: Triple) -> None:
        drawn = self.chance(probability)
        subject, predicate, obj = triple
        if (subject, obj) in self.certain or (obj, subject) in self.certain:
            return
        (self.certain if drawn else self.optional)[subject, obj] = predicate

    def _log(self, method: str, *arguments: object) -> None:
        self.statements.append((method, arguments))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.rng.random() < probability

    def side(self) -> int:
        """Left (-1) or right (1)."""
        return self.rng.choice((-1, 1))

    def rows(self, *names: str) -> list[int]:
        """The things of these classes."""
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
