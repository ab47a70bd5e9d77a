"""The command `train`: the phases of a configuration, any value of which is an option."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from autoenc_sg.cli.options import Command
from autoenc_sg.config.phases import PHASES, PhaseName


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


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take the overrides of the configuration out of the arguments of `train`.

    `--name value` and `--name=value` are overrides where `--name` is no option of `train` itself;
    `config.files.load_config` checks them. The names are those of the configuration, so that the
    parser of `train` need not hold them all.

    Returns:
        The arguments for the parser, and the overrides; none for another command.
    """
    if list(arguments[:1]) != ["train"]:
        return list(arguments), []
    flags = {"--" + option.name.replace("_", "-") for option in fields(TrainCommand)} | {"--help"}
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
