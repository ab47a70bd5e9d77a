"""RoI pooling by convention: boxes in pixels of the resized images to square maps."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchvision.ops import MultiScaleRoIAlign, roi_align

from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.detector.conventions import Conventions


def roi_pool(strides: Mapping[str, int], size: int, conventions: Conventions) -> nn.Module:
    """A module `(maps by name, boxes of each image, image sizes) -> [N, D_map, size, size]`.

    Args:
        strides: pixels a cell of each map; `pool` is not pooled from.
        size: side of the output.
        conventions: how samples are taken.
    """
    pooled_strides = {name: stride for name, stride in strides.items() if name != "pool"}
    if conventions.corner_sampling:
        return CornerSampling(pooled_strides, size)
    pool = _aligned(pooled_strides, size, conventions.sampling_ratio)
    return LastPixel(pool) if conventions.last_pixel else pool


def _aligned(strides: Mapping[str, int], size: int, sampling_ratio: int) -> MultiScaleRoIAlign:
    """RoIAlign with known strides.

    torchvision infers them from the first batch and keeps the result, which is wrong if the first
    image is narrow and padded much. So it is called once here with an image without padding.
    """
    pool = MultiScaleRoIAlign(list(strides), size, sampling_ratio)
    side = max(strides.values())
    maps = OrderedDict((n, torch.zeros(1, 1, *[side // s] * 2)) for n, s in strides.items())
    pool(maps, [torch.zeros(0, 4)], [(side, side)])
    return pool


class LastPixel(nn.Module):
    """Pooling of boxes that include their last pixel: x2 and y2 are one less than here."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(
        self, maps: dict[str, Tensor], boxes: list[Tensor], image_sizes: list[ImageSize]
    ) -> Tensor:
        """See `roi_pool`."""
        inclusive = [_last_pixels(image_boxes) for image_boxes in boxes]
        pooled: Tensor = self.pool(maps, inclusive, image_sizes)
        return pooled


class CornerSampling(nn.Module):
    """One bilinear sample a cell, the first and the last at the box's corners.

        y_i = (y1 + i (y2 - y1) / (size - 1)) / stride,  i = 0..size - 1,  0 beyond the last cell,

    where y2 is the last pixel's (Neural Motifs' RoIAlign, TensorFlow's `crop_and_resize`). RoIAlign
    samples the middles of cells, so the box enlarged by half a cell on all sides gives the same.

    Args:
        strides: of the one map.
        size: side of the output.
    """

    def __init__(self, strides: Mapping[str, int], size: int) -> None:
        super().__init__()
        ((self.name, self.stride),) = strides.items()
        self.size = size

    def forward(
        self, maps: dict[str, Tensor], boxes: list[Tensor], image_sizes: list[ImageSize]
    ) -> Tensor:
        """See `roi_pool`."""
        values = maps[self.name]
        cells = [_last_pixels(image_boxes) / self.stride for image_boxes in boxes]
        half = [(c[:, 2:] - c[:, :2]) / (self.size - 1) / 2 for c in cells]
        # `aligned` subtracts the 0.5 again, and allows boxes of no size
        rois = [torch.cat([c[:, :2] - h, c[:, 2:] + h], 1) + 0.5 for c, h in zip(cells, half)]
        pooled = roi_align(values, rois, self.size, 1.0, sampling_ratio=1, aligned=True)
        inside = self._inside(torch.cat(cells), values.shape[-2:])
        masked: Tensor = pooled * inside[:, None].to(pooled)
        return masked

    def _inside(self, cells: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Which samples lie on the map: `[N, size, size]`."""
        steps = torch.linspace(0, 1, self.size, device=cells.device)
        at = cells[:, None, :2] + steps[:, None] * (cells[:, 2:] - cells[:, :2])[:, None]
        most = torch.tensor([shape[1] - 1, shape[0] - 1], device=cells.device)
        x, y = ((at >= 0) & (at <= most)).unbind(2)
        return y[:, :, None] & x[:, None]


def _last_pixels(boxes: Tensor) -> Tensor:
    """Boxes `[N, 4]` with inclusive x2 and y2, at least one pixel wide and high."""
    return torch.cat([boxes[:, :2], torch.maximum(boxes[:, 2:] - 1, boxes[:, :2])], 1)
