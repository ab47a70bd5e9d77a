"""Mean colours of an image's parts, for appearance codes: backbones keep little of colour."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

COLOR_PARTS = 32  # G: an image is divided into G x G parts, whatever its size


def image_colors(images: Sequence[Tensor]) -> Tensor:
    """Mean RGB of each part of images `[3, H, W]` in [0, 1]: `[B, 3, G, G]`, in [-1, 1].

    0 is middle grey. Without gradient.
    """
    parts = [F.adaptive_avg_pool2d(image.detach(), COLOR_PARTS) for image in images]
    return torch.stack(parts) * 2 - 1
