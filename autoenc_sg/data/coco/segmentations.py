"""COCO's segmentations: polygons or run lengths, checked before anything is drawn."""

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
from autoenc_sg.data.coco.polygons import Polygon, clip_polygon
from autoenc_sg.data.coco.run_lengths import RunLengths, mask_of_runs, read_runs

_MOST_PIXELS = 89_478_485  # as of images that are read
_CORNERS = "polygons of three or more x, y or RLE"


class Segmentation(NamedTuple):
    """An object's polygons or runs, of the image's size.

    Attributes:
        polygons: corners x1, y1, x2, y2, ... in pixels, of each part, finite and within the image
            (`polygons.clip_polygon`); empty if there are runs, or if nothing is within.
        runs: run lengths column by column, >= 0, their sum the image's number of pixels; or None.
        size: (height, width) of the image.
    """

    polygons: tuple[Polygon, ...]
    runs: RunLengths | None
    size: ImageSize


def read_segmentation(value: Any, size: ImageSize, where: str) -> Segmentation | None:
    """An annotation's `segmentation`; None where there is none.

    Args:
        value: as in the file.
        size: (height, width) of the image.
        where: its name in messages.

    Raises:
        InputError: it is neither polygons of finite numbers nor run lengths of the image's size, or
            the image has more than 89 million pixels.
    """
    if not value:
        return None
    if size[0] * size[1] > _MOST_PIXELS:
        expected = f"a mask of an image of at most {_MOST_PIXELS} pixels"
        raise bad_input(where, expected, f"one of {size[1]} x {size[0]}")
    try:
        if isinstance(value, dict):
            return Segmentation((), _runs(value, size, where), size)
        return Segmentation(_polygons(value, size, where), None, size)
    except InputError:
        raise
    except MALFORMED_ERRORS as error:
        raise malformed(where, "polygons or RLE", error) from None


def decode_segmentation(segmentation: Segmentation) -> Tensor:
    """The mask of an object over its whole image: `[H, W]` uint8, 0 or 1."""
    height, width = segmentation.size
    if segmentation.runs is not None:
        return torch.from_numpy(mask_of_runs(segmentation.runs, segmentation.size))
    if not segmentation.polygons:
        return torch.zeros(height, width, dtype=torch.uint8)
    parts = [part.tolist() for part in segmentation.polygons]
    code = mask_codec.merge(mask_codec.frPyObjects(parts, height, width))
    mask: NDArray[np.uint8] = mask_codec.decode([code])[:, :, 0]
    return torch.from_numpy(mask)


def decode_segmentations(segmentations: Sequence[Segmentation], size: ImageSize) -> Tensor:
    """The masks of N objects over their whole image: `[N, H, W]` uint8, 0 or 1."""
    masks = torch.empty(len(segmentations), *size, dtype=torch.uint8)
    for row, segmentation in enumerate(segmentations):
        masks[row] = decode_segmentation(segmentation)
    return masks


def _runs(value: dict[str, Any], size: ImageSize, where: str) -> RunLengths:
    stated = value["size"]
    expected = f"polygons or RLE of {size[1]} x {size[0]} pixels"
    if not isinstance(stated, list) or stated != list(size):
        raise bad_input(where, expected, f"RLE of (height, width) {str(stated)[:60]}")
    runs, pixels = read_runs(value["counts"]), size[0] * size[1]
    if runs.min() < 0 or runs.max() > pixels or runs.sum() != pixels:
        raise bad_input(where, expected, f"runs of {sum(runs.tolist())} pixels")
    return runs


def _polygons(value: Any, size: ImageSize, where: str) -> tuple[Polygon, ...]:
    polygons = []
    if not isinstance(value, list):
        raise bad_input(where, _CORNERS, str(value)[:60])
    for part in value:
        if not isinstance(part, list) or not set(map(type, part)) <= {int, float}:
            raise bad_input(where, f"{_CORNERS}, of numbers", str(part)[:60])
        polygon = np.array(part, dtype=np.float64)
        if len(polygon) < 6 or len(polygon) % 2 or not np.isfinite(polygon).all():
            raise bad_input(where, f"{_CORNERS}, of finite numbers", str(part)[:60])
        polygons.append(clip_polygon(polygon, size))
    return tuple(polygon for polygon in polygons if len(polygon) >= 6)
