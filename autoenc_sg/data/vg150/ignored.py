"""Ignored regions (`SceneGraph.ignored`) in the VG150 files: an optional data set of the h5.

    ignored_regions     (K, 6)  image (a row of `split`), class id, and the box as in `boxes_1024`

Other programs do not read it. Files without such regions do not have it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoenc_sg.core.boxes import ImageSize, clip_to_image, has_area
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.data.h5_files import present_arrays, read_arrays

IGNORED = "ignored_regions"


def read_ignored(path: Path, num_images: int, num_classes: int) -> Tensor | None:
    """The regions as stored `[K, 6]` int64; None if the h5 has none.

    Raises:
        InputError: they are not of this shape, or an image, a class or a box is none.
    """
    if not present_arrays(path, (IGNORED,)):
        return None
    array = read_arrays(path, (IGNORED,), "the annotations of VG150")[IGNORED]
    good = array.ndim == 2 and array.shape[1] == 6 and np.issubdtype(array.dtype, np.integer)
    if not good:
        got = f"{array.dtype} {list(array.shape)}"
        raise bad_input(f"{path} {IGNORED!r}", "integers of shape [K, 6]", got)
    regions = torch.from_numpy(array.astype(np.int64))
    images, classes = regions[:, 0], regions[:, 1]
    wrong = (images < 0) | (images >= num_images) | (classes < 1) | (classes >= num_classes)
    wrong |= (regions[:, 4:] < 1).any(1)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        expected = f"image 0..{num_images - 1}, class 1..{num_classes - 1}, xc, yc, w, h"
        raise bad_input(f"{path} {IGNORED!r} row {row}", expected, regions[row].tolist())
    return regions


def regions_of_image(
    decoded: Tensor | None, image: int, size: ImageSize, box_scale: int
) -> Tensor | None:
    """The class ids and boxes `[k, 5]` in pixels of an image of `size`; None if it has none.

    Args:
        decoded: `[K, 6]` image, class id, and box (xyxy, the long side being `box_scale`).
        image: row of the image.
        size: (height, width).
        box_scale: see `decoded`.
    """
    if decoded is None:
        return None
    rows = decoded[decoded[:, 0] == image]
    boxes = clip_to_image(rows[:, 2:] * (max(size) / box_scale), size)
    inside = has_area(boxes)
    return torch.cat([rows[:, 1:2], boxes], 1)[inside] if inside.any() else None


def ignored_table(
    graphs: Sequence[SceneGraph], encode: Callable[[Tensor, ImageSize], Tensor]
) -> dict[str, NDArray[Any]]:
    """The data set of the graphs' regions; none without regions.

    Args:
        graphs: of all images, in order.
        encode: boxes `[k, 4]` in pixels of an image of a size to ints as stored.
    """
    parts = []
    for i, graph in enumerate(graphs):
        if graph.ignored is not None:
            boxes = encode(graph.ignored[:, 1:], graph.image_size)
            image = boxes.new_full((len(boxes), 1), i)
            parts.append(torch.cat([image, graph.ignored[:, :1].to(boxes), boxes], 1))
    return {IGNORED: torch.cat(parts).numpy()} if parts else {}
