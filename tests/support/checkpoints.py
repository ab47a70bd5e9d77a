"""Small checkpoints, in today's files and in those of version 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from autoenc_sg.config.files import config_to_dict
from autoenc_sg.config.phases import JointPhase
from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.weights.checkpoint import Checkpoint, read_checkpoint

CAT_ON_MAT = Vocabulary.from_names(["cat", "mat"], ["on"])


def some_checkpoint(step: int = 7, phase: str = "joint") -> Checkpoint:
    """Random weights of one layer, momentum and a random state."""
    optimizer = {"state": {0: {"momentum_buffer": torch.randn(3)}}, "param_groups": [{"lr": 0.1}]}
    config = RunConfig(seed=4, joint=JointPhase(mode="detached"))
    training = {"optimizer_graph": optimizer, "rng_cpu": torch.get_rng_state()[None]}
    weights = nn.Linear(2, 3).state_dict()
    return Checkpoint(config, CAT_ON_MAT, weights, phase, step, training)


def pickled(checkpoint: Checkpoint) -> dict[str, Any]:
    """What version 1 gave to `torch.save`."""
    return {
        "format": "autoenc-sg checkpoint",
        "version": 1,
        "config": config_to_dict(checkpoint.config),
        "vocabulary": checkpoint.vocabulary.to_dict(),
        "model": dict(checkpoint.model),
        "phase": checkpoint.phase,
        "step": checkpoint.step,
        "training": dict(checkpoint.training),
    }


def refused(path: Path) -> str:
    """The one line that is said of a file that is no checkpoint."""
    with pytest.raises(InputError) as error:
        read_checkpoint(path)
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(str(path))
    assert "expected" in text
    return text
