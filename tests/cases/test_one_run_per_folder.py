"""A folder holds one run: nobody else trains in it, and nothing in it is replaced unasked."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from autoenc_sg.core.errors import InputError
from autoenc_sg.training.guards.run_folder import run_folder, run_lock
from autoenc_sg.training.loop import train
from autoenc_sg.training.run_log import HISTORY, read_history
from autoenc_sg.training.start import find_start
from autoenc_sg.weights.checkpoint import CHECKPOINT, read_resumable
from tests.support.tiny import tiny_config

ROOT = Path(__file__).parents[2]
HOLD = """
import os, sys, time
from pathlib import Path
from autoenc_sg.training.guards.run_folder import run_lock
with run_lock(Path(sys.argv[1])):
    if os.fork() == 0:  # as a loader process
        time.sleep(10)
        os._exit(0)
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of the tiny run, which tests may change."""
    shutil.copytree(tiny_run, tmp_path / "copy")
    return tmp_path / "copy"


def test_a_second_process_is_refused_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        refusal = f"expected no other training run in this folder, got one, of process {holder.pid}"
        with pytest.raises(InputError, match=refusal), run_lock(tmp_path):
            pass
        holder.kill()
        holder.wait()
        with run_lock(tmp_path):
            pass
        holder.stdout.close()


def test_a_refused_run_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyError), run_folder(tmp_path / "new"):
        raise KeyError
    assert not (tmp_path / "new").exists()


def test_what_the_system_refuses_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught, run_folder(tmp_path):
        raise OSError(28, "No space left on device", "history.jsonl")
    assert str(caught.value) == (
        "training stopped: history.jsonl: No space left on device; "
        "a checkpoint written before is kept"
    )


def test_an_error_of_tensorboards_thread_is_not_printed_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[type[BaseException] | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda a: reported.append(a.exc_type))

    def fail(error: Exception) -> None:
        raise error

    with run_folder(tmp_path):
        for error in (OSError(28, "No space left on device"), KeyError("a fault of ours")):
            thread = threading.Thread(target=fail, args=(error,))
            thread.start()
            thread.join()
    assert reported == [KeyError]


def test_initial_weights_do_not_replace_a_run_unasked(run: Path, tiny_run: Path) -> None:
    config, weights = tiny_config(run), tiny_run / "run"
    with pytest.raises(InputError, match=r"expected no earlier run .*--overwrite or another --out"):
        find_start(config, None, False, weights)
    with pytest.raises(InputError, match="expected no earlier run"):
        find_start(config, "joint", False, weights)
    start = find_start(config, "joint", False, weights, overwrite=True)
    assert start.checkpoint is not None
    assert not start.in_place
    assert find_start(config, None, False, overwrite=True).checkpoint is None
    own = find_start(config, "joint", False, run / "run" / CHECKPOINT)  # the run's own weights
    assert own.in_place


def test_resume_with_other_weights_or_overwrite_is_refused(run: Path, tiny_run: Path) -> None:
    config = tiny_config(run)
    with pytest.raises(InputError, match="--resume: expected no --init"):
        find_start(config, None, True, tiny_run / "run")
    with pytest.raises(InputError, match="--resume: expected no --overwrite"):
        find_start(config, None, True, overwrite=True)


def steps(run: Path) -> list[tuple[str, int]]:
    return [(row["phase"], row["step"]) for row in read_history(run / "run")]


def test_a_phase_that_is_trained_again_is_once_in_the_history(run: Path) -> None:
    before = steps(run)
    assert before[-2:] == [("joint", 2), ("joint", 4)]
    config = tiny_config(run)
    train(config, ("joint",), find_start(config, "joint", False))
    assert steps(run) == before


def test_a_run_that_replaces_another_begins_a_new_history(run: Path, tiny_run: Path) -> None:
    config = tiny_config(run)
    train(config, ("joint",), find_start(config, "joint", False, tiny_run / "run", overwrite=True))
    assert steps(run) == [("joint", 2), ("joint", 4)]


def test_a_cut_last_line_of_the_history_is_dropped_and_the_run_resumes(run: Path) -> None:
    history = run / "run" / HISTORY
    history.write_bytes(history.read_bytes()[:-30])
    assert steps(run)[-1] == ("joint", 2)
    config = tiny_config(run, "--joint.steps", "6")
    train(config, start=find_start(config, None, resume=True))
    assert read_resumable(run / "run").step == 6
    assert steps(run)[-2:] == [("joint", 2), ("joint", 6)]
    history.write_text("{\n{}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"history\.jsonl:1: expected a line of JSON"):
        read_history(run / "run")
