"""What is cached of one image, and its bytes.

The items follow one another without gaps, each a C-contiguous array:

    labels        int64    [N_d]             of the detections
    boxes         float32  [N, 4]            N = N_d + N_t: the detections, then the true boxes
    scores        float32  [N_d]
    class_logits  float32  [N, C]
    features      stored   [N, width]        of the box head, before `Detector.projection`
    colors        stored   [3, G, G]         of `detector.image_colors`
    maps          stored   [D_map, H, W]     each of the backbone's maps, finest first

where `stored` is float16 or float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoenc_sg.config.phases import RegionPrecision
from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.errors import bad_input
from autoenc_sg.detector import COLOR_PARTS, Detector
from autoenc_sg.model.appearance import color_maps

STORED: dict[str, type] = {"float16": np.float16, "float32": np.float32}


@dataclass(frozen=True, eq=False)
class Entry:
    """A detector's view of one image; shapes in the module's docstring.

    Attributes:
        image_size: (height, width) of the image passed in.
        network_size: the same after the detector's resizing.
        padded_size: the same with the padding that the backbone saw.
    """

    labels: Tensor
    boxes: Tensor
    scores: Tensor
    class_logits: Tensor
    features: Tensor
    colors: Tensor
    maps: tuple[Tensor, ...]
    image_size: ImageSize
    network_size: ImageSize
    padded_size: ImageSize


@torch.no_grad()
def see_image(detector: Detector, image: Tensor, true_boxes: Tensor) -> Entry:
    """The view of one image `[3, H, W]` alone, and of its true boxes `[N_t, 4]` in pixels."""
    maps = detector.encode([image])
    found = detector.detect(maps)
    boxes = torch.cat([found.boxes, true_boxes.to(found.boxes)])
    index = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    features, class_logits = detector.box_features(maps, boxes, index)
    return Entry(
        found.labels,
        boxes,
        found.scores,
        class_logits,
        features,
        color_maps(maps)[0],
        tuple(level[0] for level in maps.maps),
        maps.image_sizes[0],
        maps.network_sizes[0],
        maps.padded_size,
    )


def pack(entry: Entry, precision: RegionPrecision) -> tuple[bytes, dict[str, Any]]:
    """The bytes of an entry, and what `unpack` needs beside them.

    Raises:
        InputError: a map or feature is not finite in this precision.
    """
    stored = STORED[precision]
    arrays = [_array(entry.labels, np.int64)]
    arrays += [_array(v, np.float32) for v in (entry.boxes, entry.scores, entry.class_logits)]
    arrays += [_array(values, stored) for values in (entry.features, entry.colors, *entry.maps)]
    if not all(np.isfinite(array).all() for array in arrays[1:]):
        expected = f"finite features that {precision} can hold (joint.region_precision)"
        raise bad_input("region cache", expected, "others")
    data = b"".join(array.tobytes() for array in arrays)
    record = {
        "sizes": [entry.image_size, entry.network_size, entry.padded_size],
        "detections": len(entry.labels),
        "regions": len(entry.boxes),
        "classes": entry.class_logits.shape[1],
        "width": entry.features.shape[1],
        "maps": [list(level.shape) for level in entry.maps],
    }
    return data, record


def unpack(data: NDArray[np.uint8], record: Mapping[str, Any], precision: RegionPrecision) -> Entry:
    """The inverse of `pack`, in float32; `data` is a copy of its own."""
    stored = STORED[precision]
    detections, regions = record["detections"], record["regions"]
    shapes: list[tuple[type, Sequence[int]]] = [
        (np.int64, [detections]),
        (np.float32, [regions, 4]),
        (np.float32, [detections]),
        (np.float32, [regions, record["classes"]]),
        (stored, [regions, record["width"]]),
        (stored, [3, COLOR_PARTS, COLOR_PARTS]),
        *((stored, shape) for shape in record["maps"]),
    ]
    tensors, start = [], 0
    for kind, shape in shapes:
        end = start + math.prod(shape) * np.dtype(kind).itemsize
        tensors.append(torch.from_numpy(data[start:end].view(kind).reshape(shape)))
        start = end
    labels, *others = tensors
    boxes, scores, class_logits, features, colors, *maps = (values.float() for values in others)
    image_size, network_size, padded_size = (tuple(size) for size in record["sizes"])
    return Entry(
        labels,
        boxes,
        scores,
        class_logits,
        features,
        colors,
        tuple(maps),
        image_size,
        network_size,
        padded_size,
    )


def _array(values: Tensor, kind: type) -> NDArray[Any]:
    plain = values.detach().cpu()
    plain = plain.float() if plain.is_floating_point() else plain  # NumPy has no bfloat16
    with np.errstate(over="ignore"):  # what float16 cannot hold becomes infinite, and is refused
        return np.ascontiguousarray(plain.numpy().astype(kind))
