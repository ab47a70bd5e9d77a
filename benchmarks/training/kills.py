"""Runs that are killed: are they the same in the end?

    python benchmarks/training/kills.py [--kills 30] [--terms 20] [--writes 10] [--seed 0] \
        [--out DIR]

A tiny configuration with two loader processes, averaged weights, appearance codes and both
discriminators is trained through its three phases without interruption, then again for each row:

- SIGKILL at a random moment, to the training process alone or to its loader processes too;
- SIGTERM likewise: exit status 143, the line to go on with, a checkpoint of the last step;
- SIGKILL while a checkpoint is written (before a random tensor): the earlier one is unchanged.

Each is resumed with `--resume` and must end with the weights, optimizers, random states and losses
of the uninterrupted run, bit for bit, and without temporary files. The moments are random within
equal parts of the run. Exit status 1: some run was not as it should be.

Every run is a process of its own, a fork of this one, so that PyTorch is imported once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout, not installed

import autoenc_sg.training.loop
from autoenc_sg.cli.main import main as command_line
from autoenc_sg.training.run_log import HISTORY
from autoenc_sg.weights.checkpoint import CHECKPOINT, read_resumable
from autoenc_sg.weights.files import tensor_file
from tests.support.tiny import TINY, same

assert autoenc_sg.training.loop  # imported here, once for all runs
STEPS, EVERY, LIMIT_S = 12, 3, 1200  # the last only for a run that hangs
OPTIONS = {
    "data.workers": 2,
    "generator.appearance_dim": 3,
    "reconstruction.ema_decay": 0.9,
    "reconstruction.object_adversarial_weight": 0.01,
    "reconstruction.validate_every": 6,
    "runtime.checkpoint_every": EVERY,
    "runtime.keep_last": 2,
    "runtime.log_every": 1,
    "runtime.sample_every": 1000,
    **{f"{phase}.steps": STEPS for phase in ("detector_training", "reconstruction", "joint")},
}
TEMPORARY = re.compile(r"\.[0-9a-f]{12}\.safetensors")
FORK = multiprocessing.get_context("fork")


@dataclass
class Pause:
    """Where a process stays for good while it writes a checkpoint, so that a kill comes in time.

    Attributes:
        marker: file that says that it is there.
        file: number of the file that it writes, from 1; each checkpoint has two.
        tensor: number of the tensor in it, from 1, before which it stays.
    """

    marker: Path
    file: int
    tensor: int

    def install(self) -> None:
        """Let this process pause."""
        self._build_header, self._chunks = tensor_file._build_header, tensor_file._chunks
        self._files = self._tensors = 0
        tensor_file._build_header = self._count_file
        tensor_file._chunks = self._count_tensor

    def _count_file(self, *arguments: Any) -> bytes:
        self._files, self._tensors = self._files + 1, 0
        return self._build_header(*arguments)

    def _count_tensor(self, tensor: torch.Tensor) -> Iterator[Any]:
        self._tensors += 1
        if (self._files, self._tensors) == (self.file, self.tensor):
            self.marker.touch()
            time.sleep(2 * LIMIT_S)
        yield from self._chunks(tensor)


class TrainingRun:
    """A run in a folder of its own, on scenes that all runs share.

    Args:
        folder: of the run and what it prints.
        scenes: folder of the scenes.
    """

    def __init__(self, folder: Path, scenes: Path) -> None:
        self.folder, self.out = folder, folder / "run"
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "tiny.yaml"
        config.write_text(TINY, encoding="utf-8")
        paths = ["--out", str(self.out), "--data.root", str(scenes)]
        options = [f"--{name}={value}" for name, value in OPTIONS.items()]
        self.words = ["train", str(config), *paths, *options]

    def start(self, *more: str, pause: Pause | None = None) -> BaseProcess:
        """Begin to train, in a process group of its own, up to a pause if there is one."""
        process = FORK.Process(target=self._run, args=(more, pause))
        process.start()
        return process

    def _run(self, more: Sequence[str], pause: Pause | None) -> None:
        os.setsid()
        log = os.open(self.folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if pause is not None:
            pause.install()
        sys.exit(command_line([*self.words, *more]))

    def log(self) -> list[str]:
        """Lines that the last process printed."""
        text = (self.folder / "log.txt").read_text(encoding="utf-8", errors="replace")
        return text.strip().splitlines() or [""]

    def steps_done(self) -> int:
        """Lines of the history: the steps of all phases together."""
        file = self.out / HISTORY
        return file.read_bytes().count(b"\n") if file.is_file() else 0

    def history(self) -> list[tuple[Any, ...]]:
        """Phase, step and losses of every step."""
        lines = (self.out / HISTORY).read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        return [(row["phase"], row["step"], row["losses"]) for row in rows]

    def temporaries(self) -> list[Path]:
        """Files that are being written, or were when the process was killed."""
        return [path for path in self.out.glob(".*") if TEMPORARY.fullmatch(path.name)]

    def resume(self) -> None:
        """Train to the end.

        Raises:
            AssertionError: that fails.
        """
        process = self.start("--resume")
        process.join(LIMIT_S)
        assert process.exitcode == 0, f"--resume: status {process.exitcode}: {self.log()[-1]}"


def wait_until(is_true: Callable[[], bool], process: BaseProcess) -> None:
    """Wait while the process runs.

    Raises:
        AssertionError: the process ended before, or it takes too long.
    """
    end = time.monotonic() + LIMIT_S
    while not is_true():
        assert process.is_alive(), f"the run ended before the moment, status {process.exitcode}"
        assert time.monotonic() < end, "the moment did not come"
        time.sleep(0.002)


def kill(process: BaseProcess, number: signal.Signals, with_loaders: bool) -> None:
    """Send a signal to a process, or also to its loader processes, and wait for its end."""
    assert process.pid is not None
    (os.killpg if with_loaders else os.kill)(process.pid, number)
    process.join(LIMIT_S)


def moments(count: int, rng: random.Random) -> list[float]:
    """A random number of steps in each of `count` equal parts of the run after `EVERY` steps."""
    first, last = EVERY, 3 * STEPS - 1
    return [first + (last - first) * (i + rng.random()) / count for i in range(count)]


def wait_for_moment(run: TrainingRun, process: BaseProcess, moment: float, step_s: float) -> None:
    """Wait until so many steps are done, a fraction of a step included."""
    wait_until(lambda: run.steps_done() >= int(moment), process)
    wait_until((run.out / CHECKPOINT).is_file, process)
    time.sleep((moment % 1) * step_s)


def check_equal(run: TrainingRun, reference: TrainingRun) -> None:
    """Check that a finished run equals the uninterrupted one.

    Raises:
        AssertionError: it does not.
    """
    first, second = read_resumable(run.out), read_resumable(reference.out)
    assert (first.phase, first.step) == (second.phase, second.step)
    same(dict(first.model), dict(second.model))
    same(dict(first.training), dict(second.training))
    assert run.history() == reference.history(), "other losses, or steps missing or twice"
    assert not run.temporaries(), "temporary files left"


def try_sigkill(run: TrainingRun, moment: float, step_s: float, with_loaders: bool) -> None:
    """Kill a run."""
    process = run.start()
    wait_for_moment(run, process, moment, step_s)
    kill(process, signal.SIGKILL, with_loaders)
    assert process.exitcode == -signal.SIGKILL


def try_sigterm(run: TrainingRun, moment: float, step_s: float, with_loaders: bool) -> None:
    """Terminate a run, and check what it says and that no step is lost."""
    process = run.start()
    wait_for_moment(run, process, moment, step_s)
    kill(process, signal.SIGTERM, with_loaders)
    last = run.log()[-1]
    assert process.exitcode == 128 + signal.SIGTERM, f"status {process.exitcode}: {last}"
    assert "; go on with: autoenc-sg train " in last, last
    assert last.endswith(" --resume"), last
    checkpoint, (phase, step, _) = read_resumable(run.out), run.history()[-1]
    assert (checkpoint.phase, checkpoint.step) == (phase, step), "steps lost"


def try_write(run: TrainingRun, file: int, tensor: int) -> None:
    """Kill a run while it writes its `file`-th file, and check that the one before is whole."""
    pause = Pause(run.folder / "paused", file, tensor)
    process = run.start(pause=pause)
    wait_until(pause.marker.is_file, process)
    assert len(run.temporaries()) == 1
    before = digest(run.out / CHECKPOINT)
    kill(process, signal.SIGKILL, True)
    assert len(run.temporaries()) == 1
    assert digest(run.out / CHECKPOINT) == before
    read_resumable(run.out)


def digest(file: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def count_good(
    name: str, tries: Sequence[Callable[[TrainingRun], None]], reference: TrainingRun
) -> int:
    """How many of the tries end, resumed, as the uninterrupted run does; others are printed."""
    good = 0
    for i, attempt in enumerate(tries):
        folder = reference.folder.parent / f"{name}{i}"
        run = TrainingRun(folder, reference.folder.parent / "scenes")
        try:
            attempt(run)
            run.resume()
            check_equal(run, reference)
            good += 1
        except AssertionError as error:
            print(f"{name} {i}: {error or traceback.format_exc()}", file=sys.stderr)
    return good


def run_reference(folder: Path) -> tuple[TrainingRun, float]:
    """The uninterrupted run, which draws the scenes, and the mean time of its steps."""
    reference = TrainingRun(folder / "reference", folder / "scenes")
    process = reference.start()
    wait_until(lambda: reference.steps_done() >= 1, process)
    begin = time.monotonic()
    process.join(LIMIT_S)
    assert process.exitcode == 0, reference.log()
    return reference, (time.monotonic() - begin) / (3 * STEPS)


def run_all(options: argparse.Namespace, folder: Path) -> int:
    """All rows; the number of runs that were not as they should be."""
    rng = random.Random(options.seed)
    reference, step_s = run_reference(folder)
    kills = [
        partial(try_sigkill, moment=moment, step_s=step_s, with_loaders=i % 2 == 0)
        for i, moment in enumerate(moments(options.kills, rng))
    ]
    terms = [
        partial(try_sigterm, moment=moment, step_s=step_s, with_loaders=i % 2 == 0)
        for i, moment in enumerate(moments(options.terms, rng))
    ]
    writes = [  # the first two files are the first checkpoint
        partial(try_write, file=4 + 2 * i + rng.randrange(2), tensor=rng.randrange(1, 50))
        for i in range(options.writes)
    ]
    failures = 0
    print("| | as the uninterrupted run, bit for bit |\n|---|---|")
    for row, name, tries in (
        (f"SIGKILL at {len(kills)} random moments", "kill", kills),
        (f"SIGTERM at {len(terms)} random moments", "term", terms),
        (f"SIGKILL while a checkpoint is written, {len(writes)} times", "write", writes),
    ):
        good = count_good(name, tries, reference)
        failures += len(tries) - good
        print(f"| {row} | {good} of {len(tries)} |", flush=True)
    return failures


def main() -> int:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--terms", type=int, default=20)
    parser.add_argument("--writes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="keep the runs here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        return 1 if run_all(options, options.out or Path(temporary)) else 0


if __name__ == "__main__":
    sys.exit(main())
