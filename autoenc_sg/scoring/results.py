"""Results of an evaluation: numbers by name, and their files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.eval import Value
from autoenc_sg.scoring.options import KS
from autoenc_sg.visualization.tables import Cell, Table

Numbers = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class EvaluationResults:
    """All scores of a model; fractions, but PSNR in dB, FID and IS.

    Attributes:
        images: number of images.
        recall: `{"model" | "frequency prior": {"SGGen R@20": ...}}`.
        detection: `AP50` and the like, of the detections.
        image_scores: `{"predicted graph" | "true graph" | "mean image": {"L1": ..., "PSNR": ...}}`.
        extra: other numbers.
        predicates: `{row of recall: {"SGGen": {predicate name: recall at the largest K}}}`.
        training_counts: triples of the train split by predicate name.
        round_trip: `{drawn from: {"R@20": ...}}`.
        networks: the network that measured a number: `{"FID": "Inception ..."}`.
        step: training step of the checkpoint.
        classes: `{class name: AP50}`, of classes with a true box.
        intervals: `{row of recall: {"SGGen R@20": [low, high]}}`, 95 % over images, if asked for.
        visual_genome: the data has VG150's classes and predicates, as the published rows do.
    """

    images: int
    recall: Numbers
    detection: Mapping[str, float]
    image_scores: Numbers
    extra: Mapping[str, float] = field(default_factory=dict)
    predicates: Mapping[str, Numbers] = field(default_factory=dict)
    training_counts: Mapping[str, int] = field(default_factory=dict)
    round_trip: Numbers = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)
    step: int = 0
    classes: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, Mapping[str, Sequence[Value]]] = field(default_factory=dict)
    visual_genome: bool = False

    def to_dict(self) -> dict[str, float | int]:
        """Every number under a plain name, such as `frequency prior SGGen R@50`."""
        flat: dict[str, float | int] = {"images": self.images}
        flat |= {f"detection {name}": value for name, value in self.detection.items()}
        for row, values in self.recall.items():
            prefix = "" if row == "model" else f"{row} "
            flat |= {f"{prefix}{name}": value for name, value in values.items()}
        for row, values in self.image_scores.items():
            flat |= {f"{row} {name}": value for name, value in values.items()}
        for row, values in self.round_trip.items():
            flat |= {f"round trip of {row} {name}": value for name, value in values.items()}
        return flat | dict(self.extra)

    def write_json(self, path: Path) -> None:
        """`to_dict`, predicates, classes, intervals and networks, atomically; NaN as null."""
        content: dict[str, object] = dict(self.to_dict())
        if self.predicates:
            content["per predicate"] = self.predicates
        if self.classes:
            content["AP50 of each class"] = self.classes
        if self.intervals:
            content["intervals"] = self.intervals
        if self.networks:
            content["networks"] = dict(self.networks)
        write_numbers(path, content)

    def write_csv(self, path: Path) -> None:
        """The same as lines `kind, row, task, name, value`, atomically; NaN as empty."""
        with (
            replacing(path) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(["kind", "row", "task", "name", "value"])
            for *names, value in self._lines():
                writer.writerow([*names, "" if value != value else value])

    def _lines(self) -> Iterator[tuple[str, str, str, str, float]]:
        for row, values in self.recall.items():
            for name, value in values.items():
                task, _, metric = name.partition(" ")
                yield "recall", row, task, metric, value
        for row, tasks in self.predicates.items():
            for task, of in tasks.items():
                yield from (("recall of predicate", row, task, n, v) for n, v in of.items())
        for row, ranges in self.intervals.items():
            for name, ends in ranges.items():
                task, _, metric = name.partition(" ")
                for bound, end in zip(("low", "high"), ends):
                    assert isinstance(end, float)
                    yield f"95 % interval, {bound}", row, task, metric, end
        yield from (("detection", "model", "", n, v) for n, v in self.detection.items())
        yield from (("AP50 of class", "model", "", n, v) for n, v in self.classes.items())
        for row, values in self.image_scores.items():
            yield from (("pictures", row, "", n, v) for n, v in values.items())
        for row, values in self.round_trip.items():
            yield from (("round trip", row, "SGGen", n, v) for n, v in values.items())
        yield from (("other", "", "", n, v) for n, v in self.extra.items())
        yield "other", "", "", "images", self.images

    def tables(self) -> list[Table]:
        """A table of graphs and one of generated images."""
        names = [f"{task} R@{k}" for task in ("PhrDet", "SGGen") for k in KS]
        graph_rows: list[list[Cell]] = [
            [row, *(v.get(name) for name in names)] for row, v in self.recall.items()
        ]
        measures = ("L1", "PSNR", "SSIM")
        image_rows: list[list[Cell]] = [
            [row, *(v[name] for name in measures)] for row, v in self.image_scores.items()
        ]
        ap = ", ".join(f"{name} {value:.3f}" for name, value in self.detection.items())
        return [
            Table(
                f"Scene graphs of {self.images} images (recall, fractions)",
                ["", *names],
                graph_rows,
                f"Graph constraint, macro mean over images. Detection: {ap}.",
            ),
            Table(
                "Generated images",
                ["drawn from", "L1 (lower is better)", "PSNR in dB", "SSIM"],
                image_rows,
                "At the generator's size, against the photo resized to it.",
            ),
        ]


def write_numbers(path: Path, content: Mapping[Any, object]) -> None:
    """Nested mappings and lists of numbers as JSON; NaN, which JSON does not have, as null."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(_nan_to_null(content), indent=2) + "\n", encoding="utf-8")


def _nan_to_null(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _nan_to_null(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_nan_to_null(item) for item in value]
    return None if value != value else value
