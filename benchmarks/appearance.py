"""What appearance codes are worth: the reconstruction phase with and without them.

    python benchmarks/appearance.py runs/demo/checkpoint.pt [--data FOLDER] [--steps N] [--dim 16]
        [--dropout 0.2] [--limit N] [--threads 2] [--keep FOLDER] [--json OUT]

Takes the detector of a checkpoint and trains two new generators on its data, from the same first
weights and on the same batches, one without codes and one with. Then the test split's true graphs
are drawn, noise by image id:

- `no codes`: the first, the paper's way;
- `codes`: the second with each object's code, from what the detector sees in its true box;
- `codes, left out`: the second from the graphs alone, as hand-made ones are drawn;
- `codes, swapped`: the second with the codes dealt out anew among the objects of each class: what
  `codes` gains over this is looks, what this gains over `codes, left out` is class.

L1 and SSIM are of whole pictures; `object L1` is the mean over objects of the difference of their
32 x 32 crops; object accuracy is the share of objects that a network trained on the train split's
real crops recognizes (`photos`: in the true pictures).
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout, not installed

from autoenc_sg.checkpoint import read_checkpoint
from autoenc_sg.config import RunConfig
from autoenc_sg.datasets import open_dataset
from autoenc_sg.eval import ImageQuality
from autoenc_sg.eval.crop_classifier import (
    CropClassifier,
    CropTraining,
    ObjectAccuracy,
    object_crops,
)
from autoenc_sg.loading import batches
from autoenc_sg.model import AutoEncoder
from autoenc_sg.object_crops import crop_classifier_of
from autoenc_sg.objectives import target_images
from autoenc_sg.samples import Batch
from autoenc_sg.structures import SceneGraph
from autoenc_sg.tables import Table
from autoenc_sg.training import train

BATCH = 16


@dataclass(frozen=True, eq=False)
class Test:
    """The test split as all rows see it.

    Attributes:
        batches: photos and true graphs.
        targets: the photos at the generator's size, batch by batch.
        classifier: knows real crops.
        classes: C.
    """

    batches: Sequence[Batch]
    targets: Sequence[Tensor]
    classifier: CropClassifier
    classes: int


def trained(config: RunConfig, out: Path, dim: int, dropout: float) -> tuple[AutoEncoder, float]:
    """A new generator with codes of `dim` numbers, and the seconds of its training."""
    generator = replace(config.generator, appearance_dim=dim, appearance_dropout=dropout)
    started = time.monotonic()
    own = replace(config, out=str(out), generator=generator)
    path = train(own, ("reconstruction",))
    return AutoEncoder.from_checkpoint(path), time.monotonic() - started


def with_codes(model: AutoEncoder, test: Test) -> list[list[SceneGraph]]:
    """The true graphs with their objects' codes, batch by batch."""
    return [model.with_appearance(b.images, b.graphs).split() for b in test.batches]


def swapped(graphs: Sequence[Sequence[SceneGraph]], seed: int = 0) -> list[list[SceneGraph]]:
    """The graphs with their codes dealt out anew among all objects of a class."""
    flat = [graph for part in graphs for graph in part]
    codes = torch.cat([g.appearance for g in flat if g.appearance is not None])
    labels = torch.cat([g.labels for g in flat])
    rng = torch.Generator().manual_seed(seed)
    order = torch.arange(len(labels))
    for label in labels.unique():
        rows = (labels == label).nonzero()[:, 0]
        order[rows] = rows[torch.randperm(len(rows), generator=rng)]
    dealt = iter(codes[order].split([len(g) for g in flat]))
    return [[replace(graph, appearance=next(dealt)) for graph in part] for part in graphs]


def score(
    model: AutoEncoder | None, graphs: Sequence[Sequence[SceneGraph]], test: Test
) -> dict[str, float]:
    """Scores of the pictures of graphs; without a model, of the photos themselves."""
    quality, accuracy = ImageQuality(), ObjectAccuracy(test.classifier, test.classes)
    differences = []
    for part, batch, target in zip(graphs, test.batches, test.targets):
        images = target
        if model is not None:
            images = model.render_batch(part, list(batch.image_ids)).cpu()
        quality.update(images, target)
        accuracy.update(images, batch.graphs)
        places = (batch.graphs.unit_boxes(), batch.graphs.image_index)
        both = [object_crops(pictures, *places) for pictures in (images, target)]
        differences.append((both[0] - both[1]).abs().mean((1, 2, 3)))
    scores = {name: float(value) for name, value in quality.compute().items()}
    scores["object L1"] = float(torch.cat(differences).mean())
    return scores | {name: float(value) for name, value in accuracy.compute().items()}


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train, draw and score; the report as JSON holds it."""
    config = read_checkpoint(options.checkpoint).config
    data = config.data
    if options.data is not None:
        data = replace(data, root=str(options.data))
    phase = config.reconstruction
    if options.steps is not None:
        phase = replace(phase, steps=options.steps)
    config = replace(
        config,
        data=data,
        reconstruction=phase,
        detector=replace(config.detector, weights=str(options.checkpoint)),
        runtime=replace(config.runtime, threads=options.threads),
    )
    size = config.generator.image_size
    plain, plain_seconds = trained(config, folder / "no codes", 0, 0.0)
    coded, coded_seconds = trained(config, folder / "codes", options.dim, options.dropout)
    how = CropTraining(steps=200, width=16)
    train_split, held_out = (open_dataset(data, s, config.seed) for s in ("train", "test"))
    parts = list(batches(held_out, BATCH, options.limit))
    test = Test(
        parts,
        [target_images(part.images, size).clamp(0, 1) for part in parts],
        crop_classifier_of(train_split, size, 2000, how),
        held_out.vocabulary.num_objects,
    )
    bare = [part.graphs.split() for part in parts]
    looks = with_codes(coded, test)
    rows = {
        "no codes": score(plain, bare, test),
        "codes": score(coded, looks, test),
        "codes, left out": score(coded, bare, test),
        "codes, swapped": score(coded, swapped(looks), test),
        "photos": score(None, bare, test),
    }
    return {
        "checkpoint": str(options.checkpoint),
        "images": sum(len(part) for part in parts),
        "steps": phase.steps,
        "batch size": phase.batch_size,
        "dim": options.dim,
        "dropout": options.dropout,
        "seconds": {"no codes": plain_seconds, "codes": coded_seconds},
        "rows": rows,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, help="folder of the data set, if it has moved")
    parser.add_argument("--steps", type=int, help="default: the checkpoint's reconstruction phase")
    parser.add_argument("--dim", type=int, default=16, help="numbers of a code")
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--limit", type=int, help="test images at most")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="new folder for the two runs")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        report = run(options, options.keep or Path(temporary))
    columns = ["L1", "object L1", "PSNR", "SSIM", "object accuracy"]
    rows = [[name, *(row[column] for column in columns)] for name, row in report["rows"].items()]
    seconds = ", ".join(f"{name} {value:.0f} s" for name, value in report["seconds"].items())
    note = f"{report['images']} test graphs. Training of {report['steps']} steps: {seconds}."
    console = Console(soft_wrap=True)
    table = Table(
        f"Appearance codes of {options.dim} numbers", ["drawn with", *columns], rows, note
    )
    console.print(table.to_rich())
    if options.json:
        report["machine"] = {
            "torch": torch.__version__,
            "threads": options.threads,
            "machine": f"{platform.system()} {platform.machine()}",
        }
        options.json.write_text(json.dumps(report, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
