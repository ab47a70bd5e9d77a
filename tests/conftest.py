"""What many tests share: one tiny run, trained once a session."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `scenes/` and a finished `run/checkpoint.pt` of the tiny configuration."""
    from autoenc_sg.training import train
    from tests.tiny import tiny_config

    folder = tmp_path_factory.mktemp("tiny")
    train(tiny_config(folder))
    return folder
