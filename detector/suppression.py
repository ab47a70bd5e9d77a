"""From class scores and boxes of regions to detections: non-maximum suppression per class."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from autoenc_sg.config.model import DetectorConfig
from autoenc_sg.core.layers import first_per_group
from autoenc_sg.detector.contract import Detections


def choose(
    config: DetectorConfig, scores: Tensor, boxes: Tensor, image_index: Tensor, num_images: int
) -> Detections:
    """Non-maximum suppression per class, then one class a region, then the best of each image.

    A region whose best class is suppressed may stay under its next one (Zellers et al. 2018,
    `filter_det` with `nms_filter_duplicates`).

    Args:
        config: thresholds and counts.
        scores: `[K, C]` in [0, 1], background first.
        boxes: `[K, C, 4]` of each class (C may be 1: one for all), clipped to the image.
        image_index: `[K]`, the image of each region.
        num_images: B.
    """
    region, label = (scores[:, 1:] >= config.score_threshold).nonzero().unbind(1)
    label = label + 1
    column = label if boxes.shape[1] > 1 else torch.zeros_like(label)
    candidates = Detections(
        boxes[region, column], label, scores[region, label], image_index[region]
    )
    return suppress(config, candidates, num_images, region)


def suppress(
    config: DetectorConfig, detections: Detections, num_images: int, region: Tensor | None = None
) -> Detections:
    """Non-maximum suppression per class and image; images in order, best first.

    Args:
        config: thresholds and counts.
        detections: candidates, several a region allowed.
        num_images: B.
        region: `[N]` the region of each; only the best of a region is kept. None: all differ.
    """
    size = detections.boxes[:, 2:] - detections.boxes[:, :2]
    valid = ((detections.scores >= config.score_threshold) & (size >= 1).all(1)).nonzero()[:, 0]
    labels, image_index = detections.labels[valid], detections.image_index[valid]
    group = labels * num_images + image_index
    # batched_nms shifts the boxes of each group far apart, which needs float64
    boxes = detections.boxes[valid].double()
    keep = valid[batched_nms(boxes, detections.scores[valid].double(), group, config.nms_threshold)]
    if region is not None and len(keep):
        first = first_per_group(region[keep], int(region.max()) + 1, 1)
        keep = keep[first.sort().values]
    keep = keep[first_per_group(detections.image_index[keep], num_images, config.detections)]
    return detections.select(keep)
