"""The measurements as one table and as JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.pipelines.bench.measure import Measurement
from autoenc_sg.pipelines.bench.training import PhaseTime
from autoenc_sg.visualization.tables import Table

COLUMNS = ("stage", "ms/image", "± ms", "images/s", "parameters", "GFLOPs")


def stage_table(measurement: Measurement) -> Table:
    """The stages in one setting."""
    height, width = measurement.size
    title = (
        f"{width}x{height}, batch {measurement.batch_size}, {measurement.objects} objects, "
        f"{measurement.device}, {measurement.precision}, {measurement.threads} threads"
    )
    rows = [
        (
            stage.name,
            round(stage.ms_per_image, 2),
            round(stage.spread_ms, 2),
            round(stage.images_per_second, 1),
            stage.parameters,
            round(stage.gflops, 3),
        )
        for stage in (*measurement.stages, measurement.total)
    ]
    peak = measurement.peak_memory_mb
    note = "" if peak is None else f"peak memory {peak:.0f} MiB; ± is the distance of the quartiles"
    return Table(title, COLUMNS, rows, note)


def training_table(phases: Sequence[PhaseTime]) -> Table:
    """The phases' training steps."""
    rows = [
        (p.phase, p.batch_size, round(p.ms_per_step, 1), round(p.spread_ms, 1), p.steps_per_second)
        for p in phases
    ]
    return Table("training", ("phase", "batch", "ms/step", "± ms", "steps/s"), rows)


def write_json(
    path: Path,
    checkpoint: Path,
    measurements: Sequence[Measurement],
    phases: Sequence[PhaseTime],
) -> None:
    """Write all of it; see docs/deployment.md for the fields."""
    data = {
        "checkpoint": str(checkpoint),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "measurements": [measurement.to_json() for measurement in measurements],
        "training": [asdict(phase) for phase in phases],
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
