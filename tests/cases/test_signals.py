"""Signals to a training process: the step is finished, a checkpoint written, nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autoenc_sg.cli.main import main
from autoenc_sg.cli.train import TrainCommand, resume_line
from autoenc_sg.config.phases import PhaseName
from autoenc_sg.training.run_log import HISTORY
from autoenc_sg.weights.checkpoint import read_resumable
from tests.support.tiny import TINY, same, tiny_config
from tests.support.waiting import LIMIT_S, wait_until

STEPS = "2000"  # more than a test waits for


def command(folder: Path, scenes: Path, *options: str) -> list[str]:
    config = folder / "c.yaml"
    config.write_text(TINY, encoding="utf-8")
    paths = ["--out", str(folder / "run"), "--data.root", str(scenes), "--phase", "detector"]
    unvalidated = ["--detector_training.validate_epochs", "1000"]
    rare = ["--runtime.checkpoint_every", "100000", "--runtime.log_every", "1"]
    return ["train", str(config), *paths, *unvalidated, *rare, *options]


@contextmanager
def training(folder: Path, scenes: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A process, given once its first steps are done."""
    words = command(folder, scenes, "--detector_training.steps", STEPS, *options)
    with subprocess.Popen(
        [sys.executable, "-m", "autoenc_sg", *words],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            history = folder / "run" / HISTORY
            wait_until(lambda: history.is_file() and history.stat().st_size > 0, process)
            yield process
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.parametrize(
    ("number", "workers"),
    [
        (signal.SIGINT, "2"),
        (signal.SIGTERM, "0"),
        pytest.param(signal.SIGTERM, "2", marks=pytest.mark.slow),
    ],
)
def test_a_signal_leaves_a_checkpoint_of_the_last_step(
    tiny_run: Path, tmp_path: Path, number: signal.Signals, workers: str
) -> None:
    with training(tmp_path, tiny_run / "scenes", "--data.workers", workers) as process:
        os.killpg(process.pid, number)  # loader processes, too, as a terminal does
        _, error = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 128 + number, error
    assert "Traceback" not in error
    checkpoint = read_resumable(tmp_path / "run")
    last = error.splitlines()[-1]
    assert last.startswith(f"autoenc-sg: interrupted after detector step {checkpoint.step}; ")
    assert "; go on with: autoenc-sg train " in last
    assert last.endswith(f"--data.workers {workers} --resume")
    lines = (tmp_path / "run" / HISTORY).read_text(encoding="utf-8").splitlines()
    assert len(lines) == checkpoint.step


@pytest.mark.slow
def test_a_stopped_and_resumed_run_equals_an_unbroken_one(tiny_run: Path, tmp_path: Path) -> None:
    with training(tmp_path, tiny_run / "scenes") as process:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LIMIT_S)
    done = read_resumable(tmp_path / "run").step
    steps = ["--detector_training.steps", str(done + 2), "--detector_training.decay_at", "[]"]
    assert main([*command(tmp_path, tiny_run / "scenes", *steps), "--resume"]) == 0
    other = tmp_path / "unbroken"
    other.mkdir()
    assert main(command(other, tiny_run / "scenes", *steps)) == 0
    first, second = (read_resumable(folder / "run") for folder in (tmp_path, other))
    same(dict(first.model), dict(second.model))
    same(dict(first.training), dict(second.training))


def test_a_signal_between_two_phases_ends_after_the_next_step(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autoenc_sg.core.errors import TrainingInterrupted
    from autoenc_sg.training import loop

    class Signalled(loop.Phase):
        def __init__(self, name: PhaseName, *others: Any) -> None:
            if name == "reconstruction":
                signal.raise_signal(signal.SIGTERM)
            super().__init__(name, *others)

    monkeypatch.setattr(loop, "Phase", Signalled)
    one_step = ["--detector_training.steps=1", "--detector_training.validate_epochs=0"]
    config = tiny_config(tmp_path, "--data.root", str(tiny_run / "scenes"), *one_step)
    with pytest.raises(TrainingInterrupted, match="after reconstruction step 1"):
        loop.train(config)
    checkpoint = read_resumable(tmp_path / "run")
    assert (checkpoint.phase, checkpoint.step) == ("reconstruction", 1)


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    from autoenc_sg.core.errors import TrainingInterrupted
    from autoenc_sg.training.guards.interrupts import StopSignals
    from autoenc_sg.training.parallel.fabric import make_fabric

    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with StopSignals(make_fabric(tiny_config(tmp_path))) as stop:
        assert not stop.is_due()
        signal.raise_signal(signal.SIGTERM)
        assert stop.is_due()
        with pytest.raises(TrainingInterrupted) as caught:
            signal.raise_signal(signal.SIGINT)
    assert caught.value.signal_number == signal.SIGINT
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("is_handled", [True, False])
def test_a_step_that_hangs_ends_after_the_first_signal(
    monkeypatch: pytest.MonkeyPatch, is_handled: bool
) -> None:
    from autoenc_sg.training.guards import interrupts

    if not is_handled:  # as while the main thread waits in a collective operation
        monkeypatch.setattr(interrupts.StopSignals, "_handle", lambda *_: None)
    ended, lines = threading.Event(), []
    statuses: list[int] = []

    def end(status: int) -> None:
        statuses.append(status)
        ended.set()

    system: Any = SimpleNamespace(write=lambda _, line: lines.append(line), _exit=end)
    monkeypatch.setattr(interrupts, "os", system)
    monkeypatch.setattr(interrupts, "PATIENCE", 0.05)
    child = SimpleNamespace(kill=lambda: lines.append(b"killed"))
    strategy = SimpleNamespace(launcher=SimpleNamespace(procs=[child]))
    fabric: Any = SimpleNamespace(world_size=2, is_global_zero=True, strategy=strategy)
    with interrupts.StopSignals(fabric) as stop:
        with stop.unhurried():
            signal.raise_signal(signal.SIGTERM)
            assert not ended.wait(0.3)  # validation may take its time
        assert ended.wait(30)
    assert statuses == [128 + signal.SIGTERM]
    assert len(lines) == 2 + is_handled
    assert lines[-1] == b"killed"
    assert b"ended without a checkpoint" in lines[-2]


def test_resume_line_keeps_phase_and_overrides_but_no_initial_weights() -> None:
    options = TrainCommand("my runs/c.yaml", "joint", init=Path("x"), overrides=("--seed", "3"))
    expected = "autoenc-sg train 'my runs/c.yaml' --phase joint --seed 3 --resume"
    assert resume_line(options) == expected
