"""The log of a run that goes on: TensorBoard has each point once; a killed run leaves nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from autoenc_sg.cli.main import main
from autoenc_sg.core import atomic_files
from autoenc_sg.training.guards.run_folder import run_folder
from autoenc_sg.training.run_log import RunLog, read_history
from autoenc_sg.training.start import Start
from autoenc_sg.weights.checkpoint import Checkpoint
from tests.support.tiny import TINY


def write(out: Path, start: Start, phase: Any, steps: range) -> None:
    log = RunLog(out, True, start, [phase])
    for step in steps:
        log._write(phase, step, {"pixel": float(step)}, {}, 1.0)
    log.close()


def points(out: Path, phase: str) -> list[int]:
    events = EventAccumulator(str(out / "logs" / phase))
    events.Reload()
    return [event.step for event in events.Scalars(f"{phase}/pixel")]


def at(phase: str, step: int) -> Checkpoint:
    nothing: Any = None
    return Checkpoint(nothing, nothing, {"w": torch.zeros(1)}, phase, step)


def test_a_resumed_run_has_each_point_once(tmp_path: Path) -> None:
    write(tmp_path, Start(), "reconstruction", range(1, 5))
    write(tmp_path, Start(at("reconstruction", 4), in_place=True), "joint", range(1, 6))
    write(tmp_path, Start(at("joint", 2), resume=True, in_place=True), "joint", range(3, 8))
    assert points(tmp_path, "reconstruction") == [1, 2, 3, 4]  # of larger steps, and still there
    assert points(tmp_path, "joint") == [1, 2, 3, 4, 5, 6, 7]
    assert [row["step"] for row in read_history(tmp_path)] == [1, 2, 3, 4, *range(1, 8)]


def test_a_phase_that_begins_anew_has_no_earlier_points(tmp_path: Path) -> None:
    write(tmp_path, Start(), "joint", range(1, 5))
    write(tmp_path, Start(at("joint", 4), in_place=True), "joint", range(1, 3))
    assert points(tmp_path, "joint") == [1, 2]


def test_temporary_files_of_a_killed_run_are_removed_at_the_next_start(tmp_path: Path) -> None:
    left = [".0123456789ab.safetensors", ".ba9876543210.jsonl", ".0a1b2c3d4e5f.yaml"]
    others = [".mine.safetensors", "0123456789ab.safetensors", ".0123456789ab.txt"]
    for name in (*left, *others):
        (tmp_path / name).touch()
    with run_folder(tmp_path):
        names = {path.name for path in tmp_path.iterdir()}
    assert names == {*others, ".lock"}


@pytest.mark.parametrize("reason", [errno.EACCES, errno.EROFS])
def test_a_read_only_run_folder_is_one_line_and_status_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    reason: int,
) -> None:
    def refuse(path: Any, *_: Any) -> int:
        raise OSError(reason, os.strerror(reason), str(path))

    config = tmp_path / "c.yaml"
    config.write_text(TINY, encoding="utf-8")
    out = tmp_path / "run"
    out.mkdir()
    monkeypatch.setattr(
        atomic_files.os, "open", refuse
    )  # root may write anywhere: so not by permissions
    status = main(["train", str(config), "--out", str(out)])
    assert status == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert f"{out}: expected a folder to write to, got {os.strerror(reason)}" in lines[0]
    assert list(out.iterdir()) == []


def test_a_file_in_place_of_the_run_folder_is_one_line_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, out = tmp_path / "c.yaml", tmp_path / "run"
    config.write_text(TINY, encoding="utf-8")
    out.write_text("a file", encoding="utf-8")
    assert main(["train", str(config), "--out", str(out)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert out.read_text(encoding="utf-8") == "a file"
