"""Images without graphs as a data set, and such images behind those of an annotated one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.annotation import unannotated_rows
from autoenc_sg.data.base.augment import flip_half, left_right_swap
from autoenc_sg.data.base.samples import GraphDataset, Sample
from autoenc_sg.data.images.decode import Pixels


class ImageReader(Protocol):
    """Images by id: an `ImageStore` or a `PhotoStore`."""

    def size(self, image_id: int, /) -> ImageSize:
        """Height and width of the stored image."""

    def read(self, image_id: int, /) -> Pixels:
        """Its pixels."""


class UnannotatedImages:
    """Images whose graphs have no objects, as `samples.GraphDataset`.

    Args:
        reader: gives the images.
        image_ids: which ones.
        vocabulary: of the graphs.
        seed: of flipping.
        flip: mirror half of the samples.

    Attributes:
        unannotated: all indices.
    """

    def __init__(
        self,
        reader: ImageReader,
        image_ids: Sequence[int],
        vocabulary: Vocabulary,
        seed: int = 0,
        flip: bool = False,
    ) -> None:
        self.reader = reader
        self.image_ids: tuple[int, ...] = tuple(image_ids)
        self.vocabulary = vocabulary
        self.seed = seed
        self.flip = flip
        self.unannotated = frozenset(range(len(self.image_ids)))
        self._left_right = left_right_swap(vocabulary)

    def __len__(self) -> int:
        return len(self.image_ids)

    def graph(self, index: int, epoch: int = 0) -> SceneGraph:
        """A graph without objects, of the size of the stored image."""
        size = self.reader.size(self.image_ids[index])
        return SceneGraph.empty(size, self.vocabulary)

    def annotated(self, index: int) -> SceneGraph:
        """As `graph`."""
        return self.graph(index)

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """The image, mirrored in half of the (epoch, index) with `flip`.

        Raises:
            InputError: it is missing or damaged.
        """
        image_id = self.image_ids[index]
        image = self.reader.read(image_id).image
        graph = SceneGraph.empty((image.shape[1], image.shape[2]), self.vocabulary)
        sample = Sample(image, graph, image_id)
        if not self.flip:
            return sample
        return flip_half(sample, self._left_right, self.seed, epoch, index)

    def __getitem__(self, index: int) -> Sample:
        return self.sample(index)


class WithMoreImages:
    """The images of a data set, then those of another one, all of these unannotated.

    Args:
        dataset: the first.
        more: the second, of the same vocabulary; None: there is none.

    Attributes:
        unannotated: indices of `dataset`'s unannotated images and of all of `more`.
    """

    def __init__(self, dataset: GraphDataset, more: GraphDataset | None) -> None:
        self.parts: Sequence[GraphDataset] = [dataset] if more is None else [dataset, more]
        self.vocabulary = dataset.vocabulary
        self.image_ids: tuple[int, ...] = tuple(i for part in self.parts for i in part.image_ids)
        rest = range(len(dataset), len(self.image_ids))
        self.unannotated = unannotated_rows(dataset) | frozenset(rest)

    def __len__(self) -> int:
        return len(self.image_ids)

    def graph(self, index: int, epoch: int = 0) -> SceneGraph:
        """The graph alone."""
        part, row = self._place(index)
        return part.graph(row, epoch)

    def annotated(self, index: int) -> SceneGraph:
        """The graph with all that is annotated."""
        part, row = self._place(index)
        return part.annotated(row)

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """Image and graph, augmented."""
        part, row = self._place(index)
        return part.sample(row, epoch)

    def __getitem__(self, index: int) -> Sample:
        return self.sample(index)

    def _place(self, index: int) -> tuple[GraphDataset, int]:
        first = len(self.parts[0])
        return (self.parts[0], index) if index < first else (self.parts[1], index - first)
