"""Samples (an image with its graph), batches of them, and the interface of every data set."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.core.structures import to_device
from autoenc_sg.core.vocabulary import Vocabulary

Split = Literal["train", "val", "test"]
LONGEST_SIDE = 1 << 24  # pixels: float32 holds every whole number up to here


class Sample(NamedTuple):
    """One annotated image.

    Attributes:
        image: `[3, H, W]` uint8, RGB.
        graph: its graph, boxes in pixels of `image`.
        image_id: the data set's id.
    """

    image: Tensor
    graph: SceneGraph
    image_id: int


class GraphDataset(Protocol):
    """Annotated images by index; all randomness is a function of (seed, epoch, index).

    An attribute `unannotated` (a frozenset of indices) may name images without annotated relations;
    see `annotation.unannotated_rows`.
    """

    @property
    def vocabulary(self) -> Vocabulary:
        """The names behind the graphs' ids."""

    @property
    def image_ids(self) -> tuple[int, ...]:
        """The id of each image, by index."""

    def __len__(self) -> int: ...

    def graph(self, index: int, epoch: int = 0) -> SceneGraph:
        """The graph alone: the image is not read, and not flipped."""

    def annotated(self, index: int) -> SceneGraph:
        """`graph` with every relation that was annotated, repeated ones too."""

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """Image and graph, augmented where the data set is for training."""

    def __getitem__(self, index: int) -> Sample: ...


@dataclass(frozen=True, eq=False)
class Batch:
    """B images with graphs.

    Attributes:
        images: B tensors `[3, H_i, W_i]`, uint8 RGB, of any sizes.
        graphs: their graphs, boxes in pixels of their images.
        image_ids: their ids.
        unannotated: places of the images whose graphs the joint phase must not use.
    """

    images: tuple[Tensor, ...]
    graphs: SceneGraphBatch
    image_ids: tuple[int, ...]
    unannotated: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        moved = to_device(self, device)
        return replace(moved, graphs=self.graphs.to(device))

    def select(self, places: Sequence[int]) -> Batch:
        """The batch of the images at one place or more, in that order; all count as annotated."""
        graphs = self.graphs.split()
        return collate_samples(
            [Sample(self.images[i], graphs[i], self.image_ids[i]) for i in places]
        )


def collate_samples(samples: Sequence[Sample], unannotated: frozenset[int] = frozenset()) -> Batch:
    """One batch of at least one sample; `unannotated` as in `Batch`."""
    images, graphs, image_ids = zip(*samples)
    return Batch(images, SceneGraphBatch.collate(graphs), image_ids, unannotated)


def random_stream(*key: int | str) -> random.Random:
    """Random numbers as a function of the key, the same on every machine and version."""
    return random.Random("/".join(map(str, key)))


def num_validation(num_train: int, num_val: int) -> int:
    """Images cut from the train split: `num_val`, or 10 % of fewer than 10 times as many."""
    if num_train >= 10 * num_val:
        return num_val
    return max(num_train // 10, min(1, num_train - 1))
