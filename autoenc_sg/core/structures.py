"""Data passed between the stages: regions, candidate pairs and predictions.

Legend, here and in every docstring: `B` images, `N` objects of all images, `M` pairs or triples of
all images, `C` object classes and `P` predicates (both with the reserved 0), `D` features, `H W`
pixels. Boxes are `xyxy`; `SceneGraph` holds them in pixels of its image, the generator reads
them in [0, 1]. A batch of graphs is one disconnected graph with an image index: no padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.errors import bad_input

T = TypeVar("T")


def to_device(value: T, device: torch.device | str) -> T:
    """A copy of a dataclass of tensors whose tensors (also those in tuples) lie on `device`."""
    moved: dict[str, Any] = {}
    for field in fields(value):  # type: ignore[arg-type]
        item = getattr(value, field.name)
        if isinstance(item, Tensor):
            moved[field.name] = item.to(device)
        elif isinstance(item, tuple) and item and isinstance(item[0], Tensor):
            moved[field.name] = tuple(part.to(device) for part in item)
    return replace(value, **moved)  # type: ignore[type-var]


@dataclass(frozen=True, eq=False)
class Regions:
    """Regions of B images with the detector's features and logits.

    Attributes:
        boxes: `[N, 4]` xyxy in pixels of the images that were passed in.
        class_logits: `[N, C]`, class 0 is the background.
        features: `[N, D]` RoI features.
        image_index: `[N]` int64, ascending.
        image_sizes: (height, width) of each image passed in.
        feature_maps: the backbone's maps `[B, D_map, H', W']`, finest first, for union pooling.
        network_sizes: (height, width) of each image after the detector's resizing.
        given: the boxes are a user's or true ones, not detections: none repeats another.
        colors: mean colours of the images' parts, see `detector.colors`; None where not kept.
    """

    boxes: Tensor
    class_logits: Tensor
    features: Tensor
    image_index: Tensor
    image_sizes: tuple[ImageSize, ...]
    feature_maps: tuple[Tensor, ...]
    network_sizes: tuple[ImageSize, ...]
    given: bool = False
    colors: Tensor | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def num_images(self) -> int:
        """B."""
        return len(self.image_sizes)


@dataclass(frozen=True, eq=False)
class CandidatePairs:
    """Ordered candidate pairs, images in order.

    Attributes:
        pairs: `[M, 2]` int64, (subject row, object row).
        relatedness: `[M]` in [0, 1].
    """

    pairs: Tensor
    relatedness: Tensor

    def __len__(self) -> int:
        return len(self.pairs)


@dataclass(frozen=True, eq=False)
class GraphPrediction:
    """All predictions for one image, before any threshold; the input of evaluation.

    Attributes:
        boxes: `[N, 4]` xyxy, pixels.
        labels: `[N]` int64, ids >= 1.
        scores: `[N]` in [0, 1].
        pairs: `[M, 2]` int64, (subject row, object row), s != o.
        predicate_scores: `[M, P - 1]` in [0, 1], column k is predicate k + 1; without the column of
            no relation, and not renormalized.
        relatedness: `[M]`, scores by which the pairs were proposed, or None.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    pairs: Tensor
    predicate_scores: Tensor
    relatedness: Tensor | None = None

    def to(self, device: torch.device | str) -> GraphPrediction:
        """The same on another device."""
        return to_device(self, device)


def check_tensors(value: object, names: Sequence[str], floats: bool = False) -> None:
    """Raise InputError unless these attributes are tensors; with `floats` of floats, or None."""
    expected = "a floating-point tensor, or None" if floats else "a tensor"
    for name in names:
        item = getattr(value, name)
        if not isinstance(item, Tensor) and not (floats and item is None):
            raise bad_input(name, expected, type(item).__name__)
        if floats and item is not None and not item.is_floating_point():
            raise bad_input(name, expected, item.dtype)


def check_shape(name: str, value: Tensor | None, shape: tuple[int | None, ...]) -> None:
    """Raise InputError unless a tensor has this shape; None stands for any size."""
    if value is None:
        return
    same = value.ndim == len(shape) and all(e in (None, g) for e, g in zip(shape, value.shape))
    if not same:
        expected = [("any" if size is None else size) for size in shape]
        raise bad_input(name, f"shape {expected}", list(value.shape))


def check_square(name: str, value: Tensor | None) -> None:
    """Raise InputError unless the number of rows is that of a square grid: 1, 4, 9, ..."""
    if value is not None and not is_square(len(value)):
        raise bad_input(name, "G x G rows: 1, 4, 9, ...", len(value))


def is_square(count: int) -> bool:
    """Whether `count` is 1, 4, 9, ..."""
    return count > 0 and math.isqrt(count) ** 2 == count


def take_rows(values: Tensor | None, rows: Tensor | slice) -> Tensor | None:
    """These rows, or None of None."""
    return None if values is None else values[rows]


def check_ids(name: str, value: Tensor) -> None:
    """Raise InputError unless a tensor is int64."""
    if value.dtype != torch.int64:
        raise bad_input(name, "int64", value.dtype)


def check_range(name: str, value: Tensor, low: int, high: int | None) -> None:
    """Raise InputError unless all values are in `low..high`; a `high` of None is no limit."""
    if value.numel() == 0:
        return
    least, most = int(value.min()), int(value.max())
    if least < low or (high is not None and most > high):
        expected = f">= {low}" if high is None else f"{low}..{high}"
        raise bad_input(name, expected, f"{least}..{most}")
