"""sg2im's geometric relations of two boxes and their centres."""

from __future__ import annotations

import torch
from torch import Tensor

GEOMETRIC_PREDICATES = ("left of", "right of", "above", "below", "inside", "surrounding")


def geometric_predicates(boxes: Tensor, centres: Tensor, pairs: Tensor) -> Tensor:
    """The predicate of each pair, as sg2im's data/coco.py decides it.

    `surrounding` or `inside` where one box strictly contains the other; else the quarter in which
    the angle `atan2(y_s - y_o, x_s - x_o)` of the centres lies, y downwards:
    `above` after -3/4 pi, `right of` from -1/4 pi, `below` from 1/4 pi, `left of` from 3/4 pi to
    -3/4 pi; `right of` where the centres are the same.

    Args:
        boxes: `[N, 4]` xyxy, fractions of the image (the angle is that of the squared image).
        centres: `[N, 2]` in the same unit: of the masks, or of the boxes.
        pairs: `[M, 2]` rows of subject and object.

    Returns:
        `[M]` places in `GEOMETRIC_PREDICATES`, plus 1.
    """
    subjects, objects = boxes[pairs[:, 0]], boxes[pairs[:, 1]]
    dx, dy = (centres[pairs[:, 0]] - centres[pairs[:, 1]]).unbind(1)
    quarters = {  # by comparison, not by angle: diagonals are exact
        "left of": (dx < 0) & (dy.abs() <= -dx),
        "above": (dy < 0) & (dy.abs() > dx.abs()),
        "below": (dy > 0) & (dy >= dx) & (dy > -dx),
        "inside": _contains(objects, subjects),
        "surrounding": _contains(subjects, objects),
    }
    predicates = torch.full_like(dx, 1 + GEOMETRIC_PREDICATES.index("right of"), dtype=torch.int64)
    for name, holds in quarters.items():
        predicates = predicates.masked_fill(holds, 1 + GEOMETRIC_PREDICATES.index(name))
    return predicates


def _contains(outer: Tensor, inner: Tensor) -> Tensor:
    low = (outer[:, :2] < inner[:, :2]).all(1)
    return low & (outer[:, 2:] > inner[:, 2:]).all(1)


def random_partners(count: int, generator: torch.Generator) -> Tensor:
    """For each of N >= 2 objects a random other one, the direction by a coin: `[N, 2]` rows."""
    objects = torch.arange(count)
    partners = torch.randint(count - 1, (count,), generator=generator)
    partners = partners + (partners >= objects)
    swapped = torch.rand(count, generator=generator) < 0.5
    return torch.stack(
        [torch.where(swapped, partners, objects), torch.where(swapped, objects, partners)], 1
    )
