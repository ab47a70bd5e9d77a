"""Pseudo-relations of an image's objects: from the prior, from captions, from geometry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from autoenc_sg.core.errors import bad_input, is_fraction, require
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.coco.geometric_relations import GEOMETRIC_PREDICATES, geometric_predicates
from autoenc_sg.data.relate.captions import caption_triples, class_phrases
from autoenc_sg.data.relate.counts import all_pairs, unit_boxes
from autoenc_sg.data.relate.names import NameMapping, check_predicates, match_predicates
from autoenc_sg.data.relate.prior import RelationPrior

Unmapped = Literal["geometry", "skip"]
Row = tuple[int, int, int]  # subject, predicate, object


@dataclass(frozen=True)
class RelateOptions:
    """Which pseudo-relations are proposed.

    Attributes:
        predicates: of the prior, to keep; none: all.
        least_probability: of a relation that the prior or a caption proposes, in 0..1.
        most_per_image: pseudo-relations of an image at most; those of captions come first, then
            the most probable ones, then geometric ones.
        unmapped: pairs with a class that maps to nothing are judged by their other class and
            `geometry`, or `skip`: not at all.
        beside_human: also other predicates for pairs that have a relation of a human.
        captions: read relations from captions, too.
        geometric: objects that have no relation get one of sg2im's six to the nearest other object.
        seed: of the prior's training.
    """

    predicates: tuple[str, ...] = ()
    least_probability: float = 0.2
    most_per_image: int = 20
    unmapped: Unmapped = "geometry"
    beside_human: bool = False
    captions: bool = False
    geometric: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not is_fraction(self.least_probability):
            raise bad_input("least probability", "0..1", self.least_probability)
        require(self.most_per_image >= 0, "most per image", ">= 0", self.most_per_image)


class Proposer:
    """Adds pseudo-relations to graphs.

    Args:
        prior: gives the probabilities.
        vocabulary: of the graphs.
        mapping: of the graphs' classes to the prior's.
        options: which ones to add.
        aliases: alias to class, for captions.

    Attributes:
        vocabulary: of the graphs that are returned: the same classes; the same predicates, then the
            prior's and the geometric ones that are not among them.

    Raises:
        InputError: a predicate to keep is not one of the prior's.
    """

    def __init__(
        self,
        prior: RelationPrior,
        vocabulary: Vocabulary,
        mapping: NameMapping,
        options: RelateOptions = RelateOptions(),
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        names = prior.vocabulary.predicates
        check_predicates(options.predicates, names[1:])
        kept = [name for name in names[1:] if not options.predicates or name in options.predicates]
        same = match_predicates(kept, vocabulary.predicates[1:])
        added = [same.get(name, name) for name in kept]
        if options.geometric:
            added += GEOMETRIC_PREDICATES
        predicates = dict.fromkeys([*vocabulary.predicates, *added])
        self.vocabulary = Vocabulary(vocabulary.objects, tuple(predicates))
        self._prior, self._options = prior, options
        self._class_ids = torch.tensor(mapping.ids(prior.vocabulary.objects))
        ids = {name: self.vocabulary.predicates.index(same.get(name, name)) for name in kept}
        self._predicate_ids = torch.tensor([ids.get(name, 0) for name in names])
        self._phrases = class_phrases(vocabulary.objects[1:], aliases)

    def propose(self, graph: SceneGraph, captions: Sequence[str] = ()) -> SceneGraph:
        """The graph with pseudo-relations after its own, which are relations of humans.

        Args:
            graph: labels of the graphs' vocabulary; at most 1,000 objects are sensible.
            captions: sentences about the image, read with `options.captions`.

        Returns:
            With `triple_scores`: NaN for relations of humans, a probability for others.
        """
        scores = self.pair_scores(graph)
        proposals = _Proposals(graph, self._options)
        if self._options.captions:
            for row, score in self._caption_rows(graph, captions, scores):
                if score >= self._options.least_probability:
                    proposals.add(row, score)
        best, predicates = scores.max(1)
        pairs = all_pairs(len(graph))
        likely = (best >= self._options.least_probability) & (predicates > 0) & (best > 0)
        for i in best.masked_fill(~likely, -1).argsort(descending=True, stable=True).tolist():
            if not likely[i]:
                break
            subject, other = pairs[i].tolist()
            proposals.add((subject, int(predicates[i]), other), float(best[i]))
        if self._options.geometric:
            for row in self._geometric_rows(graph, proposals.related_objects()):
                proposals.add(row, 1.0)
        return proposals.graph()

    def pair_scores(self, graph: SceneGraph) -> Tensor:
        """Probabilities of the predicates of the output's vocabulary: `[N (N - 1), P]`."""
        labels = self._class_ids[graph.labels]
        by_prior = self._prior.probabilities(labels, unit_boxes(graph))
        scores = torch.zeros(len(by_prior), self.vocabulary.num_predicates)
        scores.index_add_(1, self._predicate_ids, by_prior)
        scores[:, 0] = 0
        if self._options.unmapped == "skip":
            scores[(labels[all_pairs(len(labels))] == 0).any(1)] = 0
        return scores

    def _caption_rows(
        self, graph: SceneGraph, captions: Sequence[str], scores: Tensor
    ) -> list[tuple[Row, float]]:
        """The pair that each relation of the captions most probably means, with its share."""
        pairs, rows = all_pairs(len(graph)), []
        names = self.vocabulary
        triples = (
            triple
            for caption in captions
            for triple in caption_triples(caption, self._phrases, names.predicates[1:])
        )
        for triple in dict.fromkeys(triples):
            classes = torch.tensor(
                [names.object_id(triple.subject), names.object_id(triple.object)]
            )
            predicate = names.predicate_id(triple.predicate)
            candidates = (graph.labels[pairs] == classes).all(1).nonzero()[:, 0]
            if len(candidates):
                share = scores[candidates, predicate] + 1e-6
                best = int(share.argmax())
                subject, other = pairs[candidates[best]].tolist()
                rows.append(((subject, predicate, other), float(share[best] / share.sum())))
        return rows

    def _geometric_rows(self, graph: SceneGraph, related: set[int]) -> list[Row]:
        """A geometric relation of each object without one, to the nearest other object."""
        alone = [i for i in range(len(graph)) if i not in related]
        if not alone or len(graph) < 2:
            return []
        boxes = unit_boxes(graph)
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        distances = torch.cdist(centres[alone], centres)
        distances[torch.arange(len(alone)), torch.tensor(alone)] = torch.inf
        pairs = torch.stack([torch.tensor(alone), distances.argmin(1)], 1)
        places = geometric_predicates(boxes, centres, pairs).tolist()
        names = [GEOMETRIC_PREDICATES[place - 1] for place in places]
        return [
            (s, self.vocabulary.predicate_id(name), o)
            for (s, o), name in zip(pairs.tolist(), names)
        ]


