"""What many tests share: one tiny run, trained once a session."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `scenes/` and a finished `run` of the tiny configuration."""
    from autoenc_sg.training.loop import train
    from tests.support.tiny import tiny_config

    folder = tmp_path_factory.mktemp("tiny")
    train(tiny_config(folder))
    return folder


@pytest.fixture(scope="session")
def coded_run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny scenes, and a run with codes that goes on from the tiny run's."""
    from autoenc_sg.training.loop import train
    from autoenc_sg.training.start import Start
    from autoenc_sg.weights.checkpoint import read_checkpoint
    from tests.support.tiny import CODES, tiny_config

    own = tmp_path_factory.mktemp("appearance")
    shutil.copytree(tiny_run / "scenes", own / "scenes")
    base = read_checkpoint(tiny_run / "run" / "checkpoint.safetensors")
    config = tiny_config(own, CODES, "--reconstruction.steps=12", "--reconstruction.lr=0.01")
    train(config, ("reconstruction", "joint"), Start(base))
    return own


@pytest.fixture(scope="session")
def coded_checkpoint(coded_run: Path) -> str:
    return str(coded_run / "run" / "checkpoint.safetensors")
