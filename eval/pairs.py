"""Recall of relation proposals, and pair accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from autoenc_sg.config.recall import RecallConventions
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction
from autoenc_sg.eval.base.image_sums import ImageSumMetric
from autoenc_sg.eval.further.objects import with_identities
from autoenc_sg.eval.matching import TrueTriples, match, triple_ranks, true_triples
from autoenc_sg.eval.ranking import Triplets, check_predictions, rank_triplets, with_true_objects


class PairRecall(ImageSumMetric):
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
        keep_images: keep the addends of each image, for intervals and comparisons.
    """

    def __init__(
        self,
        conventions: RecallConventions | None = None,
        sync_on_compute: bool = True,
        keep_images: bool = False,
    ) -> None:
        conventions = conventions or RecallConventions()
        per_k = (len(conventions.ks),)
        shapes = {"images": (), "recall": per_k, "found": per_k, "total": ()}
        shapes |= {"accurate": per_k, "triples": ()}
        super().__init__(shapes, keep_images, sync_on_compute)
        self.conventions = conventions

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
        rows = list(range(len(images)))
        if self.conventions.images_without_predictions == "skip":
            rows = [i for i in rows if len(images[i][0].pairs)]
        images = [images[i] for i in rows]
        if not images:
            self.add_images({"images": torch.zeros(len(truths))})
            return
        addends = self._pair_addends(images)
        if task in ("PredCls", "SGCls"):
            addends |= self._triple_addends(images)
        self.add_images({n: _at_rows(v, rows, len(truths)) for n, v in addends.items()})

    def figures(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All metrics by name, see the class."""
        results: dict[str, Tensor] = {}
        for average in self.conventions.averages:
            suffix = "" if average == self.conventions.averages[0] else f"/{average}"
            part, whole = ("recall", "images") if average == "macro" else ("found", "total")
            each = sums[part] / sums[whole][..., None]
            results |= {f"pair R@{k}{suffix}": v for k, v in zip(self._ks, each.unbind(-1))}
        if self.conventions.task in ("PredCls", "SGCls"):
            each = sums["accurate"] / sums["triples"][..., None]
            results |= {f"A@{k}": v for k, v in zip(self._ks, each.unbind(-1))}
        return results

    @property
    def _ks(self) -> tuple[int, ...]:
        return self.conventions.ks

    def _pair_addends(
        self, images: Sequence[tuple[GraphPrediction, SceneGraph]]
    ) -> dict[str, Tensor]:
        proposals = _proposals([p for p, _ in images], max(self._ks))
        truth = _true_pairs([t for _, t in images], proposals.codes.device)
        ranks = triple_ranks(proposals, truth, self.conventions)
        hits, total = self._hits(ranks, truth.image_index, len(images))
        zero_counts = self.conventions.images_without_relations == "zero"
        counted = torch.ones_like(total) if zero_counts else (total > 0).double()
        recall = hits / total.clamp(min=1)[:, None]
        return {"recall": recall, "images": counted, "found": hits, "total": total}

    def _triple_addends(
        self, images: Sequence[tuple[GraphPrediction, SceneGraph]]
    ) -> dict[str, Tensor]:
        true_pairs_only = [
            with_identities(_only_true_pairs(p, t), t, self.conventions) for p, t in images
        ]
        ranked = rank_triplets(true_pairs_only, max(self._ks), order=self.conventions.order)
        matches = match(ranked, [t for _, t in images], self.conventions)
        hits, total = self._hits(matches.ranks, matches.truth.image_index, len(images))
        return {"accurate": hits, "triples": total}

    def _hits(self, ranks: Tensor, image_index: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Ranks below each K, and ranks, of each image: `[T], [T] -> [B, K], [B]` float64."""
        within_k = (ranks[:, None] < ranks.new_tensor(self._ks)).double()
        hits = within_k.new_zeros(count, len(self._ks)).index_add(0, image_index, within_k)
        return hits, torch.bincount(image_index, minlength=count).double()


def _at_rows(values: Tensor, rows: Sequence[int], count: int) -> Tensor:
    """Values of some images among `count`, the others 0."""
    if len(rows) == count:
        return values
    index = torch.tensor(rows, device=values.device)
    return values.new_zeros(count, *values.shape[1:]).index_copy(0, index, values)


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
    return Triplets(codes, boxes, torch.zeros_like(codes, dtype=torch.float64))


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
