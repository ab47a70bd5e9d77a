"""The relations that sg2im reads off two boxes and their centres."""

from __future__ import annotations

import math

import torch
from torch import Tensor

GEOMETRIC_PREDICATES = ("left of", "above", "right of", "below", "inside", "surrounding")


def geometric_predicates(boxes: Tensor, centres: Tensor, pairs: Tensor) -> Tensor:
    """What the subject is to the object, as sg2im's data/coco.py decides it.

    `surrounding` or `inside` where one box strictly contains the other; else the quarter in which
    the angle `atan2(y_s - y_o, x_s - x_o)` of the centres lies, y downwards:
    `above` from -3/4 pi, `right of` from -1/4 pi, `below` from 1/4 pi, `left of` from 3/4 pi.

    Args:
        boxes: `[N, 4]` xyxy, fractions of the image (the angle is that of the squared image).
        centres: `[N, 2]` in the same unit: of the masks, or of the boxes.
        pairs: `[M, 2]` rows of subject and object.

    Returns:
        `[M]` places in `GEOMETRIC_PREDICATES`, plus 1.
    """
    subjects, objects = boxes[pairs[:, 0]], boxes[pairs[:, 1]]
    dx, dy = (centres[pairs[:, 0]] - centres[pairs[:, 1]]).unbind(1)
    angle = torch.atan2(dy, dx)
    quarter = torch.full_like(angle, 1, dtype=torch.int64)
    for place, start in ((2, -3), (3, -1), (4, 1)):
        begins, ends = start * math.pi / 4, (start + 2) * math.pi / 4
        quarter[(angle >= begins) & (angle < ends)] = place
    surrounding = _contains(subjects, objects)
    inside = _contains(objects, subjects)
    return quarter.masked_fill(inside, 5).masked_fill(surrounding, 6)


def _contains(outer: Tensor, inner: Tensor) -> Tensor:
    low = (outer[:, :2] < inner[:, :2]).all(1)
    return low & (outer[:, 2:] > inner[:, 2:]).all(1)


def random_partners(count: int, generator: torch.Generator) -> Tensor:
    """For each of N >= 2 objects a random other one, the direction by a coin: `[N, 2]` rows."""
    own = torch.arange(count)
    other = torch.randint(count - 1, (count,), generator=generator)
    other = other + (other >= own)
    swapped = torch.rand(count, generator=generator) < 0.5
    return torch.stack([torch.where(swapped, other, own), torch.where(swapped, own, other)], 1)
