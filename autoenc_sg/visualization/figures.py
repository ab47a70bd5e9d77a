"""The paper's figures 2 and 3: photos with graphs and reconstructions; growing graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw
from torch import Tensor

from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.images import as_tensor, to_pil
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.visualization.boxes import class_colour, draw_boxes
from autoenc_sg.visualization.composition import text_font
from autoenc_sg.visualization.graph import draw_graph
from autoenc_sg.visualization.loss_curves import loss_curves

__all__ = [
    "GrowthStep",
    "Reconstruction",
    "class_colour",
    "draw_boxes",
    "draw_graph",
    "figure_2",
    "figure_3",
    "loss_curves",
]

PilOrTensor = Image.Image | Tensor
Size = tuple[int, int]

_SIDE = 420  # pixels, of an image in the figures
_GRAPH_WIDTH = 760  # of a graph beside images
_STEP_GRAPH = (500, 440)  # of a graph above its image
_GAP, _HEADING = 16, 52
_WHITE, _LINE, _INK = (255, 255, 255), (205, 205, 205), (25, 25, 25)
_COLUMNS = (
    "photo with detections",
    "predicted scene graph",
    "reconstruction from it",
    "reconstruction from truth",
)


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """A row of figure 2.

    Attributes:
        photo: the input; the boxes of `predicted` are in its pixels.
        predicted: the graph parsed from it.
        from_predicted: the image rendered from that.
        truth: the annotated graph.
        from_truth: the image rendered from that.
    """

    photo: PilOrTensor
    predicted: SceneGraph
    from_predicted: PilOrTensor
    truth: SceneGraph
    from_truth: PilOrTensor


@dataclass(frozen=True, eq=False)
class GrowthStep:
    """A column of figure 3: a graph and the image rendered from it."""

    graph: SceneGraph
    image: PilOrTensor


def figure_2(
    rows: Sequence[Reconstruction], vocabulary: Vocabulary, show_truth: bool = False
) -> Image.Image:
    """The paper's figure 2: photo with boxes | predicted graph | image from it | from the truth.

    Args:
        rows: one or more.
        vocabulary: the names.
        show_truth: add a column with the true graph, before the image from it.

    Raises:
        InputError: there are no rows.
    """
    if not rows:
        raise bad_input("figure 2", "one or more rows", "none")
    headings = [*_COLUMNS[:3], "true scene graph", _COLUMNS[3]] if show_truth else [*_COLUMNS]
    return _grid([_row_2(row, vocabulary, show_truth) for row in rows], headings)


def figure_3(steps: Sequence[GrowthStep], vocabulary: Vocabulary, columns: int = 5) -> Image.Image:
    """The paper's figure 3: a growing graph, and below each graph the image rendered from it.

    Args:
        steps: one or more, in order.
        vocabulary: the names.
        columns: steps in a row at most; further steps go below.

    Raises:
        InputError: there are no steps.
    """
    if not steps:
        raise bad_input("figure 3", "one or more steps", "none")
    lines = [steps[i : i + columns] for i in range(0, len(steps), columns)]
    cells: list[list[Image.Image]] = []
    for line in lines:
        cells.append([draw_graph(step.graph, vocabulary, _STEP_GRAPH) for step in line])
        cells.append([_fit(step.image, (_STEP_GRAPH[0],) * 2) for step in line])
    return _grid(cells, [])


def _row_2(row: Reconstruction, vocabulary: Vocabulary, show_truth: bool) -> list[Image.Image]:
    graph_size, size = (_GRAPH_WIDTH, _SIDE), (_SIDE, _SIDE)
    truth = [draw_graph(row.truth, vocabulary, graph_size)] if show_truth else []
    return [
        _fit(draw_boxes(row.photo, row.predicted, vocabulary, side=_SIDE), size),
        draw_graph(row.predicted, vocabulary, graph_size),
        _fit(row.from_predicted, size),
        *truth,
        _fit(row.from_truth, size),
    ]


def _fit(image: PilOrTensor, size: Size) -> Image.Image:
    """The image, scaled to fit `size`, in the middle of a white cell."""
    picture = image if isinstance(image, Image.Image) else to_pil(as_tensor(image))
    factor = min(size[0] / picture.width, size[1] / picture.height)
    fitted = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    method = Image.Resampling.BICUBIC if factor > 1 else Image.Resampling.LANCZOS
    cell = Image.new("RGB", size, _WHITE)
    corner = ((size[0] - fitted[0]) // 2, (size[1] - fitted[1]) // 2)
    cell.paste(picture.convert("RGB").resize(fitted, method), corner)
    return cell


def _grid(rows: Sequence[Sequence[Image.Image]], headings: Sequence[str]) -> Image.Image:
    """Cells in rows, left-aligned; columns are as wide as those of the first row."""
    widths = [cell.width for cell in rows[0]]
    top = _HEADING if headings else _GAP
    width = sum(widths) + _GAP * (len(widths) + 1)
    height = top + sum(row[0].height + _GAP for row in rows)
    sheet = Image.new("RGB", (width, height), _WHITE)
    pen = ImageDraw.Draw(sheet)
    lefts = [_GAP + sum(widths[:k]) + _GAP * k for k in range(len(widths))]
    for left, cell_width, heading in zip(lefts, widths, headings):
        middle = (left + cell_width / 2, _HEADING / 2)
        pen.text(middle, heading, font=text_font(24), fill=_INK, anchor="mm")
    for row in rows:
        for left, cell in zip(lefts, row):
            sheet.paste(cell, (left, top))
            frame = (left - 1, top - 1, left + cell.width, top + cell.height)
            pen.rectangle(frame, outline=_LINE)
        top += row[0].height + _GAP
    return sheet
