"""Training with a compiled refinement network: the same losses, and a checkpoint like any other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from autoenc_sg.generator.refinement import RefinementNetwork
from autoenc_sg.training.loop import train
from autoenc_sg.training.run_log import read_history
from autoenc_sg.weights.checkpoint import read_checkpoint
from tests.support.tiny import tiny_config


@pytest.mark.parametrize(("value", "times"), [("false", 0), ("true", 1)])
def test_the_option_compiles_the_refinement_network_once(
    value: str, times: int, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[RefinementNetwork] = []
    monkeypatch.setattr(RefinementNetwork, "compile", lambda self: compiled.append(self))
    options = ["--data.root", str(tiny_run / "scenes"), "--reconstruction.steps", "1"]
    train(tiny_config(tmp_path, *options, "--runtime.compile", value), ("reconstruction",))
    assert len(compiled) == times


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile wants a C++ compiler")
def test_compiled_training_gives_the_same_losses(tiny_run: Path, tmp_path: Path) -> None:
    scenes = ["--data.root", str(tiny_run / "scenes"), "--reconstruction.lr", "0.0001"]
    weights, losses = [], []
    for compiled in ("false", "true"):
        folder = tmp_path / compiled
        folder.mkdir()
        config = tiny_config(folder, *scenes, "--runtime.compile", compiled)
        checkpoint = read_checkpoint(train(config, ("reconstruction",)))
        weights.append(checkpoint.model)
        losses.append([row["losses"] for row in read_history(folder / "run")])
    assert weights[0].keys() == weights[1].keys()
    assert len(losses[0]) == len(losses[1]) == 2
    for plain, compiled_losses in zip(*losses):
        for name, value in plain.items():
            torch.testing.assert_close(compiled_losses[name], value, rtol=1e-3, atol=1e-4)
