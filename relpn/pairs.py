"""Ordered pairs of objects: all of them, the best K of each image, and pair NMS."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_iou

from autoenc_sg.core.layers import first_per_group


def all_pairs(image_index: Tensor, num_images: int) -> Tensor:
    """All ordered pairs (i, j), i != j, within the images; sorted by i, then j.

    Shapes: `[N] -> [sum_b n_b (n_b - 1), 2]`, where `image_index` is ascending. Memory is linear in
    the number of pairs: no N x N matrix over the batch.
    """
    counts = torch.bincount(image_index, minlength=num_images)
    starts = counts.cumsum(0) - counts
    others = (counts - 1)[image_index]  # partners of each object
    first = torch.arange(len(image_index), device=image_index.device).repeat_interleave(others)
    offset = torch.arange(len(first), device=first.device) - (others.cumsum(0) - others)[first]
    second = starts[image_index[first]] + offset
    return torch.stack([first, second + (second >= first)], 1)


def top_pairs(scores: Tensor, pair_image: Tensor, num_images: int, k: int) -> Tensor:
    """Rows of the K best pairs of each image, best first, images in order; ties by row.

    Shapes: `scores [M], pair_image [M] -> [m]`, m <= num_images k.
    """
    order = torch.sort(scores, descending=True, stable=True).indices
    return order[first_per_group(pair_image[order], num_images, k)]


def pair_nms(boxes: Tensor, pairs: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Greedy suppression of pairs: a better pair suppresses one if *both* boxes overlap enough.

    Two pairs overlap by `min(IoU(s, s'), IoU(o, o'))`; the kept rows are returned best first. All
    pairs belong to one image.

    Shapes: `boxes [N, 4], pairs [M, 2], scores [M] -> [m]`.
    """
    order = torch.sort(scores, descending=True, stable=True).indices
    objects_used, local = pairs[order].unique(return_inverse=True)  # of one image only
    iou = box_iou(boxes[objects_used], boxes[objects_used])
    subjects, objects = local.unbind(1)
    overlap = torch.minimum(iou[subjects][:, subjects], iou[objects][:, objects]) > threshold
    overlap = overlap.triu(1).cpu()
    alive = torch.ones(len(order), dtype=torch.bool)
    for i in range(len(order)):  # greedy by definition, one vectorized row a step
        if alive[i]:
            alive &= ~overlap[i]
    return order[alive.to(order.device)]
