"""The commands `score` and `truth`: predictions of any program against true graphs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from autoenc_sg.cli.data.commands import DataSource
from autoenc_sg.cli.options import Command
from autoenc_sg.cli.tasks import named_tasks, print_tables
from autoenc_sg.config.recall import RecallConventions
from autoenc_sg.core.atomic_files import check_place
from autoenc_sg.core.errors import bad_input
from autoenc_sg.scoring.options import ScoreOptions


@dataclass(frozen=True)
class ScoreCommand:
    """Options of `score`.

    Attributes:
        predictions: file or pipe of predictions.
        truth: file or pipe of true graphs.
        task: one or more of PredCls, SGCls, SGGen (or SGDet) and PhrDet, in upper or lower case.
        json: file to write the fractions to.
        against: another file of predictions for the same images: differences, their 95 % intervals
            and p of a paired test.
        options: how to score.
        conventions: how recall is counted.
    """

    predictions: Path = field(kw_only=True)
    truth: Path = field(kw_only=True)
    task: tuple[str, ...] = ("SGGen", "PhrDet")
    json: Path | None = None
    against: Path | None = None
    options: ScoreOptions = field(
        default=ScoreOptions(), metadata={"without": ("tasks", "conventions")}
    )
    conventions: RecallConventions = field(
        default=RecallConventions(), metadata={"without": ("task",)}
    )


@dataclass(frozen=True)
class TruthCommand(DataSource):
    """Options of `truth`, beside those of the data set.

    Attributes:
        split: whose graphs to write.
        out: JSON Lines file to write.
        long_side: write boxes in pixels of images whose longer side is this (motifs: 1024).
    """

    split: Literal["train", "val", "test"] = "test"
    out: Path = field(kw_only=True)
    long_side: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.long_side is not None and self.long_side < 1:
            raise bad_input("--long-side", ">= 1", self.long_side)


def _score(command: ScoreCommand) -> int:
    from autoenc_sg.scoring.files.score_files import score_files
    from autoenc_sg.visualization.progress import Reporter

    if command.json is not None:
        check_place(command.json)
    options = replace(
        command.options, tasks=named_tasks(command.task), conventions=command.conventions
    )
    stages = [("score", 1.0), ("score the other", 1.0)]
    reporter = Reporter(stages[: 1 if command.against is None else 2])
    scores = score_files(command.predictions, command.truth, options, reporter, command.against)
    print_tables(scores.tables(command.conventions))
    for note in scores.notes:
        print(f"note: {note}")
    if command.json is not None:
        scores.write_json(command.json)
        print(command.json)
    return 0


def _truth(command: TruthCommand) -> int:
    from autoenc_sg.data.open import open_dataset
    from autoenc_sg.scoring.files.json_lines import write_truths

    dataset = open_dataset(command.config(), command.split)
    count = write_truths(command.out, dataset, command.long_side)
    print(f"{count} true graphs -> {command.out}")
    return 0


SCORE = Command(
    "score",
    "score a file of predictions against a file of true graphs",
    ScoreCommand,
    _score,
    "JSON Lines, one image a line; docs/evaluation.md describes the formats and conventions.",
)
TRUTH = Command("truth", "true graphs of a data set as a file for `score`", TruthCommand, _truth)
