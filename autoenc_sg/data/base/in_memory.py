"""A source whose graphs are in memory: most formats are read into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.graphs import Box, fit_graph, make_graph, one_per_pair
from autoenc_sg.data.base.samples import Split, num_validation
from autoenc_sg.data.images.decode import Pixels


class AnnotatedImage(NamedTuple):
    """An image's annotation.

    Attributes:
        image_id: the data set's.
        graph: in pixels of the annotated size.
        boxes_beyond: annotated boxes that pass the image's border by more than one pixel.
    """

    image_id: int
    graph: SceneGraph
    boxes_beyond: int = 0


class InMemorySource:
    """Graphs in memory, as `dataset.GraphSource`.

    In the train split each access keeps one predicate, drawn at random, of every (subject, object)
    pair; the other splits keep all relations.

    Args:
        images: of one split; ids differ.
        vocabulary: the names.
        split: which part it is.
    """

    random_key = "predicates"

    def __init__(
        self, images: Sequence[AnnotatedImage], vocabulary: Vocabulary, split: Split
    ) -> None:
        self.images = images
        self.vocabulary = vocabulary
        self.image_ids: tuple[int, ...] = tuple(image.image_id for image in images)
        self._one_per_pair = split == "train"

    def graph(self, row: int, generator: torch.Generator) -> SceneGraph:
        """In pixels of the annotated size."""
        graph = self.annotated(row)
        if not self._one_per_pair:
            return graph
        return replace(graph, triples=one_per_pair(graph.triples, generator))

    def graph_on(
        self, row: int, generator: torch.Generator, pixels: Pixels, name: str
    ) -> SceneGraph:
        """In pixels of the image that was read."""
        return fit_graph(self.graph(row, generator), pixels, name)

    def annotated(self, row: int) -> SceneGraph:
        """With every annotated relation."""
        return self.images[row].graph


def cut_validation(
    images: Sequence[AnnotatedImage], split: Split, num_val: int
) -> Sequence[AnnotatedImage]:
    """The first images are validation, the others train (`samples.num_validation`)."""
    cut = num_validation(len(images), num_val)
    return images[:cut] if split == "val" else images[cut:]


def make_annotated_image(
    image_id: int,
    labels: Sequence[int],
    boxes: Sequence[Box],
    triples: Sequence[Sequence[int]],
    size: ImageSize,
    where: str,
) -> AnnotatedImage:
    """An image with its `make_graph`."""
    graph = make_graph(labels, boxes, triples, size, where)
    height, width = size
    beyond = sum(min(a, b) < -1 or c > width + 1 or d > height + 1 for a, b, c, d in boxes)
    return AnnotatedImage(image_id, graph, beyond)
