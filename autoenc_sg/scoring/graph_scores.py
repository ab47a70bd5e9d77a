"""Scores of scene graphs: all recalls of all tasks, of the model and of the frequency prior.

PredCls gives the model the true boxes and classes, SGCls the true boxes, SGGen and PhrDet nothing;
the backbone runs once an image. The prior predicts relations of the same objects, with the same
object scores, from their labels alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from autoenc_sg.core.graph_logits import GraphLogits
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.annotation import annotated_graphs
from autoenc_sg.data.base.samples import Batch, GraphDataset
from autoenc_sg.eval import (
    DetectionPrecision,
    Ranges,
    RecallSuite,
    Resampling,
    Task,
    Value,
    frequency_groups,
    with_true_objects,
)
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.model.region_reader import (
    DetectorRegions,
    RegionReader,
    graph_of_detections,
    graph_of_true_boxes,
)
from autoenc_sg.scoring.frequency_prior import FrequencyPrior
from autoenc_sg.scoring.options import DETECTED, EvaluationOptions

ROWS = ("model", "frequency prior")


class GraphScores:
    """Recall of the tasks for the model and for the prior, and AP of the detector.

    Args:
        vocabulary: of the model.
        train: training graphs, for the prior, for zR, and for head, body and tail mR.
        options: tasks and conventions.

    Attributes:
        counts: `[P]` training triples of each predicate.
    """

    def __init__(
        self, vocabulary: Vocabulary, train: GraphDataset, options: EvaluationOptions
    ) -> None:
        self.vocabulary, self.tasks = vocabulary, options.tasks
        triples: list[Tensor] = []
        graphs = _collecting_triples(annotated_graphs(train), triples)
        self.prior = FrequencyPrior.fit(graphs, vocabulary.num_objects, vocabulary.num_predicates)
        training_triples = torch.cat([torch.zeros(0, 3, dtype=torch.int64), *triples])
        self.counts = torch.bincount(training_triples[:, 1], minlength=vocabulary.num_predicates)
        groups = frequency_groups(self.counts)
        self.recall = {
            row: RecallSuite(
                vocabulary.num_predicates,
                options.tasks,
                options.conventions,
                training_triples.unique(dim=0),
                groups,
                per_predicate=True,
                keep_images=options.intervals,
            )
            for row in ROWS
        }
        self.detection = DetectionPrecision()

    @torch.no_grad()
    def update(
        self,
        model: AutoEncoder,
        batch: Batch,
        truths: Sequence[SceneGraph],
        regions: RegionReader | None = None,
    ) -> GraphLogits:
        """Score a batch; returns the model's graphs without given boxes (SGGen).

        Without `regions` the detector runs.
        """
        model.eval()
        regions = regions or DetectorRegions(model.detector)
        graphs = batch.graphs.to(model.device)
        seen = regions.read([image.to(model.device) for image in batch.images], graphs)
        logits = graph_of_detections(model, seen.regions(seen.detected_rows), seen.maps)
        self.detection.update(seen.detections.split(len(batch)), truths)
        self._update_recall(logits.predictions(), truths, [t for t in self.tasks if t in DETECTED])
        true_box_tasks: tuple[tuple[Task, Tensor | None], ...] = (
            ("SGCls", None),
            ("PredCls", graphs.labels),
        )
        for task, labels in true_box_tasks:
            if task in self.tasks:
                of_truth = graph_of_true_boxes(model, seen, labels)
                self._update_recall(of_truth.predictions(), truths, [task])
        return logits

    def _update_recall(
        self,
        predictions: Sequence[GraphPrediction],
        truths: Sequence[SceneGraph],
        tasks: Sequence[Task],
    ) -> None:
        if not tasks:
            return
        predictions = [
            with_true_objects(p.to("cpu"), t, tasks[0]) for p, t in zip(predictions, truths)
        ]
        self.recall["model"].update(predictions, truths, tasks)
        self.recall["frequency prior"].update(
            [self.prior.predict(p) for p in predictions], truths, tasks
        )

    def numbers(self) -> dict[str, dict[Task, dict[str, Value]]]:
        """By row, task and name; see `RecallSuite.compute`."""
        return {row: suite.compute() for row, suite in self.recall.items()}

    def intervals(self, resampling: Resampling) -> dict[str, dict[Task, Ranges]]:
        """By row, task and name; see `RecallSuite.intervals`. Needs the option `intervals`."""
        return {row: suite.intervals(resampling) for row, suite in self.recall.items()}

    def by_name(self, values: Sequence[float]) -> dict[str, float]:
        """Values of predicates 1..P - 1 by their names."""
        return dict(zip(self.vocabulary.predicates[1:], values))

    def class_precision(self) -> dict[str, float]:
        """AP50 of the detections by the name of the class, of classes with a true box."""
        return {self.vocabulary.objects[c]: v for c, v in self.detection.by_class().items()}

    def training_counts(self) -> Mapping[str, int]:
        """Training triples by predicate name."""
        return dict(zip(self.vocabulary.predicates[1:], self.counts[1:].tolist()))


def _collecting_triples(
    graphs: Iterable[SceneGraph], triples: list[Tensor]
) -> Iterator[SceneGraph]:
    """Yield the graphs, and append their label triples `[M, 3]` to a list."""
    for graph in graphs:
        labels = graph.labels[graph.triples[:, [0, 2]]]
        triples.append(torch.stack([labels[:, 0], graph.triples[:, 1], labels[:, 1]], 1))
        yield graph
