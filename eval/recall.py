"""R@K, mR@K and zR@K of scene graphs, with graph constraint and without, as one metric."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from autoenc_sg.config.recall import Average, RecallConventions
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction
from autoenc_sg.eval.base.image_sums import ImageSumMetric
from autoenc_sg.eval.further.objects import with_identities
from autoenc_sg.eval.matching import Matches, match
from autoenc_sg.eval.ranking import RankedTriplets, rank_triplets, triplet_codes, with_true_objects

_NAMES = (("R{}", "mR{}", "zR{}", "F1{}"), ("ngR{}", "ng-mR{}", "ng-zR{}", "ng-F1{}"))
_PER_PREDICATE = "per predicate"
_BY_PREDICATE = ("predicate_recall", "predicate_found")


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


class TripletRecall(ImageSumMetric):
    """Recall of true triples among the best predicted triplets of each image.

    `compute()` gives fractions in [0, 1] under these names, for each K; without graph constraint,
    i.e. with any number of predicates per pair, as `ngR@50`, `ng-mR@50`, `ng-zR@50` and `ng-F1@50`:

    - `R@K`: true triples found among the first K triplets (macro: mean over images);
    - `mR@K`: the same for each predicate (macro: mean over the images that have it), averaged over
      predicates;
    - `F1@K`: harmonic mean of the two;
    - `zR@K`: R@K of the true triples whose labels are not among `seen`, over images that have one;
    - `<group> mR@K`: mR@K over a group of predicates, e.g. head, body and tail;
    - `R@K per predicate`: `[P - 1]`, entry k is predicate k + 1, if asked for;
    - with `metrics="all"`, `R-rel`, `mR-rel` and so on: the same with K = the number of true
      triples of the image (SGG-Benchmark's relative recall), and `wR@K`: the recall of each
      predicate p averaged with weights n_p / sum n, n_p its true triples (its weighted recall).

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
        keep_images: keep the addends of each image, for intervals and comparisons.
    """

    def __init__(
        self,
        num_predicates: int,
        conventions: RecallConventions | None = None,
        seen: Tensor | None = None,
        groups: Mapping[str, Sequence[int]] | None = None,
        per_predicate: bool = False,
        sync_on_compute: bool = True,
        keep_images: bool = False,
    ) -> None:
        if num_predicates < 2:
            raise bad_input("num_predicates", ">= 2, with the reserved 0", num_predicates)
        conventions = conventions or RecallConventions()
        columns = len(conventions.ks) + (conventions.metrics == "all")
        shapes = _shapes(columns, num_predicates)
        super().__init__(shapes, keep_images, sync_on_compute)
        self.conventions = conventions
        self.num_predicates = num_predicates
        self.seen = None if seen is None else triplet_codes(*seen.unbind(1))
        self.groups = {name: tuple(ids) for name, ids in (groups or {}).items()}
        for name, ids in self.groups.items():
            if not ids or not 1 <= min(ids) <= max(ids) < num_predicates:
                raise bad_input(f"group {name}", f"predicate ids 1..{num_predicates - 1}", ids)
        self.per_predicate = per_predicate

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
        if predictions.depth < self._depth(truths):
            raise bad_input("ranking", f"depth >= {self._depth(truths)}", predictions.depth)
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
            [
                with_identities(with_true_objects(p, t, task), t, self.conventions)
                for p, t in zip(predictions, truths)
            ],
            self._depth(truths),
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

    def figures(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All metrics by name, see the class."""
        results: dict[str, Tensor] = {}
        for average in self.conventions.averages:
            suffix = "" if average == self.conventions.averages[0] else f"/{average}"
            for free in (0, 1):
                for column, end in enumerate(self._ends()):
                    named = self._named(sums, average, free, column)
                    results |= {name.format(f"{end}{suffix}"): v for name, v in named.items()}
        return results

    def _ends(self) -> list[str]:
        """The ends of names: `@K`, and `-rel` for as many triplets as the image has relations."""
        relative = ["-rel"] if self.conventions.metrics == "all" else []
        return [f"@{k}" for k in self.conventions.ks] + relative

    def _depth(self, truths: Sequence[SceneGraph]) -> int:
        most = max(self.conventions.ks)
        if self.conventions.metrics == "all":
            return max(most, *(len(truth.triples) for truth in truths))
        return most

    def _named(
        self, sums: Mapping[str, Tensor], average: Average, free: int, column: int
    ) -> dict[str, Tensor]:
        """The metrics of one average, graph constraint (`free` 0) or not, and K; `{}` for the K."""
        at_k = {name: sums[name][..., free, column] for name in ("recall", "unseen_recall")}
        at_k["unseen_found"] = sums["unseen_found"][..., free, column]
        predicates = {n: sums[n][..., free, column, :] for n in _BY_PREDICATE}
        if average == "macro":
            recall = at_k["recall"] / sums["images"]
            each = predicates["predicate_recall"] / sums["predicate_images"]
            unseen = at_k["unseen_recall"] / sums["unseen_images"]
        else:
            recall = predicates["predicate_found"].sum(-1) / sums["predicate_total"].sum(-1)
            each = predicates["predicate_found"] / sums["predicate_total"]
            unseen = at_k["unseen_found"] / sums["unseen_total"]
        r_name, mr_name, zr_name, f1_name = _NAMES[free]
        empty = sums["predicate_total"].sum(-1) == 0
        mean = self._mean_recall(each, empty, range(1, self.num_predicates))
        named = {r_name: recall, mr_name: mean, f1_name: _harmonic_mean(recall, mean)}
        if self.conventions.metrics == "all":
            share = sums["predicate_total"] / sums["predicate_total"].sum(-1, keepdim=True)
            weighted = (each.nan_to_num(0.0) * share).sum(-1)
            named["ng-wR{}" if free else "wR{}"] = weighted
        if self.seen is not None:
            named[zr_name] = unseen
        for group, ids in self.groups.items():
            named[f"{group} {mr_name}"] = self._mean_recall(each, empty, ids)
        if self.per_predicate:
            named[f"{r_name} {_PER_PREDICATE}"] = each[..., 1:]
        return named

    def _mean_recall(self, each: Tensor, empty: Tensor, predicates: Sequence[int]) -> Tensor:
        """Mean over some predicates; those that no true triple has are NaN in `each [..., P]`.

        `empty [...]`: no predicate has a true triple.
        """
        chosen = each[..., torch.tensor(predicates, device=each.device)]
        if self.conventions.absent_predicates == "skip":
            return chosen.nanmean(-1)
        return torch.where(empty, chosen.nanmean(-1), chosen.nan_to_num(0.0).mean(-1))

    def _count(self, matches: Matches) -> None:
        """Add the ranks of a batch to the sums."""
        truth, scored = matches.truth, torch.ones_like(matches.has_pairs)
        if self.conventions.images_without_predictions == "skip":
            scored = matches.has_pairs
        rows = scored[truth.image_index]
        image, predicate = truth.image_index[rows], truth.predicates[rows]
        ranks = torch.stack([matches.ranks, matches.ng_ranks], 1)[rows]
        ks = self._limits(image, truth.num_images)
        hits = (ranks[:, :, None] < ks).double()  # [T, 2, K]

        found, total = _sums_by(hits, image, truth.num_images)
        counted = scored if self.conventions.images_without_relations == "zero" else total > 0
        addends = {"recall": _ratio(found, total), "images": counted.double()}

        size = self.num_predicates
        cells = image * size + predicate
        found, total = _sums_by(hits, cells, truth.num_images * size)
        addends["predicate_recall"] = _by_image(_ratio(found, total), size)
        addends["predicate_found"] = _by_image(found, size)
        addends["predicate_total"] = total.reshape(-1, size)
        addends["predicate_images"] = (total > 0).reshape(-1, size).double()

        if self.seen is not None:
            unseen = ~torch.isin(truth.codes[rows], self.seen.to(rows.device))
            found, total = _sums_by(hits[unseen], image[unseen], truth.num_images)
            addends |= {"unseen_found": found, "unseen_total": total}
            addends["unseen_recall"] = _ratio(found, total)
            addends["unseen_images"] = (total > 0).double()
        self.add_images(addends)

    def _limits(self, image: Tensor, num_images: int) -> Tensor:
        """The K of each column, `[K]`, or `[T, 1, K + 1]` with the image's number of relations."""
        ks = image.new_tensor(self.conventions.ks)
        if self.conventions.metrics == "recall":
            return ks
        own = torch.bincount(image, minlength=num_images)[image]
        return torch.cat([ks.expand(len(image), -1), own[:, None]], 1)[:, None]

    def _check_truths(self, truths: Sequence[SceneGraph]) -> None:
        if self.conventions.images_without_relations == "refuse":
            for i, truth in enumerate(truths):
                if len(truth.triples) == 0:
                    raise bad_input(f"true graph {i}", "one or more relations", 0)
        most = max((int(t.triples[:, 1].max()) for t in truths if len(t.triples)), default=0)
        if most >= self.num_predicates:
            raise bad_input("true predicates", f"ids 1..{self.num_predicates - 1}", most)


def _shapes(columns: int, size: int) -> dict[str, tuple[int, ...]]:
    """Of the sums: `columns` numbers of triplets (K), `size` predicates with the reserved 0."""
    each = (2, columns)  # graph constraint or not, K
    return {
        "images": (),
        "recall": each,
        "predicate_images": (size,),
        "predicate_recall": (*each, size),
        "predicate_found": (*each, size),
        "predicate_total": (size,),
        "unseen_images": (),
        "unseen_recall": each,
        "unseen_found": each,
        "unseen_total": (),
    }


def _sums_by(hits: Tensor, group: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """The hits and the number of true triples of each group, float64.

    Shapes: `hits [T, 2, K]`, `group [T] -> [G, 2, K], [G]`.
    """
    total = torch.bincount(group, minlength=num_groups).double()
    return hits.new_zeros(num_groups, *hits.shape[1:]).index_add(0, group, hits), total


def _ratio(found: Tensor, total: Tensor) -> Tensor:
    """Recall of each group, 0 for an empty one: `[G, 2, K], [G] -> [G, 2, K]`."""
    return found / total.clamp(min=1)[:, None, None]


def _by_image(values: Tensor, size: int) -> Tensor:
    """`[B * P, 2, K] -> [B, 2, K, P]`."""
    return values.reshape(-1, size, *values.shape[1:]).movedim(1, -1)


def _harmonic_mean(first: Tensor, second: Tensor) -> Tensor:
    both = first + second
    return torch.where(both == 0, both, 2 * first * second / both)
