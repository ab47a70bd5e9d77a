"""The crops of one image, resized."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoenc_sg.core.images import as_float, resize_square


def resized_crops(image: Tensor, boxes: Tensor, size: int) -> NDArray[np.uint8]:
    """Crops `[n, 3, size, size]` of an image `[3, H, W]`, uint8; aspect ratios are not kept.

    `boxes [n, 4]` are pixels inside the image. A pixel that a box touches belongs to the crop.
    """
    crops = [resized(_cut(image, box), size) for box in boxes.tolist()]
    return np.stack(crops) if crops else np.zeros((0, 3, size, size), np.uint8)


def resized(image: Tensor, size: int) -> NDArray[np.uint8]:
    """An image `[3, H, W]`, uint8, antialiased and bilinear: `[3, size, size]`."""
    small = resize_square(as_float(image), size)
    pixels: NDArray[np.uint8] = (small * 255).round().clamp(0, 255).to(torch.uint8).numpy()
    return pixels


def _cut(image: Tensor, box: Sequence[float]) -> Tensor:
    """The pixels that a box touches, one at least."""
    height, width = image.shape[1:]
    left, top = min(math.floor(box[0]), width - 1), min(math.floor(box[1]), height - 1)
    right, bottom = max(math.ceil(box[2]), left + 1), max(math.ceil(box[3]), top + 1)
    return image[:, top:bottom, left:right]
