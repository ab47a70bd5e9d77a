"""Which true objects the detections are: the matching of objects behind that of triplets.

For a true object t and a detection d of the same class with IoU(d, t) >= threshold:

- `each`: d is every such t (Neural Motifs);
- `best`: d is the t with the greatest IoU, of equals the first (SGBench, Lorenz et al. 2024, "A
  Review and Efficient Implementation of Scene Graph Generation Metrics");
- `one_to_one`: detections in descending order of their scores; d is the t with the greatest IoU
  that no earlier detection is (COCO's matching of boxes, Lin et al. 2014).

In PredCls and SGCls the objects are given: with `best` and `one_to_one` object i of the prediction
is true object i if their classes agree.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from autoenc_sg.config.recall import RecallConventions
from autoenc_sg.core.boxes import paired_iou
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction

_BOX = (0.0, 0.0, 10.0, 10.0)  # of all identities: their boxes agree


def object_matches(
    prediction: GraphPrediction, truth: SceneGraph, conventions: RecallConventions
) -> Tensor:
    """Whether detection n is true object t: `[N, T]` bool, on the prediction's device."""
    labels = truth.labels.to(prediction.labels.device)
    same = prediction.labels[:, None] == labels
    if conventions.matching != "each" and conventions.task in ("PredCls", "SGCls"):
        return same & torch.eye(*same.shape, dtype=torch.bool, device=same.device)
    overlap = _overlaps(prediction.boxes.double(), truth.boxes, conventions.plus_one)
    overlap = overlap.masked_fill(~same | (overlap < conventions.iou_threshold), -1.0)
    if conventions.matching == "each":
        return overlap >= 0
    return _single(overlap, prediction.scores, conventions.matching == "one_to_one")


def with_identities(
    prediction: GraphPrediction, truth: SceneGraph, conventions: RecallConventions
) -> GraphPrediction:
    """The prediction with 1 + the true object's row as the label of each detection, 0 for none.

    Unchanged for matching `each`. It is compared with `identity_graph` of the truth.
    """
    if conventions.matching == "each":
        return prediction
    matches = object_matches(prediction, truth, conventions)
    rows = torch.arange(1, len(truth) + 1, device=matches.device)
    labels = (matches * rows).sum(1)
    return replace(prediction, labels=labels, boxes=_equal_boxes(len(labels), matches.device))


def identity_graph(truth: SceneGraph) -> SceneGraph:
    """The true graph with 1 + its row as the label of each object, and equal boxes."""
    labels = torch.arange(1, len(truth) + 1, device=truth.labels.device)
    boxes = _equal_boxes(len(labels), labels.device).float()
    return SceneGraph(labels, boxes, truth.triples, truth.image_size)


def distinct_triples(truth: SceneGraph) -> SceneGraph:
    """The true graph without repetitions of a triple."""
    triples = truth.triples.unique(dim=0)
    return SceneGraph(truth.labels, truth.boxes, triples, truth.image_size)


def _overlaps(boxes: Tensor, true_boxes: Tensor, plus_one: bool) -> Tensor:
    """IoU of every two boxes: `[N, 4], [T, 4] -> [N, T]` float64."""
    first, second = len(boxes), len(true_boxes)
    pairs = boxes.repeat_interleave(second, 0), true_boxes.to(boxes).repeat(first, 1)
    return paired_iou(*pairs, plus_one).reshape(first, second)


def _single(overlap: Tensor, scores: Tensor, exclusive: bool) -> Tensor:
    """At most one true object a detection, and if `exclusive` one detection a true object.

    Shapes: `overlap [N, T]`, -1 where they do not match; `scores [N] -> [N, T]` bool.
    """
    matches = torch.zeros_like(overlap, dtype=torch.bool)
    if overlap.shape[1] == 0:
        return matches
    if not exclusive:
        best, index = overlap.max(1)
        return matches.scatter(1, index[:, None], (best >= 0)[:, None])
    overlap = overlap.clone()
    for row in scores.argsort(descending=True, stable=True).tolist():
        column = int(overlap[row].argmax())
        if overlap[row, column] >= 0:
            matches[row, column] = True
            overlap[:, column] = -1
    return matches


def _equal_boxes(count: int, device: torch.device) -> Tensor:
    return torch.tensor([_BOX], dtype=torch.float64, device=device).repeat(count, 1)
