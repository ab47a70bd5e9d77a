"""Precision, F1 and calibration of scored triplets, and pair recall within triplets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from autoenc_sg.config.recall import RecallConventions
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.eval.base.image_sums import ImageSumMetric
from autoenc_sg.eval.further.objects import distinct_triples, identity_graph
from autoenc_sg.eval.matching import (
    MISSED,
    TrueTriples,
    matching_triplets,
    triple_ranks,
    true_triples,
)
from autoenc_sg.eval.ranking import RankedTriplets, Triplets, triplet_codes

BINS = 15
_TWO_COUNTS = ("kept", "correct", "found")
_MACRO = ("precision", "recall", "f1", "precise_images")


class TripletQuality(ImageSumMetric):
    """Figures of the ranked triplets under graph constraint, the first max(K) of each image.

    For a threshold t, n = triplets with score >= t, c = those that match a true triple, f = true
    triples that one of them matches, m = true triples; images as for R@K:

    - `precision>=t` = c / n (macro: mean over images with n > 0), `recall>=t` = f / m,
      `F1>=t` = 2 P R / (P + R), 0 if both are 0 (macro: of each image, P = 0 if n = 0);
    - `ECE`: expected calibration error of the scores, sum_b n_b / n |accuracy_b - confidence_b|
      over 15 bins of [0, 1] of equal width, all images together (Guo et al. 2017, "On Calibration
      of Modern Neural Networks"). A triplet is accurate if it matches; what is true but not
      annotated counts as wrong. NaN if a score is above 1;
    - `PR@K`: fraction of the true pairs whose two objects, with their classes, are those of one of
      the first K triplets, whatever its predicate (SGBench's pair recall).

    With matching `one_to_one` only the first of several triplets that match a triple is correct.

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
        self_conventions = conventions or RecallConventions()
        per_t, per_k = (len(self_conventions.thresholds),), (len(self_conventions.ks),)
        shapes: dict[str, Sequence[int]] = {"images": (), "total": (), "pairs": (), "beyond": ()}
        shapes |= dict.fromkeys((*_TWO_COUNTS, *_MACRO), per_t)
        shapes |= {"pair_recall": per_k, "pairs_found": per_k, "bins": (BINS, 3)}
        super().__init__(shapes, keep_images, sync_on_compute)
        self.conventions = self_conventions

    def update(self, ranked: RankedTriplets, truths: Sequence[SceneGraph]) -> None:
        """Count some images.

        Args:
            ranked: `TripletRecall.rank(predictions, truths)` of the same conventions.
            truths: the true graph of each, in the same order.
        """
        if len(truths) == 0:
            return
        c = self.conventions
        if c.matching != "each":
            truths = [identity_graph(distinct_triples(truth)) for truth in truths]
        device, depth = ranked.has_pairs.device, max(c.ks)
        best = ranked.constrained
        best = Triplets(best.codes[:, :depth], best.boxes[:, :depth], best.scores[:, :depth])
        truth = true_triples(truths, device)
        total = torch.bincount(truth.image_index, minlength=len(truths)).double()
        counted = torch.ones_like(total) if c.images_without_relations == "zero" else total > 0
        if c.images_without_predictions == "skip":
            counted = counted * ranked.has_pairs
        counted = counted.double()
        addends = {"images": torch.ones_like(total), "total": total}
        addends |= self._thresholded(best, truth, total)
        addends |= self._pairs(best, truths)
        self.add_images({name: _masked(v, counted) for name, v in addends.items()})

    def figures(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All metrics by name, see the class."""
        results: dict[str, Tensor] = {}
        for average in self.conventions.averages:
            suffix = "" if average == self.conventions.averages[0] else f"/{average}"
            images = sums["images"][..., None]
            if average == "macro":
                precision = sums["precision"] / sums["precise_images"]
                recall, f1 = sums["recall"] / images, sums["f1"] / images
                pairs = sums["pair_recall"] / images
            else:
                precision = sums["correct"] / sums["kept"]
                recall = sums["found"] / sums["total"][..., None]
                f1 = _f1(precision.nan_to_num(0.0), recall)
                pairs = sums["pairs_found"] / sums["pairs"][..., None]
            for k, value in zip(self.conventions.ks, pairs.unbind(-1)):
                results[f"PR@{k}{suffix}"] = value
            for i, t in enumerate(self.conventions.thresholds):
                results[f"precision>={t:g}{suffix}"] = precision[..., i]
                results[f"recall>={t:g}{suffix}"] = recall[..., i]
                results[f"F1>={t:g}{suffix}"] = f1[..., i]
        return results | {"ECE": _calibration_error(sums["bins"], sums["beyond"])}

    def _thresholded(self, best: Triplets, truth: TrueTriples, total: Tensor) -> dict[str, Tensor]:
        """The addends of precision, recall, F1 and ECE."""
        rows, places = matching_triplets(best, truth, self.conventions)
        ranks = torch.full_like(truth.codes, MISSED).scatter_reduce(0, rows, places, "amin")
        image = truth.image_index
        hit = ranks < MISSED
        if self.conventions.matching == "one_to_one":
            rows, places = hit.nonzero()[:, 0], ranks[hit]
        correct = torch.zeros_like(best.codes, dtype=torch.bool)
        correct[image[rows], places] = True
        t = best.scores.new_tensor(self.conventions.thresholds)
        above = best.scores[:, :, None] >= t  # [B, K, t]
        kept = above.sum(1).double()
        right = (above & correct[:, :, None]).sum(1).double()
        score = best.scores[image[hit], ranks[hit]]
        found = kept.new_zeros(kept.shape).index_add(0, image[hit], (score[:, None] >= t).double())
        precision = right / kept.clamp(min=1)
        recall = found / total.clamp(min=1)[:, None]
        return {
            "kept": kept,
            "correct": right,
            "found": found,
            "precision": precision,
            "precise_images": (kept > 0).double(),
            "recall": recall,
            "f1": _f1(precision, recall),
            "bins": _bins(best.scores, correct),
            "beyond": (best.scores > 1).sum(1).double(),
        }

    def _pairs(self, best: Triplets, truths: Sequence[SceneGraph]) -> dict[str, Tensor]:
        """The addends of pair recall."""
        zero = torch.zeros((), dtype=torch.int64, device=best.codes.device)
        predicates = triplet_codes(zero, zero - 1, zero) & ~triplet_codes(zero - 1, zero, zero)
        any_predicate = torch.where(best.codes >= 0, best.codes & ~predicates, -1)
        truth = true_triples([_pairs_only(t) for t in truths], best.codes.device)
        truth = replace(truth, codes=truth.codes & ~predicates)
        ranks = triple_ranks(replace(best, codes=any_predicate), truth, self.conventions)
        within_k = (ranks[:, None] < ranks.new_tensor(self.conventions.ks)).double()
        found = within_k.new_zeros(len(truths), within_k.shape[1])
        found = found.index_add(0, truth.image_index, within_k)
        total = torch.bincount(truth.image_index, minlength=len(truths)).double()
        recall = found / total.clamp(min=1)[:, None]
        return {"pair_recall": recall, "pairs_found": found, "pairs": total}


def _pairs_only(truth: SceneGraph) -> SceneGraph:
    """The true graph with predicate 1 once for each related pair."""
    pairs = truth.triples[:, [0, 2]].unique(dim=0)
    ones = torch.ones_like(pairs[:, 0])
    triples = torch.stack([pairs[:, 0], ones, pairs[:, 1]], 1)
    return SceneGraph(truth.labels, truth.boxes, triples, truth.image_size)


def _bins(scores: Tensor, correct: Tensor) -> Tensor:
    """Number, sum of scores and number of correct triplets by bin: `[B, K] -> [B, BINS, 3]`."""
    inside = scores > -torch.inf
    bins = (scores.clamp(0, 1) * BINS).long().clamp(max=BINS - 1)
    values = torch.stack([torch.ones_like(scores), scores, correct.double()], 2)
    values = torch.where(inside[:, :, None], values, 0.0)
    index = bins[:, :, None].expand_as(values)
    return values.new_zeros(len(scores), BINS, 3).scatter_add(1, index, values)


def _calibration_error(bins: Tensor, beyond: Tensor) -> Tensor:
    """Expected calibration error: `[..., BINS, 3], [...] -> [...]`."""
    count, confidence, correct = bins.unbind(-1)
    error = (correct - confidence).abs().sum(-1) / count.sum(-1)
    return torch.where(beyond > 0, torch.nan, error)


def _f1(precision: Tensor, recall: Tensor) -> Tensor:
    both = precision + recall
    return torch.where(both == 0, both, 2 * precision * recall / both)


def _masked(values: Tensor, counted: Tensor) -> Tensor:
    """Values `[B, ...]` times 0 or 1 of each image."""
    return values * counted.reshape(-1, *[1] * (values.ndim - 1))
