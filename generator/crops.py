r"""Bilinear crops of objects, for the object discriminator.

    crop(a, b) = \sum_yx I(y, x) h(p_a - y) h(q_b - x),    h(t) = max(0, 1 - |t|)
    q_b = (x0 + b / (S - 1) (x1 - x0)) (W - 1),   p_a likewise

This is sg2im's `crop_bbox`: aligned corners, zeros outside the image. A box is parallel to the
axes, so a crop is the product rows x image x columns, and images are not copied for each object.
"""

from __future__ import annotations

import torch
from torch import Tensor

from autoenc_sg.generator.layout import in_slots, object_slots


def crop_objects(images: Tensor, boxes: Tensor, image_index: Tensor, size: int) -> Tensor:
    """Crops `[N, C, size, size]`; differentiable in images and boxes.

    Args:
        images: `[B, C, H, W]`.
        boxes: `[N, 4]` xyxy, fractions of the image; they may reach outside.
        image_index: `[N]` ascending.
        size: S, side of the crops, 2 or more.
    """
    batch, channels, height, width = images.shape
    if len(boxes) == 0:
        return images.new_zeros(0, channels, size, size) + images.sum() * 0
    slots, count = object_slots(image_index, batch)
    x0, y0, x1, y1 = boxes.unbind(1)
    rows = in_slots(_taps(y0, y1, size, height), slots, batch, count)
    columns = in_slots(_taps(x0, x1, size, width), slots, batch, count)
    by_row = rows.flatten(1, 2) @ images.transpose(1, 2).flatten(2).to(rows)
    strips = by_row.reshape(batch, count, size * channels, width)
    crops = (strips @ columns.mT).reshape(batch * count, size, channels, size)
    return crops[slots].transpose(1, 2)


def _taps(start: Tensor, stop: Tensor, samples: int, pixels: int) -> Tensor:
    """Weight of each pixel in each sample along one axis: `[N, samples, pixels]`."""
    along = torch.linspace(0, 1, samples, dtype=start.dtype, device=start.device)
    position = (start[:, None] + along * (stop - start)[:, None]) * (pixels - 1)
    pixel = torch.arange(pixels, dtype=start.dtype, device=start.device)
    return (1 - (position[:, :, None] - pixel).abs()).relu()
