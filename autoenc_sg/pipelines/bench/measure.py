"""Measures stages: wall time, floating-point operations, peak memory."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from autoenc_sg.core.errors import InputError, bad_input, one_line
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.model.modes import inference
from autoenc_sg.pipelines.bench.options import BenchOptions, Precision, height_and_width
from autoenc_sg.pipelines.bench.stages import Pass, Stages, num_parameters, stage_modules

MEGABYTE = 2**20


@dataclass(frozen=True)
class StageTime:
    """What a stage takes.

    Attributes:
        name: of the stage, or `total`.
        ms_per_image: median over the measured passes.
        spread_ms: the distance of the quartiles, ms an image.
        images_per_second: of the median.
        parameters: of its networks.
        gflops: 10^9 floating-point operations an image (a multiplication and an addition are two),
            of matrix products, convolutions and attention.
    """

    name: str
    ms_per_image: float
    spread_ms: float
    images_per_second: float
    parameters: int
    gflops: float


@dataclass(frozen=True)
class Measurement:
    """The stages in one setting.

    Attributes:
        size: (height, width) of the photos.
        batch_size, objects, threads, device, precision: the setting.
        stages: in order.
        total: of whole passes.
        peak_memory_mb: MiB, on CUDA what PyTorch allocated at most, else of the whole process; None
            where the system does not say.
    """

    size: tuple[int, int]
    batch_size: int
    objects: int
    threads: int
    device: str
    precision: str
    stages: tuple[StageTime, ...]
    total: StageTime
    peak_memory_mb: float | None

    def to_json(self) -> dict[str, Any]:
        """The same as plain lists and numbers."""
        return {**asdict(self), "size": list(self.size), "stages": [asdict(s) for s in self.stages]}


def measure_model(checkpoint: Path, options: BenchOptions) -> Iterator[Measurement]:
    """Measure a checkpoint in all settings, one after another.

    Raises:
        InputError: it is not a checkpoint, or a setting that this machine does not have.
    """
    for device in options.devices:
        for precision in options.precisions:
            model = _moved(AutoEncoder.from_pretrained(checkpoint), device, precision)
            for threads in options.threads if device == "cpu" else options.threads[:1]:
                for size in options.sizes:
                    with _threads(threads):
                        yield _measure(model, options, height_and_width(size), precision)


def _moved(model: AutoEncoder, device: str, precision: Precision) -> AutoEncoder:
    try:
        return model.to(device, getattr(torch, precision))
    except (RuntimeError, AssertionError) as error:
        reason = one_line(str(error), 200)
        raise bad_input("bench", f"a machine with {device}", reason) from error


def _measure(
    model: AutoEncoder, options: BenchOptions, size: tuple[int, int], precision: Precision
) -> Measurement:
    objects = options.objects or model.config.detector.detections
    with tempfile.TemporaryDirectory() as folder, inference(model):
        files = _photos(Path(folder), size, options.batch_size)
        stages = Stages(model, files, objects)
        try:
            flops = _flops(stages)
            for _ in range(options.warmup):
                _timed_pass(stages)
            _reset_peak(model.device)
            passes = [_timed_pass(stages) for _ in range(options.repeats)]
        except InputError:
            raise
        except RuntimeError as error:  # no memory, or a precision without an implementation
            where = f"{size[1]}x{size[0]} in {precision} on {model.device}"
            what = one_line(str(error), 300)
            raise bad_input(
                "bench", f"a setting that this machine can run, {where}", what
            ) from error
        peak = _peak(model.device)
    parameters = {name: num_parameters(m) for name, m in stage_modules(model).items()}
    times = {name: [one[name] for one in passes] for name in passes[0]}
    rows = tuple(
        _stage(name, values, options.batch_size, parameters.get(name, 0), flops[name])
        for name, values in times.items()
    )
    wholes = [sum(one.values()) for one in passes]
    everything = num_parameters([m for part in stage_modules(model).values() for m in part])
    total = _stage("total", wholes, options.batch_size, everything, sum(flops.values()))
    return Measurement(
        size,
        options.batch_size,
        objects,
        torch.get_num_threads(),
        str(model.device),
        precision,
        rows,
        total,
        peak,
    )


def _stage(
    name: str, seconds: Sequence[float], batch_size: int, parameters: int, flops: float
) -> StageTime:
    median = statistics.median(seconds)
    low, high = np.quantile(seconds, [0.25, 0.75])
    return StageTime(
        name,
        1000 * median / batch_size,
        1000 * float(high - low) / batch_size,
        batch_size / max(median, 1e-9),
        parameters,
        flops / batch_size / 1e9,
    )


def _timed_pass(stages: Stages) -> dict[str, float]:
    """Seconds of each stage, in one pass through all."""
    state, seconds = Pass(), {}
    for name, step in stages.steps():
        _synchronize(stages.model.device)
        start = time.perf_counter()
        step(state)
        _synchronize(stages.model.device)
        seconds[name] = time.perf_counter() - start
    return seconds


def _flops(stages: Stages) -> dict[str, float]:
    """Floating-point operations of each stage, in one pass."""
    state, counts = Pass(), {}
    for name, step in stages.steps():
        counter = FlopCounterMode(display=False)
        with counter:
            step(state)
        counts[name] = float(counter.get_total_flops())
    return counts


def _photos(folder: Path, size: tuple[int, int], count: int) -> list[Path]:
    """JPEG files of smooth random colours."""
    random = np.random.default_rng(0)
    files = [folder / f"{i}.jpg" for i in range(count)]
    for file in files:
        coarse = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((size[1], size[0]), Image.Resampling.BICUBIC)
        image.save(file, quality=90)
    return files


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _reset_peak(device: torch.device) -> None:
    """Begin anew with the peak; on Linux that of the process, where the system allows it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return


def _peak(device: torch.device) -> float | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MEGABYTE
    if sys.platform != "linux":
        return None
    fields = _status_fields(Path("/proc/self/status").read_text())
    return int(fields["VmHWM"].split()[0]) / 1024


def _status_fields(text: str) -> Mapping[str, str]:
    lines = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, _, value in lines}
