"""Objects drawn on their image: boxes in class colours with legible names."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from autoenc_sg.core.images import as_tensor, to_pil
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.visualization.composition import enlarged, text_font

Colour = tuple[int, int, int]
Floats = NDArray[np.float64]

_LEAST_SIDE = 480  # pixels; smaller images are scaled up so that names fit
_GOLDEN = 0.6180339887498949


def class_colour(label: int) -> Colour:
    """The colour of a class in all figures: hues a golden ratio apart, in three lightnesses."""
    lightness = (0.45, 0.62, 0.34)[label // 2 % 3]
    red, green, blue = colorsys.hls_to_rgb(label * _GOLDEN % 1.0, lightness, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)


def tint(colour: Colour, amount: float) -> Colour:
    """The colour mixed with white; `amount` 0: the colour, 1: white."""
    red, green, blue = (round(c + (255 - c) * amount) for c in colour)
    return red, green, blue


def draw_boxes(
    image: Image.Image | Tensor,
    graph: SceneGraph,
    vocabulary: Vocabulary,
    scores: bool = True,
    side: int | None = None,
) -> Image.Image:
    """The image with each object's box, class name and, if there is one, score.

    Large boxes are drawn first. A name is placed inside the image where it covers least of the
    names before it.

    Args:
        image: the graph's image in any resolution: PIL, or a tensor `[3, H, W]`.
        graph: boxes in pixels of its `image_size`; parts outside the image are not drawn.
        vocabulary: the names.
        scores: write `object_scores` beside the names.
        side: the longer side of the result in pixels; None: small images are scaled up by a whole
            factor until the names fit, others are not scaled.
    """
    canvas = image if isinstance(image, Image.Image) else to_pil(as_tensor(image))
    longer = max(canvas.size)
    factor = side / longer if side else max(1, -(-_LEAST_SIDE // longer))
    canvas = enlarged(canvas, factor)
    scale = np.array(canvas.size) / np.array(graph.image_size[::-1])
    boxes = graph.boxes.detach().double().cpu().numpy() * np.tile(scale, 2)
    order = np.argsort(-(boxes[:, 2:] - boxes[:, :2]).prod(1), kind="stable").tolist()
    pen, labels = ImageDraw.Draw(canvas), graph.labels.tolist()
    width = max(2, round(max(canvas.size) / 220))
    for i in order:
        x1, y1, x2, y2 = _inside(boxes[i], canvas)
        if x2 - x1 >= 1 and y2 - y1 >= 1:
            pen.rectangle((x1, y1, x2, y2), outline=class_colour(labels[i]), width=width)
    placed: list[Floats] = []
    for i in order:
        text = vocabulary.objects[labels[i]]
        if scores and graph.object_scores is not None:
            text = f"{text} {float(graph.object_scores[i]):.2f}"
        _write_name(canvas, text, _inside(boxes[i], canvas), class_colour(labels[i]), placed)
    return canvas


def _inside(box: Floats, canvas: Image.Image) -> Floats:
    """The box clipped to the image's pixels."""
    return np.clip(box, 0, np.array([*canvas.size, *canvas.size]) - 1)


def _write_name(
    canvas: Image.Image, text: str, box: Floats, colour: Colour, placed: list[Floats]
) -> None:
    """Write `text` on a filled rectangle at the box, away from those in `placed`; add it there."""
    font, extent = _fitted(text, canvas)
    spots = np.array(list(_spots(box, extent, canvas)))
    covered = np.array([sum(_overlap(spot, other) for other in placed) for spot in spots])
    spot = spots[int(covered.argmin())]
    placed.append(spot)
    pen = ImageDraw.Draw(canvas)
    pen.rectangle(tuple(spot.round().tolist()), fill=colour)
    ink = (0, 0, 0) if np.dot(colour, (0.299, 0.587, 0.114)) > 140 else (255, 255, 255)
    middle = (float(spot[0] + spot[2]) / 2, float(spot[1] + spot[3]) / 2)
    pen.text(middle, text, font=font, fill=ink, anchor="mm")


def _fitted(text: str, canvas: Image.Image) -> tuple[ImageFont.FreeTypeFont, Floats]:
    """A font in which the text fits the image's width; width and height of its rectangle."""
    size = max(15, round(max(canvas.size) / 34))
    while size > 5 and text_font(size).getlength(text) > canvas.width - 8:
        size -= 1
    font = text_font(size)
    return font, np.array([font.getlength(text) + 0.5 * size, 1.35 * size])


def _spots(box: Floats, extent: Floats, canvas: Image.Image) -> Iterator[Floats]:
    """Places for a name in order of preference: above the box, inside it downwards, below it."""
    highest = np.array(canvas.size) - 1 - extent
    rows = [box[1] - extent[1], *np.arange(box[1], box[3] - extent[1] + 1, extent[1]), box[3]]
    for y in rows:
        for x in (box[0], box[2] - extent[0], (box[0] + box[2] - extent[0]) / 2):
            corner = np.clip(np.array([x, y]), 0, np.maximum(highest, 0))
            yield np.concatenate([corner, corner + extent])


def _overlap(a: Floats, b: Floats) -> float:
    """The area, in square pixels, that two boxes share."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    return float(sides.clip(0).prod())
