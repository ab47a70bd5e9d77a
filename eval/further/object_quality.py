"""Instance recall and predicate rank: what a graph has of the true objects and predicates.

Both are of Lorenz et al. 2024, "A Review and Efficient Implementation of Scene Graph Generation
Metrics" (SGBench).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from autoenc_sg.config.recall import RecallConventions
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction
from autoenc_sg.eval.base.image_sums import ImageSumMetric
from autoenc_sg.eval.further.objects import distinct_triples, object_matches
from autoenc_sg.eval.ranking import check_predictions, with_true_objects


class ObjectQuality(ImageSumMetric):
    """Instance recall and predicate rank.

    - `InstR`: fraction of the true objects that a detection is (`objects.object_matches`), whether
      or not they are related. Macro: mean over the images that count in R@K and have an object.
    - `PRank`: for a true triple whose pair was predicted, the number of other predicates that
      precede the true one among the triplets of that pair, from 0 (best) to P - 2. Triplets are
      ranked without graph constraint and without a limit; of several predicted pairs that are
      the same true pair the first place of each predicate counts. Triples without such a pair do
      not count. Macro: mean over the triples of each predicate in an image, then over all these;
      micro: mean over all triples. Repeated true triples count once.

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
        names = ("images", "recall", "found", "total", "cells", "cell_ranks", "triples", "ranks")
        super().__init__(dict.fromkeys(names, ()), keep_images, sync_on_compute)
        self.conventions = conventions or RecallConventions()

    def update(self, predictions: Sequence[GraphPrediction], truths: Sequence[SceneGraph]) -> None:
        """Count some images.

        Raises:
            InputError: see `rank_triplets` and `with_true_objects`.
        """
        if len(truths) == 0:
            return
        check_predictions(predictions)
        rows = [self._image(p, t) for p, t in zip(predictions, truths)]
        self.add_images(
            {
                n: torch.tensor([r.get(n, 0.0) for r in rows], dtype=torch.float64)
                for n in self.shapes
            }
        )

    def figures(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All metrics by name, see the class."""
        results: dict[str, Tensor] = {}
        for average in self.conventions.averages:
            suffix = "" if average == self.conventions.averages[0] else f"/{average}"
            macro = average == "macro"
            recall = ("recall", "images") if macro else ("found", "total")
            rank = ("cell_ranks", "cells") if macro else ("ranks", "triples")
            results[f"InstR{suffix}"] = sums[recall[0]] / sums[recall[1]]
            results[f"PRank{suffix}"] = sums[rank[0]] / sums[rank[1]]
        return results

    def _image(self, prediction: GraphPrediction, truth: SceneGraph) -> dict[str, float]:
        """The addends of one image."""
        c = self.conventions
        if c.images_without_predictions == "skip" and len(prediction.pairs) == 0:
            return {}
        if c.images_without_relations == "skip" and len(truth.triples) == 0:
            return {}
        prediction = with_true_objects(prediction, truth, c.task)
        matches = object_matches(prediction, truth, c)
        found, total = float(matches.any(0).sum()), float(len(truth))
        row = {"found": found, "total": total, "images": float(total > 0)}
        row["recall"] = found / max(total, 1)
        return row | _ranks(prediction, distinct_triples(truth), matches)


def _ranks(prediction: GraphPrediction, truth: SceneGraph, matches: Tensor) -> dict[str, float]:
    """The ranks of the true predicates of one image, summed."""
    triples = truth.triples.to(matches.device)
    if len(triples) == 0 or len(prediction.pairs) == 0:
        return {}
    pairs, of_triple = triples[:, [0, 2]].unique(dim=0, return_inverse=True)
    scores, first = _pair_predicates(prediction, pairs, matches)
    predicates = triples[:, 1] - 1
    inside = predicates < scores.shape[1]
    rows, predicates = of_triple[inside], predicates[inside]
    own, place = scores[rows, predicates], first[rows, predicates]
    columns = torch.arange(scores.shape[1], device=rows.device)
    earlier = first[rows] < place[:, None]
    earlier |= (first[rows] == place[:, None]) & (columns < predicates[:, None])
    before = (scores[rows] > own[:, None]) | ((scores[rows] == own[:, None]) & earlier)
    predicted = own > -torch.inf
    ranks, kinds = before.sum(1)[predicted].double(), predicates[predicted]
    number = torch.bincount(kinds).clamp(min=1)
    means = torch.bincount(kinds, weights=ranks) / number
    return {
        "ranks": float(ranks.sum()),
        "triples": float(len(ranks)),
        "cell_ranks": float(means.sum()),
        "cells": float(len(kinds.unique())),
    }


def _pair_predicates(
    prediction: GraphPrediction, pairs: Tensor, matches: Tensor
) -> tuple[Tensor, Tensor]:
    """For each true pair, the best score of each predicate and the first predicted pair with it.

    Shapes: `pairs [G, 2], matches [N, T] -> [G, P - 1]` float64, -inf if the pair was not
    predicted; `[G, P - 1]` int64.
    """
    subjects, objects = prediction.pairs.unbind(1)
    is_pair = matches[subjects][:, pairs[:, 0]] & matches[objects][:, pairs[:, 1]]
    rows, of_pair = is_pair.nonzero(as_tuple=True)
    scores = prediction.scores.double()
    values = (scores[subjects] * scores[objects])[rows, None]
    values = values * prediction.predicate_scores[rows].double()
    shape = (len(pairs), values.shape[1])
    index = of_pair[:, None].expand_as(values)
    best = values.new_full(shape, -torch.inf).scatter_reduce(0, index, values, "amax")
    place = rows[:, None].expand_as(values)
    place = place.masked_fill(values < best[of_pair], len(subjects))
    first = place.new_full(shape, len(subjects)).scatter_reduce(0, index, place, "amin")
    return best, first
