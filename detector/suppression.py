"""From class scores and boxes of regions to detections, as Neural Motifs counts them."""

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
    found = Detections(boxes[region, column], label, scores[region, label], image_index[region])
    return suppress(config, found, num_images, region)


def suppress(
    config: DetectorConfig, found: Detections, num_images: int, region: Tensor | None = None
) -> Detections:
    """The detections that stay, images in order, best first; `region [N]` says which are one."""
    size = found.boxes[:, 2:] - found.boxes[:, :2]
    valid = ((found.scores >= config.score_threshold) & (size >= 1).all(1)).nonzero()[:, 0]
    labels, image_index = found.labels[valid], found.image_index[valid]
    group = labels * num_images + image_index
    # in double: the groups are told apart by shifting their boxes far away
    boxes = found.boxes[valid].double()
    keep = valid[batched_nms(boxes, found.scores[valid].double(), group, config.nms_threshold)]
    if region is not None and len(keep):
        first = first_per_group(region[keep], int(region.max()) + 1, 1)
        keep = keep[first.sort().values]
    keep = keep[first_per_group(found.image_index[keep], num_images, config.detections)]
    return Detections(
        found.boxes[keep], found.labels[keep], found.scores[keep], found.image_index[keep]
    )
