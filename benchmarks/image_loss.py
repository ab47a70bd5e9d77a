"""What image losses add to graphs: a grid of annotation, relation heads and ways to learn, paired.

    python benchmarks/image_loss.py --out DIR [--fractions 0.05 0.2 1] [--heads gcn motifs]
        [--noises clean noisy biased] [--ways WAY ...] [--seeds 5] [--init CHECKPOINT]
        [--patience 4] [--split val|test] [--unannotated FOLDER] [--table] [--threads 2]
        [--joint.lr 0.05 ...]

Named in advance (28 November 2026, before any cell was run): 5 % of the training images annotated,
clean, head `gcn`; SGGen mR@50 on the test split of way `unannotated` minus `graph-only`, over five
paired seeds (eight if the interval is wider than the effect). The aim is 3 points or more and a
95 % interval above 0. Everything else that the grid shows is exploration.

One detector is trained on boxes and classes (or taken from `--init`) and frozen. For each fraction
and noise two generators are trained on its graphs, with relations and without. From these, for each
head and seed, the joint phase runs on cached regions, with the same fresh layers and the same
annotated batches in every way, at a constant rate, until `--patience` validations have not been
better (SGGen mR@50 on `val`) or `joint.steps` are done; the best validation's weights are scored.

Ways (`benchmarks/image_grid/ways.py` has their options):

    graph-only                 no image loss: the baseline
    image-loss                 as in the paper: on annotated images
    relations                  and a generator that draws relations, with losses that see them
    unannotated                and images without annotated relations beside the annotated ones
    pseudo-labels              no image loss; a mean teacher's relations on unannotated images
    pseudo-labels-image-loss   both
    straight-through           as image-loss, graphs one-hot forward (not among the defaults)
    no-gradient                as image-loss, no gradient into the graph (not among the defaults)

Ways with unannotated images are left out where all is annotated. `--unannotated` puts a folder in
the place of the training images whose relations are left out: more scenes, for instance. Further
options change the configuration of all runs. Hyper-parameters are chosen with `--split val`, the
default; only the last run is of `test`.

Each cell goes on where it was stopped; the same command again runs what has no result, and cells
that failed. `--table` trains nothing. Results: `DIR/image_loss.md` and `.png`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout, not installed

from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.errors import InputError
from benchmarks.image_grid.run import GridRun
from benchmarks.image_grid.summary import figure, registered_line, tables
from benchmarks.image_grid.ways import GRID_WAYS, NOISES, WAYS, Grid


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the grid, and write and print its tables; 1 if a cell failed, 2 of bad input."""
    options, rest = _parser().parse_known_args(arguments)
    torch.set_num_threads(options.threads)
    try:
        grid = Grid(
            options.out,
            options.config,
            (f"--runtime.threads={options.threads}", *rest),
            tuple(options.fractions),
            tuple(options.noises),
            tuple(options.heads),
            tuple(options.ways),
            options.seeds,
            options.unannotated,
        )
        for cell in grid.cells():
            grid.config_of(cell)  # raises before anything is trained
        runs = GridRun(grid, options.init, options.patience, options.split)
        failures = {} if options.table else runs.run()
        write(runs, options.out)
    except InputError as error:
        print(f"image_loss.py: {error}", file=sys.stderr)
        return 2
    for cell, reason in failures.items():
        print(f"{cell.name}: {reason}", file=sys.stderr)
    return 1 if failures else 0


def write(runs: GridRun, out: Path) -> None:
    """The results so far as Markdown and a figure."""
    results = runs.results()
    parts = [registered_line(results), *(table.to_markdown() for table in tables(results))]
    text = "\n\n".join(parts) + "\n"
    print(text)
    with replacing(out / "image_loss.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    if results:
        with replacing(out / "image_loss.png") as temporary:
            figure(results).save(temporary, format="PNG")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        epilog="Further options go to the configuration.",
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", default="demo")
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.05, 0.2, 1.0])
    parser.add_argument("--noises", nargs="+", default=list(NOISES), metavar="NOISE")
    parser.add_argument("--heads", nargs="+", default=["gcn", "motifs"], metavar="HEAD")
    parser.add_argument("--ways", nargs="+", default=GRID_WAYS, choices=list(WAYS), metavar="WAY")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--init", type=Path, help="checkpoint whose detector is taken")
    parser.add_argument("--patience", type=int, default=4)
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--unannotated", type=Path, help="folder of photos, or a data set")
    parser.add_argument("--table", action="store_true", help="of what is finished")
    parser.add_argument("--threads", type=int, default=2)
    return parser


if __name__ == "__main__":
    sys.exit(main())
