"""A generator that draws relations: what its layout and its losses bring, from one detector.

    python benchmarks/generator/drawn_relations.py train CHECKPOINT --data SCENES --out DIR
        [--rows ROW ...] [--steps 1200] [--threads 1] [--reconstruction.lr 0.001 ...]
    python benchmarks/generator/drawn_relations.py measure --out DIR --split val|test
        [--rows ROW ...] [--limit 300] [--threads 1]

`train` takes the detector of a checkpoint of the demo's configuration, and trains fresh generators
in the reconstruction phase, the same batches for each row (`ROWS`); further options change the
configuration of all. It goes on where it was stopped. `measure` writes a row's figures to
`DIR/ROW/figures-SPLIT.json`, unless those of its newest checkpoint are there, and prints
a table of all rows that have some:

- true predicate found, on pictures of true graphs and of graphs with shuffled predicates, and
  objects found over true boxes (`benchmarks/evaluation/object_accuracy.py`);
- L1 between the picture drawn over the true boxes and the photo, at the generator's size;
- sign agreement of the image losses (`benchmarks/generator/gradient_signs.py`), without and with
  redrawn scenes.

Weights of losses are chosen on `val`, the chosen rows are then measured on `test`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout, not installed

from autoenc_sg.config.files import load_config
from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.images import target_images
from autoenc_sg.data.base.samples import Split
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.training.loop import train
from autoenc_sg.training.start import Start
from autoenc_sg.visualization.tables import Cell, Table
from autoenc_sg.weights.checkpoint import (
    Checkpoint,
    find_checkpoints,
    read_checkpoint,
    read_resumable,
)
from benchmarks.evaluation import object_accuracy
from benchmarks.generator import gradient_signs

Figures = dict[str, Any]

_LAYOUT = ("--generator.relation_layout", "true")
_LOSSES = "--reconstruction.image_losses"
_ADVERSARY = (f"{_LOSSES}.relation_adversarial_weight", "0.01")
ROWS: Mapping[str, Sequence[str]] = {
    "objects-only": (),
    "layout": _LAYOUT,
    "layout-discriminator": (*_LAYOUT, *_ADVERSARY),
    "layout-features": (*_LAYOUT, f"{_LOSSES}.relation_feature_weight", "0.1"),
    "all": (
        *(*_LAYOUT, *_ADVERSARY),
        *(f"{_LOSSES}.feature_weight", "0.1", f"{_LOSSES}.relation_feature_weight", "0.1"),
    ),
}


def configured(options: argparse.Namespace, row: str) -> RunConfig:
    """The demo's configuration with a row's options and those of the command line."""
    own = ["--out", str(options.out / row), "--data.root", str(options.data)]
    run = ["--runtime.threads", str(options.threads), "--reconstruction.steps", str(options.steps)]
    return load_config(options.config, [*own, *run, *ROWS[row], *options.rest])


def with_detector(config: RunConfig, source: Checkpoint) -> Checkpoint:
    """Fresh weights, from the run's seed, with the detector of another checkpoint."""
    torch.manual_seed(config.seed)
    model = AutoEncoder(config, source.vocabulary, download=False)
    detector = {n: v for n, v in source.model.items() if n.startswith("detector.")}
    return Checkpoint(config, source.vocabulary, {**model.state_dict(), **detector}, "detector")


def train_rows(options: argparse.Namespace) -> None:
    """The reconstruction phase of each row, or what is left of it."""
    for row in options.rows:
        config = configured(options, row)
        folder = Path(config.out)
        if find_checkpoints(folder):
            start = Start(read_resumable(folder), resume=True, in_place=True)
        else:
            start = Start(with_detector(config, read_checkpoint(options.checkpoint)))
        train(config, ("reconstruction",), start)


