"""What to evaluate and what came out: options, numbers, files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.errors import bad_input
from autoenc_sg.eval import RecallConventions, Task
from autoenc_sg.visualization.tables import Cell, Table

KS = (20, 50, 100)
DETECTED: tuple[Task, ...] = ("SGGen", "PhrDet")
ALL_TASKS: tuple[Task, ...] = ("PredCls", "SGCls", "SGGen", "PhrDet")
Numbers = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class EvaluationOptions:
    """What to evaluate, and on what; the defaults are the quick look of `demo`.

    Attributes:
        split: `val` or `test`.
        limit: images at most, None: all.
        batch_size: images at a time.
        data_root: where the data set lies, None: where the checkpoint's config says.
        device: of the model; with several processes `cuda` is a GPU for each.
        tasks: of the graphs.
        conventions: how recall is counted; its own task is not looked at.
        round_trip: parse the pictures again and score those graphs against the drawn ones.
        object_accuracy: train a classifier on real crops and ask it about the drawn objects.
        inception: file of Inception's weights, for FID and IS; None: neither.
        lpips: file of AlexNet's, VGG-16's or SqueezeNet's weights, for the diversity; None: none.
        processes: that share the images.
    """

    split: Literal["val", "test"] = "test"
    limit: int | None = None
    batch_size: int = 8
    data_root: Path | None = None
    device: str = "cpu"
    tasks: tuple[Task, ...] = DETECTED
    conventions: RecallConventions = RecallConventions(KS)  # noqa: RUF009 (frozen)
    round_trip: bool = False
    object_accuracy: bool = False
    inception: Path | None = None
    lpips: Path | None = None
    processes: int = 1

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise bad_input("limit", ">= 1", self.limit)
        if self.batch_size < 1:
            raise bad_input("batch size", ">= 1", self.batch_size)
        if self.processes < 1:
            raise bad_input("processes", ">= 1", self.processes)
        if not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise bad_input("tasks", "one or more different ones", self.tasks)


@dataclass(frozen=True)
class EvaluationResults:
    """All scores of a model; fractions, but PSNR in dB, FID and IS.

    Attributes:
        images: how many were scored.
        recall: `{"model" | "frequency prior": {"SGGen R@20": ...}}`.
        detection: `AP50` and the like, of the detector alone.
        pictures: `{"predicted graph" | "true graph" | "mean image": {"L1": ..., "PSNR", "SSIM"}}`.
        extra: other numbers.
        predicates: `{row of recall: {"SGGen": {predicate name: recall at the largest K}}}`.
        training_counts: triples of the train split by predicate name.
        round_trip: `{drawn from: {"R@20": ...}}`.
        networks: what measured a number: `{"FID": "Inception ..."}`.
        step: the checkpoint's.
    """

    images: int
    recall: Numbers
    detection: Mapping[str, float]
    pictures: Numbers
    extra: Mapping[str, float] = field(default_factory=dict)
    predicates: Mapping[str, Numbers] = field(default_factory=dict)
    training_counts: Mapping[str, int] = field(default_factory=dict)
    round_trip: Numbers = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)
    step: int = 0

    def to_dict(self) -> dict[str, float | int]:
        """Every number under a plain name, such as `frequency prior SGGen R@50`."""
        flat: dict[str, float | int] = {"images": self.images}
        flat |= {f"detection {name}": value for name, value in self.detection.items()}
        for row, values in self.recall.items():
            prefix = "" if row == "model" else f"{row} "
            flat |= {f"{prefix}{name}": value for name, value in values.items()}
        for row, values in self.pictures.items():
            flat |= {f"{row} {name}": value for name, value in values.items()}
        for row, values in self.round_trip.items():
            flat |= {f"round trip of {row} {name}": value for name, value in values.items()}
        return flat | dict(self.extra)

    def write_json(self, path: Path) -> None:
        """`to_dict`, the predicates and the networks; whole or not at all; NaN as null."""
        content: dict[str, object] = {k: _null(v) for k, v in self.to_dict().items()}
        if self.predicates:
            content["per predicate"] = {
                row: {t: {n: _null(v) for n, v in of.items()} for t, of in tasks.items()}
                for row, tasks in self.predicates.items()
            }
        if self.networks:
            content["networks"] = dict(self.networks)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def write_csv(self, path: Path) -> None:
        """The same as lines `kind, row, task, name, value`; whole or not at all; NaN as empty."""
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
        yield from (("detection", "model", "", n, v) for n, v in self.detection.items())
        for row, values in self.pictures.items():
            yield from (("pictures", row, "", n, v) for n, v in values.items())
        for row, values in self.round_trip.items():
            yield from (("round trip", row, "SGGen", n, v) for n, v in values.items())
        yield from (("other", "", "", n, v) for n, v in self.extra.items())
        yield "other", "", "", "images", self.images

    def tables(self) -> list[Table]:
        """Graphs, and pictures, as tables."""
        names = [f"{task} R@{k}" for task in ("PhrDet", "SGGen") for k in KS]
        graph_rows: list[list[Cell]] = [
            [row, *(v.get(name) for name in names)] for row, v in self.recall.items()
        ]
        measures = ("L1", "PSNR", "SSIM")
        picture_rows: list[list[Cell]] = [
            [row, *(v[name] for name in measures)] for row, v in self.pictures.items()
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
                "Pictures",
                ["drawn from", "L1 (lower is better)", "PSNR in dB", "SSIM"],
                picture_rows,
                "At the generator's size, against the photo resized to it.",
            ),
        ]


def _null(value: float | int) -> float | int | None:
    return None if value != value else value
