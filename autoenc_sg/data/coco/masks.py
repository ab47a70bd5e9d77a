"""COCO's segmentations as small masks over boxes, as sg2im trains on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.data.coco.segmentations import Segmentation, decode_segmentations

_HALF = 128 / 255  # sg2im scales masks to 255, resizes, and keeps what is more than 128
_PIXELS_AT_ONCE = 1 << 24  # of whole-image masks in memory


def masks_over(
    boxes: Tensor, segmentations: Sequence[Segmentation | None], size: ImageSize, side: int
) -> Tensor:
    """The masks of N objects of an image over their boxes, ones where there is no segmentation.

    Args:
        boxes: `[N, 4]` x, y, width, height in pixels.
        segmentations: N, None for an object without one.
        size: (height, width) of the image.
        side: S.

    Returns:
        `[N, S, S]` float, 0 or 1.
    """
    masks = torch.ones(len(segmentations), side, side)
    rows = [row for row, segmentation in enumerate(segmentations) if segmentation is not None]
    at_once = max(1, _PIXELS_AT_ONCE // (size[0] * size[1]))
    for start in range(0, len(rows), at_once):
        chunk = rows[start : start + at_once]
        shapes = [shape for shape in map(segmentations.__getitem__, chunk) if shape is not None]
        masks[chunk] = crop_masks(decode_segmentations(shapes, size), boxes[chunk], side)
    return masks


def crop_masks(masks: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Masks over their boxes, as sg2im's data/coco.py makes them: `[N, side, side]` float, 0 or 1.

    The box is rounded to whole pixels (half to even), at least one wide and high; what lies in it
    is resized bilinearly with the centres of pixels as the grid, without antialiasing and with
    zeros around, as scikit-image 0.14 did (which clips to what the box holds: a box full of mask
    stays full); more than 128 of 255 is mask.

    Args:
        masks: `[N, H, W]`, 0 or 1.
        boxes: `[N, 4]` x, y, width, height in pixels.
        side: S.
    """
    height, width = masks.shape[1:]
    start = boxes[:, :2].round().long()
    end = torch.maximum((boxes[:, :2] + boxes[:, 2:]).round().long(), start + 1)
    limit = torch.tensor([width, height])
    start, end = start.clamp(min=0).minimum(limit - 1), end.minimum(limit)
    columns, rows = (_interpolation(start[:, i], end[:, i], side) for i in (0, 1))
    objects = torch.arange(len(masks))[:, None, None]
    total = torch.zeros(len(masks), side, side)
    for row, row_weight in rows:
        for column, column_weight in columns:
            value = masks[objects, row[:, :, None], column[:, None, :]]
            total += value * row_weight[:, :, None] * column_weight[:, None, :]
    full = _pixels_within(masks, start, end) == (end - start).prod(1)
    return ((total > _HALF) | full[:, None, None]).float()


def mask_centres(masks: Tensor, boxes: Tensor) -> Tensor:
    """The mean place of each mask's cells, as sg2im has it; the box's centre if it is empty.

    Cell j of S lies at `x1 + (x2 - x1) j / (S - 1)`.

    Args:
        masks: `[N, S, S]`, 0 or 1.
        boxes: `[N, 4]` xyxy.

    Returns:
        `[N, 2]` in the boxes' unit.
    """
    weights = masks + (masks.sum((1, 2), keepdim=True) == 0)
    cells = torch.linspace(0, 1, masks.shape[-1])
    total = weights.sum((1, 2))
    place = torch.stack([(weights.sum(1) @ cells) / total, (weights.sum(2) @ cells) / total], 1)
    return boxes[:, :2] + (boxes[:, 2:] - boxes[:, :2]) * place


def _pixels_within(masks: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Mask pixels from `start` to `end`, both `[N, 2]` as x, y: `[N]`."""
    inside = []
    for axis, length in enumerate((masks.shape[2], masks.shape[1])):
        pixels = torch.arange(length)
        inside.append(((pixels >= start[:, axis, None]) & (pixels < end[:, axis, None])).float())
    columns, rows = inside
    by_row = (masks.float() @ columns[:, :, None])[:, :, 0]
    return (by_row * rows).sum(1)


def _interpolation(start: Tensor, end: Tensor, side: int) -> list[tuple[Tensor, Tensor]]:
    """Along one axis, the two pixels that each of S cells lies between and their weights `[N, S]`.

    Pixels outside of `start` to `end` weigh nothing.
    """
    extent = (end - start)[:, None]
    place = (torch.arange(side) + 0.5).double() * extent / side - 0.5
    low = place.floor()
    taps = []
    for neighbour, weight in ((low, 1 - (place - low)), (low + 1, place - low)):
        inside = (neighbour >= 0) & (neighbour < extent)
        pixel = neighbour.long().clamp(min=0).minimum(extent - 1) + start[:, None]
        taps.append((pixel, (weight * inside).float()))
    return taps
