"""Polygons cut at a rectangle, so that drawing them takes no more memory than the image."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from autoenc_sg.core.boxes import ImageSize

Polygon = NDArray[np.float64]
_MARGIN = 1.0  # pixels; published polygons pass the border by rounding errors, and stay as they are
_FARTHEST = 1e9  # pixels: differences and products of these are finite


def clip_polygon(polygon: Polygon, size: ImageSize) -> Polygon:
    """The part of a polygon within an image and one pixel around it (Sutherland and Hodgman, 1974).

    Args:
        polygon: `[2 K]` corners x1, y1, x2, y2, ..., finite.
        size: (height, width) of the image.

    Returns:
        `[2 M]`, empty if nothing is within; the polygon itself if all of it is.
    """
    limits = np.array([size[1], size[0]]) + _MARGIN
    corners = polygon.reshape(-1, 2)
    if (corners >= -_MARGIN).all() and (corners <= limits).all():
        return polygon
    corners = corners.clip(-_FARTHEST, _FARTHEST)
    for axis in (0, 1):
        corners = _above(corners, axis, -_MARGIN)
        corners = -_above(-corners, axis, -limits[axis])
    return corners.reshape(-1)


def _above(corners: NDArray[np.float64], axis: int, least: float) -> NDArray[np.float64]:
    """The part of a polygon `[K, 2]` whose coordinate on an axis is `least` or more: `[M, 2]`."""
    if not len(corners):
        return corners
    clipped: list[NDArray[np.float64]] = []
    for start, end in pairwise([corners[-1], *corners]):
        if (start[axis] < least) != (end[axis] < least):
            share = (least - start[axis]) / (end[axis] - start[axis])
            crossing = start + share * (end - start)
            crossing[axis] = least
            clipped.append(crossing)
        if end[axis] >= least:
            clipped.append(end)
    return np.array(clipped).reshape(-1, 2)
