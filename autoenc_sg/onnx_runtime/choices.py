"""What is chosen between the graphs: proposals, detections, pairs, and the final graph's rows."""

from __future__ import annotations

import numpy as np

from autoenc_sg.onnx_runtime.boxes import anchors_of, clipped, decoded, suppressed
from autoenc_sg.onnx_runtime.description import Detection, Proposals
from autoenc_sg.onnx_runtime.photos import Array


def softmax(logits: Array) -> Array:
    """Over the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True, initial=-np.inf))
    shares: Array = powers / powers.sum(-1, keepdims=True)
    return shares


def sigmoid(logits: Array) -> Array:
    """`1 / (1 + exp(-x))`."""
    with np.errstate(over="ignore"):
        values: Array = 1 / (1 + np.exp(-logits))
    return values


def proposals(
    objectness: list[Array],
    deltas: list[Array],
    padded: tuple[int, int],
    size: tuple[int, int],
    options: Proposals,
) -> Array:
    """The best boxes of the region proposal network, suppressed map by map: `[K, 4]`.

    Args:
        objectness: `[1, A, h, w]` of each map, logits.
        deltas: `[1, 4 A, h, w]` of each map.
        padded: (height, width) of the backbone's input.
        size: the same without padding, at which boxes are clipped.
        options: counts and thresholds.
    """
    boxes, scores, levels = [], [], []
    for level, (logits, moves) in enumerate(zip(objectness, deltas)):
        height, width = logits.shape[2:]
        cells = np.array(options.cell_anchors[level], np.float32)
        anchors = anchors_of(cells, (height, width), (padded[0] // height, padded[1] // width))
        flat = logits[0].transpose(1, 2, 0).reshape(-1)
        flat_moves = moves[0].reshape(len(cells), 4, height, width).transpose(2, 3, 0, 1)
        best = np.argsort(-flat, kind="stable")[: options.before_nms]
        chosen = flat_moves.reshape(-1, 4)[best]
        boxes.append(decoded(chosen, anchors[best], (1.0, 1.0, 1.0, 1.0))[:, 0])
        scores.append(sigmoid(flat[best]))
        levels.append(np.full(len(best), level))
    together = clipped(np.concatenate(boxes), size)
    is_large = (together[:, 2:] - together[:, :2] >= options.min_size).all(1)
    together = together[is_large]
    rows = suppressed(
        together,
        np.concatenate(scores)[is_large],
        np.concatenate(levels)[is_large],
        options.nms_threshold,
    )
    return together[rows[: options.after_nms]]


def detections(scores: Array, boxes: Array, options: Detection) -> Array:
    """The boxes `[N, 4]` of the detections, best first; see `detector.suppression.choose`.

    Args:
        scores: `[K, C]` of the regions' classes, background first.
        boxes: `[K, C, 4]` of each class in pixels of the photo, clipped.
        options: counts and thresholds.
    """
    region, label = np.nonzero(scores[:, 1:] >= options.score_threshold)
    label = label + 1
    candidates, best = boxes[region, label], scores[region, label]
    valid = np.flatnonzero((candidates[:, 2:] - candidates[:, :2] >= 1).all(1))
    wide = candidates[valid].astype(np.float64)
    keep = valid[suppressed(wide, best[valid], label[valid], options.nms_threshold)]
    first = np.unique(region[keep], return_index=True)[1]  # the best class of each region
    keep = keep[np.sort(first)]
    chosen: Array = candidates[keep[: options.detections]]
    return chosen


def pairs(relatedness: Array, boxes: Array, options: Detection) -> tuple[Array, Array]:
    """The best ordered pairs of objects `[M, 2]`, best first, and their relatedness `[M]`.

    Args:
        relatedness: `[N, N]` logits; the diagonal is not read.
        boxes: `[N, 4]`, for the suppression of pairs.
        options: of `relpn`.
    """
    candidates = np.argwhere(~np.eye(len(relatedness), dtype=bool))
    logits = relatedness[candidates[:, 0], candidates[:, 1]]
    order = np.argsort(-logits, kind="stable")
    if options.pair_nms is not None:
        order = order[_alive_pairs(boxes, candidates[order], options.pair_nms)]
    best = order[: options.top_k]
    return candidates[best], sigmoid(logits[best])


def _alive_pairs(boxes: Array, ordered: Array, threshold: float) -> Array:
    """Which of the pairs, best first, no better one suppresses by both boxes: `[M] bool`."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(-1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = shared / (areas[:, None] + areas[None] - shared)
    alive = np.ones(len(ordered), bool)
    for row, (subject, object_) in enumerate(ordered):
        if alive[row]:
            later = ordered[row + 1 :]
            overlap = np.minimum(iou[subject, later[:, 0]], iou[object_, later[:, 1]])
            alive[row + 1 :] &= ~(overlap > threshold)
    return alive
