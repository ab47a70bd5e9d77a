"""The command `compare`: what it prints and writes, and how it ends."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from autoenc_sg.cli.main import main
from autoenc_sg.pipelines.compare import cells
from tests.support.tiny import TINY

SMALL = ("--joint.steps", "1", "--joint.validate_epochs=0", "--joint.batch_size=2")


@pytest.fixture
def words(tiny_run: Path, tmp_path: Path) -> list[str]:
    """The command for one cell in a folder of its own."""
    shutil.copytree(tiny_run / "scenes", tmp_path / "scenes")
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY, encoding="utf-8")
    places = ["--out", str(tmp_path / "out"), "--data.root", str(tmp_path / "scenes")]
    grid = ["--heads", "vanilla", "--image-loss", "off", "--seeds", "1", "--ks", "20", "50"]
    start = ["--init", str(tiny_run / "run"), "--limit", "2", "--device", "cpu"]
    return ["compare", str(file), *grid, *start, *places, *SMALL]


def one_line(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    capsys.readouterr()
    assert main(arguments) == 2
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("autoenc-sg:")]
    assert len(lines) == 1
    return lines[0]


def test_a_comparison_and_the_same_command_again(
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert main(words) == 0
    printed = capsys.readouterr().out
    for text in (
        "PredCls",
        "SGCls",
        "SGGen",
        "PhrDet",
        "ngR@50",
        "zR@20",
        "frequency prior",
        "ceiling",
        "Published on VG150",
        "comparison.csv",
    ):
        assert text in printed
    files = {p.name for p in (tmp_path / "out").iterdir()}
    assert files >= {"comparison.md", "comparison.csv", "comparison.png", "cells", "regions"}

    def forbidden(*_: object) -> None:
        raise AssertionError("a finished cell was trained")

    monkeypatch.setattr(cells, "train", forbidden)
    assert main(words) == 0
    assert capsys.readouterr().out == printed


def test_a_failing_cell_ends_with_status_1(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(cells, "train", failing)
    assert main(words) == 1
    printed = capsys.readouterr()
    assert "1 of 1 cells failed" in printed.out
    assert "vanilla, image loss off, seed 0: RuntimeError: no memory" in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--heads", "tree"], "--heads: expected some of gcn"),
        (["--heads", "gcn", "gcn"], "--heads: expected one or more different ones"),
        (["--image-loss", "maybe"], "--image-loss: expected on, off"),
        (["--seeds", "0"], "--seeds: expected >= 1"),
        (["--seeds", "three"], "--seeds: expected int"),
        (["--init", "/no/such/run"], "/no/such/run"),
        (["--limit", "0"], "limit: expected >= 1"),
        (["--ks", "0"], "ks"),
        (["--head-options", "motifs.dim=8"], "an option of a compared head (vanilla)"),
        (["--head-options", "vanilla.dim"], "expected HEAD.NAME=VALUE"),
        (["--head-options", "vanilla.width=8"], "predictor.width: expected a known key"),
        (["--head-options", "vanilla.dim=x"], "--head-options: predictor.dim: expected int"),
        (["--joint.stepz", "3"], "joint.stepz: expected a known key"),
        (["--joint.detection_weight", "1"], "joint.detection_weight: expected 0"),
    ],
)
def test_bad_arguments(
    words: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert message in one_line(capsys, [*words, *arguments])


def test_an_image_loss_of_weight_0_cannot_be_on(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    on = [*words, "--image-loss", "on", "--joint.image_loss_weight", "0"]
    assert "joint.image_loss_weight: expected > 0" in one_line(capsys, on)


def test_a_decoder_alone_and_other_classes_are_refused(
    words: list[str], tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from dataclasses import replace

    from autoenc_sg.core.vocabulary import Vocabulary
    from autoenc_sg.weights.checkpoint import read_checkpoint, write_checkpoint

    whole = read_checkpoint(tiny_run / "run")
    decoder = {n: v for n, v in whole.model.items() if n.startswith("generator.")}
    path = tmp_path / "other.safetensors"
    write_checkpoint(path, replace(whole, model=decoder))
    assert "a decoder alone" in one_line(capsys, [*words, "--init", str(path)])
    names = [f"class {i}" for i in range(1, whole.vocabulary.num_objects)]
    other = Vocabulary.from_names(names, whole.vocabulary.predicates[1:])
    write_checkpoint(path, replace(whole, vocabulary=other))
    assert "vocabulary" in one_line(capsys, [*words, "--init", str(path)])


def test_help_names_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    printed = capsys.readouterr().out
    assert "--image-loss" in printed
    assert "--overrides" not in printed
