"""Training in several processes: every phase runs, one of them writes and speaks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from autoenc_sg.training.fabric import restore_random_state
from autoenc_sg.training.run_log import read_history
from autoenc_sg.weights.checkpoint import read_resumable
from tests.support.tiny import TINY, same


def train_with_two(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`train` of the tiny configuration with two processes; the run is in `folder / "run"`."""
    config = folder / "c.yaml"
    config.write_text(TINY, encoding="utf-8")
    command = [sys.executable, "-m", "autoenc_sg", "train", str(config)]
    command += ["--out", str(folder / "run"), "--data.root", str(folder / "scenes")]
    command += ["--runtime.devices", "2", *options]
    return subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_two_processes_train_all_phases(tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = train_with_two(tmp_path, "--reconstruction.object_adversarial_weight", "0.01")
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


def test_each_process_gets_its_own_random_state_back() -> None:
    before = torch.get_rng_state()
    states = [torch.Generator().manual_seed(seed).get_state() for seed in (1, 2)]
    fabric: Any = SimpleNamespace(global_rank=1, device=torch.device("cpu"))
    try:
        restore_random_state({"rng_cpu": torch.stack(states)}, fabric)
        torch.testing.assert_close(torch.get_rng_state(), states[1])
    finally:
        torch.set_rng_state(before)


@pytest.mark.slow
def test_resumed_with_two_processes_equals_unbroken(tmp_path: Path) -> None:
    # Each process gets the state of its own row back: dropout and noise differ with the rows.
    options = ["--phase", "joint", "--runtime.keep_last", "2"]
    unbroken = train_with_two(tmp_path, *options)
    assert unbroken.returncode == 0, unbroken.stderr
    run = tmp_path / "run"
    expected = read_resumable(run)
    (run / "checkpoint.safetensors").unlink()  # as if ended before the last step
    assert read_resumable(run).step == 2
    resumed = train_with_two(tmp_path, *options, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    after = read_resumable(run)
    assert after.step == 4
    same(dict(expected.model), dict(after.model))
    same(dict(expected.training), dict(after.training))
