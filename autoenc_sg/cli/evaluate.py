"""The commands `evaluate` and `bench`: all scores of a checkpoint, and what its stages cost."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from autoenc_sg.cli.model import usable_device
from autoenc_sg.cli.options import Command
from autoenc_sg.cli.tasks import named_tasks, print_tables
from autoenc_sg.config.recall import RecallConventions
from autoenc_sg.core.atomic_files import check_place
from autoenc_sg.core.errors import bad_input
from autoenc_sg.pipelines.bench.options import BenchOptions
from autoenc_sg.scoring.options import EvaluationOptions


@dataclass(frozen=True)
class EvaluateCommand:
    """Options of `evaluate`.

    Attributes:
        checkpoint: a trained model: a run's folder, or a checkpoint file.
        task: one or more of PredCls, SGCls, SGGen (or SGDet) and PhrDet, in upper or lower case.
        json: file to write the results to; evaluation.json beside the checkpoint by default.
        options: what to evaluate.
        conventions: how recall is counted.
    """

    checkpoint: Path
    task: tuple[str, ...] = ("PredCls", "SGCls", "SGGen", "PhrDet")
    json: Path | None = None
    options: EvaluationOptions = field(
        default=EvaluationOptions(device="auto", round_trip=True, object_accuracy=True),
        metadata={"without": ("tasks", "conventions")},
    )
    conventions: RecallConventions = field(
        default=RecallConventions(), metadata={"without": ("task",)}
    )


@dataclass(frozen=True)
class BenchCommand:
    """Options of `bench`.

    Attributes:
        checkpoint: a trained model: a run's folder, or a checkpoint file.
        json: file to write the measurements to.
        training: also measure training steps of each phase, on the checkpoint's data set.
        options: what is measured.
    """

    checkpoint: Path
    json: Path | None = None
    training: bool = False
    options: BenchOptions = BenchOptions()  # noqa: RUF009 (frozen)


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
    print_tables(report_tables(results, command.conventions, f"{data} ({options.split})"))
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


def _bench(command: BenchCommand) -> int:
    from autoenc_sg.pipelines.bench.measure import measure_model
    from autoenc_sg.pipelines.bench.report import stage_table, training_table, write_json
    from autoenc_sg.pipelines.bench.training import measure_training

    devices = tuple(dict.fromkeys(usable_device(name) for name in command.options.devices))
    options = replace(command.options, devices=devices)
    if command.json is not None:
        check_place(command.json)
    measurements = list(measure_model(command.checkpoint, options))
    phases = []
    if command.training:
        phases = list(measure_training(command.checkpoint, options.warmup, options.repeats))
    tables = [stage_table(measurement) for measurement in measurements]
    print_tables([*tables, *([training_table(phases)] if phases else [])])
    if command.json is not None:
        write_json(command.json, command.checkpoint, measurements, phases)
        print(command.json)
    return 0


BENCH = Command(
    "bench",
    "time, parameters, FLOPs and memory of a checkpoint's stages",
    BenchCommand,
    _bench,
)
