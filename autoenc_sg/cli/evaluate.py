"""The command `evaluate`: all scores of a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from autoenc_sg.cli.model import usable_device
from autoenc_sg.cli.options import Command
from autoenc_sg.cli.tasks import named_tasks, print_tables
from autoenc_sg.config.recall import RecallConventions
from autoenc_sg.core.atomic_files import check_place
from autoenc_sg.core.errors import bad_input
from autoenc_sg.scoring.options import EvaluationOptions


@dataclass(frozen=True)
class EvaluateCommand:
    """Options of `evaluate`.

    Attributes:
        checkpoint: a trained model: a run's folder, or a checkpoint file.
        task: one or more of predcls, sgcls, sggen (or sgdet) and phrdet.
        json: file to write the results to; evaluation.json beside the checkpoint by default.
        options: what to evaluate.
        conventions: how recall is counted.
    """

    checkpoint: Path
    task: tuple[str, ...] = ("predcls", "sgcls", "sggen", "phrdet")
    json: Path | None = None
    options: EvaluationOptions = field(
        default=EvaluationOptions(device="auto", round_trip=True, object_accuracy=True),
        metadata={"without": ("tasks", "conventions")},
    )
    conventions: RecallConventions = field(
        default=RecallConventions(), metadata={"without": ("task",)}
    )


def _evaluate(command: EvaluateCommand) -> int:
    from autoenc_sg.scoring.evaluate import evaluate_checkpoint
    from autoenc_sg.scoring.report import report_tables, write_files

    folder = command.checkpoint
    folder = folder if folder.is_dir() else folder.parent
    path, logs = command.json or folder / "evaluation.json", folder / "logs"
    check_place(path)
    check_place(logs / "events")
    if path.suffix == ".csv":
        raise bad_input("--json", "a name that does not end in .csv, which lies beside it", path)
    ks = command.conventions.ks
    options = replace(
        command.options,
        device=usable_device(command.options.device),
        tasks=named_tasks(command.task),
        conventions=command.conventions,
    )
    results = evaluate_checkpoint(command.checkpoint, options)
    data = options.data or "the checkpoint's data set"
    print_tables(report_tables(results, ks, f"{data} ({options.split})"))
    for written in write_files(results, path, max(ks), logs):
        print(written)
    return 0


EVALUATE = Command(
    "evaluate",
    "score a checkpoint on the test split",
    EvaluateCommand,
    _evaluate,
    "Writes JSON, CSV and a plot beside the checkpoint, and scalars to its TensorBoard log.",
)
