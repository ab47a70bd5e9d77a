"""Data sets whose graphs are made from compact annotations each time they are asked for."""

from __future__ import annotations

from typing import Protocol

import torch

from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.augment import flip_half, left_right_swap
from autoenc_sg.data.base.in_memory import stated_sample
from autoenc_sg.data.base.samples import Sample, Split, random_stream
from autoenc_sg.data.images.store import ImageStore, available


class GraphSource(Protocol):
    """The annotations of a split's images, by row."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The names behind the graphs' ids."""

    @property
    def image_ids(self) -> tuple[int, ...]:
        """The id of each row's image."""

    def drawn(self, row: int, generator: torch.Generator) -> SceneGraph:
        """The graph in pixels of the stated size; what is left to chance is drawn."""

    def annotated(self, row: int) -> SceneGraph | None:
        """The graph with all that was annotated; None where relations are not annotated."""


class SourceDataset:
    """One split of a source, as `samples.GraphDataset`.

    What a source leaves to chance follows from (seed, epoch, index) in the train split and from
    (seed, index) in the others.
    """

    def __init__(
        self,
        source: GraphSource,
        store: ImageStore,
        split: Split,
        flip: bool = False,
        seed: int = 0,
        name: object = "data set",
    ) -> None:
        """Keep the rows whose images the store has (all, if it has none).

        Args:
            source: the annotations of the split.
            store: the images.
            split: which part it is.
            flip: train only: mirror half of the samples.
            seed: of what is drawn, and of flipping.
            name: what messages call it.
        """
        there = available(source.image_ids, store, f"{name} {split}")
        self._source = source
        self._rows = [row for row, flag in enumerate(there) if flag]
        self.store = store
        self.split = split
        self.seed = seed
        self.flip = flip and split == "train"
        self._left_right = left_right_swap(source.vocabulary)
        self.image_ids: tuple[int, ...] = tuple(source.image_ids[row] for row in self._rows)

    @property
    def vocabulary(self) -> Vocabulary:
        """The source's."""
        return self._source.vocabulary

    def __len__(self) -> int:
        return len(self._rows)

    def graph(self, index: int, epoch: int = 0) -> SceneGraph:
        """The graph in pixels of the stated size."""
        key = random_stream("graph", self.seed, epoch if self.split == "train" else 0, index)
        generator = torch.Generator().manual_seed(key.getrandbits(62))
        return self._source.drawn(self._rows[index], generator)

    def annotated(self, index: int) -> SceneGraph:
        """The graph with all that was annotated; `graph` where relations are not annotated."""
        found = self._source.annotated(self._rows[index])
        return self.graph(index) if found is None else found

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """Image and graph, mirrored in half of the (epoch, index) of the train split with `flip`.

        Boxes are scaled where the image is smaller or larger than stated.

        Raises:
            InputError: the image is missing or unreadable, or is not the stated one, scaled.
        """
        found = stated_sample(self.store, self.image_ids[index], self.graph(index, epoch))
        if not self.flip:
            return found
        return flip_half(found, self._left_right, self.seed, epoch, index)

    def __getitem__(self, index: int) -> Sample:
        return self.sample(index)
