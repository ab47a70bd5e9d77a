"""Training in two processes: it equals training in one, one of them writes and speaks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from autoenc_sg.training.parallel.fabric import restore_random_state
from autoenc_sg.training.run_log import read_history
from autoenc_sg.weights.checkpoint import read_checkpoint, read_resumable, read_training_state
from tests.support import waiting
from tests.support.double_training import train_in_double
from tests.support.tiny import TINY, same
from tests.support.waiting import LIMIT_S, wait_until

ROOT = Path(__file__).parents[3]
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}
CLOSE: Any = {"rtol": 1e-5, "atol": 1e-6}


def train_command(folder: Path, *options: str) -> list[str]:
    """`train` of the tiny configuration with two processes; the run is in `folder / "run"`."""
    config = folder / "c.yaml"
    config.write_text(TINY, encoding="utf-8")
    command = [sys.executable, "-m", "autoenc_sg", "train", str(config)]
    command += ["--out", str(folder / "run"), "--data.root", str(folder / "scenes")]
    return [*command, "--runtime.devices", "2", *options]


def train_with_two(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        train_command(folder, *options),
        cwd=ROOT,
        env=ONE_THREAD,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


SCARCE = (
    "--data.annotated_fraction=0.5",
    "--joint.unannotated.per_batch=2",
    "--joint.unannotated.pseudo_labels=teacher",
    "--joint.unannotated.pseudo_threshold=0",
    "--joint.unannotated.consistency_weight=1",
)

# All that could depend on the process: discriminators, appearance codes with dropout, batch norm of
# rows, the detector's samples, a batch of 3 for two, and in the joint phase of 1, with unannotated
# images that the first process has alone.
EVERYTHING = (
    "--reconstruction.object_adversarial_weight=0.01",
    "--reconstruction.image_losses.relation_adversarial_weight=0.01",
    "--reconstruction.image_losses.relation_feature_weight=0.1",
    "--joint.image_losses.relation_adversarial_weight=0.01",
    "--joint.image_losses.feature_weight=0.1",
    "--joint.image_losses.relation_feature_weight=0.1",
    "--reconstruction.eval_mode_after=2",
    "--generator.appearance_dim=4",
    "--generator.relation_layout=true",
    "--generator.mlp_normalization=batch",
    "--joint.detection_weight=1",
    "--joint.true_graph_weight=1",
    "--joint.batch_size=1",
    *SCARCE,
)


@pytest.mark.slow
def test_two_processes_share_annotated_and_unannotated_images(tmp_path: Path) -> None:
    """Of 3 and 3 images the first has 2 and 2, of 3 and 1 it has 2 and 1."""
    for per_batch in (3, 1):
        options = (*SCARCE, f"--joint.unannotated.per_batch={per_batch}", "--joint.lr=0.001")
        folder = tmp_path / str(per_batch)
        folder.mkdir()
        check_two_processes_equal_one(folder, *options)


def test_two_processes_equal_one(tmp_path: Path) -> None:
    check_two_processes_equal_one(tmp_path, *EVERYTHING)


def check_two_processes_equal_one(tmp_path: Path, *options: str) -> None:
    train_in_double(tmp_path, 1, *options)
    command = [sys.executable, "-m", "tests.support.double_training", str(tmp_path), "2"]
    done = subprocess.run(
        [*command, *options],
        cwd=ROOT,
        env=ONE_THREAD,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "find_unused_parameters" not in done.stderr  # PyTorch's warning that all are used
    files = ["checkpoint-detector-4", "checkpoint-reconstruction-4", "checkpoint"]
    for file in files:
        one, two = (tmp_path / f"run-{n}" / f"{file}.safetensors" for n in (1, 2))
        assert_close(dict(read_checkpoint(one).model), dict(read_checkpoint(two).model), **CLOSE)
        states = [dict(read_training_state(path)) for path in (one, two)]
        for state in states:
            del state["rng_cpu"]
        assert_close(*states, **CLOSE)
    losses = [[row["losses"] for row in read_history(tmp_path / f"run-{n}")] for n in (1, 2)]
    assert len(losses[0]) == 6
    assert_close(*losses, **CLOSE)
    assert done.stderr.count("joint: done in") == 1  # the first process alone speaks and writes
    random_states = read_training_state(tmp_path / "run-2" / "checkpoint.safetensors")["rng_cpu"]
    assert len(random_states) == 2
    assert torch.equal(*random_states) is False


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the process in /proc")
def test_a_killed_process_ends_the_other(tmp_path: Path) -> None:
    command = train_command(tmp_path, "--phase", "reconstruction", "--reconstruction.steps=100000")
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=ONE_THREAD,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as first:
        try:
            wait_until((tmp_path / "run" / "checkpoint.safetensors").is_file, first)
            children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
            assert len(children) == 1
            os.kill(int(children[0]), signal.SIGKILL)
            assert first.wait(timeout=LIMIT_S) != 0
        finally:
            first.kill()
    assert read_resumable(tmp_path / "run").step > 0


def test_waiting_ends_with_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", "import sys; sys.stdin.read(); sys.exit(3)"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as process:
        wait_until(lambda: True, process)
        monkeypatch.setattr(waiting, "LIMIT_S", 0.1)
        with pytest.raises(AssertionError, match="nothing happened"):
            wait_until(lambda: False, process)
        monkeypatch.undo()
        assert process.stdin is not None
        process.stdin.close()
        with pytest.raises(AssertionError, match="with status 3"):
            wait_until(lambda: False, process)
    wait_until(lambda: True, process)  # it was done before the end


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
    # Each process gets the state of its own row back.
    options = ["--phase", "joint", "--runtime.keep_last", "2"]
    unbroken = train_with_two(tmp_path, *options)
    assert unbroken.returncode == 0, unbroken.stderr
    assert unbroken.stdout.count("checkpoint.safetensors") == 1
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
