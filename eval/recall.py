"""R@K, mR@K and zR@K of scene graphs, with graph constraint and without, as one metric."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any

import torch
import torchmetrics
from torch import Tensor

from autoenc_sg.config.recall import Average, RecallConventions
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction
from autoenc_sg.eval.compute_groups import prevent_compute_groups
from autoenc_sg.eval.matching import Matches, match
from autoenc_sg.eval.ranking import RankedTriplets, rank_triplets, triplet_codes, with_true_objects

_NAMES = (("R{}", "mR{}", "zR{}", "F1{}"), ("ngR{}", "ng-mR{}", "ng-zR{}", "ng-F1{}"))
_PER_PREDICATE = "per predicate"


def seen_triplets(graphs: Iterable[SceneGraph]) -> Tensor:
    """The distinct (subject label, predicate, object label) of some graphs: `[S, 3]` int64."""
    rows = [
        torch.stack([g.labels[g.triples[:, 0]], g.triples[:, 1], g.labels[g.triples[:, 2]]], 1)
        for g in graphs
    ]
    return torch.cat(rows).unique(dim=0) if rows else torch.zeros(0, 3, dtype=torch.int64)


def frequency_groups(counts: Tensor) -> dict[str, tuple[int, ...]]:
    """Head, body and tail: predicates by descending count, cut at a third and two thirds.

    Equal counts are ordered by id. VG150's 50 predicates are 16 head, 17 body and 17 tail. With
    fewer than three predicates a group is missing.

    Shapes: `counts [P]`, training triples of each predicate; entry 0 is ignored.
    """
    order = (counts[1:].argsort(descending=True, stable=True) + 1).tolist()
    cuts = [0, len(order) // 3, 2 * len(order) // 3, len(order)]
    parts = zip(("head", "body", "tail"), cuts, cuts[1:])
    return {name: tuple(order[first:last]) for name, first, last in parts if first < last}


class TripletRecall(torchmetrics.Metric):
    """Recall of true triples among the best predicted triplets of each image.

    `compute()` gives fractions in [0, 1] under these names, for each K; without graph constraint,
    i.e. with any number of predicates per pair, as `ngR@50`, `ng-mR@50`, `ng-zR@50` and `ng-F1@50`:

    - `R@K`: true triples found among the first K triplets (macro: mean over images);
    - `mR@K`: the same for each predicate (macro: mean over the images that have it), averaged over
      predicates;
    - `F1@K`: harmonic mean of the two;
    - `zR@K`: R@K of the true triples whose labels are not among `seen`, over images that have one;
    - `<group> mR@K`: mR@K over a group of predicates, e.g. head, body and tail;
    - `R@K per predicate`: `[P - 1]`, entry k is predicate k + 1, if asked for.

    A mean over nothing (no image, no unseen triple) is NaN. The state has sums and counts only, so
    memory is constant; they are summed over processes.

    Example:
        >>> metric = TripletRecall(num_predicates=51)
        >>> metric.update(predictions, truths)  # doctest: +SKIP
        >>> metric.compute()["R@50"]  # doctest: +SKIP

    Args:
        num_predicates: P, with the reserved 0.
        conventions: how to count.
        seen: `[S, 3]` labels of the training triples, see `seen_triplets`; None: no zR.
        groups: names and predicate ids of groups for `<group> mR@K`.
        per_predicate: report the recall of each predicate too.
        sync_on_compute: gather the states of all processes; False if only one process computes.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    images: Tensor
    recall: Tensor
    predicate_images: Tensor
    predicate_recall: Tensor
    predicate_found: Tensor
    predicate_total: Tensor
    unseen_images: Tensor
    unseen_recall: Tensor
    unseen_found: Tensor
    unseen_total: Tensor

    def __init__(
        self,
        num_predicates: int,
        conventions: RecallConventions | None = None,
        seen: Tensor | None = None,
        groups: Mapping[str, Sequence[int]] | None = None,
        per_predicate: bool = False,
        sync_on_compute: bool = True,
    ) -> None:
        super().__init__(sync_on_compute=sync_on_compute)
        if num_predicates < 2:
            raise bad_input("num_predicates", ">= 2, with the reserved 0", num_predicates)
        self.conventions = conventions or RecallConventions()
        self.num_predicates = num_predicates
        self.seen = None if seen is None else triplet_codes(*seen.unbind(1))
        self.groups = {name: tuple(ids) for name, ids in (groups or {}).items()}
        for name, ids in self.groups.items():
            if not ids or not 1 <= min(ids) <= max(ids) < num_predicates:
                raise bad_input(f"group {name}", f"predicate ids 1..{num_predicates - 1}", ids)
        self.per_predicate = per_predicate
        sums = (2, len(self.conventions.ks))  # graph constraint or not, K
        for name, shape in {
            "images": (),
            "recall": sums,
            "predicate_images": (num_predicates,),
            "predicate_recall": (*sums, num_predicates),
            "predicate_found": (*sums, num_predicates),
            "predicate_total": (num_predicates,),
            "unseen_images": (),
            "unseen_recall": sums,
            "unseen_found": sums,
            "unseen_total": (),
        }.items():
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        prevent_compute_groups(self)

    def update(
        self, predictions: Sequence[GraphPrediction] | RankedTriplets, truths: Sequence[SceneGraph]
    ) -> None:
        """Count some images.

        Args:
            predictions: one an image; or `rank(predictions, truths)` of another metric with the
                same K, order and `ng_` conventions, so that SGGen and PhrDet share one ranking.
            truths: the true graph of each, in the same order.

        Raises:
            InputError: numbers of images or predicates differ; and as `rank_triplets` and
                `with_true_objects`.
        """
        if len(predictions) != len(truths):
            raise bad_input(
                "predictions", f"one for each of {len(truths)} graphs", len(predictions)
            )
        if len(truths) == 0:
            return
        self._check_truths(truths)
        if not isinstance(predictions, RankedTriplets):
            predictions = self.rank(predictions, truths)
        if predictions.depth < max(self.conventions.ks):
            raise bad_input("ranking", f"depth >= {max(self.conventions.ks)}", predictions.depth)
        self._count(match(predictions, truths, self.conventions))

    def rank(
        self, predictions: Sequence[GraphPrediction], truths: Sequence[SceneGraph]
    ) -> RankedTriplets:
        """The ranking that `update` matches: `rank_triplets` after `with_true_objects`."""
        columns = self.num_predicates - 1
        for p in predictions:
            if p.predicate_scores.shape[1] != columns:
                got = p.predicate_scores.shape[1]
                raise bad_input(
                    "predicate scores", f"{columns} columns (no relation left out)", got
                )
        task = self.conventions.task
        return rank_triplets(
            [with_true_objects(p, t, task) for p, t in zip(predictions, truths)],
            max(self.conventions.ks),
            self.conventions.ng_per_image_limit or None,
            self.conventions.ng_predicates_per_pair or None,
            self.conventions.order,
        )

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., dict[str, Tensor]]:
        """Torchmetrics' wrapper makes scalars of tensors of one element: lists stay lists."""
        wrapped = super()._wrap_compute(compute)

        @wraps(compute)
        def with_lists() -> dict[str, Tensor]:
            return {
                name: value.reshape(-1) if name.endswith(_PER_PREDICATE) else value
                for name, value in wrapped().items()
            }

        return with_lists

    def compute(self) -> dict[str, Tensor]:
        """All metrics by name, see the class."""
        results: dict[str, Tensor] = {}
        for average in self.conventions.averages:
            suffix = "" if average == self.conventions.averages[0] else f"/{average}"
            for free in (0, 1):
                for column, k in enumerate(self.conventions.ks):
                    named = self._named(average, free, column)
                    results |= {name.format(f"@{k}{suffix}"): v for name, v in named.items()}
        return results

    def _named(self, average: Average, free: int, column: int) -> dict[str, Tensor]:
        """The metrics of one average, graph constraint (`free` 0) or not, and K; `{}` for the K."""
        if average == "macro":
            recall = self.recall[free, column] / self.images
            each = self.predicate_recall[free, column] / self.predicate_images
            unseen = self.unseen_recall[free, column] / self.unseen_images
        else:
            recall = self.predicate_found[free, column].sum() / self.predicate_total.sum()
            each = self.predicate_found[free, column] / self.predicate_total
            unseen = self.unseen_found[free, column] / self.unseen_total
        r_name, mr_name, zr_name, f1_name = _NAMES[free]
        mean = self._mean_recall(each, range(1, self.num_predicates))
        named = {r_name: recall, mr_name: mean, f1_name: _harmonic_mean(recall, mean)}
        if self.seen is not None:
            named[zr_name] = unseen
        for group, ids in self.groups.items():
            named[f"{group} {mr_name}"] = self._mean_recall(each, ids)
        if self.per_predicate:
            named[f"{r_name} {_PER_PREDICATE}"] = each[1:]
        return named

    def _mean_recall(self, each: Tensor, predicates: Sequence[int]) -> Tensor:
        """Mean over some predicates; those that no true triple has are NaN in `each [P]`."""
        chosen = each[torch.tensor(predicates, device=each.device)]
        if self.conventions.absent_predicates == "skip" or self.predicate_total.sum() == 0:
            return chosen.nanmean()
        return chosen.nan_to_num(0.0).mean()

    def _count(self, matches: Matches) -> None:
        """Add the ranks of a batch to the sums."""
        truth, scored = matches.truth, torch.ones_like(matches.has_pairs)
        if self.conventions.images_without_predictions == "skip":
            scored = matches.has_pairs
        rows = scored[truth.image_index]
        image, predicate = truth.image_index[rows], truth.predicates[rows]
        ranks = torch.stack([matches.ranks, matches.ng_ranks], 1)[rows]
        ks = ranks.new_tensor(self.conventions.ks)
        hits = (ranks[:, :, None] < ks).double()  # [T, 2, K]

        recall, total = _recall_by(hits, image, truth.num_images)
        counted = scored if self.conventions.images_without_relations == "zero" else total > 0
        self.recall += recall.sum(0).to(self.device)
        self.images += counted.sum().to(self.device)

        size = self.num_predicates
        recall, total = _recall_by(hits, image * size + predicate, truth.num_images * size)
        self.predicate_recall += _sum_images(recall, size).to(self.device)
        self.predicate_images += (total > 0).reshape(-1, size).sum(0).to(self.device)
        by_predicate = hits.new_zeros(size, *hits.shape[1:]).index_add(0, predicate, hits)
        self.predicate_found += by_predicate.movedim(0, -1).to(self.device)
        self.predicate_total += total.reshape(-1, size).sum(0).to(self.device)

        if self.seen is not None:
            unseen = ~torch.isin(truth.codes[rows], self.seen.to(rows.device))
            recall, total = _recall_by(hits[unseen], image[unseen], truth.num_images)
            self.unseen_recall += recall.sum(0).to(self.device)
            self.unseen_images += (total > 0).sum().to(self.device)
            self.unseen_found += hits[unseen].sum(0).to(self.device)
            self.unseen_total += total.sum().to(self.device)

    def _check_truths(self, truths: Sequence[SceneGraph]) -> None:
        if self.conventions.images_without_relations == "refuse":
            for i, truth in enumerate(truths):
                if len(truth.triples) == 0:
                    raise bad_input(f"true graph {i}", "one or more relations", 0)
        most = max((int(t.triples[:, 1].max()) for t in truths if len(t.triples)), default=0)
        if most >= self.num_predicates:
            raise bad_input("true predicates", f"ids 1..{self.num_predicates - 1}", most)


def _recall_by(hits: Tensor, group: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """Recall in each group, 0 for an empty one, and the number of true triples in each.

    Shapes: `hits [T, 2, K]`, `group [T] -> [G, 2, K], [G]`.
    """
    total = torch.bincount(group, minlength=num_groups)
    sums = hits.new_zeros(num_groups, *hits.shape[1:]).index_add(0, group, hits)
    return sums / total.clamp(min=1)[:, None, None], total


def _sum_images(values: Tensor, size: int) -> Tensor:
    """`[B * P, 2, K] -> [2, K, P]`."""
    return values.reshape(-1, size, *values.shape[1:]).sum(0).movedim(0, -1)


def _harmonic_mean(first: Tensor, second: Tensor) -> Tensor:
    both = first + second
    return torch.where(both == 0, both, 2 * first * second / both)
