"""How a command ends that the user or the numbers stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoenc_sg.cli.main import main
from autoenc_sg.training.phases import Phase
from autoenc_sg.weights.checkpoint import read_checkpoint
from tests.support.tiny import TINY


def arguments(folder: Path, scenes: Path, *options: str) -> list[str]:
    config = folder / "c.yaml"
    config.write_text(TINY, encoding="utf-8")
    paths = ["--out", str(folder / "run"), "--data.root", str(scenes)]
    return ["train", str(config), *paths, *options]


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error.splitlines()[-1]


def test_a_loss_that_is_not_finite_ends_with_its_name_and_images(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = ["--detector_training.lr=1e30", "--detector_training.warmup=0"]
    assert main(arguments(tmp_path, tiny_run / "scenes", *wild)) == 1
    line = last_line(capsys)
    assert line.startswith("autoenc-sg: training stopped: ")
    named = line.partition("stopped: ")[2]
    assert any(name in named for name in ("rpn_objectness", "rpn_box", "roi_class", "roi_box"))
    assert "= nan" in named or "= inf" in named
    assert len(named.partition("images of the batch: [")[2].split(",")) == 3
    assert not list((tmp_path / "run").glob("*.safetensors"))


def test_an_interrupted_run_says_so_and_goes_on(
    tiny_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = Phase.step

    def stopped(self: Phase, batch: object, number: int) -> object:
        if self.name == "detector" and number == 3:
            raise KeyboardInterrupt
        return step(self, batch, number)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Phase, "step", stopped)
        assert main(arguments(tmp_path, tiny_run / "scenes", "--phase", "detector")) == 130
    assert last_line(capsys) == "autoenc-sg: interrupted"
    assert read_checkpoint(tmp_path / "run" / "checkpoint.safetensors").step == 2
    again = arguments(tmp_path, tiny_run / "scenes", "--resume", "--phase", "detector")
    assert main(again) == 0
    assert read_checkpoint(tmp_path / "run" / "checkpoint.safetensors").step == 4


def test_demo_hands_on_folder_and_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        "autoenc_sg.pipelines.demo.run_demo", lambda out, seed: asked.append((out, seed))
    )
    assert main(["demo", "--out", str(tmp_path / "d"), "--seed", "3"]) == 0
    assert main(["demo"]) == 0
    assert asked == [(tmp_path / "d", 3), (Path("runs/demo"), 0)]
