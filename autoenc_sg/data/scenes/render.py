"""Drawing a scene with Pillow, at twice the size and then halved for smooth edges."""

from __future__ import annotations

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.data.scenes.builder import SIDE, VOCABULARY, Point, Scene
from autoenc_sg.data.scenes.shapes import SHAPES, Pen

_OVERSAMPLING = 2


def draw_scene(scene: Scene, size: int) -> tuple[Image.Image, SceneGraph]:
    """The picture, `size x size` RGB, and its graph: boxes tight around what was drawn, in pixels.

    A box holds the whole thing, also what nearer things hide, within the image.
    """
    side = size * _OVERSAMPLING
    canvas = Image.new("RGB", (side, side))
    draw = ImageDraw.Draw(canvas)
    scale = side / SIDE
    extents = []
    for thing in scene.things:
        pen = Pen(draw, scale, thing)
        SHAPES[thing.name](pen, thing)
        extents.append(pen.extent)
    for start, end in scene.ropes:
        _rope(draw, scale, start, end)
    boxes = torch.tensor(extents).clamp(0, side) / _OVERSAMPLING
    graph = SceneGraph(_labels(scene), boxes, _triples(scene), (size, size))
    return canvas.reduce(_OVERSAMPLING), graph


def _labels(scene: Scene) -> Tensor:
    return torch.tensor([VOCABULARY.object_id(thing.name) for thing in scene.things])


def _triples(scene: Scene) -> Tensor:
    rows = [(s, VOCABULARY.predicate_id(name), o) for s, name, o in scene.relations]
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)


def _rope(draw: ImageDraw.ImageDraw, scale: float, start: Point, end: Point) -> None:
    """A dark rope with a light edge, seen on any background."""
    ends = [(x * scale, y * scale) for x, y in (start, end)]
    draw.line(ends, fill=(255, 250, 225), width=max(3, round(2.5 * scale)))
    draw.line(ends, fill=(95, 40, 15), width=max(1, round(1.25 * scale)))
