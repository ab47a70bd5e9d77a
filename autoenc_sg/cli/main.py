"""The command line: `autoenc-sg demo | train | evaluate | reconstruct | generate | sample | …`.

Errors end with one line on standard error: exit status 2 for bad input, 1 for a training that
diverged, 130 and 143 for one that SIGINT and SIGTERM ended. Nothing here imports PyTorch, so that
--help is quick: a command imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace

from autoenc_sg import __version__
from autoenc_sg.cli.bank import BUILD, PASTE
from autoenc_sg.cli.data.commands import FROM_JSONL, RELATE, STATS, VERIFY, VG150
from autoenc_sg.cli.data.sg2im_vg import SG2IM_VG
from autoenc_sg.cli.demo import DEMO, SCENES
from autoenc_sg.cli.evaluate import BENCH, EVALUATE
from autoenc_sg.cli.generate import GENERATE, SAMPLE
from autoenc_sg.cli.options import Command, add_options, build
from autoenc_sg.cli.photos import PARSE, RECONSTRUCT
from autoenc_sg.cli.score import SCORE, TRUTH
from autoenc_sg.cli.train import COMPARE, TRAIN, CompareCommand, TrainCommand, split_overrides
from autoenc_sg.cli.weights import EXPORT, IMPORT, WEIGHTS
from autoenc_sg.core.errors import InputError, TrainingDiverged, TrainingInterrupted

COMMANDS: tuple[Command[Any], ...] = (
    DEMO,
    TRAIN,
    EVALUATE,
    BENCH,
    COMPARE,
    SCORE,
    TRUTH,
    RECONSTRUCT,
    PARSE,
    GENERATE,
    SAMPLE,
    WEIGHTS,
    IMPORT,
    EXPORT,
    SCENES,
)
GROUPS: dict[str, tuple[str, tuple[Command[Any], ...]]] = {  # name -> help, commands
    "data": (
        "data sets: make, check and look at them",
        (VG150, FROM_JSONL, RELATE, VERIFY, STATS, SG2IM_VG),
    ),
    "bank": ("crops of a data set's objects, and pictures pasted of them", (BUILD, PASTE)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    _silence_libraries()
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    except InputError as error:
        print(f"autoenc-sg: {error}", file=sys.stderr)
        return 2
    except TrainingDiverged as error:
        print(f"autoenc-sg: {error}", file=sys.stderr)
        return 1
    except TrainingInterrupted as error:
        print(f"autoenc-sg: {error}", file=sys.stderr)
        return 128 + error.signal_number
    except KeyboardInterrupt:
        print("autoenc-sg: interrupted", file=sys.stderr)
        return 130


def _run(arguments: Sequence[str]) -> int:
    words, overrides = split_overrides(arguments)
    parsed = build_parser().parse_args(words)
    command, values = _chosen_command(parsed)
    options = build(command.options, values.as_dict())
    if isinstance(options, (TrainCommand, CompareCommand)):
        options = replace(options, overrides=tuple(overrides))
    return command.run(options)


def _chosen_command(parsed: Namespace) -> tuple[Command[Any], Namespace]:
    commands, values = COMMANDS, parsed[parsed.command]
    if parsed.command in GROUPS:
        commands, parsed, values = GROUPS[parsed.command][1], values, values[values.command]
    return next(c for c in commands if c.name == parsed.command), values


class Parser(ArgumentParser):
    """jsonargparse's parser, with errors in one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise InputError."""
        raise InputError(_in_one_line(message)) from ex


def build_parser() -> Parser:
    """All commands and their options."""
    parser = _new_parser("Photo -> scene graph -> photo.", "")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subcommands(dest="command", required=True)
    for command in COMMANDS:
        commands.add_subcommand(command.name, _command_parser(command), help=command.help)
    for name, (text, group_commands) in GROUPS.items():
        group = _new_parser(text, "")
        commands.add_subcommand(name, group, help=text)
        members = group.add_subcommands(dest="command", required=True)
        for command in group_commands:
            members.add_subcommand(command.name, _command_parser(command), help=command.help)
    return parser


def _new_parser(description: str, epilog: str) -> Parser:
    return Parser(
        prog="autoenc-sg",
        description=description,
        epilog=epilog,
        formatter_class=argparse.HelpFormatter,
        allow_abbrev=False,
        print_config=None,
    )


def _command_parser(command: Command[Any]) -> Parser:
    parser = _new_parser(command.help, command.epilog)
    add_options(parser, command.options)
    return parser


def _in_one_line(message: str) -> str:
    """A message of jsonargparse in the words of InputErrors.

    `Parser key "k": Expected a <class 't'>. Got value: v` is `--k: expected t, got v`.
    """
    text = " ".join(message.split()).rstrip(".")
    pattern = r'Parser key "(.+?)"(?: element \d+)?: Expected an? (.+)\. Got value: (.*)'
    parts = re.match(pattern, text)
    if parts is not None:
        key, kind, got = parts.groups()
        kind = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", kind)
        kind = re.sub(r"typing\.Literal\[(.*)\]", r"\1", kind).replace("'", "")
        option = key.rpartition(".")[2].replace("_", "-")
        return f"--{option}: expected {kind}, got {got!r}"
    if re.match(r'expected "[\w.]*command" to be one of', text):
        text = "a command is required"
    text = re.sub(r"(?<=[ ,])(?:[\w-]+\.)+(?=\w+(,|$))", "", text)  # commands before a missing name
    return f"{text}; see --help"


def _silence_libraries() -> None:
    """Turn off messages of libraries that do not help the user."""
    logging.getLogger("lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", "Image size .* exceeds limit")  # it is an error here