@dataclass
class _Proposals:
    """The relations of an image so far: those of humans, and one proposal a pair at most."""

    human: SceneGraph
    options: RelateOptions
    rows: dict[tuple[int, int], tuple[Row, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.human_rows = {(s, p, o) for s, p, o in self.human.triples.tolist()}
        self.human_pairs = {(s, o) for s, _, o in self.human_rows}

    def add(self, row: Row, score: float) -> None:
        """Add a proposal, unless the pair has one, a human decided it, or there are enough."""
        pair = (row[0], row[2])
        taken = row in self.human_rows if self.options.beside_human else pair in self.human_pairs
        if not taken and pair not in self.rows and len(self.rows) < self.options.most_per_image:
            self.rows[pair] = (row, score)

    def related_objects(self) -> set[int]:
        """Objects with any relation."""
        return {i for pair in [*self.human_pairs, *self.rows] for i in pair}

    def graph(self) -> SceneGraph:
        triples = torch.tensor([row for row, _ in self.rows.values()], dtype=torch.int64)
        scores = torch.tensor([score for _, score in self.rows.values()])
        human = torch.full((len(self.human.triples),), torch.nan)
        return replace(
            self.human,
            triples=torch.cat([self.human.triples, triples.reshape(-1, 3)]),
            triple_scores=torch.cat([human, scores]),
            vocabulary=None,
        )


def without_unused_predicates(
    graphs: Sequence[SceneGraph], vocabulary: Vocabulary, first: int
) -> tuple[list[SceneGraph], Vocabulary]:
    """The graphs with a vocabulary of the predicates that occur.

    Args:
        graphs: with ids of `vocabulary`.
        vocabulary: the names.
        first: predicates below this id stay, used or not.
    """
    used = torch.zeros(vocabulary.num_predicates, dtype=torch.bool)
    used[:first] = True
    for graph in graphs:
        used[graph.triples[:, 1]] = True
    position = used.long().cumsum(0) - 1
    names = tuple(name for name, is_used in zip(vocabulary.predicates, used.tolist()) if is_used)
    changed = []
    for graph in graphs:
        s, p, o = graph.triples.unbind(1)
        changed.append(replace(graph, triples=torch.stack([s, position[p], o], 1)))
    return changed, Vocabulary(vocabulary.objects, names)
