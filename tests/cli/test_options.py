"""Dataclasses as the options of a command."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from jsonargparse import ArgumentParser

from autoenc_sg.cli.main import COMMANDS, GROUPS, build_parser, main
from autoenc_sg.cli.options import add_options, build
from autoenc_sg.cli.train import split_overrides
from autoenc_sg.core.errors import InputError


@dataclass(frozen=True)
class Inner:
    """How to do it.

    Attributes:
        num_steps, num_rounds: 10 % of them.
        ignored: no option.
        warm: first.
    """

    num_steps: int = 3
    num_rounds: int = 4
    ignored: int = 5
    warm: bool = True

    def __post_init__(self) -> None:
        if self.num_steps < 0:
            raise InputError("num_steps: expected >= 0")


@dataclass(frozen=True)
class Outer:
    """What to do.

    Attributes:
        file: to read.
        out: to write.
    """

    file: Path
    out: Path = field(kw_only=True)
    names: tuple[str, ...] = ("a", "b")
    size: tuple[int, int] | None = None
    kind: Literal["x", "y"] = "x"
    masks: Literal["all", "few"] | None = field(default=None, metadata={"const": "all"})
    dry_run: bool = False
    inner: Inner = field(default=Inner(num_rounds=9), metadata={"without": ("ignored",)})


def parse(*words: str) -> Outer:
    parser = ArgumentParser(exit_on_error=False, print_config=None)
    add_options(parser, Outer)
    return build(Outer, parser.parse_args(list(words)).as_dict())


def test_defaults_are_those_of_the_dataclasses() -> None:
    assert parse("f", "--out", "o") == Outer(Path("f"), out=Path("o"))
    assert parse("f", "--out", "o").inner.num_rounds == 9


def test_every_form_of_an_option() -> None:
    words = ["f", "--out", "o", "--names", "c", "--size", "2", "3", "--kind", "y", "--dry-run"]
    parsed = parse(*words, "--masks", "--num-steps", "7", "--no-warm")
    assert parsed == Outer(
        Path("f"),
        out=Path("o"),
        names=("c",),
        size=(2, 3),
        kind="y",
        masks="all",
        dry_run=True,
        inner=Inner(num_steps=7, num_rounds=9, warm=False),
    )
    assert parse("f", "--out", "o", "--masks", "few").masks == "few"


@pytest.mark.parametrize("name", ["12", "null", "[x]", "{a: b}", "2024-01-01", "~", "1e3", "a #b"])
def test_a_path_is_taken_as_it_is(name: str) -> None:
    parsed = parse(name, "--out", name, "--names", name)
    assert (parsed.file, parsed.out, parsed.names) == (Path(name), Path(name), (name,))


@pytest.mark.parametrize(
    "words",
    [
        ("f",),
        ("--out", "o"),
        ("f", "--out", "o", "--ignored", "1"),
        ("f", "--out", "o", "--num_steps", "1"),
        ("f", "--out", "o", "--size", "1"),
        ("f", "--out", "o", "--num-steps", "x"),
        ("f", "--out", "o", "--kind", "z"),
    ],
)
def test_what_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(Exception, match=r"required|unrecognized|expected|Expected"):
        parse(*words)


def test_checks_of_the_dataclass_are_made() -> None:
    with pytest.raises(InputError, match="num_steps: expected >= 0"):
        parse("f", "--out", "o", "--num-steps", "-1")


def test_help_texts_come_from_the_docstrings() -> None:
    parser = ArgumentParser(print_config=None, formatter_class=argparse.HelpFormatter)
    add_options(parser, Outer)
    text = " ".join(parser.format_help().split())
    assert "How to do it:" in text
    assert text.count("10 % of them (default: ") == 2
    assert "no option" not in text


def all_commands() -> list[list[str]]:
    """The words of every command, those of groups with the group's."""
    grouped = [[group, c.name] for group, (_, commands) in GROUPS.items() for c in commands]
    return [[command.name] for command in COMMANDS] + grouped


@pytest.mark.parametrize("words", all_commands(), ids=" ".join)
def test_every_option_has_a_help_text(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.split("options:\n")[-1].splitlines()
    bare = [
        line
        for line, following in zip(lines, [*lines[1:], ""])
        if line.startswith("  --")  # the text begins on this line or on the next
        and "  " not in line.strip()
        and not following.startswith("     ")
    ]
    assert bare == []


def test_overrides_of_the_configuration_are_taken_out() -> None:
    words = ["train", "--joint.steps", "-1", "c.yaml", "--resume", "--out=x", "--init", "i.pt"]
    remaining = ["train", "c.yaml", "--resume", "--init", "i.pt"]
    assert split_overrides(words) == (remaining, ["--joint.steps", "-1", "--out=x"])
    assert split_overrides(["train", "c.yaml", "--seed"]) == (["train", "c.yaml"], ["--seed"])
    assert split_overrides(["demo", "--out", "x"]) == (["demo", "--out", "x"], [])


def test_help_does_not_import_torch() -> None:
    code = "import sys; from autoenc_sg.cli.main import build_parser; build_parser(); "
    code += "print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def documented_commands() -> list[str]:
    """The lines `autoenc-sg …` of the shell blocks in README.md and docs/."""
    root = Path(__file__).resolve().parents[2]
    lines: list[str] = []
    for page in (root / "README.md", *sorted((root / "docs").glob("*.md"))):
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for block in text.split("```")[1::2]:
            if block.startswith("sh\n"):
                lines += [line for line in block.splitlines() if line.startswith("autoenc-sg ")]
    return lines


@pytest.mark.parametrize("line", documented_commands())
def test_documented_commands_can_be_parsed(line: str) -> None:
    words, _ = split_overrides(shlex.split(line, comments=True)[1:])
    build_parser().parse_args(words)
