"""Scoring anybody's predictions: two files in, every recall out, in one pass over the predictions.

Memory: the true graphs, a batch of predictions, and counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction
from autoenc_sg.eval import (
    RecallSuite,
    Task,
    Value,
    frequency_groups,
    table_names,
)
from autoenc_sg.scoring.options import ScoreOptions
from autoenc_sg.scoring.prediction_formats import open_predictions, resized_size
from autoenc_sg.scoring.prediction_jsonl import (
    Entry,
    ImageId,
    Record,
    Truth,
    read_truths,
    repeated,
    training_triples,
)
from autoenc_sg.scoring.results import write_numbers
from autoenc_sg.visualization.progress import Reporter
from autoenc_sg.visualization.tables import Cell, Table

_BATCH = 16


@dataclass(frozen=True)
class Scores:
    """What was found.

    Attributes:
        tasks: fractions in [0, 1] by task and name; NaN for a mean over nothing.
        notes: what one should know of them, a sentence each.
    """

    tasks: Mapping[Task, Mapping[str, Value]]
    notes: Sequence[str]

    def write_json(self, path: Path) -> None:
        """`{"<task>": {"R@20": ...}}`, NaN as null; whole or not at all."""
        write_numbers(path, self.tasks)

    def table(self, ks: Sequence[int]) -> Table:
        """Recalls with graph constraint and without (ng), a column for each task."""
        known = [n for n in table_names(ks) if any(n in values for values in self.tasks.values())]
        rows: list[list[Cell]] = [
            [name, *(_number(values.get(name)) for values in self.tasks.values())] for name in known
        ]
        return Table("Recall (fractions)", ["", *self.tasks], rows)


def score_files(
    predictions: Path, truth: Path, options: ScoreOptions, reporter: Reporter | None = None
) -> Scores:
    """Score a file of predictions against a file of true graphs.

    Raises:
        InputError: a file cannot be read, a truth is wrong, or a prediction is and `skip_invalid`
            is off.
    """
    truths = read_truths(truth)
    if options.conventions.images_without_relations == "refuse":
        _refuse_without_relations(truths)
    training = None if options.training is None else training_triples(options.training)
    tally = _Tally(truths, options, training)
    entries = open_predictions(
        predictions, options.format, list(truths), options.allow_pickle, options.data_info
    )
    if reporter is None:
        return tally.score(entries)
    with reporter.stage("score", len(truths)):
        return tally.score(_watched(entries, reporter))


def _refuse_without_relations(truths: Mapping[ImageId, Truth]) -> None:
    for truth in truths.values():
        if len(truth.graph.triples) == 0:
            wanted = "one or more (images without relations: refuse)"
            raise bad_input(f"{truth.place}: triples", wanted, 0)


def _watched(entries: Iterable[Entry], reporter: Reporter) -> Iterator[Entry]:
    for entry in entries:
        yield entry
        reporter.advance()


class _Tally:
    """One pass over the predictions of some true graphs."""

    def __init__(
        self,
        truths: Mapping[ImageId, Truth],
        options: ScoreOptions,
        training: tuple[Tensor, Tensor] | None,
    ) -> None:
        self.truths, self.options, self.training = truths, options, training
        predicates = [t.graph.triples[:, 1].amax() for t in truths.values() if len(t.graph.triples)]
        self.most = max((int(p) for p in predicates), default=0)  # predicate of the truth
        self.width: int | None = None  # predicates of the predictions
        self.suite: RecallSuite | None = None
        self.places: dict[ImageId, str] = {}
        self.counted: set[ImageId] = set()
        self.pending: list[tuple[GraphPrediction, SceneGraph]] = []
        self.invalid: list[InputError] = []
        self.num_invalid = 0

    def score(self, entries: Iterable[Entry]) -> Scores:
        for entry in entries:
            try:
                self._add(entry)
            except InputError as error:
                if not self.options.skip_invalid:
                    raise
                self.num_invalid += 1
                self.invalid = self.invalid or [error]
        for image_id, truth in self.truths.items():
            if image_id not in self.counted:
                self._keep(self._nothing(truth.graph), truth.graph)
        self._flush()
        assert self.suite is not None
        return Scores(self.suite.compute(), self._notes())

    def _add(self, entry: Entry) -> None:
        """Count one prediction; one without pairs is left for the end, as if it were missing."""
        record = Record(entry)
        image_id = record.image_id()
        if image_id not in self.truths:
            wanted = f"an id of one of the truth's {len(self.truths)} images"
            raise bad_input(record.name("image_id"), wanted, repr(image_id))
        if image_id in self.places:
            raise repeated(record, image_id, self.places[image_id])
        truth = self.truths[image_id]
        prediction = record.prediction(truth.graph, self.options.tasks)
        if len(prediction.pairs):
            self._check_width(record, prediction.predicate_scores.shape[1])
            self._keep(self._in_truths_pixels(prediction, truth), truth.graph)
            self.counted.add(image_id)
        self.places[image_id] = entry.place

    def _check_width(self, record: Record, width: int) -> None:
        name = record.name("predicate_scores")
        if self.width is None and width < self.most:
            wanted = f"{self.most} columns or more (the truth has predicate {self.most})"
            raise bad_input(name, wanted, width)
        if self.width not in (None, width):
            raise bad_input(name, f"{self.width} columns as before", width)
        self.width = width

    def _in_truths_pixels(self, prediction: GraphPrediction, truth: Truth) -> GraphPrediction:
        if self.options.resized is None:
            return prediction
        if not truth.sized:
            raise bad_input(f"{truth.place}: image_size", "this key (for --resized)", "none")
        height, width = truth.graph.image_size
        new_height, new_width = resized_size((height, width), *self.options.resized)
        x, y = width / new_width, height / new_height
        return replace(prediction, boxes=prediction.boxes * torch.tensor([x, y, x, y]).double())

    def _nothing(self, truth: SceneGraph) -> GraphPrediction:
        return GraphPrediction(
            truth.boxes,
            truth.labels,
            torch.ones(len(truth)),
            torch.zeros(0, 2, dtype=torch.int64),
            torch.zeros(0, self.width or max(self.most, 1)),
        )

    def _keep(self, prediction: GraphPrediction, truth: SceneGraph) -> None:
        self.pending.append((prediction, truth))
        if len(self.pending) == _BATCH:
            self._flush()

    def _flush(self) -> None:
        if self.suite is None:
            self.suite = self._new_suite(self.width or max(self.most, 1))
        self.suite.update([p for p, _ in self.pending], [t for _, t in self.pending])
        self.pending = []

    def _new_suite(self, predicates: int) -> RecallSuite:
        seen, groups = None, None
        if self.training is not None:
            seen, counts = self.training
            if len(counts) > predicates + 1:
                got = len(counts) - 1
                raise bad_input("training triples", f"predicates up to {predicates}", got)
            padded = torch.zeros(predicates + 1, dtype=torch.int64)
            padded[: len(counts)] = counts
            groups = frequency_groups(padded)
        options = self.options
        return RecallSuite(
            predicates + 1, options.tasks, options.conventions, seen, groups, options.per_predicate
        )

    def _notes(self) -> list[str]:
        zero = self.options.conventions.images_without_predictions == "zero"
        fate = "score 0" if zero else "are left out (images_without_predictions: skip)"
        missing, empty = len(self.truths) - len(self.places), len(self.places) - len(self.counted)
        notes = []
        if missing:
            total = len(self.truths)
            notes.append(f"{missing} of {total} images have no valid prediction line; they {fate}")
        if empty:
            notes.append(f"{empty} predictions have no pair; they {fate}")
        if self.num_invalid:
            first = self.invalid[0]
            notes.append(f"{self.num_invalid} invalid predictions were skipped; the first: {first}")
        return notes


def _number(value: Value | None) -> Cell:
    return None if isinstance(value, list) else value
