"""What two boxes are to each other, in numbers that do not depend on the image's size."""

from __future__ import annotations

import torch
from torch import Tensor

NUM_FEATURES = 21
_LEAST = 1e-3  # side of a box as a fraction of the image


def pair_features(boxes: Tensor, num_objects: Tensor) -> Tensor:
    """Features of pairs of boxes, each of the order of 1.

    In order: offset of the object's centre in widths and heights of the subject's box (limited to
    -5..5), the same in its own, log ratio of widths and of heights, IoU, share of the subject's box
    in the object's and the reverse, gap of the boxes in x and y, log areas, log aspect
    ratios, centres in y, centre distance, whether one contains the other (2), log of the number of
    objects of the image.

    Args:
        boxes: `[M, 2, 4]` xyxy of subject and object, fractions of the image.
        num_objects: `[M]`.

    Returns:
        `[M, NUM_FEATURES]` float32.
    """
    boxes = boxes.float()
    subject, other = boxes[:, 0], boxes[:, 1]
    sizes = (boxes[:, :, 2:] - boxes[:, :, :2]).clamp(min=_LEAST)
    centres = (boxes[:, :, :2] + boxes[:, :, 2:]) / 2
    offset = centres[:, 1] - centres[:, 0]
    low, high = (
        torch.maximum(subject[:, :2], other[:, :2]),
        torch.minimum(subject[:, 2:], other[:, 2:]),
    )
    shared = (high - low).clamp(min=0).prod(1)
    areas = sizes.prod(2)
    union = areas.sum(1) - shared
    contains = [
        (subject[:, :2] <= other[:, :2]).all(1) & (subject[:, 2:] >= other[:, 2:]).all(1),
        (other[:, :2] <= subject[:, :2]).all(1) & (other[:, 2:] >= subject[:, 2:]).all(1),
    ]
    log_sizes = sizes.log()
    return torch.cat(
        [
            (offset / sizes[:, 0]).clamp(-5, 5) / 2,
            (offset / sizes[:, 1]).clamp(-5, 5) / 2,
            log_sizes[:, 1] - log_sizes[:, 0],
            torch.stack([shared / union, shared / areas[:, 0], shared / areas[:, 1]], 1),
            (low - high) * 2,
            areas.log() / 4 + 1,
            log_sizes[:, :, 0] - log_sizes[:, :, 1],
            centres[:, :, 1] * 2 - 1,
            offset.norm(dim=1, keepdim=True),
            torch.stack(contains, 1).float(),
            num_objects[:, None].float().log() / 2 - 1,
        ],
        1,
    )
