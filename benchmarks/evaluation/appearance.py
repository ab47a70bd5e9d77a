"""What appearance codes are worth: the reconstruction phase with and without them.

    python benchmarks/evaluation/appearance.py runs/demo [--data FOLDER | --tint 80] [--steps N]
        [--dim 16] [--dropout 0.2] [--limit N] [--threads 2] [--keep FOLDER] [--json OUT]
        [--figure OUT.png]

Takes the detector of a checkpoint and trains two new generators on its data, from the same first
weights and on the same batches, one without codes and one with. `--tint` draws the checkpoint's
scenes anew, the same worlds in other colours: with 10, as the demo has it, things of a class hardly
differ, with 80 they do. The detector stays that of the checkpoint; it is used for codes alone.

Then the test split's true graphs are drawn, noise by image id:

- `no codes`: the first, the paper's way;
- `codes`: the second with each object's code, from what the detector sees in its true box;
- `codes, left out`: the second from the graphs alone, as hand-made ones are drawn;
- `codes, swapped`: the second with the codes dealt out anew among the objects of each class: what
  `codes` gains over this is looks, what this gains over `codes, left out` is class.

L1 and SSIM are of whole pictures; `object L1` is the mean over objects of the difference of their
32 x 32 crops (`--json` has it by class too); object accuracy is the share of objects that a network
trained on the train split's real crops recognizes (`photos`: in the true pictures). The figure has
the first test pictures.
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
from PIL import Image, ImageDraw
from rich.console import Console
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout, not installed

from autoenc_sg.config.data import DataConfig
from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.images import target_images
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.samples import Batch
from autoenc_sg.data.loading import batches
from autoenc_sg.data.open import open_dataset
from autoenc_sg.eval import ImageQuality
from autoenc_sg.eval.crop_classifier import (
    CropClassifier,
    CropTraining,
    ObjectAccuracy,
    crop_boxes,
)
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.scoring.crop_dataset import crop_classifier_of
from autoenc_sg.training.loop import train
from autoenc_sg.visualization.composition import text_font
from autoenc_sg.visualization.tables import Table
from autoenc_sg.weights.checkpoint import read_checkpoint

BATCH = 16
SHOWN = 6  # pictures of the figure's rows
LEVELS = 31  # of a channel above 0, in the figure: a small file
Drawn = tuple[AutoEncoder | None, Sequence[Sequence[SceneGraph]]]  # by whom, and which graphs


@dataclass(frozen=True, eq=False)
class Test:
    """The test split as all rows see it.

    Attributes:
        batches: photos and true graphs.
        targets: the photos at the generator's size, batch by batch.
        classifier: knows real crops.
        vocabulary: its classes.
    """

    batches: Sequence[Batch]
    targets: Sequence[Tensor]
    classifier: CropClassifier
    vocabulary: Vocabulary


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


def pictures(drawn: Drawn, test: Test, part: int) -> Tensor:
    """A batch's pictures, `[B, 3, S, S]`; without a model, the photos themselves."""
    model, graphs = drawn
    if model is None:
        return test.targets[part]
    return model.render_batch(graphs[part], list(test.batches[part].image_ids)).cpu()


def object_l1(differences: Tensor, test: Test) -> dict[str, float]:
    """Means of the objects' differences `[N]`: over all, and over each class's."""
    labels = torch.cat([batch.graphs.labels for batch in test.batches])
    means = {"object L1": float(differences.mean())}
    for label in labels.unique().tolist():
        name = f"object L1, {test.vocabulary.objects[label]}"
        means[name] = float(differences[labels == label].mean())
    return means


def score(drawn: Drawn, test: Test) -> dict[str, float]:
    """Scores of the pictures of graphs."""
    quality, accuracy = ImageQuality(), ObjectAccuracy(test.classifier, test.vocabulary.num_objects)
    differences = []
    for part, (batch, target) in enumerate(zip(test.batches, test.targets)):
        images = pictures(drawn, test, part)
        quality.update(images, target)
        accuracy.update(images, batch.graphs)
        places = (batch.graphs.unit_boxes(), batch.graphs.image_index)
        both = [crop_boxes(whole, *places) for whole in (images, target)]
        differences.append((both[0] - both[1]).abs().mean((1, 2, 3)))
    scores = {name: float(value) for name, value in quality.compute().items()}
    scores |= object_l1(torch.cat(differences), test)
    return scores | {name: float(value) for name, value in accuracy.compute().items()}


def figure(rows: dict[str, Drawn], test: Test, scale: int = 2) -> Image.Image:
    """The first pictures, a row of them for each way to draw, with its name."""
    strips = [make_grid(pictures(d, test, 0)[:SHOWN], SHOWN, pad_value=1) for d in rows.values()]
    whole = (torch.cat(strips, 1) * LEVELS).round() / LEVELS
    grid = to_pil_image(whole.repeat_interleave(scale, 1).repeat_interleave(scale, 2))
    font = text_font(9 * scale)
    margin = round(max(font.getlength(name) for name in rows)) + 8 * scale
    sheet = Image.new("RGB", (margin + grid.width, grid.height), "white")
    sheet.paste(grid, (margin, 0))
    pen, height = ImageDraw.Draw(sheet), grid.height / len(rows)
    for i, name in enumerate(rows):
        at = (margin - 4 * scale, (i + 0.5) * height)
        pen.text(at, name, font=font, fill="black", anchor="rm")
    return sheet


def data_of(data: DataConfig, options: argparse.Namespace, folder: Path) -> DataConfig:
    """The checkpoint's data, where it lies now or in other colours."""
    if options.tint is not None:
        if data.format != "scenes":
            raise bad_input("--tint", "a checkpoint trained on scenes", data.format)
        scenes = replace(data.scenes, tint=options.tint)
        return replace(data, root=str(folder / "scenes"), scenes=scenes)
    return data if options.data is None else replace(data, root=str(options.data))


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train, draw and score; the report as JSON holds it."""
    config = read_checkpoint(options.checkpoint).config
    data = data_of(config.data, options, folder)
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
        held_out.vocabulary,
    )
    bare = [part.graphs.split() for part in parts]
    looks = with_codes(coded, test)
    rows: dict[str, Drawn] = {
        "photos": (None, bare),
        "no codes": (plain, bare),
        "codes": (coded, looks),
        "codes, left out": (coded, bare),
        "codes, swapped": (coded, swapped(looks)),
    }
    if options.figure is not None:
        figure(rows, test).save(options.figure, optimize=True)
    return {
        "checkpoint": str(options.checkpoint),
        "images": sum(len(part) for part in parts),
        "steps": phase.steps,
        "batch size": phase.batch_size,
        "tint": data.scenes.tint if data.format == "scenes" else None,
        "dim": options.dim,
        "dropout": options.dropout,
        "seconds": {"no codes": plain_seconds, "codes": coded_seconds},
        "rows": {name: score(drawn, test) for name, drawn in rows.items()},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--data", type=Path, help="folder of the data set, if it has moved")
    where.add_argument("--tint", type=int, help="draw the scenes anew with this tint, 0 to 255")
    parser.add_argument("--steps", type=int, help="default: the checkpoint's reconstruction phase")
    parser.add_argument("--dim", type=int, default=16, help="numbers of a code")
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--limit", type=int, help="test images at most")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="new folder for the two runs")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path, help="PNG of the first test pictures")
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
