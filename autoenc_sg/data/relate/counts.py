"""Counts of predicates by the classes of subject and object, with back-off."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary

_CHUNK = 2000  # graphs


@dataclass(frozen=True, eq=False)
class LabelledPairs:
    """Ordered pairs of objects of several images, each with the predicate that it has.

    A pair with several predicates comes once for each of them, one without a relation once.

    Attributes:
        subjects, objects: `[M]` int64 classes, from 1.
        predicates: `[M]` int64, 0: no relation.
        boxes: `[M, 2, 4]` xyxy of subject and object, fractions of the image.
        num_objects: `[M]` int64, objects of the pair's image.
    """

    subjects: Tensor
    objects: Tensor
    predicates: Tensor
    boxes: Tensor
    num_objects: Tensor

    def __len__(self) -> int:
        return len(self.predicates)

    @classmethod
    def of_graphs(cls, graphs: Iterable[SceneGraph]) -> LabelledPairs:
        """All ordered pairs of different objects of the graphs; repeated relations count once."""
        parts = [_pairs_of(graph) for graph in graphs]
        parts.append(_pairs_of(SceneGraph.empty((1, 1))))
        columns = (torch.cat(column) for column in zip(*parts))
        return cls(*columns)


def all_pairs(count: int) -> Tensor:
    """All (i, j) of different rows, row by row: `[N (N - 1), 2]`."""
    return (~torch.eye(count, dtype=torch.bool)).nonzero()


def unit_boxes(graph: SceneGraph) -> Tensor:
    """The boxes as fractions of the image: `[N, 4]`."""
    height, width = graph.image_size
    return graph.boxes / graph.boxes.new_tensor([width, height, width, height])


def _pairs_of(graph: SceneGraph) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    related = torch.zeros(len(graph), len(graph), dtype=torch.bool)
    triples = graph.triples.unique(dim=0)
    triples = triples[triples[:, 0] != triples[:, 2]]
    related[triples[:, 0], triples[:, 2]] = True
    pairs = all_pairs(len(graph))
    pairs = pairs[~related[pairs[:, 0], pairs[:, 1]]]
    ends = torch.cat([triples[:, [0, 2]], pairs])
    predicates = torch.cat([triples[:, 1], torch.zeros_like(pairs[:, 0])])
    labels = graph.labels[ends]
    boxes = unit_boxes(graph)[ends]
    return labels[:, 0], labels[:, 1], predicates, boxes, torch.full_like(predicates, len(graph))


def count_pairs(graphs: Sequence[SceneGraph], vocabulary: Vocabulary) -> Tensor:
    """Ordered pairs by subject, object and predicate: `[C, C, P]` float32, exact up to 2^24."""
    c, p = vocabulary.num_objects, vocabulary.num_predicates
    counts = torch.zeros(c, c, p)
    for start in range(0, len(graphs), _CHUNK):
        pairs = LabelledPairs.of_graphs(graphs[start : start + _CHUNK])
        index = (pairs.subjects, pairs.objects, pairs.predicates)
        counts.index_put_(index, torch.ones(()), accumulate=True)
    return counts


class PredicateCounts:
    r"""The probability of each predicate by the two classes, from counts with back-off.

        P_0(p)      = (c(p) + 1) / (c + P)
        P_s(p | s)  = (c(s, p) + k_1 P_0(p)) / (c(s) + k_1),   P_o(p | o) likewise
        P_m(p)     ~= P_s(p | s) P_o(p | o) / P_0(p)
        P(p | s, o) = (c(s, p, o) + k_2 P_m(p)) / (c(s, o) + k_2)

    Counts are of ordered pairs; predicate 0 is "no relation". A class without counts, such as the
    reserved 0, is that of an unknown name: only the other class counts, or `P_0`.

    Args:
        counts: `[C, C, P]` by subject, object and predicate.
        class_weight: k_1.
        pair_weight: k_2.

    Raises:
        InputError: no pair has a relation.
    """

    def __init__(
        self, counts: Tensor, class_weight: float = 10.0, pair_weight: float = 10.0
    ) -> None:
        if not bool((counts[:, :, 1:] > 0).any()):
            raise bad_input("prior", "graphs with relations", "none")
        self.counts = counts.float()
        self.class_weight, self.pair_weight = class_weight, pair_weight
        total = self.counts.sum((0, 1))
        self.marginal = (total + 1) / (total.sum() + len(total))
        self.by_subject = self._by_class(self.counts.sum(1))
        self.by_object = self._by_class(self.counts.sum(0))

    def _by_class(self, counts: Tensor) -> Tensor:
        k = self.class_weight
        return (counts + k * self.marginal) / (counts.sum(1, keepdim=True) + k)

    def probabilities(
        self, subjects: Tensor, objects: Tensor, left_out: Tensor | None = None
    ) -> Tensor:
        """P(p | s, o) of M pairs.

        Args:
            subjects: `[M]` classes, 0: unknown.
            objects: `[M]` likewise.
            left_out: `[M]` the predicate of each pair, which is taken off the count of its two
                classes once (for pairs that were counted); None: nothing is.

        Returns:
            `[M, P]`, rows sum to 1.
        """
        back_off = self.by_subject[subjects] * self.by_object[objects] / self.marginal
        back_off = back_off / back_off.sum(1, keepdim=True)
        counts = self.counts[subjects, objects]
        if left_out is not None:
            counts = (counts - torch.nn.functional.one_hot(left_out, counts.shape[1])).clamp(min=0)
        k = self.pair_weight
        return (counts + k * back_off) / (counts.sum(1, keepdim=True) + k)
