"""Training in several processes: every phase runs, one of them writes and speaks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from autoenc_sg.training.run_log import read_history
from autoenc_sg.weights.checkpoint import read_resumable
from tests.support.tiny import TINY


def test_two_processes_train_all_phases(tmp_path: Path) -> None:
    config, run = tmp_path / "c.yaml", tmp_path / "run"
    config.write_text(TINY, encoding="utf-8")
    command = [sys.executable, "-m", "autoenc_sg", "train", str(config), "--out", str(run)]
    command += ["--data.root", str(tmp_path / "scenes"), "--runtime.devices", "2"]
    command += ["--reconstruction.object_adversarial_weight", "0.01"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("checkpoint.safetensors") == 1
    assert done.stderr.count("joint: done in") == 1

    checkpoint = read_resumable(run)
    assert (checkpoint.phase, checkpoint.step) == ("joint", 4)
    assert len(checkpoint.training["rng_cpu"]) == 2
    assert all(
        value.isfinite().all() for value in checkpoint.model.values() if value.is_floating_point()
    )
    steps = [(row["phase"], row["step"]) for row in read_history(run)]
    assert steps == [(p, s) for p in ("detector", "reconstruction", "joint") for s in (2, 4)]
    assert torch.equal(*checkpoint.training["rng_cpu"]) is False
