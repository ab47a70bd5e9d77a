"""Any sequence of (image, graph) pairs as a data set for training and evaluation, without files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor
from torch.utils.data import Dataset

from autoenc_sg.core.boxes import ImageSize, clip_to_image, has_area
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.core.images import ImageSource, as_tensor
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_views import translate
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.augment import flip_half, left_right_swap
from autoenc_sg.data.base.graphs import one_per_pair
from autoenc_sg.data.base.samples import Sample, random_stream

Pair: TypeAlias = tuple[ImageSource, SceneGraph]
Pairs: TypeAlias = Sequence[Pair] | Dataset[Pair]

_SLACK = 1.0  # pixels by which a box may pass the image's border


class PairsDataset:
    """Pairs of an image and its graph, as `samples.GraphDataset`; image ids are the indices.

    A pair is checked when it is read, so that nothing is held in memory. Images become uint8 RGB.
    Boxes that pass the image's border by up to one pixel are clipped. Graphs with a vocabulary of
    their own are translated by name. `graph` reads the pair too, so its image where `pairs` reads
    images on access.

    Args:
        pairs: a list or another sequence, or a map-style torch `Dataset` with a length, of
            (image, graph). Image: a path, a PIL image (both turned upright by their EXIF
            orientation), an array `[H, W, 3]` or a tensor `[3, H, W]`, RGB, uint8 or float in
            [0, 1]. Graph: boxes in pixels of that image.
        vocabulary: the names behind the graphs' ids.
        augment: for training: mirror half of the samples, with left and right in the predicates'
            names, and keep one predicate, drawn at random in each epoch, of every
            (subject, object) pair.
        seed: of `augment`.

    Raises:
        InputError: `pairs` has no length or no items, or `vocabulary` is none; on access: the pair
            is no (image, graph), the image cannot be read, the graph is of an image of another
            size or has no boxes, a box lies outside of the image or has no area, or an id is not
            in the vocabulary.
    """

    def __init__(
        self, pairs: Pairs, vocabulary: Vocabulary, augment: bool = False, seed: int = 0
    ) -> None:
        if not (hasattr(pairs, "__len__") and hasattr(pairs, "__getitem__")):
            expected = "a sequence or a torch Dataset with a length"
            raise bad_input("pairs", expected, type(pairs).__name__)
        if not isinstance(vocabulary, Vocabulary):
            raise bad_input("vocabulary", "a Vocabulary", type(vocabulary).__name__)
        self.vocabulary = vocabulary
        self.augment = augment
        self.seed = seed
        self.image_ids: tuple[int, ...] = tuple(range(len(pairs)))
        self._pairs = pairs
        self._left_right = left_right_swap(vocabulary)

    def __len__(self) -> int:
        return len(self.image_ids)

    def graph(self, index: int, epoch: int = 0) -> SceneGraph:
        """The graph, not mirrored; the image is not decoded."""
        return self._one_per_pair(self.annotated(index), index, epoch)

    def annotated(self, index: int) -> SceneGraph:
        """The graph with every relation."""
        _, graph = self._pair(index)
        return self._checked(graph, graph.image_size, index)

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """Image and graph, augmented if `augment` is on."""
        source, graph = self._pair(index)
        try:
            image = as_tensor(source)
        except InputError as error:
            raise InputError(f"pair {index}: {error}") from None
        image = (image * 255).round().to(torch.uint8).cpu()
        graph = self._checked(graph, (image.shape[1], image.shape[2]), index)
        sample = Sample(image, self._one_per_pair(graph, index, epoch), self.image_ids[index])
        if not self.augment:
            return sample
        return flip_half(sample, self._left_right, self.seed, epoch, index)

    def __getitem__(self, index: int) -> Sample:
        return self.sample(index)

    def _pair(self, index: int) -> Pair:
        pair = self._pairs[index]
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise bad_input(f"pair {index}", "(image, SceneGraph)", _describe(pair))
        if not isinstance(pair[1], SceneGraph):
            expected = "(image, SceneGraph)"
            raise bad_input(f"pair {index}", expected, f"(image, {_describe(pair[1])})")
        return pair[0], pair[1]

    def _checked(self, graph: SceneGraph, size: ImageSize, index: int) -> SceneGraph:
        """The graph on the CPU, with ids of the vocabulary and boxes clipped to the image."""
        if graph.image_size != size:
            expected = f"a graph of its image of {size[1]} x {size[0]} pixels"
            got = f"one of {graph.image_size[1]} x {graph.image_size[0]}"
            raise bad_input(f"pair {index}", expected, got)
        if not graph.has_boxes:
            raise bad_input(f"pair {index}", "a graph with boxes", "one without")
        try:
            graph = translate(graph, self.vocabulary).with_vocabulary(self.vocabulary).to("cpu")
        except InputError as error:
            raise InputError(f"pair {index}: {error}") from None
        boxes = graph.boxes.float()
        clipped = clip_to_image(boxes, size)
        wrong = ((boxes - clipped).abs() > _SLACK).any(1) | ~has_area(clipped)
        if wrong.any():
            row = int(wrong.nonzero()[0])
            expected = f"x1, y1, x2, y2 with some area within {size[1]} x {size[0]}"
            raise bad_input(f"pair {index} box {row}", expected, boxes[row].tolist())
        return replace(graph, boxes=clipped)

    def _one_per_pair(self, graph: SceneGraph, index: int, epoch: int) -> SceneGraph:
        """With `augment` one relation of each pair of objects."""
        if not self.augment:
            return graph
        stream = random_stream("predicates", self.seed, epoch, index)
        generator = torch.Generator().manual_seed(stream.getrandbits(62))
        triples = one_per_pair(graph.triples, generator)
        return replace(graph, triples=triples, triple_scores=None)


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {list(value.shape)}"
    if isinstance(value, (tuple, list)):
        return f"{type(value).__name__} of {len(value)}"
    return type(value).__name__
