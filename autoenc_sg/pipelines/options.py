"""Options of `generate`, `sample` and `parse`, checked when made; the command line's help texts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from autoenc_sg.core.errors import bad_input

MAX_SEED = 2**62
MAX_SAMPLES = 10_000  # columns of the grid

Source = Literal["given", "predicted"]


@dataclass(frozen=True)
class GenerateOptions:
    """How graphs of a file are drawn.

    Attributes:
        seed: of the noise; sample j of graph i of G graphs has the noise of seed + i + j G.
        samples: images of each graph.
        boxes: `given` in the file or `predicted` by the generator; by default given ones, if any.
        masks: likewise.
        mask_images: also write the masks of each graph's objects as one image.
        temperature: factor of the noise; 0: no noise.
        size: side of the images in pixels, resampled; the generator's own by default and in the
            grid.
        grow: also draw each graph object by object (figure 3 of the paper).
    """

    seed: int = 0
    samples: int = 1
    boxes: Source | None = None
    masks: Source | None = None
    mask_images: bool = False
    temperature: float = 1.0
    size: int | None = None
    grow: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.samples <= MAX_SAMPLES:
            raise bad_input("samples", f"1..{MAX_SAMPLES}", self.samples)
        _check_noise(self.seed, self.temperature)
        if self.size is not None and not 1 <= self.size <= 8192:
            raise bad_input("size", "1..8192 pixels", self.size)


@dataclass(frozen=True)
class SampleOptions:
    """How graphs of a data set are drawn.

    Attributes:
        limit: draw at most this many graphs, the first ones.
        seed: of the noise; graph i has the noise of seed + i.
        boxes: the `given` true boxes, or those that the generator `predicted`.
        masks: the `given` true masks where the data set has some, or `predicted` ones.
        temperature: factor of the noise; 0: no noise.
        photos: also write the true images, at the generator's size.
        appearance: draw objects with the appearance codes of their regions in the true images.
    """

    limit: int | None = None
    seed: int = 0
    boxes: Source = "given"
    masks: Source = "given"
    temperature: float = 1.0
    photos: bool = False
    appearance: bool = False

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise bad_input("limit", ">= 1", self.limit)
        _check_noise(self.seed, self.temperature)


def _check_noise(seed: int, temperature: float) -> None:
    """Raise InputError for a seed or a factor of the noise out of its range."""
    if not 0 <= seed <= MAX_SEED:
        raise bad_input("seed", f"0..{MAX_SEED}", seed)
    if not (math.isfinite(temperature) and temperature >= 0):
        raise bad_input("temperature", "a number >= 0", temperature)


@dataclass(frozen=True)
class ParseOptions:
    """How photos are parsed.

    Attributes:
        boxes: JSON file with the photos' boxes, or boxes and classes, instead of detected ones:
            {"image": "cat.jpg", "boxes": [[x1, y1, x2, y2]], "objects": ["cat"]}, a list of such
            entries, or one a line.
        object_threshold: least class score of an object; by default the checkpoint's.
        edge_threshold: least weight of a relation; by default the checkpoint's.
        features: .npz file to write the vectors of objects, relations and photos to.
        batch_size: photos that the network sees at a time.
    """

    boxes: Path | None = None
    object_threshold: float | None = None
    edge_threshold: float | None = None
    features: Path | None = None
    batch_size: int = 8

    def __post_init__(self) -> None:
        for name in ("object_threshold", "edge_threshold"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise bad_input(name, "a number in 0..1", value)
        if self.batch_size < 1:
            raise bad_input("batch_size", "1 or more", self.batch_size)
        if self.features is not None and self.features.suffix != ".npz":
            raise bad_input("features", "a name that ends in .npz", self.features)
