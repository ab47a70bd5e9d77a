"""Steps per second of each training phase, on the checkpoint's own data set."""

from __future__ import annotations

import io
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from autoenc_sg.config.phases import PHASES, PhaseName
from autoenc_sg.config.run import RunConfig
from autoenc_sg.training.loop import StepReport, train
from autoenc_sg.training.phases import phase_settings
from autoenc_sg.training.start import Start
from autoenc_sg.visualization.progress import Reporter
from autoenc_sg.weights.checkpoint import read_checkpoint
from autoenc_sg.weights.pretrained import find_pretrained

_NEVER = 10**9


@dataclass(frozen=True)
class PhaseTime:
    """What a training step of a phase takes, loading of its images included.

    Attributes:
        phase: `detector`, `reconstruction` or `joint`.
        batch_size: images a step.
        ms_per_step: median.
        spread_ms: the distance of the quartiles.
        steps_per_second: of the median.
    """

    phase: str
    batch_size: int
    ms_per_step: float
    spread_ms: float
    steps_per_second: float


def measure_training(checkpoint: Path, warmup: int, repeats: int) -> Iterator[PhaseTime]:
    """Train `warmup + repeats` steps of each phase from the checkpoint's weights, and time them.

    Nothing is kept: the runs go to a temporary folder.

    Raises:
        InputError: it is not a checkpoint, or its data set is not there.
    """
    found = read_checkpoint(find_pretrained(checkpoint))
    threads = torch.get_num_threads()
    for phase in PHASES:
        with tempfile.TemporaryDirectory() as folder:
            config = _short(found.config, phase, warmup + 1 + repeats, Path(folder) / "run")
            ends: list[float] = []

            def on_step(report: StepReport, ends: list[float] = ends) -> None:
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                ends.append(time.perf_counter())

            quiet = Reporter([(phase, 1.0)], Console(file=io.StringIO(), quiet=True))
            start = Start(replace(found, training={}, phase="", step=0))
            train(config, (phase,), start, quiet, on_step=on_step)
        seconds = np.diff(ends)[warmup:]
        median = statistics.median(seconds.tolist())
        low, high = np.quantile(seconds, [0.25, 0.75])
        size = phase_settings(config, phase).batch_size
        spread = 1000 * float(high - low)
        yield PhaseTime(phase, size, 1000 * median, spread, 1 / max(median, 1e-9))
    torch.set_num_threads(threads)


def _short(config: RunConfig, phase: PhaseName, steps: int, out: Path) -> RunConfig:
    """The configuration with so few steps of a phase, without validation and samples."""
    runtime = replace(
        config.runtime,
        log_every=_NEVER,
        checkpoint_every=_NEVER,
        sample_every=_NEVER,
    )
    changed = replace(config, out=str(out), runtime=runtime)
    if phase == "detector":
        settings = replace(config.detector_training, steps=steps, validate_epochs=0)
        return replace(changed, detector_training=settings)
    if phase == "reconstruction":
        return replace(
            changed, reconstruction=replace(config.reconstruction, steps=steps, validate_every=0)
        )
    return replace(changed, joint=replace(config.joint, steps=steps, validate_epochs=0))
