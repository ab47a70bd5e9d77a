"""Recall of relation proposals, and pair accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torchmetrics
from torch import Tensor

from autoenc_sg.config.recall import RecallConventions
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction
from autoenc_sg.eval.compute_groups import prevent_compute_groups
from autoenc_sg.eval.matching import TrueTriples, match, triple_ranks, true_triples
from autoenc_sg.eval.ranking import Triplets, check_predictions, rank_triplets, with_true_objects


class PairRecall(torchmetrics.Metric):
    """Recall of relation proposals, and pair accuracy.

    `compute()` gives fractions in [0, 1] for each K, NaN if there are no true pairs or triples:

    - `pair R@K`: the true (subject, object) pairs of an image, labels aside, that are among its
      first K candidate pairs. Pairs are ranked by `relatedness`, or without it by the sum of their
      predicate scores (1 - p(no relation) of a softmax); ties in the order given. Overlap of boxes,
      averages and their suffixes are as in `TripletRecall`.
    - `A@K`, for PredCls and SGCls: recall of the true triples among the first K triplets of the
      true pairs, all other pairs left out, one predicate a pair; counts are pooled over the data
      set (Scene-Graph-Benchmark's pair accuracy, after ContrastiveLosses4VRD).

    Args:
        conventions: how to count; the same as for `TripletRecall`.
        sync_on_compute: gather the states of all processes; False if only one process computes.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    images: Tensor
    recall: Tensor
    found: Tensor
    total: Tensor
    accurate: Tensor
    triples: Tensor

    def __init__(
        self, conventions: RecallConventions | None = None, sync_on_compute: bool = True
    ) -> None:
        super().__init__(sync_on_compute=sync_on_compute)
        self.conventions = conventions or RecallConventions()
        per_k = (len(self.conventions.ks),)
        shapes = {"images": (), "recall": per_k, "found": per_k, "total": ()}
        for name, shape in (shapes | {"accurate": per_k, "triples": ()}).items():
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        prevent_compute_groups(self)

    def update(self, predictions: Sequence[GraphPrediction], truths: Sequence[SceneGraph]) -> None:
        """Count some images.

        Args:
            predictions: one an image.
            truths: the true graph of each, in the same order.

        Raises:
            InputError: the numbers of images differ; see `rank_triplets`, `with_true_objects`.
        """
        if len(predictions) != len(truths):
            raise bad_input(
                "predictions", f"one for each of {len(truths)} graphs", len(predictions)
            )
        if len(truths) == 0:
            return
        check_predictions(predictions)
        task = self.conventions.task
        images = [(with_true_objects(p, t, task), t) for p, t in zip(predictions, truths)]
        if self.conventions.images_without_predictions == "skip":
            images = [(p, t) for p, t in images if len(p.pairs)]
        if images:
            self._count_pairs(images)
        if images and task in ("PredCls", "SGCls"):
            self._count_triples(images)

    def compute(self) -> dict[str, Tensor]:
        """All metrics by name, see the class."""
        results: dict[str, Tensor] = {}
        for average in self.conventions.averages:
            suffix = "" if average == self.conventions.averages[0] else f"/{average}"
            macro = average == "macro"
            each = self.recall / self.images if macro else self.found / self.total
            results |= {f"pair R@{k}{suffix}": v for k, v in zip(self.conventions.ks, each)}
        if self.conventions.task in ("PredCls", "SGCls"):
            each = self.accurate / self.triples
            results |= {f"A@{k}": v for k, v in zip(self.conventions.ks, each)}
        return results

    def _count_pairs(self, images: Sequence[tuple[GraphPrediction, SceneGraph]]) -> None:
        proposals = _proposals([p for p, _ in images], max(self.conventions.ks))
        truth = _true_pairs([t for _, t in images], proposals.codes.device)
        within_k = self._within(triple_ranks(proposals, truth, self.conventions))
        total = torch.bincount(truth.image_index, minlength=len(images))
        hits = within_k.new_zeros(len(images), within_k.shape[1]).index_add(
            0, truth.image_index, within_k
        )
        counted = torch.ones_like(total) if self._zero_counts() else total > 0
        self.recall += (hits / total.clamp(min=1)[:, None]).sum(0).to(self.device)
        self.images += counted.sum().to(self.device)
        self.found += hits.sum(0).to(self.device)
        self.total += total.sum().to(self.device)

    def _count_triples(self, images: Sequence[tuple[GraphPrediction, SceneGraph]]) -> None:
        true_pairs_only = [_only_true_pairs(p, t) for p, t in images]
        ranked = rank_triplets(
            true_pairs_only, max(self.conventions.ks), order=self.conventions.order
        )
        ranks = match(ranked, [t for _, t in images], self.conventions).ranks
        self.accurate += self._within(ranks).sum(0).to(self.device)
        self.triples += len(ranks)

    def _within(self, ranks: Tensor) -> Tensor:
        """Whether each rank is below each K: `[T] -> [T, K]` float64."""
        return (ranks[:, None] < ranks.new_tensor(self.conventions.ks)).double()

    def _zero_counts(self) -> bool:
        return self.conventions.images_without_relations == "zero"


def _proposals(predictions: Sequence[GraphPrediction], depth: int) -> Triplets:
    """The first `depth` pairs of each image, best first; codes are 0, as labels do not count."""
    rows = [_relatedness(p).argsort(descending=True, stable=True)[:depth] for p in predictions]
    width = max(len(best) for best in rows)
    device = rows[0].device
    codes = torch.full((len(rows), width), -1, device=device)
    boxes = torch.zeros(len(rows), width, 2, 4, dtype=torch.float64, device=device)
    for i, (p, best) in enumerate(zip(predictions, rows)):
        codes[i, : len(best)] = 0
        boxes[i, : len(best)] = p.boxes.double()[p.pairs[best]]
    return Triplets(codes, boxes)


def _relatedness(prediction: GraphPrediction) -> Tensor:
    if prediction.relatedness is not None:
        return prediction.relatedness.double()
    return prediction.predicate_scores.double().sum(1)


def _true_pairs(truths: Sequence[SceneGraph], device: torch.device) -> TrueTriples:
    """Each pair of objects that a triple of its image relates, once; all codes are 0."""
    single = []
    for truth in truths:
        pairs = truth.triples[:, [0, 2]].unique(dim=0)
        rows = torch.stack([pairs[:, 0], torch.ones_like(pairs[:, 0]), pairs[:, 1]], 1)
        single.append(SceneGraph(truth.labels, truth.boxes, rows, truth.image_size))
    triples = true_triples(single, device)
    return replace(triples, codes=torch.zeros_like(triples.codes))


def _only_true_pairs(prediction: GraphPrediction, truth: SceneGraph) -> GraphPrediction:
    """The prediction without the pairs of objects that no true triple relates."""
    true = truth.triples[:, [0, 2]].to(prediction.pairs.device)
    factor = true.new_tensor([max(len(truth), 1), 1])
    rows = torch.isin((prediction.pairs * factor).sum(1), (true * factor).sum(1))
    pairs, scores = prediction.pairs[rows], prediction.predicate_scores[rows]
    return replace(prediction, pairs=pairs, predicate_scores=scores, relatedness=None)
