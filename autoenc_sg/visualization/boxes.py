"""Objects drawn on their picture: boxes in class colours with names that can be read."""

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

_LEAST_SIDE = 480  # pixels; smaller pictures are scaled up so that the names fit
_GOLDEN = 0.6180339887498949


def class_colour(label: int) -> Colour:
    """A class's colour in every picture: hues a golden section apart, in three lightnesses."""
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
    """The picture with each object's box, class name and (if known and wanted) score.

    Large boxes are drawn first. A name is put where
    it covers the least of the names before it, and never leaves the picture.

    Args:
        image: the graph's picture in any resolution: PIL, or a tensor `[3, H, W]`.
        graph: boxes in pixels of its `image_size`; what lies outside the picture is not drawn.
        vocabulary: the names.
        scores: write `object_scores` beside the names.
        side: the longer side of the result in pixels; None: small pictures are scaled up by a whole
            factor until the names fit, others stay as they are.
    """
    picture = image if isinstance(image, Image.Image) else to_pil(as_tensor(image))
    longer = max(picture.size)
    factor = side / longer if side else max(1, -(-_LEAST_SIDE // longer))
    picture = enlarged(picture, factor)
    scale = np.array(picture.size) / np.array(graph.image_size[::-1])
    boxes = graph.boxes.detach().double().cpu().numpy() * np.tile(scale, 2)
    order = np.argsort(-(boxes[:, 2:] - boxes[:, :2]).prod(1), kind="stable").tolist()
    pen, labels = ImageDraw.Draw(picture), graph.labels.tolist()
    width = max(2, round(max(picture.size) / 220))
    for i in order:
        x1, y1, x2, y2 = _inside(boxes[i], picture)
        if x2 - x1 >= 1 and y2 - y1 >= 1:
            pen.rectangle((x1, y1, x2, y2), outline=class_colour(labels[i]), width=width)
    placed: list[Floats] = []
    for i in order:
        text = vocabulary.objects[labels[i]]
        if scores and graph.object_scores is not None:
            text = f"{text} {float(graph.object_scores[i]):.2f}"
        _write_name(picture, text, _inside(boxes[i], picture), class_colour(labels[i]), placed)
    return picture


def _inside(box: Floats, picture: Image.Image) -> Floats:
    """The box cut to the picture's pixels."""
    return np.clip(box, 0, np.array([*picture.size, *picture.size]) - 1)


def _write_name(
    picture: Image.Image, text: str, box: Floats, colour: Colour, placed: list[Floats]
) -> None:
    """Write `text` on a plate at the box, away from the plates in `placed`, and add its own."""
    font, plate = _fitted(text, picture)
    spots = np.array(list(_spots(box, plate, picture)))
    covered = np.array([sum(_overlap(spot, other) for other in placed) for spot in spots])
    spot = spots[int(covered.argmin())]
    placed.append(spot)
    pen = ImageDraw.Draw(picture)
    pen.rectangle(tuple(spot.round().tolist()), fill=colour)
    ink = (0, 0, 0) if np.dot(colour, (0.299, 0.587, 0.114)) > 140 else (255, 255, 255)
    middle = (float(spot[0] + spot[2]) / 2, float(spot[1] + spot[3]) / 2)
    pen.text(middle, text, font=font, fill=ink, anchor="mm")


def _fitted(text: str, picture: Image.Image) -> tuple[ImageFont.FreeTypeFont, Floats]:
    """A font in which the text is no wider than the picture, and the plate's width and height."""
    size = max(15, round(max(picture.size) / 34))
    while size > 5 and text_font(size).getlength(text) > picture.width - 8:
        size -= 1
    font = text_font(size)
    return font, np.array([font.getlength(text) + 0.5 * size, 1.35 * size])


def _spots(box: Floats, plate: Floats, picture: Image.Image) -> Iterator[Floats]:
    """Places for a name, best first: above the box, then inside it downwards, then below it."""
    highest = np.array(picture.size) - 1 - plate
    rows = [box[1] - plate[1], *np.arange(box[1], box[3] - plate[1] + 1, plate[1]), box[3]]
    for y in rows:
        for x in (box[0], box[2] - plate[0], (box[0] + box[2] - plate[0]) / 2):
            corner = np.clip(np.array([x, y]), 0, np.maximum(highest, 0))
            yield np.concatenate([corner, corner + plate])


def _overlap(a: Floats, b: Floats) -> float:
    """The area, in square pixels, that two boxes share."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    return float(sides.clip(0).prod())
