"""Merging the boxes of objects that were annotated twice, as vg_to_roidb.py does."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]

_SAME, _NESTED, _SIMILAR = 1, 2, 3


def overlap_kinds(boxes: Ints, first_names: Ints) -> NDArray[np.int8]:
    """Why two boxes are taken for one: 0 they are not, else 1, 2 or 3, as in vg_to_roidb.py.

    1: identical, or overlap > 0.9; 2: one inside the other, first names equal; 3: overlap > 0.6,
    first names equal. `overlap = |a and b| / |smallest box around both|`, which for nested boxes is
    the IoU and else less.

    Args:
        boxes: `[N, 4]` xyxy.
        first_names: `[N]` ids; 0 (no name) equals nothing.

    Returns:
        `[N, N]`.
    """
    x1, y1, x2, y2 = boxes.astype(np.float64).T
    meet = np.ones((len(boxes), len(boxes)))
    around, inside = meet.copy(), meet > 0
    for low, high in ((x1, x2), (y1, y2)):  # by axis: numpy is slow along short ones
        first, second = low[:, None], high[:, None]
        meet *= (np.minimum(second, high) - np.maximum(first, low)).clip(min=0)
        around *= np.maximum(second, high) - np.minimum(first, low)
        inside &= (first >= low) & (second <= high)
    overlap = meet / np.maximum(around, 1)
    named = (first_names[:, None] == first_names[None]) & (first_names > 0)[None]
    kinds = np.where(named & (overlap > 0.6), _SIMILAR, 0)
    kinds = np.where(named & (inside | inside.T), _NESTED, kinds)
    same = (inside & inside.T) | (overlap > 0.9)
    return np.where(same, _SAME, kinds).astype(np.int8)


def merge_boxes(boxes: Ints, first_names: Ints) -> tuple[Ints, Ints]:
    """Merge greedily, in order: a box takes all later ones, not yet taken, that overlap it.

    What remains is the mean of the boxes where all are of kind 1, else the box around them.

    Args:
        boxes: `[N, 4]` xyxy, of one image.
        first_names: `[N]`.

    Returns:
        The row of the result that each box went to `[N]`, and the result `[K, 4]`, xyxy, in order.
    """
    kinds = np.triu(overlap_kinds(boxes, first_names), 1)
    owner = np.arange(len(boxes), dtype=np.int32)
    reason = np.zeros(len(boxes), dtype=np.int8)
    free = np.ones(len(boxes), dtype=bool)
    for i in np.flatnonzero(kinds.any(1)):
        if free[i]:
            taken = free & (kinds[i] > 0)
            owner[taken], reason[taken], free[taken] = i, kinds[i, taken], False
    rows = (free.cumsum() - 1).astype(np.int32)[owner]
    merged = boxes[free]
    for row in np.unique(rows[~free]):
        group = rows == row
        wide = (reason[group] > _SAME).any()
        merged[row] = _around(boxes[group]) if wide else _mean(boxes[group])
    return rows, merged


def _around(boxes: Ints) -> NDArray[Any]:
    return np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])


def _mean(boxes: Ints) -> NDArray[Any]:
    """Corner and extent of the mean box, each cut to whole pixels."""
    mean = boxes.mean(0)
    low = np.trunc(mean[:2])
    return np.concatenate([low, low + np.trunc(mean[2:] - mean[:2])])
