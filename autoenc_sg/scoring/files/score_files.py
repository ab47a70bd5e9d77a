"""Recall of the predictions in a file, of any program, in one pass over the file.

In memory: the true graphs, a batch of predictions, and sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction
from autoenc_sg.eval import Ranges, RecallSuite, Task, frequency_groups
from autoenc_sg.scoring.files.entry_reader import Entry, EntryReader, ImageId, TrueGraph
from autoenc_sg.scoring.files.file_scores import FileScores
from autoenc_sg.scoring.files.json_lines import read_truths, repeated_id_error, training_triples
from autoenc_sg.scoring.files.prediction_formats import open_predictions, resized_size
from autoenc_sg.scoring.options import ScoreOptions
from autoenc_sg.visualization.progress import Reporter

_BATCH = 16


def score_files(
    predictions: Path,
    truth: Path,
    options: ScoreOptions,
    reporter: Reporter | None = None,
    against: Path | None = None,
) -> FileScores:
    """Score a file of predictions against a file of true graphs.

    With `against`, another file of predictions for the same images, also compare the two.

    Raises:
        InputError: a file cannot be read, a true graph is invalid, or a prediction is and
            `skip_invalid` is off; the two files have different images.
    """
    truths = read_truths(truth)
    if options.conventions.images_without_relations == "refuse":
        _refuse_without_relations(truths)
    training = None if options.training is None else training_triples(options.training)
    keep_images = options.intervals or against is not None
    files = [predictions] if against is None else [predictions, against]
    scored = []
    for path, stage in zip(files, ("score", "score the other")):
        scoring = _Scoring(truths, options, training, keep_images)
        entries = open_predictions(
            path, options.format, list(truths), options.allow_pickle, options.data_info
        )
        if reporter is None:
            scoring.score(entries)
        else:
            with reporter.stage(stage, len(truths)):
                scoring.score(_with_progress(entries, reporter))
        scored.append(scoring)
    return _file_scores(scored, files, options)


def _file_scores(
    scored: Sequence[_Scoring], files: Sequence[Path], options: ScoreOptions
) -> FileScores:
    """The scores of the first file, and their difference to those of the second, if any."""
    suites = [scoring.finished() for scoring in scored]
    notes = scored[0].notes()
    comparison: Mapping[Task, Ranges] = {}
    if len(scored) > 1:
        _check_same_images(scored[0].places, scored[1].places, files)
        notes += [f"{files[1]}: {note}" for note in scored[1].notes()]
        comparison = suites[0].compare(suites[1], options.resampling())
    ranges = suites[0].intervals(options.resampling()) if options.intervals else {}
    return FileScores(suites[0].compute(), notes, ranges, comparison)


def _check_same_images(
    first: Mapping[ImageId, str], second: Mapping[ImageId, str], files: Sequence[Path]
) -> None:
    missing = [image_id for image_id in first if image_id not in second]
    others = [image_id for image_id in second if image_id not in first]
    if missing or others:
        example = f"image {missing[0]!r} is missing" if missing else f"also has {others[0]!r}"
        raise bad_input(
            files[1],
            f"predictions of the {len(first)} images of {files[0]}",
            f"{len(second)} images, {len(missing)} missing and {len(others)} others ({example})",
        )


def _refuse_without_relations(truths: Mapping[ImageId, TrueGraph]) -> None:
    for truth in truths.values():
        if len(truth.graph.triples) == 0:
            expected = "one or more (images without relations: refuse)"
            raise bad_input(f"{truth.place}: triples", expected, 0)


def _with_progress(entries: Iterable[Entry], reporter: Reporter) -> Iterator[Entry]:
    for entry in entries:
        yield entry
        reporter.advance()


class _Scoring:
    """State of one pass over the predictions: counts, and a batch of pending predictions."""

    def __init__(
        self,
        truths: Mapping[ImageId, TrueGraph],
        options: ScoreOptions,
        training: tuple[Tensor, Tensor] | None,
        keep_images: bool,
    ) -> None:
        self.keep_images = keep_images
        self.truths, self.options, self.training = truths, options, training
        predicates = [t.graph.triples[:, 1].amax() for t in truths.values() if len(t.graph.triples)]
        self.max_predicate = max((int(p) for p in predicates), default=0)  # predicate of the truth
        self.width: int | None = None  # predicates of the predictions
        self.suite: RecallSuite | None = None
        self.places: dict[ImageId, str] = {}
        self.counted: set[ImageId] = set()
        self.pending: list[tuple[GraphPrediction, SceneGraph]] = []
        self.invalid: list[InputError] = []
        self.num_invalid = 0

    def score(self, entries: Iterable[Entry]) -> None:
        """Count the predictions; images without one are counted by `finished`."""
        for entry in entries:
            try:
                self._add(entry)
            except InputError as error:
                if not self.options.skip_invalid:
                    raise
                self.num_invalid += 1
                self.invalid = self.invalid or [error]

    def finished(self) -> RecallSuite:
        """The scores of all images of the truth."""
        for image_id, truth in self.truths.items():
            if image_id not in self.counted:
                self._enqueue(self._empty_prediction(truth.graph), truth.graph)
        self._flush()
        assert self.suite is not None
        return self.suite

    def _add(self, entry: Entry) -> None:
        """Score one prediction; one without pairs is handled at the end, like a missing one."""
        reader = EntryReader(entry)
        image_id = reader.image_id()
        if image_id not in self.truths:
            raise self._unknown_id(reader, image_id)
        if image_id in self.places:
            raise repeated_id_error(reader, image_id, self.places[image_id])
        truth = self.truths[image_id]
        prediction = reader.prediction(truth.graph, self.options.tasks)
        if len(prediction.pairs):
            self._check_width(reader, prediction.predicate_scores.shape[1])
            self._enqueue(self._in_pixels_of_truth(prediction, truth), truth.graph)
            self.counted.add(image_id)
        self.places[image_id] = entry.place

    def _unknown_id(self, reader: EntryReader, image_id: ImageId) -> InputError:
        """The error of an id that no truth has; ids that differ only in kind are named as such."""
        name, kinds = reader.name("image_id"), {int: "a number", str: "a text"}
        for other, truth in self.truths.items():
            if str(other) == str(image_id):
                expected = f"{kinds[type(other)]}, {other!r}, as in {truth.place}"
                return bad_input(name, expected, f"{kinds[type(image_id)]}, {image_id!r}")
        return bad_input(
            name, f"an id of one of the truth's {len(self.truths)} images", repr(image_id)
        )

    def _check_width(self, reader: EntryReader, width: int) -> None:
        name = reader.name("predicate_scores")
        if self.width is None and width < self.max_predicate:
            largest = self.max_predicate
            expected = f"{largest} columns or more (the truth has predicate {largest})"
            raise bad_input(name, expected, width)
        if self.width not in (None, width):
            raise bad_input(name, f"{self.width} columns as before", width)
        self.width = width

    def _in_pixels_of_truth(self, prediction: GraphPrediction, truth: TrueGraph) -> GraphPrediction:
        if self.options.resized is None:
            return prediction
        if not truth.sized:
            raise bad_input(f"{truth.place}: image_size", "this key (for --resized)", "none")
        height, width = truth.graph.image_size
        new_height, new_width = resized_size((height, width), *self.options.resized)
        x, y = width / new_width, height / new_height
        return replace(prediction, boxes=prediction.boxes * torch.tensor([x, y, x, y]).double())

    def _empty_prediction(self, truth: SceneGraph) -> GraphPrediction:
        return GraphPrediction(
            truth.boxes,
            truth.labels,
            torch.ones(len(truth)),
            torch.zeros(0, 2, dtype=torch.int64),
            torch.zeros(0, self.width or max(self.max_predicate, 1)),
        )

    def _enqueue(self, prediction: GraphPrediction, truth: SceneGraph) -> None:
        self.pending.append((prediction, truth))
        if len(self.pending) == _BATCH:
            self._flush()

    def _flush(self) -> None:
        if self.suite is None:
            self.suite = self._new_suite(self.width or max(self.max_predicate, 1))
        self.suite.update([p for p, _ in self.pending], [t for _, t in self.pending])
        self.pending = []

    def _new_suite(self, predicates: int) -> RecallSuite:
        triples, groups = None, None
        if self.training is not None:
            triples, counts = self.training
            if len(counts) > predicates + 1:
                got = len(counts) - 1
                raise bad_input("training triples", f"predicates up to {predicates}", got)
            padded = torch.zeros(predicates + 1, dtype=torch.int64)
            padded[: len(counts)] = counts
            groups = frequency_groups(padded)
        options = self.options
        return RecallSuite(
            predicates + 1,
            options.tasks,
            options.conventions,
            triples,
            groups,
            options.per_predicate,
            keep_images=self.keep_images,
        )

    def notes(self) -> list[str]:
        """What was missing, empty or invalid."""
        zero = self.options.conventions.images_without_predictions == "zero"
        effect = "score 0" if zero else "are left out (images_without_predictions: skip)"
        missing, empty = len(self.truths) - len(self.places), len(self.places) - len(self.counted)
        notes = []
        if missing:
            total = len(self.truths)
            notes.append(
                f"{missing} of {total} images have no valid prediction line; they {effect}"
            )
        if empty:
            notes.append(f"{empty} predictions have no pair; they {effect}")
        if self.num_invalid:
            first = self.invalid[0]
            notes.append(f"{self.num_invalid} invalid predictions were skipped; the first: {first}")
        return notes
