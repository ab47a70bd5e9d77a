"""Overlap of boxes as the field's evaluators measure it."""

from __future__ import annotations

import torch
from torch import Tensor


def paired_iou(first: Tensor, second: Tensor, plus_one: bool = True) -> Tensor:
    """Intersection over union of boxes taken row by row.

    With `plus_one` a box of corners x1, x2 is x2 - x1 + 1 pixels wide: the `bbox_overlaps` of Fast
    R-CNN, which the evaluators derived from Neural Motifs use. The one is a pixel of whatever scale
    the boxes are in (Motifs: long side 1024; Scene-Graph-Benchmark: the photo).

    Shapes: `[*, 4], [*, 4] -> [*]`, broadcast; xyxy in pixels; 0 where both boxes have no area.
    """
    one = float(plus_one)
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    width, height = (high - low + one).clamp(min=0).unbind(-1)
    intersection = width * height
    union = _area(first, one) + _area(second, one) - intersection
    return torch.where(union > 0, intersection / union, torch.zeros_like(union))


def union_boxes(first: Tensor, second: Tensor) -> Tensor:
    """The smallest box around both: `[*, 4], [*, 4] -> [*, 4]`."""
    low = torch.minimum(first[..., :2], second[..., :2])
    return torch.cat([low, torch.maximum(first[..., 2:], second[..., 2:])], -1)


def _area(boxes: Tensor, one: float) -> Tensor:
    width, height = (boxes[..., 2:] - boxes[..., :2] + one).unbind(-1)
    return width * height
