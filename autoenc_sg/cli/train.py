"""The commands `train` and `compare`: any value of their configuration is an option."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, cast

from autoenc_sg.cli.model import usable_device
from autoenc_sg.cli.options import Command
from autoenc_sg.cli.tasks import print_tables
from autoenc_sg.config.phases import PHASES, PhaseName
from autoenc_sg.config.predictor import HEADS, HeadName
from autoenc_sg.config.recall import RecallConventions


@dataclass(frozen=True)
class TrainCommand:
    """Options of `train`.

    Attributes:
        config: a YAML file, or the name of a packaged configuration such as scenes.
        phase: train only this phase.
        resume: continue the run in the output folder.
        init: run's folder or checkpoint file to take initial weights from.
        overwrite: replace the run in the output folder.
        print_config: print the whole configuration and exit.
        overrides: names and values that replace those of the configuration, such as
            ("--joint.steps", "1000"); written as options, see `split_overrides`.
    """

    config: str
    phase: PhaseName | None = None
    resume: bool = False
    init: Path | None = None
    overwrite: bool = False
    print_config: bool = False
    overrides: tuple[str, ...] = field(default=(), metadata={"hidden": True})


@dataclass(frozen=True)
class CompareCommand:
    """Options of `compare`.

    Attributes:
        config: a YAML file, or the name of a packaged configuration such as scenes.
        heads: relation heads; all by default.
        head_options: options of single heads, HEAD.NAME=VALUE, such as motifs.edge_layers=2
            motifs.dim=256: one of its own (predictor.motifs) or one that all have (predictor).
        image_loss: on, off or both: with the image losses of the configuration, or without.
        seeds: runs of each, with seeds from that of the configuration on.
        init: run's folder or checkpoint file to take detector and generator from; without it, the
            first phases of the configuration train them.
        ks: the K of R@K.
        limit: score at most this many test images, the first ones.
        batch_size: images in a batch of the evaluation.
        device: of the evaluation, such as cpu or cuda.
        overrides: as those of `train`.
    """

    config: str
    heads: tuple[str, ...] = HEADS
    head_options: tuple[str, ...] = ()
    image_loss: tuple[Literal["on", "off"], ...] = ("on", "off")
    seeds: int = 3
    init: Path | None = None
    ks: tuple[int, ...] = (20, 50, 100)
    limit: int | None = None
    batch_size: int = 8
    device: str = "auto"
    overrides: tuple[str, ...] = field(default=(), metadata={"hidden": True})


_CONFIGURED: dict[str, type[TrainCommand | CompareCommand]] = {
    "train": TrainCommand,
    "compare": CompareCommand,
}


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take the overrides of the configuration out of the arguments of `train` or `compare`.

    `--name value` and `--name=value` are overrides where `--name` is no option of the command
    itself; `config.files.load_config` checks them. The names are those of the configuration, so
    that the parser of the command need not hold them all.

    Returns:
        The arguments for the parser, and the overrides; none for another command.
    """
    if not arguments or arguments[0] not in _CONFIGURED:
        return list(arguments), []
    options = fields(_CONFIGURED[arguments[0]])
    flags = {"--" + option.name.replace("_", "-") for option in options} | {"--help"}
    words, overrides = [], []
    rest = iter(arguments)
    for word in rest:
        if not word.startswith("--") or word.partition("=")[0] in flags - {"--overrides"}:
            words.append(word)
        else:
            overrides.append(word)
            if "=" not in word:
                overrides += [value for value in [next(rest, None)] if value is not None]
    return words, overrides


def _train(options: TrainCommand) -> int:
    from lightning.fabric.utilities import rank_zero_only

    from autoenc_sg.config.files import dump_config, load_config
    from autoenc_sg.core.errors import TrainingInterrupted
    from autoenc_sg.training.loop import train
    from autoenc_sg.training.start import find_start

    config = load_config(options.config, options.overrides)
    if options.print_config:
        print(dump_config(config), end="")
        return 0
    phases = PHASES if options.phase is None else (options.phase,)
    start = find_start(config, options.phase, options.resume, options.init, options.overwrite)
    try:
        checkpoint = train(config, phases, start)
    except TrainingInterrupted as error:
        message = f"{error}; go on with: {resume_line(options)}"
        rank_zero_only(print)(f"autoenc-sg: {message}", file=sys.stderr)
        return 128 + error.signal_number
    rank_zero_only(print)(checkpoint)
    return 0


def resume_line(options: TrainCommand) -> str:
    """The command that continues the run of these options."""
    phase = [] if options.phase is None else ["--phase", options.phase]
    words = ["autoenc-sg", "train", options.config, *phase, *options.overrides, "--resume"]
    return shlex.join(words)


TRAIN = Command(
    "train",
    "run the training phases of a configuration",
    TrainCommand,
    _train,
    "Every value of the configuration is an option: --joint.steps 1000. --print-config and "
    "docs/configuration.md show them all.",
)


def _compare(options: CompareCommand) -> int:
    from autoenc_sg.config.files import load_config
    from autoenc_sg.pipelines.compare import Grid, run_comparison
    from autoenc_sg.pipelines.compare.ceiling import ceiling_of
    from autoenc_sg.pipelines.compare.summary import comparison_tables, write_comparison
    from autoenc_sg.scoring.options import ALL_TASKS, EvaluationOptions

    grid = Grid(
        load_config(options.config, options.overrides),
        cast(tuple[HeadName, ...], options.heads),
        tuple(word == "on" for word in options.image_loss),
        options.seeds,
        EvaluationOptions(
            tasks=ALL_TASKS,
            conventions=RecallConventions(options.ks),
            limit=options.limit,
            batch_size=options.batch_size,
            device=usable_device(options.device),
            images=False,
        ),
        options.head_options,
    )
    comparison = run_comparison(grid, options.init)
    ceiling = ceiling_of(grid)
    print_tables(comparison_tables(comparison, ceiling))
    for path in write_comparison(comparison, ceiling):
        print(path)
    for cell, reason in comparison.failures.items():
        print(f"autoenc-sg: {cell}: {reason}", file=sys.stderr)
    return 1 if comparison.failures else 0


COMPARE = Command(
    "compare",
    "train several relation heads over one frozen detector, and set them side by side",
    CompareCommand,
    _compare,
    "Every value of the configuration is an option, as for train; --out is the folder. The same "
    "command again goes on with what is not finished and with cells that failed. Exit status 1: "
    "some cells failed.",
)
