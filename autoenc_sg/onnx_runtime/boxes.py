"""Boxes in NumPy, xyxy in float32: anchors, regression deltas, suppression, pyramid levels."""

from __future__ import annotations

import math

import numpy as np

from autoenc_sg.onnx_runtime.description import Pooling
from autoenc_sg.onnx_runtime.photos import Array

LONGEST_GROWTH = math.log(1000 / 16)  # of a side, in the exponent (torchvision)


def anchors_of(cell_anchors: Array, grid: tuple[int, int], stride: tuple[int, int]) -> Array:
    """The anchors of a map, row by row of its cells: `[A, 4] -> [h w A, 4]`."""
    y = np.arange(grid[0], dtype=np.float32) * stride[0]
    x = np.arange(grid[1], dtype=np.float32) * stride[1]
    rows, columns = (part.reshape(-1) for part in np.meshgrid(y, x, indexing="ij"))
    shifts = np.stack([columns, rows, columns, rows], 1)
    anchors: Array = (shifts[:, None] + cell_anchors[None]).reshape(-1, 4)
    return anchors


def decoded(deltas: Array, boxes: Array, weights: tuple[float, ...]) -> Array:
    """Boxes moved by deltas (Fast R-CNN): `[K, 4 C], [K, 4] -> [K, C, 4]`."""
    parts = deltas.reshape(len(boxes), -1, 4) / np.array(weights, np.float32)
    size = (boxes[:, 2:] - boxes[:, :2])[:, None]
    centre = boxes[:, None, :2] + np.float32(0.5) * size
    centre = parts[..., :2] * size + centre
    growth = np.minimum(parts[..., 2:], np.float32(LONGEST_GROWTH))
    half = np.float32(0.5) * np.exp(growth) * size
    moved: Array = np.concatenate([centre - half, centre + half], -1)
    return moved


def box_scale(size: tuple[int, int]) -> Array:
    """Width, height, width, height of an image's (height, width)."""
    height, width = size
    return np.array([width, height, width, height], np.float32)


def clipped(boxes: Array, size: tuple[int, int]) -> Array:
    """Boxes `[*, 4]` clipped at the borders of an image of this (height, width)."""
    limited: Array = np.minimum(np.maximum(boxes, 0), box_scale(size))
    return limited


def suppressed(boxes: Array, scores: Array, groups: Array, threshold: float) -> Array:
    """Greedy non-maximum suppression within groups: rows that stay, the best first.

    Shapes: `boxes [K, 4], scores [K], groups [K] -> [k]`; of equal scores the first row is better.
    """
    order = np.argsort(-scores, kind="stable")
    boxes, groups = boxes[order], groups[order]
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    alive = np.ones(len(order), bool)
    for row in range(len(order)):  # greedy by definition, one vectorized row a step
        if not alive[row]:
            continue
        others = row + 1 + np.flatnonzero(alive[row + 1 :] & (groups[row + 1 :] == groups[row]))
        low = np.maximum(boxes[row, :2], boxes[others, :2])
        high = np.minimum(boxes[row, 2:], boxes[others, 2:])
        shared = np.maximum(high - low, 0).prod(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            iou = shared / (areas[row] + areas[others] - shared)
        alive[others[iou > threshold]] = False
    return order[alive]


def by_level(boxes: Array, pooling: Pooling) -> tuple[list[Array], Array]:
    """Boxes `[K, 4]` of the network's pixels for each map, and their rows in that order `[K]`."""
    level = np.zeros(len(boxes), np.int64)
    if pooling.num_maps > 1:
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        with np.errstate(divide="ignore"):
            exact = 4 + np.log2(np.sqrt(area) / np.float32(224)) + np.float32(1e-6)
        level = np.clip(np.floor(exact), pooling.first_level, pooling.last_level)
        level = level.astype(np.int64) - pooling.first_level
    if pooling.last_pixel:
        boxes = np.concatenate([boxes[:, :2], np.maximum(boxes[:, 2:] - 1, boxes[:, :2])], 1)
    rows = [np.flatnonzero(level == index) for index in range(pooling.num_maps)]
    return [boxes[part] for part in rows], np.concatenate(rows)
