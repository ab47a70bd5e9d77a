"""Boxes, or boxes and classes, that a user gives for a photo: SGCls and PredCls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.errors import InputError, bad_input, whole_number
from autoenc_sg.core.structures import Regions
from autoenc_sg.core.vocabulary import Vocabulary

Boxes = Sequence[Sequence[float]] | NDArray[Any] | Tensor
Labels = Sequence[str | int] | NDArray[Any] | Tensor

_CERTAIN = 100.0  # logit of a given class: its probability is 1 in float32
_SMALLEST = 1.0  # pixels: what a box must have of the image in width and height


@dataclass(frozen=True, eq=False)
class GivenObjects:
    """The objects of one image as a user gave them.

    Attributes:
        boxes: `[n, 4]` xyxy in pixels, inside the image.
        labels: `[n]` class ids >= 1, or all 0: to be predicted (SGCls).
    """

    boxes: Tensor
    labels: Tensor


def given_objects(
    boxes: Boxes, labels: Labels | None, image_size: ImageSize, vocabulary: Vocabulary
) -> GivenObjects:
    """Checks and converts a user's boxes and classes of one photo; raises as the two readers."""
    values = read_boxes(boxes, image_size)
    if labels is None:
        return GivenObjects(values, torch.zeros(len(values), dtype=torch.int64))
    return GivenObjects(values, read_labels(labels, len(values), vocabulary))


def read_boxes(boxes: Boxes, image_size: ImageSize) -> Tensor:
    """A user's boxes, clipped to the image: float32 `[n, 4]`, xyxy in pixels of the upright photo.

    Raises:
        InputError: another shape, a number that is not finite, or a box that has less than a pixel
            of width or height inside the image; the message names the box.
    """
    values = _as_array(boxes)
    if values.size == 0:
        return torch.zeros(0, 4)
    if values.ndim != 2 or values.shape[1] != 4:
        raise bad_input("boxes", "shape [n, 4]: x1, y1, x2, y2 in pixels", list(values.shape))
    height, width = image_size
    clipped = values.clip(0, np.array([width, height, width, height]))
    wide = (clipped[:, 2:] - clipped[:, :2] >= _SMALLEST).all(1) & np.isfinite(values).all(1)
    if not wide.all():
        i = int((~wide).nonzero()[0][0])
        expected = (
            f"finite x1, y1, x2, y2 with at least {_SMALLEST:g} pixel of width and height "
            f"inside the image of {width} x {height} (width x height)"
        )
        raise bad_input(f"boxes[{i}]", expected, values[i].tolist())
    return torch.from_numpy(clipped.astype(np.float32))


def read_labels(labels: Labels, count: int, vocabulary: Vocabulary) -> Tensor:
    """A user's classes, by name or id (>= 1), one a box: int64 `[n]`.

    Raises:
        InputError: another number of labels than of boxes, an unknown name (the message has the
            nearest known ones) or an id outside the vocabulary.
    """
    items = labels.tolist() if isinstance(labels, (np.ndarray, Tensor)) else labels
    if isinstance(items, (str, Mapping, Set)) or not isinstance(items, Iterable):
        raise bad_input("labels", "a list of class names or ids, one a box", repr(labels)[:60])
    items = list(items)
    if len(items) != count:
        raise bad_input("labels", f"one for each of {count} boxes", len(items))
    return torch.tensor(
        [_class_id(item, i, vocabulary) for i, item in enumerate(items)], dtype=torch.int64
    )


def with_given_classes(regions: Regions, labels: Tensor) -> Regions:
    """The regions with certain classes `[N]` instead of predicted ones; 0 is an unknown class."""
    logits = regions.class_logits
    certain = _CERTAIN * F.one_hot(labels, logits.shape[1]).to(logits)
    return replace(regions, class_logits=torch.where(labels[:, None] > 0, certain, logits))


def _as_array(boxes: Boxes) -> NDArray[np.float64]:
    try:
        plain = boxes.detach().cpu().numpy() if isinstance(boxes, Tensor) else boxes
        return np.asarray(plain, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise bad_input("boxes", "numbers: [[x1, y1, x2, y2], ...]", repr(boxes)[:60]) from error


def _class_id(item: object, i: int, vocabulary: Vocabulary) -> int:
    if isinstance(item, str):
        try:
            return vocabulary.object_id(item)
        except InputError as error:
            raise InputError(f"labels[{i}]: {error}") from error
    last = vocabulary.num_objects - 1
    expected = f"a class name, or an id in 1..{last}"
    number = whole_number(item, f"labels[{i}]", expected)
    if not 1 <= number <= last:
        raise bad_input(f"labels[{i}]", expected, repr(item))
    return number
