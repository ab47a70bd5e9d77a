"""What a picture costs, by its objects and by its size, in sg2im's way and in this project's.

    python benchmarks/generator/cost.py [--threads 2] [--repeats 7] [--json OUT] [--figure OUT.svg]

Default networks and batch 2: 1, 4, 16 and 64 objects an image at 64 px; 64, 128 and 256 px with 9
objects. Milliseconds an image are the shortest of the turns; memory is that of a fresh process, as
in `generator.py`, whose other options hold here too. On CUDA nothing here has been run yet.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, ScalarFormatter

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout, not installed

from benchmarks.generator.speed import (
    ALL,
    WAYS,
    WORK,
    command_line,
    conditions,
    machine,
    parsed,
    peak,
    ratios,
    runner,
    show,
    taking_turns,
)
from benchmarks.generator.ways import networks, task

OBJECTS, SIZES = (1, 4, 16, 64), (64, 128, 256)
USUAL_OBJECTS, USUAL_SIZE = 9, 64
COLUMNS = {
    "objects": "",
    "size": "",
    "work": "",
    "sg2im_ms": ".1f",
    "ours_ms": ".1f",
    "times_faster": ".2f",
    "sg2im_mib": ".0f",
    "ours_mib": ".0f",
}
COLOURS = {"sg2im": "tab:gray", "ours": "tab:blue"}
DASHES = {"forward": "-", "training step": "--"}
Row = Mapping[str, Any]


def measure(options: argparse.Namespace) -> list[Row]:
    """One row per point and work; milliseconds an image, MiB a batch."""
    points = [(n, USUAL_SIZE) for n in OBJECTS] + [(USUAL_OBJECTS, s) for s in SIZES]
    on, rows = machine(options), []
    for objects, size in points:
        here = argparse.Namespace(**{**vars(options), "objects": objects, "size": size})
        nets = networks(size, device=options.device)
        batch = task(nets.generator, options.batch, objects)
        for work in WORK:
            runs = {name: runner(way, ALL, work, nets, batch, on) for name, way in WAYS.items()}
            taken = taking_turns(runs, options.repeats, on)
            row: dict[str, Any] = {"objects": objects, "size": size, "work": work}
            row |= {f"{name}_ms": min(v) / options.batch for name, v in taken.items()}
            row["times_faster"] = ratios(taken["sg2im"], taken["ours"])[1]
            row |= {f"{name}_mib": peak(name, work, here) for name in WAYS}
            rows.append(row)
    return rows


def draw(rows: Sequence[Row], path: Path) -> None:
    """Time and memory over objects and over size, logarithmic."""
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.subplots(2, 2, sharex="col")
    by_objects = [row for row in rows if row["size"] == USUAL_SIZE]
    by_objects.sort(key=lambda row: row["objects"])
    by_size = [row for row in rows if row["objects"] == USUAL_OBJECTS]
    for column, (over, part) in enumerate((("objects", by_objects), ("size", by_size))):
        for row, unit in enumerate(("ms", "mib")):
            _curves(axes[row, column], part, over, unit)
    for axis, text in zip(axes[:, 0], ("ms an image", "MiB a batch")):
        axis.set_ylabel(text)
    axes[1, 0].set_xlabel(f"objects an image, at {USUAL_SIZE} px")
    axes[1, 1].set_xlabel(f"side in pixels, {USUAL_OBJECTS} objects")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=4, fontsize="small")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _curves(axis: Axes, rows: Sequence[Row], over: str, unit: str) -> None:
    for work, dashes in DASHES.items():
        some = [row for row in rows if row["work"] == work]
        at = [row[over] for row in some]
        for name, colour in COLOURS.items():
            values = [row[f"{name}_{unit}"] for row in some]
            axis.loglog(at, values, dashes, color=colour, marker="o", label=f"{name}, {work}")
    axis.set_xticks(at, [str(value) for value in at])
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(ScalarFormatter())
    axis.minorticks_off()
    axis.grid(alpha=0.3)


def main() -> None:
    """Measure, print, and draw."""
    parser = command_line(__doc__)
    parser.add_argument("--figure", type=Path)
    parser.set_defaults(batch=2, repeats=7)
    options = parsed(parser)
    torch.set_num_threads(options.threads)
    rows = measure(options)
    show(f"Cost of a picture, batch {options.batch}, {options.device}", rows, COLUMNS)
    if options.json:
        report = {"conditions": conditions(options), "rows": rows}
        options.json.write_text(json.dumps(report, indent=2), encoding="utf-8")
    if options.figure:
        draw(rows, options.figure)


if __name__ == "__main__":
    main()
