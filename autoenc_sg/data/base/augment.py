"""Mirroring a sample: the image, its boxes and masks, and the meaning of its relations."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.samples import GraphDataset, Sample, random_stream

_MIRRORED = {"left": "right", "right": "left"}
_SWITCHES = ("flip", "augment")  # the attributes of data sets that turn mirroring on


def left_right_swap(vocabulary: Vocabulary) -> Tensor:
    """The predicate that each becomes in a mirror: `[P]` int64.

    `left` and `right` trade places wherever they are a word of a name. A name whose mirrored name
    is not in the vocabulary becomes 0: such relations are left out of mirrored graphs.
    """
    names = vocabulary.predicates
    ids = {name: i for i, name in enumerate(names)}
    mirrored = (re.sub(r"\b(left|right)\b", lambda m: _MIRRORED[m[0]], name) for name in names)
    return torch.tensor([ids.get(name, 0) for name in mirrored])


def flip_boxes(boxes: Tensor, width: float) -> Tensor:
    """Mirrored xyxy boxes `[N, 4]`: `(W - x2, y1, W - x1, y2)`."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([width - x2, y1, width - x1, y2], -1)


def flip_grid(codes: Tensor) -> Tensor:
    """Codes `[G G, A]` of a G x G grid, row by row, with the columns mirrored."""
    side = math.isqrt(len(codes))
    return codes.reshape(side, side, -1).flip(1).reshape_as(codes)


def _flip_ignored(ignored: Tensor, size: ImageSize) -> Tensor:
    """Mirrored regions `[K, 5]` of class ids and boxes."""
    return torch.cat([ignored[:, :1], flip_boxes(ignored[:, 1:], size[1])], 1)


def flip_graph(graph: SceneGraph, left_right: Tensor) -> SceneGraph:
    """The graph of the mirrored image.

    Args:
        graph: the graph, with boxes in pixels.
        left_right: `[P]`, see `left_right_swap`; triples that become 0 are left out.
    """
    subject, predicate, obj = graph.triples.unbind(1)
    predicate = left_right.to(predicate.device)[predicate]
    has_mirror = predicate > 0
    scores = graph.triple_scores
    return replace(
        graph,
        boxes=flip_boxes(graph.boxes, graph.image_size[1]),
        triples=torch.stack([subject, predicate, obj], 1)[has_mirror],
        triple_scores=None if scores is None else scores[has_mirror],
        masks=None if graph.masks is None else graph.masks.flip(-1),
        background=None if graph.background is None else flip_grid(graph.background),
        ignored=None if graph.ignored is None else _flip_ignored(graph.ignored, graph.image_size),
    )


def flip(sample: Sample, left_right: Tensor) -> Sample:
    """Mirror image, boxes, masks and left/right predicates together.

    Args:
        sample: what to mirror.
        left_right: `[P]`, from `left_right_swap(vocabulary)`.
    """
    graph = flip_graph(sample.graph, left_right)
    return Sample(sample.image.flip(-1), graph, sample.image_id)


def flip_half(sample: Sample, left_right: Tensor, seed: int, epoch: int, index: int) -> Sample:
    """`flip` in half of the cases: which ones follows from (seed, epoch, index)."""
    if random_stream("flip", seed, epoch, index).random() < 0.5:
        return flip(sample, left_right)
    return sample


def is_mirroring(dataset: GraphDataset) -> bool:
    """Whether a data set of this package mirrors samples."""
    return any(getattr(dataset, name, False) for name in _SWITCHES)


def views(dataset: GraphDataset, count: int, start: int = 0) -> Iterator[Sample]:
    """The first `count` samples in order, each followed by its mirrored one if some are mirrored.

    Equal to the last bit to what training gets of them, apart from which relation of a pair is
    drawn. `start` is the number of views that are left out at the beginning.
    """
    plain, mirroring = copy.copy(dataset), is_mirroring(dataset)
    for name in _SWITCHES:
        if hasattr(plain, name):
            setattr(plain, name, False)
    left_right = left_right_swap(dataset.vocabulary)
    for place in range(start, count * (1 + mirroring)):
        sample = plain.sample(place // (1 + mirroring))
        is_second = mirroring and place % 2 == 1
        yield flip(sample, left_right) if is_second else sample