def figures(folder: Path, options: argparse.Namespace) -> Figures:
    """What a generator draws, and what its losses say to predicates."""
    split, limit = options.split, options.limit
    where = [str(folder), "--split", split, "--limit", str(limit)]
    steps = ["--steps", str(options.classifier_steps)]
    report = object_accuracy.run(object_accuracy.make_parser().parse_args([*where, *steps]))
    cues, objects = report["predicates"][0], report["objects"][0]
    found: Figures = {
        "steps": read_checkpoint(folder).step,
        "predicate, photos": cues["photos"],
        "predicate": cues["true graphs"],
        "predicate, shuffled": cues["shuffled"],
        "objects": objects["true boxes"]["true graphs"],
        "L1": drawn_error(folder, split, limit),
    }
    modes = {"signs": [], "signs, redrawn": ["--redrawn"]}
    for name, mode in modes.items():
        agreement = gradient_signs.measured(gradient_signs.make_parser().parse_args(where + mode))
        found[name] = {
            loss: {r: s for r, (s, _) in rows.items()} for loss, rows in agreement.items()
        }
    return found


def drawn_error(folder: Path, split: Split, limit: int) -> float:
    """Mean L1 between pictures of true graphs over their boxes and the photos."""
    checkpoint = read_checkpoint(folder)
    model = AutoEncoder.from_checkpoint(folder)
    dataset = open_dataset(checkpoint.config.data, split, checkpoint.config.seed)
    errors = []
    for i in range(min(limit, len(dataset))):
        sample = dataset[i]
        target = target_images([sample.image], model.config.generator.image_size)
        drawn = model.generate_batch([sample.graph], [i], predict_boxes=False).image.cpu()
        errors.append(float((drawn.clamp(0, 1) - target).abs().mean()))
    return statistics.mean(errors)


def measure_rows(options: argparse.Namespace) -> None:
    """Figures of each row that has a checkpoint, and a table of them."""
    rows: dict[str, Figures] = {}
    for row in options.rows:
        folder = options.out / row
        if not find_checkpoints(folder):
            continue
        path = folder / f"figures-{options.split}.json"
        stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if stored.get("steps") != read_checkpoint(folder).step:
            stored = figures(folder, options)
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
        rows[row] = stored
    print(table_of(rows).to_markdown())


def table_of(rows: Mapping[str, Figures]) -> Table:
    """A row each; of the sign agreement the relations with a cue, by loss."""
    plain = ("predicate", "predicate, shuffled", "objects", "L1")
    signs = ("pixel", "features", "relation_features")
    cells: list[list[Cell]] = []
    for name, row in rows.items():
        shares = [
            _three(row.get(kind, {}).get(loss, {}).get("cues"))
            for kind in ("signs", "signs, redrawn")
            for loss in signs
        ]
        values = [row[key] for key in plain]
        error = f"{values.pop():.4f}"
        cells.append([name, row["steps"], *map(_three, values), error, *shares])
    columns = [*(f"signs: {loss}" for loss in signs), *(f"redrawn: {loss}" for loss in signs)]
    photos = {_three(row["predicate, photos"]) for row in rows.values()}
    note = f"Predicates with a cue; found in photos: {', '.join(sorted(map(str, photos)))}."
    return Table("Generators that draw relations", ["row", "steps", *plain, *columns], cells, note)


def _three(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Train or measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(required=True)
    training, measuring = commands.add_parser("train"), commands.add_parser("measure")
    for command in (training, measuring):
        command.add_argument("--out", type=Path, required=True)
        command.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
        command.add_argument("--threads", type=int, default=1)
    training.add_argument("checkpoint", type=Path)
    training.add_argument("--config", default="demo")
    training.add_argument("--data", type=Path, required=True)
    training.add_argument("--steps", type=int, default=1200)
    training.set_defaults(run_step=train_rows)
    measuring.add_argument("--split", choices=("val", "test"), default="val")
    measuring.add_argument("--limit", type=int, default=300)
    measuring.add_argument("--classifier-steps", type=int, default=200)
    measuring.set_defaults(run_step=measure_rows)
    options, rest = parser.parse_known_args(arguments)
    if rest and options.run_step is measure_rows:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    torch.set_num_threads(options.threads)
    options.run_step(options)


if __name__ == "__main__":
    main()
