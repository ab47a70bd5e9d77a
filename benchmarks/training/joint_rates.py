"""Learning rates and the true graphs' pixel loss of the joint phase, compared on the `val` split.

    python benchmarks/training/joint_rates.py --out DIR [--seeds 2] [--threads 1] [--scenes DIR]
        [--json OUT] [--joint.steps 300 ...]

The demo's configuration (further options change it) trains a detector and a generator once a seed;
from these weights and discriminators the joint phase starts again for each row, on the same
batches, with other options (`ROWS`). Scored on the `val` split, which no row trains on: rates are
chosen there, and the test split has no part in it. Figures are means over seeds, in brackets half
the difference of the largest and the smallest where there is more than one.

A run that was ended goes on where it was: rows that are scored are read from DIR, and a row or a
base that was begun is resumed from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout, not installed

from autoenc_sg.config.files import load_config
from autoenc_sg.config.phases import PhaseName
from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.scoring.evaluate import evaluate_checkpoint
from autoenc_sg.scoring.options import EvaluationOptions
from autoenc_sg.training.loop import train
from autoenc_sg.training.phases import phase_settings
from autoenc_sg.training.start import Start, find_start
from autoenc_sg.visualization.tables import Table
from autoenc_sg.weights.checkpoint import (
    CHECKPOINT,
    find_checkpoints,
    read_checkpoint,
    read_with_training,
)

ROWS: Mapping[str, Sequence[str]] = {
    "demo": (),
    "one rate for all, 0.04": ("--joint.lr", "0.04", "--joint.detector_lr_factor", "1"),
    "without true graphs": ("--joint.true_graph_weight", "0"),
    "0.1, detector 0.005": ("--joint.lr", "0.1", "--joint.detector_lr_factor", "0.05"),
}
SCORES = {
    "AP50": "detection AP50",
    "R@20": "SGGen R@20",
    "R@50": "SGGen R@50",
    "mR@50": "SGGen mR@50",
    "ngR@20": "SGGen ngR@20",
    "prior R@50": "frequency prior SGGen R@50",
    "L1, predicted graphs": "predicted graph L1",
    "L1, true graphs": "true graph L1",
}
Scores = Mapping[str, float]


def configured(options: argparse.Namespace, out: Path, seed: int, own: Sequence[str]) -> RunConfig:
    """The demo's configuration with the command line's options and a row's own."""
    where = ["--out", str(out), "--data.root", str(options.scenes), "--seed", str(seed)]
    threads = ["--runtime.threads", str(options.threads)]
    return load_config("demo", [*where, *threads, *options.rest, *own])


def trained(config: RunConfig, phases: Sequence[PhaseName], start: Start) -> Path:
    """The checkpoint after these phases, which are resumed if they were begun in `config.out`."""
    out, last = Path(config.out), phases[-1]
    if find_checkpoints(out):
        done = read_checkpoint(out)
        if (done.phase, done.step) == (last, phase_settings(config, last).steps):
            return out / CHECKPOINT
        start = find_start(config, None, resume=True)
    return train(config, phases, start)


def score_row(options: argparse.Namespace, base: Path, row: str, seed: int) -> Scores:
    """The scores of one row, from its file if they are there."""
    folder = base.parent.parent / "".join(c if c.isalnum() else "_" for c in row)
    file = folder / "val.json"
    if not file.is_file():
        config = configured(options, folder, seed, ROWS[row])
        path = trained(config, ("joint",), Start(read_with_training(base)))
        results = evaluate_checkpoint(path, EvaluationOptions(split="val")).to_dict()
        scores = {name: float(results[key]) for name, key in SCORES.items()}
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(scores), encoding="utf-8")
    scores = json.loads(file.read_text(encoding="utf-8"))
    print(f"seed {seed}, {row}: {scores}", file=sys.stderr)
    return scores


def run_seed(options: argparse.Namespace, seed: int) -> dict[str, Scores]:
    """The scores of every row."""
    config = configured(options, options.out / f"seed{seed}" / "base", seed, ())
    base = trained(config, ("detector", "reconstruction"), Start())
    return {row: score_row(options, base, row, seed) for row in ROWS}


def summary(seeds: Sequence[Mapping[str, Scores]]) -> list[list[str]]:
    """A line of texts for each row: means, and in brackets how far seeds are from them."""
    lines = []
    for row in ROWS:
        cells = []
        for name in SCORES:
            values = [seed[row][name] for seed in seeds]
            digits = 4 if name.startswith("L1") else 3
            half = (max(values) - min(values)) / 2
            spread = f" ({half:.{digits}f})" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.{digits}f}{spread}")
        lines.append([row, *cells])
    return lines


def main() -> None:
    """Train, score and print."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="Further options go to the configuration."
    )
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--scenes", type=Path, help="folder of scenes; drawn if it is absent")
    parser.add_argument("--out", type=Path, required=True, help="the runs are kept here")
    parser.add_argument("--json", type=Path)
    options, rest = parser.parse_known_args()
    options.rest = rest
    options.scenes = options.scenes or options.out / "scenes"
    torch.set_num_threads(options.threads)
    seeds = [run_seed(options, seed) for seed in range(options.seeds)]
    table = Table("Joint phase, scored on val", ["row", *SCORES], summary(seeds))
    Console(width=160).print(table.to_rich())
    if options.json:
        report = {"seeds": seeds, "options": options.rest, "torch": torch.__version__}
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
