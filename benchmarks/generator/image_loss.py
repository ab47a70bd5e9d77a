"""What the image loss adds to the graphs: the joint phase with it, without it, and half-way.

    python benchmarks/generator/image_loss.py [--seeds 2] [--threads 2] [--scenes DIR] [--out DIR]
        [--json OUT] [--data.scenes.wrong_predicates 0.3 ...]

The demo's configuration (further options change it) trains a detector and a generator once a seed;
from these weights the joint phase starts again for each row:

- `image loss`: gradient crosses the graph (`joint.mode: soft`), the paper's way;
- `straight through`: one-hot graphs forward, soft ones backward;
- `no gradient`: the generator goes on learning, but its gradient ends at the graph;
- `graph only`: no image loss (`joint.image_loss_weight: 0`), the baseline of the paper;

and its graphs of the test scenes are scored beside the frequency prior on the same detections.
Rows of one seed see the same batches. Figures are means over seeds, in brackets the standard
deviation of the difference from `graph only` where there is more than one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout, not installed

from autoenc_sg.config.files import load_config
from autoenc_sg.config.run import RunConfig
from autoenc_sg.scoring.evaluate import evaluate_checkpoint
from autoenc_sg.scoring.options import EvaluationOptions
from autoenc_sg.training.loop import train
from autoenc_sg.training.start import Start
from autoenc_sg.visualization.tables import Table
from autoenc_sg.weights.checkpoint import read_checkpoint

ROWS: Mapping[str, Sequence[str]] = {
    "graph only": ("--joint.image_loss_weight", "0", "--joint.true_graph_weight", "0"),
    "no gradient": ("--joint.mode", "detached"),
    "straight through": ("--joint.mode", "straight_through"),
    "image loss": ("--joint.mode", "soft"),
}
BASELINE = "graph only"
SCORES = ("SGGen R@20", "SGGen R@50", "SGGen mR@50", "SGGen ngR@20", "PhrDet R@50")
Scores = Mapping[str, float]


def configured(options: argparse.Namespace, out: Path, seed: int, own: Sequence[str]) -> RunConfig:
    """The demo's configuration with the command line's options and a row's own."""
    where = ["--out", str(out), "--data.root", str(options.scenes), "--seed", str(seed)]
    threads = ["--runtime.threads", str(options.threads)]
    return load_config("demo", [*where, *threads, *options.rest, *own])


def run_seed(options: argparse.Namespace, seed: int) -> dict[str, Scores]:
    """Scores of every row, and of the frequency prior on the baseline's detections."""
    folder = options.out / f"seed{seed}"
    base = train(configured(options, folder / "base", seed, ()), ("detector", "reconstruction"))
    found: dict[str, Scores] = {}
    for row, own in ROWS.items():
        config = configured(options, folder / row.replace(" ", "_"), seed, own)
        path = train(config, ("joint",), Start(read_checkpoint(base)))
        results = evaluate_checkpoint(path, EvaluationOptions()).to_dict()
        scores = {name: float(results[name]) for name in SCORES}
        found[row] = scores | {"L1": float(results["predicted graph L1"])}
        prior = {name: float(results[f"frequency prior {name}"]) for name in SCORES}
        prior["L1"] = float(results["mean image L1"])
        found.setdefault("frequency prior", prior)
        print(f"seed {seed}, {row}: {found[row]}", file=sys.stderr)
    return found


def summary(seeds: Sequence[Mapping[str, Scores]]) -> list[list[str]]:
    """A row of texts for each way: mean, and how the difference from the baseline varies."""
    rows = []
    for row in ("frequency prior", *ROWS):
        cells = []
        for name in (*SCORES, "L1"):
            mean = statistics.mean(seed[row][name] for seed in seeds)
            differences = [seed[row][name] - seed[BASELINE][name] for seed in seeds]
            varies = len(seeds) > 1 and row not in (BASELINE, "frequency prior")
            spread = f" ({statistics.stdev(differences):.3f})" if varies else ""
            cells.append(f"{mean:.3f}{spread}")
        rows.append([row, *cells])
    return rows


def main() -> None:
    """Train, score and print."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="Further options go to the configuration."
    )
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scenes", type=Path, help="folder of scenes; drawn if it is absent")
    parser.add_argument("--out", type=Path, help="keep the runs here")
    parser.add_argument("--json", type=Path)
    options, rest = parser.parse_known_args()
    options.rest = rest
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        options.out = options.out or Path(temporary)
        options.scenes = options.scenes or options.out / "scenes"
        seeds = [run_seed(options, seed) for seed in range(options.seeds)]
    note = (
        "L1 of pictures drawn from predicted graphs; in the first row, of the train split's mean."
    )
    table = Table("Graphs of the test split", ["joint phase", *SCORES, "L1"], summary(seeds), note)
    Console(soft_wrap=True).print(table.to_rich())
    if options.json:
        report = {"seeds": seeds, "options": options.rest, "torch": torch.__version__}
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
