"""Graphs of annotations: built from lists, reduced to one predicate a pair, scaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from autoenc_sg.core.boxes import ImageSize, clip_to_image, has_area
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.data.base.samples import LONGEST_SIDE
from autoenc_sg.data.images.decode import Pixels

Box = Sequence[float]


def make_graph(
    labels: Sequence[int],
    boxes: Sequence[Box],
    triples: Sequence[Sequence[int]],
    size: ImageSize,
    where: str,
    strict: bool = False,
) -> SceneGraph:
    """A graph of annotations: boxes are clipped to the image, repeated relations kept.

    Args:
        labels: `[N]` ids >= 1.
        boxes: `[N]` xyxy in pixels.
        triples: (subject, predicate, object) rows.
        size: height and width in pixels.
        where: the image's name in messages.
        strict: a box without area in the image is an error; else it is left out with its relations
            (published data sets have such boxes).

    Raises:
        InputError: a box is no four numbers or its ends are exchanged, a relation does not join
            two of the objects, or there is no image of that size.
    """
    if not all(1 <= side < LONGEST_SIDE for side in size):
        expected = f"a height and width >= 1 and < {LONGEST_SIDE}"
        raise bad_input(where, expected, f"{size[0]} x {size[1]}")
    try:
        table = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        relations = torch.tensor(triples, dtype=torch.int64).reshape(-1, 3)
        ids = torch.tensor(labels, dtype=torch.int64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise bad_input(where, "boxes of four numbers and relations of three", error) from None
    if len(table) != len(ids):
        raise bad_input(where, "a box for each label", f"{len(table)} boxes, {len(ids)} labels")
    clipped = clip_to_image(table, size)
    inside = has_area(clipped)
    sane = table.isfinite().all(1) & (table[:, 2:] >= table[:, :2]).all(1)
    wrong = ~(sane & inside) if strict else ~sane
    if wrong.any():
        row = int(wrong.nonzero()[0])
        expected = f"x1, y1, x2, y2 with some area within {size[1]} x {size[0]}"
        raise bad_input(f"{where} box {row}", expected, list(boxes[row]))
    ends = relations[:, [0, 2]]
    wrong = ((ends < 0) | (ends >= len(ids))).any(1) | (ends[:, 0] == ends[:, 1])
    if wrong.any():
        row = int(wrong.nonzero()[0])
        got = ends[row].tolist()
        raise bad_input(f"{where} relation {row}", f"two different ones of {len(ids)} objects", got)
    try:
        graph = SceneGraph(ids, clipped, relations, size)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return graph if inside.all() else graph.select(inside.nonzero()[:, 0])


def one_per_pair(triples: Tensor, generator: torch.Generator) -> Tensor:
    """One triple, uniformly at random, of each (subject, object), in order of first appearance."""
    return triples[one_row_per_pair(triples, generator)]


def one_row_per_pair(triples: Tensor, generator: torch.Generator) -> Tensor:
    """The rows of `one_per_pair`: `[m]`, ascending."""
    order = torch.randperm(len(triples), generator=generator)
    pairs, inverse = triples[order][:, [0, 2]].unique(dim=0, return_inverse=True)
    first = torch.full((len(pairs),), len(triples))
    first.scatter_reduce_(0, inverse, torch.arange(len(triples)), "amin")
    return order[first].sort().values


def resize_graph(graph: SceneGraph, size: ImageSize) -> SceneGraph:
    """The graph of its image scaled to `size`, (height, width)."""
    if size == graph.image_size:
        return graph
    height, width = (new / old for new, old in zip(size, graph.image_size))
    scale = graph.boxes.new_tensor([width, height, width, height])
    ignored = graph.ignored
    if ignored is not None:
        ignored = torch.cat([ignored[:, :1], ignored[:, 1:] * scale], 1)
    return replace(graph, boxes=graph.boxes * scale, image_size=size, ignored=ignored)


def same_aspect(a: ImageSize, b: ImageSize) -> bool:
    """Whether two sizes have one aspect ratio, up to rounding by a pixel."""
    return abs(a[0] * b[1] - a[1] * b[0]) <= 2 * max(*a, *b)


def check_aspect(name: str, size: ImageSize, stated: ImageSize) -> None:
    """Check that an image has the annotated aspect ratio; a turned one would misplace all boxes.

    Raises:
        InputError: `size` is not `stated`, scaled.
    """
    if not same_aspect(size, stated):
        expected = f"an image of {stated[1]} x {stated[0]} pixels, or that scaled"
        turned = " (is it turned?)" if same_aspect(size, stated[::-1]) else ""
        raise bad_input(name, expected, f"{size[1]} x {size[0]}{turned}")


def fit_graph(graph: SceneGraph, pixels: Pixels, name: str) -> SceneGraph:
    """The graph in pixels of its image as it was read.

    Args:
        graph: in pixels of the annotated size.
        pixels: the image.
        name: of the image in messages.

    Raises:
        InputError: the file is not the annotated image, scaled.
    """
    check_aspect(name, pixels.full_size, graph.image_size)
    return resize_graph(graph, (pixels.image.shape[1], pixels.image.shape[2]))
