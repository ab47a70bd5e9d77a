"""The pasted canvas: crops in their boxes, no generator. It scores a selector of patches alone.

Source: Xu & Xu (AAAI 2022), who score retrieval so: crops pasted by area, big ones behind.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.images import as_float

GREY = 0.5


def paste_canvas(
    crops: Sequence[Tensor], boxes: Tensor, size: ImageSize, background: Tensor | None = None
) -> Tensor:
    """Crops pasted into their boxes, the largest first, so that small ones lie above.

    A box covers the pixels between its rounded edges inside the canvas, one at least; its crop is
    resized to them, antialiased and bilinear. Boxes of one area are pasted in their order.

    Args:
        crops: N images `[3, h, w]` of any sizes, uint8 or float in [0, 1].
        boxes: `[N, 4]` xyxy as fractions of the canvas; a crop fills the part that is inside.
        size: (height, width) of the canvas in pixels.
        background: an image `[3, h, w]` that fills the canvas first; None: grey.

    Returns:
        `[3, height, width]` in [0, 1].

    Raises:
        InputError: the numbers of crops and boxes differ, or a box is not finite.
    """
    if boxes.shape != (len(crops), 4) or not bool(boxes.isfinite().all()):
        raise bad_input("boxes of a canvas", f"{len(crops)} finite ones", list(boxes.shape))
    canvas = torch.full((3, *size), GREY)
    if background is not None:
        canvas = _resized(background, size)
    inside = boxes.double().clamp(0, 1)
    areas = (inside[:, 2:] - inside[:, :2]).prod(1)
    for row in areas.argsort(descending=True, stable=True).tolist():
        left, right = _pixels(float(inside[row, 0]), float(inside[row, 2]), size[1])
        top, bottom = _pixels(float(inside[row, 1]), float(inside[row, 3]), size[0])
        canvas[:, top:bottom, left:right] = _resized(crops[row], (bottom - top, right - left))
    return canvas


def _pixels(start: float, end: float, count: int) -> tuple[int, int]:
    """First pixel and the one after the last, of 0..count, at least one."""
    first = min(int(start * count + 0.5), count - 1)
    return first, max(int(end * count + 0.5), first + 1)


def _resized(image: Tensor, size: ImageSize) -> Tensor:
    values = as_float(image)
    if tuple(values.shape[1:]) == tuple(size):
        return values.clone()
    small = F.interpolate(values[None], size, mode="bilinear", antialias=True, align_corners=False)
    return small[0].clamp(0, 1)
