"""COCO's segmentations as small masks over boxes, as sg2im trains on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as mask_codec
from torch import Tensor

from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.data.base.json_files import MALFORMED_ERRORS, malformed

_HALF = 128 / 255  # sg2im scales masks to 255, resizes, and keeps what is more than 128


class Segmentation(NamedTuple):
    """Polygons or runs as COCO has them, held in little memory.

    Attributes:
        polygons: corners x1, y1, x2, y2, ... in pixels, of each part; empty if there are runs.
        runs: run lengths column by column, compressed or not, or None.
        size: (height, width) of the image that the runs are of, as stated.
        where: its name in messages.
    """

    polygons: tuple[NDArray[np.float64], ...]
    runs: str | bytes | tuple[int, ...] | None
    size: tuple[int, ...]
    where: str


def read_segmentation(value: Any, where: str) -> Segmentation | None:
    """An annotation's `segmentation`; None where there is none.

    Raises:
        InputError: it is neither polygons nor run lengths.
    """
    if not value:
        return None
    try:
        if isinstance(value, dict):
            runs = value["counts"]
            counts = runs if isinstance(runs, (str, bytes)) else tuple(int(run) for run in runs)
            return Segmentation((), counts, tuple(value["size"]), where)
        polygons = tuple(np.array(part, dtype=np.float64) for part in value)
    except MALFORMED_ERRORS as error:
        raise malformed(where, "polygons or RLE", error) from None
    if not all(part.ndim == 1 and len(part) >= 6 and len(part) % 2 == 0 for part in polygons):
        raise bad_input(where, "polygons of three or more x, y or RLE", str(value)[:60])
    return Segmentation(polygons, None, (), where)


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

    Raises:
        InputError: see `decode_segmentations`.
    """
    masks = torch.ones(len(segmentations), side, side)
    rows = [row for row, segmentation in enumerate(segmentations) if segmentation is not None]
    image_masks = decode_segmentations(
        [segmentation for segmentation in segmentations if segmentation is not None], size
    )
    masks[rows] = crop_masks(image_masks, boxes[rows], side)
    return masks


def decode_segmentations(segmentations: Sequence[Segmentation], size: ImageSize) -> Tensor:
    """The masks of N objects over their whole image: `[N, H, W]` uint8, 0 or 1.

    Raises:
        InputError: a segmentation cannot be read, or its run lengths are of another image's size.
    """
    masks = np.empty((len(segmentations), *size), dtype=np.uint8)
    for row, segmentation in enumerate(segmentations):
        masks[row] = _decoded(segmentation, size)
    return torch.from_numpy(masks)


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


def _decoded(segmentation: Segmentation, size: ImageSize) -> NDArray[np.uint8]:
    height, width = size
    expected = f"polygons or RLE of {width} x {height} pixels"
    try:
        if segmentation.polygons:
            parts = [part.tolist() for part in segmentation.polygons]
            code = mask_codec.merge(mask_codec.frPyObjects(parts, height, width))
        elif segmentation.size != size:
            raise bad_input(
                segmentation.where, expected, f"RLE of (height, width) {segmentation.size}"
            )
        elif isinstance(segmentation.runs, tuple):
            if sum(segmentation.runs) != height * width or min(segmentation.runs) < 0:
                raise bad_input(
                    segmentation.where, expected, f"runs of {sum(segmentation.runs)} pixels"
                )
            runs = {"counts": list(segmentation.runs), "size": [height, width]}
            code = mask_codec.frPyObjects(runs, height, width)
        else:
            code = {"counts": segmentation.runs, "size": [height, width]}
        mask: NDArray[np.uint8] = mask_codec.decode([code])[:, :, 0]
    except InputError:
        raise
    except Exception as error:  # the codec raises plain Exception
        raise bad_input(segmentation.where, expected, error) from None
    return mask


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
