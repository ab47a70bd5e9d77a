"""What a data set gives: an image with its scene graph, and batches of them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.errors import bad_input
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
    """Annotated images by index; all randomness is a function of (seed, epoch, index)."""

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
    """B annotated images.

    Attributes:
        images: B tensors `[3, H_i, W_i]`, uint8 RGB, of any sizes.
        graphs: their graphs, boxes in pixels of their images.
        image_ids: their ids.
    """

    images: tuple[Tensor, ...]
    graphs: SceneGraphBatch
    image_ids: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        moved = to_device(self, device)
        return Batch(moved.images, self.graphs.to(device), self.image_ids)


def collate_samples(samples: Sequence[Sample]) -> Batch:
    """One batch of at least one sample."""
    images, graphs, image_ids = zip(*samples)
    return Batch(images, SceneGraphBatch.collate(graphs), image_ids)


def random_stream(*key: int | str) -> random.Random:
    """Random numbers that follow from the key alone, the same on every machine and version."""
    return random.Random("/".join(map(str, key)))


def read_json(path: Path) -> Any:
    """A JSON file's content.

    Raises:
        InputError: the file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise bad_input(path, "a JSON file", "no such file") from None
    except (OSError, ValueError, RecursionError) as error:  # ValueErrors: UTF-8, JSON, long numbers
        raise bad_input(path, "a JSON file", error) from None


def num_validation(num_train: int, num_val: int) -> int:
    """Images cut from the train split: `num_val`, or 10 % of fewer than 10 times as many."""
    if num_train >= 10 * num_val:
        return num_val
    return max(num_train // 10, min(1, num_train - 1))


def one_per_pair(triples: Tensor, seed: int) -> Tensor:
    """One triple, uniformly at random, of each (subject, object), in order of first appearance."""
    order = torch.randperm(len(triples), generator=torch.Generator().manual_seed(seed))
    pairs, inverse = triples[order][:, [0, 2]].unique(dim=0, return_inverse=True)
    first = torch.full((len(pairs),), len(triples))
    first.scatter_reduce_(0, inverse, torch.arange(len(triples)), "amin")
    return triples[order[first].sort().values]


def resize_graph(graph: SceneGraph, size: ImageSize) -> SceneGraph:
    """The graph of its image scaled to `size`, (height, width)."""
    if size == graph.image_size:
        return graph
    height, width = (new / old for new, old in zip(size, graph.image_size))
    scale = graph.boxes.new_tensor([width, height, width, height])
    return replace(graph, boxes=graph.boxes * scale, image_size=size)
