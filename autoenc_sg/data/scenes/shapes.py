"""The look of each class of the drawn scenes, in the unit square of its frame (v downwards)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from PIL import ImageDraw

from autoenc_sg.data.scenes.builder import HAND, Box, Point, Thing

Colour = tuple[int, int, int]
SKIN, HAIR, SHIRT, TROUSERS = (244, 203, 165), (70, 40, 25), (200, 40, 110), (45, 45, 105)
BLACK, WHITE = (25, 25, 25), (250, 250, 250)


class Pen:
    """Draws one thing in its frame and keeps the extent of what was drawn.

    Attributes:
        extent: xyxy around all that was drawn, in canvas pixels; None before the first stroke.
    """

    def __init__(
        self, draw: ImageDraw.ImageDraw, scale: float, thing: Thing, flat: Colour | None = None
    ) -> None:
        """Draw at `scale` canvas pixels per scene pixel, all in the colour `flat` if given."""
        self._draw = draw
        self._scale = scale
        self._thing = thing
        self._flat = flat
        self.extent: Box | None = None

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon of frame coordinates."""
        at = [self._at(p) for p in points]
        self._grow(at)
        self._draw.polygon(at, fill=self._colour(colour))

    def ellipse(self, box: Box, colour: Colour) -> None:
        """Fill an ellipse within a box of frame coordinates."""
        corners = self._corners(box)
        self._grow([corners[:2], corners[2:]])
        self._draw.ellipse(corners, fill=self._colour(colour))

    def ring(self, box: Box, colour: Colour, width: float) -> None:
        """The outline of an ellipse; `width` in scene pixels, inwards."""
        corners = self._corners(box)
        self._grow([corners[:2], corners[2:]])
        self._draw.ellipse(
            corners, outline=self._colour(colour), width=max(1, round(width * self._scale))
        )

    def line(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        """A line of frame coordinates; `width` in scene pixels."""
        self._stroke([self._at(p) for p in points], colour, width)

    def limb(self, start: Point, end: Point, colour: Colour, width: float) -> None:
        """A round-ended line from a frame coordinate to a point of the scene."""
        x, y = end
        self._stroke([self._at(start), (x * self._scale, y * self._scale)], colour, width)

    def dot(self, centre: Point, colour: Colour, radius: float) -> None:
        """A disc at a point of the scene, in scene pixels."""
        (x, y), r = (centre[0] * self._scale, centre[1] * self._scale), radius * self._scale
        self._grow([(x, y)], r)
        self._draw.ellipse((x - r, y - r, x + r, y + r), fill=self._colour(colour))

    def _stroke(self, at: Sequence[Point], colour: Colour, width: float) -> None:
        thickness = max(1, round(width * self._scale))
        for (xa, ya), (xb, yb) in pairwise(at):  # blunt ends: half the width across the line
            across = thickness / 2 / max(math.hypot(xb - xa, yb - ya), 1e-6)
            dx, dy = abs(yb - ya) * across, abs(xb - xa) * across
            self._grow([(x + s * dx, y + s * dy) for x, y in ((xa, ya), (xb, yb)) for s in (-1, 1)])
        self._grow(at[1:-1], thickness / 2)  # round joints
        self._draw.line(at, fill=self._colour(colour), width=thickness, joint="curve")

    def _at(self, point: Point) -> Point:
        x0, y0, x1, y1 = self._thing.frame
        u = 1 - point[0] if self._thing.facing < 0 else point[0]
        return (x0 + u * (x1 - x0)) * self._scale, (y0 + point[1] * (y1 - y0)) * self._scale

    def _corners(self, box: Box) -> Box:
        (xa, ya), (xb, yb) = self._at(box[:2]), self._at(box[2:])
        return min(xa, xb), ya, max(xa, xb), yb

    def _colour(self, colour: Colour) -> Colour:
        if self._flat is not None:
            return self._flat
        r, g, b = (min(255, max(0, c + t)) for c, t in zip(colour, self._thing.tint))
        return r, g, b

    def _grow(self, at: Sequence[Point], margin: float = 0) -> None:
        if not at:
            return
        xs, ys = [p[0] for p in at], [p[1] for p in at]
        new = (min(xs) - margin, min(ys) - margin, max(xs) + margin, max(ys) + margin)
        old = self.extent or new
        self.extent = (
            min(old[0], new[0]), min(old[1], new[1]), max(old[2], new[2]), max(old[3], new[3])
        )  # fmt: skip


def _spots(thing: Thing, count: int) -> list[Point]:
    """Points spread over the unit square that differ from thing to thing."""
    shift = sum(thing.tint)
    return [((0.618 * (i + shift)) % 1, (0.7549 * i + 0.05) % 1) for i in range(count)]


def _sky(pen: Pen, thing: Thing) -> None:
    for i in range(4):
        pen.polygon(_band(i / 4, (i + 1) / 4), (120 + 22 * i, 185 + 12 * i, 240))


def _band(top: float, bottom: float) -> list[Point]:
    return [(0, top), (1, top), (1, bottom), (0, bottom)]


def _night(pen: Pen, thing: Thing) -> None:
    pen.polygon(_band(0, 1), (22, 26, 70))
    for u, v in _spots(thing, 14):
        pen.ellipse((u * 0.98, v * 0.94, u * 0.98 + 0.014, v * 0.94 + 0.03), (235, 235, 190))


def _grass(pen: Pen, thing: Thing) -> None:
    pen.polygon(_band(0, 1), (112, 176, 72))
    for u, v in _spots(thing, 16):
        u, v = u * 0.96, v * 0.9
        pen.polygon([(u, v + 0.08), (u + 0.015, v), (u + 0.03, v + 0.08)], (88, 150, 56))


def _sand(pen: Pen, thing: Thing) -> None:
    pen.polygon(_band(0, 1), (232, 208, 150))
    for u, v in _spots(thing, 18):
        pen.ellipse((u * 0.97, v * 0.95, u * 0.97 + 0.02, v * 0.95 + 0.03), (208, 178, 118))


def _water(pen: Pen, thing: Thing) -> None:
    pen.polygon(_band(0, 1), (40, 100, 180))
    for i in range(3):
        v = 0.22 + 0.26 * i
        points = [(k / 16, v + (0.08 if (k + i) % 2 else 0)) for k in range(17)]
        pen.line(points, (110, 165, 225), 1.2)


def _mountain(pen: Pen, thing: Thing) -> None:
    pen.polygon([(0, 1), (0.42, 0), (0.62, 0.38), (0.74, 0.2), (1, 1)], (122, 112, 138))
    pen.polygon([(0.42, 0), (0.294, 0.3), (0.40, 0.24), (0.47, 0.34), (0.56, 0.266)], WHITE)


def _cloud(pen: Pen, thing: Thing) -> None:
    for box in ((0, 0.35, 0.5, 1.0), (0.2, 0, 0.72, 0.95), (0.5, 0.3, 1, 1.0)):
        pen.ellipse(box, WHITE)


def _sun(pen: Pen, thing: Thing) -> None:
    rays = [
        (0.5 + r * math.cos(k * math.pi / 8), 0.5 + r * math.sin(k * math.pi / 8))
        for k, r in enumerate((0.5, 0.34) * 8)
    ]
    pen.polygon(rays, (255, 150, 20))
    pen.ellipse((0.2, 0.2, 0.8, 0.8), (255, 210, 40))


def _boat(pen: Pen, thing: Thing) -> None:
    pen.polygon([(0, 0.72), (1, 0.72), (0.8, 1), (0.2, 1)], (150, 60, 30))
    pen.line([(0.5, 0.02), (0.5, 0.74)], (80, 50, 30), 2)
    pen.polygon([(0.54, 0), (0.54, 0.64), (0.96, 0.64)], WHITE)
    pen.polygon([(0.46, 0.1), (0.46, 0.64), (0.1, 0.64)], (240, 120, 40))


def _tree(pen: Pen, thing: Thing) -> None:
    pen.polygon([(0.4, 0.5), (0.6, 0.5), (0.64, 1), (0.36, 1)], (110, 72, 40))
    for box in ((0, 0.22, 0.62, 0.66), (0.38, 0.22, 1, 0.66), (0.16, 0, 0.84, 0.5)):
        pen.ellipse(box, (32, 104, 58))
    pen.ellipse((0.3, 0.08, 0.55, 0.24), (58, 138, 80))


def _house(pen: Pen, thing: Thing) -> None:
    pen.polygon([(0.06, 0.42), (0.94, 0.42), (0.94, 1), (0.06, 1)], (240, 170, 100))
    pen.polygon([(0, 0.45), (0.5, 0), (1, 0.45)], (160, 50, 42))
    pen.polygon([(0.58, 0.6), (0.8, 0.6), (0.8, 1), (0.58, 1)], (100, 60, 40))
    pen.polygon([(0.18, 0.56), (0.44, 0.56), (0.44, 0.8), (0.18, 0.8)], (180, 225, 250))


def _ball(pen: Pen, thing: Thing) -> None:
    pen.ellipse((0, 0, 1, 1), (252, 220, 40))
    pen.polygon([(0.03, 0.36), (0.97, 0.36), (0.97, 0.64), (0.03, 0.64)], (40, 90, 220))


def _hat(pen: Pen, thing: Thing) -> None:
    pen.polygon([(0.24, 0), (0.76, 0), (0.82, 0.8), (0.18, 0.8)], (130, 50, 180))
    pen.polygon([(0.2, 0.52), (0.8, 0.52), (0.82, 0.8), (0.18, 0.8)], (245, 215, 70))
    pen.ellipse((0, 0.68, 1, 1), (130, 50, 180))


def _balloon(pen: Pen, thing: Thing) -> None:
    pen.polygon([(0.5, 0.8), (0.66, 1), (0.34, 1)], (190, 30, 30))
    pen.ellipse((0, 0, 1, 0.88), (236, 48, 44))
    pen.ellipse((0.2, 0.14, 0.42, 0.36), (255, 150, 140))


def _horse(pen: Pen, thing: Thing) -> None:
    coat, dark = (136, 82, 46), (60, 34, 20)
    pen.line([(0.13, 0.42), (0.05, 0.5), (0.04, 0.72)], dark, 3)
    for u in (0.21, 0.31, 0.65, 0.75):
        pen.polygon([(u, 0.6), (u + 0.07, 0.6), (u + 0.06, 1), (u + 0.01, 1)], coat)
    pen.ellipse((0.12, 0.36, 0.52, 0.74), coat)
    pen.ellipse((0.42, 0.36, 0.84, 0.74), coat)
    pen.polygon([(0.3, 0.38), (0.68, 0.38), (0.68, 0.72), (0.3, 0.72)], coat)
    pen.polygon([(0.62, 0.44), (0.72, 0.06), (0.88, 0.14), (0.84, 0.62)], coat)
    pen.polygon([(0.74, 0.06), (0.86, 0.08), (1, 0.26), (0.97, 0.36), (0.8, 0.28)], coat)
    pen.polygon([(0.6, 0.42), (0.7, 0.04), (0.76, 0.06), (0.68, 0.44)], dark)
    pen.polygon([(0.74, 0.1), (0.77, 0), (0.81, 0.1)], coat)
    pen.ellipse((0.84, 0.12, 0.88, 0.17), BLACK)


def _dog(pen: Pen, thing: Thing) -> None:
    coat = (52, 50, 54)
    pen.line([(0.16, 0.5), (0.05, 0.18)], coat, 3)
    for u in (0.14, 0.26, 0.54, 0.66):
        pen.polygon([(u, 0.6), (u + 0.1, 0.6), (u + 0.1, 1), (u, 1)], coat)
    pen.polygon([(0.12, 0.4), (0.74, 0.36), (0.78, 0.74), (0.14, 0.76)], coat)
    pen.polygon([(0.3, 0.66), (0.62, 0.66), (0.6, 0.76), (0.3, 0.76)], WHITE)
    pen.ellipse((0.58, 0.04, 0.9, 0.54), coat)
    pen.polygon([(0.8, 0.22), (1, 0.3), (1, 0.46), (0.8, 0.5)], (120, 118, 122))
    pen.polygon([(0.58, 0.1), (0.68, 0), (0.7, 0.42), (0.6, 0.46)], BLACK)
    pen.ellipse((0.77, 0.14, 0.84, 0.24), WHITE)


def _bicycle(pen: Pen, thing: Thing) -> None:
    teal = (20, 165, 165)
    for box in ((0, 0.36, 0.43, 1), (0.57, 0.36, 1, 1)):
        pen.ring(box, BLACK, 2.4)
    pen.line([(0.21, 0.68), (0.48, 0.7), (0.72, 0.28), (0.34, 0.28), (0.21, 0.68)], teal, 2.4)
    pen.line([(0.48, 0.7), (0.32, 0.18)], teal, 2.4)
    pen.line([(0.79, 0.68), (0.7, 0.06)], teal, 2.4)
    pen.line([(0.62, 0.04), (0.76, 0.08)], BLACK, 2.4)
    pen.polygon([(0.24, 0.12), (0.42, 0.12), (0.4, 0.22), (0.26, 0.22)], BLACK)


def _person(pen: Pen, thing: Thing) -> None:
    height = thing.frame[3] - thing.frame[1]
    _legs(pen, thing, 0.1 * height)
    pen.polygon([(0.22, 0.3), (0.78, 0.3), (0.76, 0.66), (0.24, 0.66)], SHIRT)
    _arms(pen, thing, 0.085 * height)
    _head(pen, thing.facing)


def _legs(pen: Pen, thing: Thing, width: float) -> None:
    joints: dict[str, list[list[Point]]] = {
        "standing": [[(0.36, 0.62), (0.34, 0.98)], [(0.64, 0.62), (0.66, 0.98)]],
        "astride": [[(0.5, 0.63), (0.74, 0.78), (0.62, 0.97)]],
        "pedalling": [
            [(0.5, 0.63), (0.92, 0.74), (0.7, 0.97)],
            [(0.5, 0.63), (0.72, 0.82), (0.5, 0.97)],
        ],
    }
    for leg in joints[thing.legs]:
        pen.line(leg, TROUSERS, width)
        u, v = leg[-1]
        pen.polygon([(u - 0.1, v - 0.05), (u + 0.14, v - 0.03), (u + 0.16, 1), (u - 0.1, 1)], BLACK)


def _arms(pen: Pen, thing: Thing, width: float) -> None:
    for side, hand in zip((-1, 1), thing.hands):
        inward = side if thing.facing >= 0 else -side  # the frame is mirrored
        shoulder = (0.5 + 0.28 * inward, 0.35)
        if hand is None:
            pen.line([shoulder, (0.5 + 0.4 * inward, 0.6)], SHIRT, width)
            u = 0.5 + 0.4 * inward
            pen.ellipse((u - 0.09, 0.57, u + 0.09, 0.655), SKIN)
        else:
            pen.limb(shoulder, hand, SHIRT, width)
            pen.dot(hand, SKIN, HAND)


def _head(pen: Pen, facing: int) -> None:
    if facing == 0:
        pen.ellipse((0.16, 0, 0.84, 0.3), HAIR)
        pen.ellipse((0.24, 0.08, 0.76, 0.31), SKIN)
        for u in (0.32, 0.56):
            pen.ellipse((u, 0.14, u + 0.12, 0.19), BLACK)
        return
    pen.ellipse((0.14, 0, 0.8, 0.31), HAIR)
    pen.ellipse((0.42, 0.05, 0.88, 0.3), SKIN)
    pen.polygon([(0.84, 0.13), (0.98, 0.2), (0.84, 0.22)], SKIN)
    pen.ellipse((0.64, 0.11, 0.78, 0.17), BLACK)


SHAPES: dict[str, Callable[[Pen, Thing], None]] = {
    "sky": _sky,
    "night": _night,
    "grass": _grass,
    "sand": _sand,
    "water": _water,
    "mountain": _mountain,
    "cloud": _cloud,
    "sun": _sun,
    "boat": _boat,
    "tree": _tree,
    "house": _house,
    "ball": _ball,
    "hat": _hat,
    "balloon": _balloon,
    "horse": _horse,
    "dog": _dog,
    "bicycle": _bicycle,
    "person": _person,
}
