"""Triplet and pair recall of several tasks on the same images; each ranking is computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from autoenc_sg.config.recall import RecallConventions, Resampling, Task
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction
from autoenc_sg.eval.base.image_sums import ImageSumMetric
from autoenc_sg.eval.base.resampling import comparisons, intervals
from autoenc_sg.eval.further.object_quality import ObjectQuality
from autoenc_sg.eval.further.triplet_quality import TripletQuality
from autoenc_sg.eval.pairs import PairRecall
from autoenc_sg.eval.ranking import RankedTriplets
from autoenc_sg.eval.recall import TripletRecall

Value = float | list[float]
Ranges = dict[str, list[Value]]
METRICS = (
    *("R", "mR", "F1", "zR", "A", "pair R", "head mR", "body mR", "tail mR"),
    *("ngR", "ng-mR", "ng-F1", "ng-zR", "head ng-mR", "body ng-mR", "tail ng-mR"),
)
DETECTING: tuple[Task, ...] = (
    "SGGen",
    "PhrDet",
)  # both rank the detections, so they share one ranking


def table_names(ks: Sequence[int]) -> list[str]:
    """Metrics that a table may show, in its order: all but the lists for each predicate."""
    averages = ("", "/macro", "/micro")
    return [f"{kind}@{k}{average}" for average in averages for kind in METRICS for k in ks]


def further_names(conventions: RecallConventions) -> list[str]:
    """Metrics of `metrics="all"` that a table may show beside `table_names`, in its order."""
    relative = ("R-rel", "mR-rel", "F1-rel", "zR-rel", "ngR-rel", "ng-mR-rel", "ng-F1-rel")
    at_k = [f"{kind}@{k}" for kind in ("wR", "ng-wR", "PR") for k in conventions.ks]
    at_k += ["wR-rel", "ng-wR-rel"]
    scored = [f"{x}>={t:g}" for x in ("precision", "recall", "F1") for t in conventions.thresholds]
    names = [*relative, *at_k, "InstR", "PRank", *scored, "ECE"]
    return [f"{name}{average}" for average in ("", "/macro", "/micro") for name in names]


class RecallSuite:
    """`TripletRecall` and `PairRecall` for each task; with `metrics="all"` also the further ones.

    Args:
        num_predicates: P, with the reserved 0.
        tasks: the tasks to score.
        conventions: how to count; its `task` is ignored.
        seen: `[S, 3]` labels of the training triples, for zR; None: no zR.
        groups: predicates of `<group> mR@K`.
        per_predicate: the recall of each predicate too.
        sync_on_compute: gather the states of all processes; False if only one process computes.
        keep_images: keep the addends of each image, for intervals and comparisons.
    """

    def __init__(
        self,
        num_predicates: int,
        tasks: Sequence[Task],
        conventions: RecallConventions | None = None,
        seen: Tensor | None = None,
        groups: Mapping[str, Sequence[int]] | None = None,
        per_predicate: bool = False,
        sync_on_compute: bool = True,
        keep_images: bool = False,
    ) -> None:
        by_task = {task: replace(conventions or RecallConventions(), task=task) for task in tasks}
        self.triplets = {
            task: TripletRecall(
                num_predicates, c, seen, groups, per_predicate, sync_on_compute, keep_images
            )
            for task, c in by_task.items()
        }
        self.pairs = {
            task: PairRecall(c, sync_on_compute, keep_images) for task, c in by_task.items()
        }
        extended = {t: c for t, c in by_task.items() if c.metrics == "all"}
        self.objects = {
            t: ObjectQuality(c, sync_on_compute, keep_images) for t, c in extended.items()
        }
        self.quality = {
            t: TripletQuality(c, sync_on_compute, keep_images) for t, c in extended.items()
        }

    def update(
        self,
        predictions: Sequence[GraphPrediction],
        truths: Sequence[SceneGraph],
        tasks: Sequence[Task] | None = None,
    ) -> None:
        """Count some images for these tasks (default: all).

        Raises:
            InputError: see `TripletRecall.update`.
        """
        if len(truths) == 0:
            return
        chosen = list(self.triplets if tasks is None else tasks)
        shared: RankedTriplets | None = None
        for task in chosen:
            metric = self.triplets[task]
            ranked = shared if task in DETECTING else None
            ranked = metric.rank(predictions, truths) if ranked is None else ranked
            shared = ranked if task in DETECTING else shared
            metric.update(ranked, truths)
            self.pairs[task].update(predictions, truths)
            if task in self.quality:
                self.quality[task].update(ranked, truths)
                self.objects[task].update(predictions, truths)

    def intervals(self, resampling: Resampling) -> dict[Task, Ranges]:
        """95 % bootstrap intervals of all figures over the images; see `resampling.intervals`.

        Returns:
            `[low, high]` by task and name, of lists `[lows, highs]`.
        """
        return self._by_task(intervals(self._metrics(), resampling))

    def compare(self, other: RecallSuite, resampling: Resampling) -> dict[Task, Ranges]:
        """The figures of this suite minus those of another on the same images.

        Returns:
            `[difference, low, high, p]` by task and name; see `resampling.comparisons`.
        """
        return self._by_task(comparisons(self._metrics(), other._metrics(), resampling))

    def _metrics(self) -> list[ImageSumMetric]:
        return [metric for _, metric in self._with_tasks()]

    def _with_tasks(self) -> list[tuple[Task, ImageSumMetric]]:
        kinds = (self.triplets, self.pairs, self.objects, self.quality)
        return [(task, metric) for kind in kinds for task, metric in kind.items()]

    def _by_task(self, of_metrics: Sequence[Mapping[str, Tensor]]) -> dict[Task, Ranges]:
        results: dict[Task, Ranges] = {task: {} for task in self.triplets}
        for (task, _), values in zip(self._with_tasks(), of_metrics):
            results[task] |= {name: value.tolist() for name, value in values.items()}
        return results

    def compute(self) -> dict[Task, dict[str, Value]]:
        """Fractions by task and name, NaN for a mean over nothing; lists for each predicate."""
        results: dict[Task, dict[str, Value]] = {task: {} for task in self.triplets}
        for task, metric in self._with_tasks():
            results[task] |= {name: value.tolist() for name, value in metric.compute().items()}
        return results
