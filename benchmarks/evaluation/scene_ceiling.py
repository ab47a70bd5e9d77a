"""The best recall that any predictor could reach on drawn scenes (`data.scenes.ceiling`).

    python benchmarks/evaluation/scene_ceiling.py [scenes | demo | FILE] [--ks 5 10 20 50 100] \
        [--json OUT]

Computed from the chances that the test split's scenes were drawn with, exactly; nothing is drawn,
read or trained. One thread, well under a minute for 300 scenes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout, not installed

from autoenc_sg.config.files import load_config
from autoenc_sg.data.scenes.ceiling import scenes_ceiling
from autoenc_sg.scoring.results import write_numbers
from autoenc_sg.visualization.tables import Cell, Table


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("config", nargs="?", default="demo")
    parser.add_argument("--ks", nargs="+", type=int, default=[5, 10, 20, 50, 100])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    scenes = load_config(options.config).data.scenes
    values = scenes_ceiling(scenes, options.ks)
    rows: list[list[Cell]] = [
        [name, *(100 * values[f"{name}@{k}"] for k in options.ks)] for name in ("R", "mR", "ngR")
    ]
    title = f"Ceiling of {scenes.num_test} scenes of {options.config}, seed {scenes.seed} (%)"
    heading = ["", *(f"K = {k}" for k in options.ks)]
    Console().print(Table(title, heading, rows, "R and mR with graph constraint").to_rich())
    if options.json is not None:
        write_numbers(options.json, values)


if __name__ == "__main__":
    main()
