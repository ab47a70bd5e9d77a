"""The data set of every format: a source of graphs and a store of images, with flips."""

from __future__ import annotations

from typing import Protocol

import torch

from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.annotation import without_relations
from autoenc_sg.data.base.augment import flip_half, left_right_swap
from autoenc_sg.data.base.samples import Sample, Split, random_stream
from autoenc_sg.data.images.decode import Pixels
from autoenc_sg.data.images.store import ImageStore, available


class GraphSource(Protocol):
    """The annotations of the n images of a split, by row 0..n-1.

    Attributes:
        random_key: first part of the key of the random numbers that `graph` gets.
    """

    random_key: str

    @property
    def vocabulary(self) -> Vocabulary:
        """The names behind the graphs' ids."""

    @property
    def image_ids(self) -> tuple[int, ...]:
        """The id of each row's image; ids differ."""

    def graph(self, row: int, generator: torch.Generator) -> SceneGraph:
        """The graph in pixels of the annotated size.

        Args:
            row: of the image.
            generator: for random choices (one predicate a pair, partners of relations, objects).
        """

    def graph_on(
        self, row: int, generator: torch.Generator, pixels: Pixels, name: str
    ) -> SceneGraph:
        """`graph`, in pixels of the image that was read.

        Args:
            row: of the image.
            generator: as in `graph`.
            pixels: the image.
            name: of the image in messages.

        Raises:
            InputError: the file is not the annotated image, scaled.
        """

    def annotated(self, row: int) -> SceneGraph | None:
        """The graph with all that is annotated; None if relations are not annotated but made."""


class AnnotatedDataset:
    """One split of a source, as `samples.GraphDataset`; images are read when they are needed.

    Random choices follow from (seed, epoch, index) in the train split, from (seed, index) in the
    others.

    Attributes:
        source: the annotations.
        store: the images.
        rows: the row in `source` of each index.
        unannotated: indices of images whose graphs are given without their relations.
    """

    def __init__(
        self,
        source: GraphSource,
        store: ImageStore,
        split: Split,
        seed: int = 0,
        flip: bool = False,
        name: object = "data set",
    ) -> None:
        """Keep the rows whose images are in the store (all rows, if it is empty).

        Args:
            source: the annotations of the split.
            store: the images.
            split: which part it is.
            seed: of the source's random choices and of flipping.
            flip: train only: mirror half of the samples.
            name: of the data set in messages.
        """
        present = available(source.image_ids, store, f"{name} {split}")
        self.source = source
        self.store = store
        self.split = split
        self.seed = seed
        self.flip = flip and split == "train"
        self.rows = tuple(row for row, is_present in enumerate(present) if is_present)
        self.image_ids: tuple[int, ...] = tuple(source.image_ids[row] for row in self.rows)
        self.unannotated: frozenset[int] = frozenset()
        self._left_right = left_right_swap(source.vocabulary)

    @property
    def vocabulary(self) -> Vocabulary:
        """The source's."""
        return self.source.vocabulary

    def __len__(self) -> int:
        return len(self.rows)

    def graph(self, index: int, epoch: int = 0) -> SceneGraph:
        """The graph in pixels of the annotated size; no image is read."""
        graph = self.source.graph(self.rows[index], self._generator(index, epoch))
        return self._usable(graph, index)

    def annotated(self, index: int) -> SceneGraph:
        """The graph with all that is annotated; `graph` if relations are not annotated."""
        graph = self.source.annotated(self.rows[index])
        return self.graph(index) if graph is None else self._usable(graph, index)

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """Image and graph, mirrored in half of the (epoch, index) of the train split with `flip`.

        Raises:
            InputError: the image is missing or unreadable, or is not the annotated one, scaled.
        """
        image_id = self.image_ids[index]
        pixels = self.store.read(image_id)
        graph = self.source.graph_on(
            self.rows[index], self._generator(index, epoch), pixels, self.store.name(image_id)
        )
        sample = Sample(pixels.image, self._usable(graph, index), image_id)
        if not self.flip:
            return sample
        return flip_half(sample, self._left_right, self.seed, epoch, index)

    def __getitem__(self, index: int) -> Sample:
        return self.sample(index)

    def _usable(self, graph: SceneGraph, index: int) -> SceneGraph:
        """With names, and without relations if the image counts as unannotated."""
        graph = graph.with_vocabulary(self.vocabulary)
        return without_relations(graph) if index in self.unannotated else graph

    def _generator(self, index: int, epoch: int) -> torch.Generator:
        epoch = epoch if self.split == "train" else 0
        stream = random_stream(self.source.random_key, self.seed, epoch, index)
        return torch.Generator().manual_seed(stream.getrandbits(62))
