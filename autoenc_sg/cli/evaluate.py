"""The commands that score: `evaluate` a checkpoint, `score` anybody's predictions, `truth`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoenc_sg.cli.data import add_source, data_source
from autoenc_sg.cli.generate import usable_device
from autoenc_sg.core.atomic_files import check_place
from autoenc_sg.core.errors import bad_input

if TYPE_CHECKING:
    from autoenc_sg.eval import RecallConventions, Task
    from autoenc_sg.visualization.tables import Table

TASK_NAMES: dict[str, Task] = {
    "predcls": "PredCls",
    "sgcls": "SGCls",
    "sggen": "SGGen",
    "sgdet": "SGGen",  # its other name
    "phrdet": "PhrDet",
}


def add_evaluation_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """`evaluate`, `score` and `truth`."""
    _add_evaluate(commands)
    score = commands.add_parser(
        "score",
        help="score a file of predictions against a file of true graphs",
        epilog="JSON Lines, one image a line; docs/evaluation.md has the formats and conventions.",
    )
    score.add_argument("--predictions", type=Path, required=True, help="file or pipe")
    score.add_argument("--truth", type=Path, required=True, help="file or pipe")
    _add_tasks(score, ["sggen", "phrdet"], "default: sggen phrdet")
    score.add_argument("--json", type=Path, help="write the fractions to this file")
    score.add_argument("--training", type=Path, help="training graphs, for zR and head/body/tail")
    score.add_argument(
        "--per-predicate", action="store_true", help="the recall of each, in the JSON"
    )
    score.add_argument(
        "--skip-invalid", action="store_true", help="count invalid predictions and go on"
    )
    _add_formats(score)
    _add_conventions(score)
    score.set_defaults(run=_score)

    truth = commands.add_parser("truth", help="a data set's true graphs as a file for `score`")
    add_source(truth)
    truth.add_argument("--split", choices=("train", "val", "test"), default="test")
    truth.add_argument("--out", type=Path, required=True, help="JSON Lines to write")
    truth.add_argument("--long-side", type=int, help="boxes in pixels of this side (motifs: 1024)")
    truth.set_defaults(run=_truth)


def _add_evaluate(commands: argparse._SubParsersAction[Any]) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="score a checkpoint on the test split",
        epilog="Writes JSON, CSV and a plot beside the checkpoint, and to its TensorBoard log.",
    )
    evaluate.add_argument("checkpoint", type=Path)
    evaluate.add_argument("--data", type=Path, help="folder of the data set, if it has moved")
    evaluate.add_argument("--split", choices=("val", "test"), default="test")
    evaluate.add_argument("--limit", type=int, help="images at most")
    evaluate.add_argument("--batch-size", type=int, default=8)
    evaluate.add_argument("--device", default="auto")
    evaluate.add_argument("--processes", type=int, default=1, help="that share the images")
    evaluate.add_argument(
        "--json", type=Path, help="default: evaluation.json beside the checkpoint"
    )
    _add_tasks(evaluate, ["predcls", "sgcls", "sggen", "phrdet"], "default: all")
    for name, what in (
        ("round-trip", "parse the pictures again, and score those graphs against the drawn ones"),
        ("object-accuracy", "train a classifier on real crops, and show it the drawn objects"),
    ):
        switch = argparse.BooleanOptionalAction
        evaluate.add_argument(f"--{name}", action=switch, default=True, help=what)
    evaluate.add_argument("--inception", type=Path, help="weights of Inception v3, for FID and IS")
    evaluate.add_argument(
        "--lpips", type=Path, help="weights of AlexNet, VGG-16 or SqueezeNet, for the diversity"
    )
    _add_conventions(evaluate)
    evaluate.set_defaults(run=_evaluate)


def _add_tasks(command: argparse.ArgumentParser, default: list[str], text: str) -> None:
    command.add_argument(
        "--task",
        nargs="+",
        type=str.lower,
        choices=TASK_NAMES,
        default=default,
        help=f"{text}; sgdet is sggen",
    )


def _add_formats(score: argparse.ArgumentParser) -> None:
    formats = ("auto", "jsonl", "sgb", "motifs")
    score.add_argument("--format", choices=formats, default="auto", help="of the predictions")
    score.add_argument("--allow-pickle", action="store_true", help="read a pickle (motifs)")
    score.add_argument("--data-info", type=Path, help="custom_data_info.json (sgb)")
    score.add_argument(
        "--resized",
        type=int,
        nargs=2,
        metavar=("SHORT", "LONG"),
        help="boxes of the predictions are in pixels of the image resized to these sides "
        "(sgb: 600 1000); the truth must state image_size",
    )


def _add_conventions(score: argparse.ArgumentParser) -> None:
    """One option for each of `RecallConventions`; none given is its default."""
    group = score.add_argument_group("conventions (default: Neural Motifs')")
    add = group.add_argument
    add("--ks", type=int, nargs="+", metavar="K", help="of R@K (20 50 100)")
    add("--iou-threshold", type=float, metavar="IOU", help="least overlap, inclusive (0.5)")
    switch = argparse.BooleanOptionalAction
    add("--plus-one", action=switch, help="a box is x2 - x1 + 1 wide (on)")
    averages = ("macro", "micro")
    add("--averages", nargs="+", choices=averages, help="over images, over triples (macro)")
    add("--order", choices=("score", "given"), help="of the triplets (score)")
    zero, skip = "count 0", "are left out"
    for name, choices, text in (
        ("images-without-predictions", ("zero", "skip"), f"{zero} or {skip} (zero)"),
        ("images-without-relations", ("skip", "zero", "refuse"), f"{skip}, {zero} (skip)"),
        ("absent-predicates", ("zero", "skip"), f"in mR {zero} or {skip} (zero)"),
    ):
        add(f"--{name}", choices=choices, help=text)
    for name, text in (
        ("ng-per-image-limit", "triplets without graph constraint; 0: all (100)"),
        ("ng-predicates-per-pair", "among them, of a pair; 0: all (0)"),
    ):
        add(f"--{name}", type=int, metavar="N", help=text)


# The commands import what they need when they run: `--help` stays quick.


def _evaluate(options: argparse.Namespace) -> int:
    from autoenc_sg.scoring.evaluate import EvaluationOptions, evaluate_checkpoint
    from autoenc_sg.scoring.report import report_tables, write_files

    conventions = _conventions(options)
    folder = options.checkpoint.parent
    path, logs = options.json or folder / "evaluation.json", folder / "logs"
    check_place(path)
    check_place(logs / "events")
    if path.suffix == ".csv":
        raise bad_input("--json", "a name that does not end in .csv, which lies beside it", path)
    settings = EvaluationOptions(
        options.split,
        options.limit,
        options.batch_size,
        options.data,
        usable_device(options.device),
        _tasks(options.task),
        conventions,
        options.round_trip,
        options.object_accuracy,
        options.inception,
        options.lpips,
        options.processes,
    )
    results = evaluate_checkpoint(options.checkpoint, settings)
    data = options.data or "the checkpoint's data set"
    where = f"{data} ({options.split})"
    _print(report_tables(results, conventions.ks, where))
    for written in write_files(results, path, max(conventions.ks), logs):
        print(written)
    return 0


def _score(options: argparse.Namespace) -> int:
    from autoenc_sg.scoring.score_files import ScoreOptions, score_files
    from autoenc_sg.visualization.progress import Reporter

    conventions = _conventions(options)
    if options.json is not None:
        check_place(options.json)
    how = ScoreOptions(
        _tasks(options.task),
        conventions,
        options.training,
        options.per_predicate,
        options.skip_invalid,
        options.format,
        options.allow_pickle,
        options.data_info,
        None if options.resized is None else tuple(options.resized),
    )
    scores = score_files(options.predictions, options.truth, how, Reporter([("score", 1.0)]))
    _print([scores.table(conventions.ks)])
    for note in scores.notes:
        print(f"note: {note}")
    if options.json is not None:
        scores.write_json(options.json)
        print(options.json)
    return 0


def _truth(options: argparse.Namespace) -> int:
    from autoenc_sg.data.open import open_dataset
    from autoenc_sg.scoring.prediction_jsonl import write_truths

    if options.long_side is not None and options.long_side < 1:
        raise bad_input("--long-side", ">= 1", options.long_side)
    dataset = open_dataset(data_source(options), options.split)
    count = write_truths(options.out, dataset, options.long_side)
    print(f"{count} true graphs -> {options.out}")
    return 0


def _print(tables: list[Table]) -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = 120  # a file or a pipe has no width of its own
    for table in tables:
        console.print(table.to_rich())


def _tasks(names: list[str]) -> tuple[Task, ...]:
    return tuple(dict.fromkeys(TASK_NAMES[name] for name in names))


def _conventions(options: argparse.Namespace) -> RecallConventions:
    from dataclasses import fields

    from autoenc_sg.eval import RecallConventions

    values: dict[str, Any] = {}
    for field in fields(RecallConventions):
        value = getattr(options, field.name, None)
        if value is not None and field.name != "task":
            values[field.name] = tuple(value) if isinstance(value, list) else value
            if field.name.startswith("ng_"):
                values[field.name] = value or None
    return RecallConventions(**values)
