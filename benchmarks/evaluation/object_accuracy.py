"""Are drawn objects recognizable, and do relations show? True graphs against shuffled predicates.

    python benchmarks/evaluation/object_accuracy.py runs/demo [--data FOLDER] [--split test]
        [--limit N] [--samples 2] [--steps 200] [--threads 2] [--json OUT]

Two small networks learn from the train split's true pictures, at the generator's size: classes from
crops of objects, predicates from crops of union boxes. Then the graphs of `--split` are drawn, as
they are and with the predicates dealt out anew among all relations of the split (objects, boxes,
pairs and noise stay). Pictures are drawn over the true boxes, where relations can change looks
alone, and over the boxes that the generator predicts, which relations change too.

Object accuracy: share of objects whose class is found in their crop. A class counts as one whose
predicate shows where at least half of its objects in the train split take part in a relation that
the data set draws as a cue (`--cues`): an arm, a string, a face, one thing hiding the other. The
difference has a 95 % interval: images are drawn again with replacement 2,000 times, both pictures
of a graph together.

Predicate accuracy: share of cue relations whose true predicate is found in their union crop over
the true boxes; on pictures of shuffled graphs, also whose dealt predicate is found.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout, not installed

from autoenc_sg.core.boxes import union_boxes
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.data.base.samples import GraphDataset, Split
from autoenc_sg.data.open import open_dataset
from autoenc_sg.eval.crop_classifier import (
    CropClassifier,
    CropTraining,
    crop_boxes,
    fit_crop_classifier,
)
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.scoring.crop_dataset import real_crops, real_union_crops
from autoenc_sg.visualization.tables import Cell, Table
from autoenc_sg.weights.checkpoint import check_vocabulary, read_checkpoint

CUES = ("holding", "riding", "wearing", "tied to", "looking at", "in front of", "behind")
BATCH = 32
RESAMPLES = 2000


@dataclass(frozen=True, eq=False)
class Drawn:
    """Answers about pictures of one kind of graph, means over samples.

    Attributes:
        objects: `[N]`, share of samples in which each object's class was found.
        true, stated: `[M]`, the same for each relation's true and stated predicate.
    """

    objects: Tensor
    true: Tensor
    stated: Tensor


def shuffled(graphs: Sequence[SceneGraph], seed: int = 0) -> list[SceneGraph]:
    """The graphs with the predicates of all of them dealt out anew."""
    predicates = torch.cat([graph.triples[:, 1] for graph in graphs])
    order = torch.randperm(len(predicates), generator=torch.Generator().manual_seed(seed))
    dealt = predicates[order].split([len(graph.triples) for graph in graphs])
    return [
        replace(g, triples=torch.stack([g.triples[:, 0], p, g.triples[:, 2]], 1))
        for g, p in zip(graphs, dealt)
    ]


def draw(
    model: AutoEncoder,
    graphs: Sequence[SceneGraph],
    truths: Sequence[SceneGraph],
    networks: tuple[CropClassifier, CropClassifier],
    predicted: bool,
    samples: int,
) -> Drawn:
    """Draw the graphs and ask both networks; sample j of graph i has the noise of seed i + j G."""
    found: dict[str, list[Tensor]] = {"objects": [], "true": [], "stated": []}
    for start in range(0, len(graphs), BATCH):
        part, true = (SceneGraphBatch.collate(g[start : start + BATCH]) for g in (graphs, truths))
        sums = [torch.zeros(len(part.labels)), *torch.zeros(2, len(part.triples))]
        for j in range(samples):
            seeds = [start + i + j * len(graphs) for i in range(len(part))]
            made = model.generate_batch(part.split(), seeds, predicted)
            images = made.image.clamp(0, 1).cpu()
            boxes = made.boxes.cpu() if predicted else part.unit_boxes()
            seen = networks[0].labels(crop_boxes(images, boxes, part.image_index))
            unions = union_boxes(boxes, part.triples[:, [0, 2]])
            told = networks[1].labels(crop_boxes(images, unions, part.triple_image_index))
            for total, hit in zip(
                sums,
                (seen == part.labels, told == true.triples[:, 1], told == part.triples[:, 1]),
            ):
                total += hit / samples
        for name, total in zip(found, sums):
            found[name].append(total)
    return Drawn(*(torch.cat(found[name]) for name in ("objects", "true", "stated")))


def in_cues(batch: SceneGraphBatch, cues: Tensor) -> Tensor:
    """Whether each object takes part in a relation of a cue predicate: `[N]` bool."""
    ends = batch.triples[torch.isin(batch.triples[:, 1], cues)][:, [0, 2]]
    taking = torch.zeros(len(batch.labels), dtype=torch.bool)
    taking[ends.flatten()] = True
    return taking


def difference(
    a: Tensor, b: Tensor, group: Tensor, groups: int, image_index: Tensor, images: int
) -> Tensor:
    """Mean of `a - b` in each group and its 95 % interval over images: `[groups, 3]`.

    Shapes: `a, b, group, image_index [N]`.
    """
    place = image_index * groups + group
    zeros = torch.zeros(images * groups, dtype=torch.float64)
    sums = zeros.index_add(0, place, (a - b).double()).reshape(images, groups)
    counts = zeros.index_add(0, place, torch.ones(len(place)).double()).reshape(images, groups)
    rng = torch.Generator().manual_seed(0)
    drawn = torch.randint(images, (RESAMPLES, images), generator=rng)
    weights = torch.zeros(RESAMPLES, images, dtype=torch.float64)
    weights.scatter_add_(1, drawn, torch.ones(drawn.shape, dtype=torch.float64))
    resampled = (weights @ sums) / (weights @ counts)
    low, high = resampled.nanquantile(torch.tensor([0.025, 0.975]).double(), 0)
    return torch.stack([sums.sum(0) / counts.sum(0), low, high], 1)


def means(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """Mean of the values in each group: `[groups]`."""
    counts = torch.bincount(group, minlength=groups)
    return torch.zeros(groups).index_add(0, group, values.float()) / counts


def object_rows(
    batch: SceneGraphBatch,
    names: Sequence[str],
    showing: Tensor,
    real: Tensor,
    drawn: dict[str, Drawn],
) -> list[dict[str, Any]]:
    """A row for all objects, for those of classes that show and the others, and one per class."""
    everything = torch.zeros_like(batch.labels)
    rows = group_rows(["all"], everything, batch, real, drawn)
    kinds = ["other classes", "predicate shows"]
    rows += group_rows(kinds, showing[batch.labels].long(), batch, real, drawn)
    by_class = group_rows(names, batch.labels, batch, real, drawn)
    shows = dict(zip(names, showing.tolist()))
    return rows + [row | {"shows": shows[row["objects of"]]} for row in by_class]


def group_rows(
    titles: Sequence[str],
    group: Tensor,
    batch: SceneGraphBatch,
    real: Tensor,
    drawn: dict[str, Drawn],
) -> list[dict[str, Any]]:
    """A row for each group that has objects; `group [N]` are places in `titles`."""
    groups = len(titles)
    counts, photos = torch.bincount(group, minlength=groups), means(real, group, groups)
    rows: list[dict[str, Any]] = [
        {"objects of": title, "count": int(counts[k]), "photos": float(photos[k])}
        for k, title in enumerate(titles)
    ]
    for boxes in ("true boxes", "predicted boxes"):
        a, b = (drawn[f"{kind}, {boxes}"].objects for kind in ("true", "shuffled"))
        spread = difference(a, b, group, groups, batch.image_index, len(batch))
        for row, mean, (delta, low, high) in zip(rows, means(a, group, groups), spread):
            row[boxes] = {
                "true graphs": float(mean),
                "shuffled": float(mean - delta),
                "difference": float(delta),
                "interval": [float(low), float(high)],
            }
    return [row for row in rows if row["count"] > 0]


def object_table(rows: Sequence[dict[str, Any]], boxes: str, note: str) -> Table:
    """The rows as a table, for pictures over `true boxes` or `predicted boxes`."""
    cells: list[list[Cell]] = []
    for row in rows:
        part = row[boxes]
        name = row["objects of"] + (" *" if row.get("shows") else "")
        scores = [row["photos"], part["true graphs"], part["shuffled"]]
        cells.append([name, row["count"], *scores, part["difference"], *part["interval"]])
    columns = ["objects of", "count", "photos", "true", "shuffled", "gain", "from", "to"]
    return Table(f"Object accuracy over {boxes}", columns, cells, note)


def predicate_rows(
    truth: SceneGraphBatch,
    cues: Tensor,
    names: Sequence[str],
    real: Tensor,
    drawn: dict[str, Drawn],
) -> list[dict[str, Any]]:
    """One row for all cue relations and one per cue predicate, over the true boxes."""
    stated = truth.triples[:, 1]
    true, dealt = drawn["true, true boxes"], drawn["shuffled, true boxes"]
    rows = []
    for title, cue in [("all cue relations", cues), *((names[c], c[None]) for c in cues)]:
        own = torch.isin(stated, cue)
        if own.any():
            rows.append(
                {
                    "predicate": title,
                    "count": int(own.sum()),
                    "photos": float(real[own].float().mean()),
                    "true graphs": float(true.true[own].mean()),
                    "shuffled": float(dealt.true[own].mean()),
                    "shuffled, dealt predicate": float(dealt.stated[own].mean()),
                }
            )
    return rows


def answers(
    dataset: GraphDataset, size: int, limit: int, networks: tuple[CropClassifier, CropClassifier]
) -> tuple[Tensor, Tensor]:
    """Whether each object and each relation of the photos is recognized: `[N]`, `[M]` bool."""
    crops, labels = real_crops(dataset, size, limit)
    unions, predicates = real_union_crops(dataset, size, limit)
    return networks[0].labels(crops) == labels, networks[1].labels(unions) == predicates


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Everything; the report as JSON holds it."""
    checkpoint = read_checkpoint(options.checkpoint)
    data = checkpoint.config.data
    if options.data is not None:
        data = replace(data, root=str(options.data))
    splits: tuple[Split, Split] = ("train", options.split)
    train, test = (open_dataset(data, split, checkpoint.config.seed) for split in splits)
    check_vocabulary(checkpoint, test.vocabulary, options.checkpoint)
    model = AutoEncoder.from_checkpoint(options.checkpoint)
    size, vocabulary = model.config.generator.image_size, test.vocabulary
    how = CropTraining(steps=options.steps, width=16)
    networks = (
        fit_crop_classifier(
            *real_crops(train, size, options.train_images), vocabulary.num_objects, how
        ),
        fit_crop_classifier(
            *real_union_crops(train, size, options.train_images), vocabulary.num_predicates, how
        ),
    )
    count = min(options.limit, len(test))
    truths = [test[i].graph for i in range(count)]
    kinds = {"true": truths, "shuffled": shuffled(truths)}
    drawn = {
        f"{kind}, {boxes} boxes": draw(
            model, graphs, truths, networks, boxes == "predicted", options.samples
        )
        for kind, graphs in kinds.items()
        for boxes in ("true", "predicted")
    }
    truth, dealt = (SceneGraphBatch.collate(kinds[kind]) for kind in ("true", "shuffled"))
    names = [name for name in options.cues if name in vocabulary.predicates]
    cues = torch.tensor([vocabulary.predicate_id(n) for n in names], dtype=torch.int64)
    known = SceneGraphBatch.collate([train.graph(i) for i in range(len(train))])
    classes = vocabulary.num_objects
    showing = means(in_cues(known, cues), known.labels, classes) >= 0.5
    real, real_predicates = answers(test, size, count, networks)
    return {
        "checkpoint": str(options.checkpoint),
        "images": count,
        "samples": options.samples,
        "predicates unchanged": float((truth.triples == dealt.triples)[:, 1].float().mean()),
        "cues": names,
        "objects": object_rows(truth, vocabulary.objects, showing, real, drawn),
        "predicates": predicate_rows(truth, cues, vocabulary.predicates, real_predicates, drawn),
    }


def make_parser() -> argparse.ArgumentParser:
    """The command line's options, which `run` takes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, help="folder of the data set, if it has moved")
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--limit", type=int, default=300, help="images of the split at most")
    parser.add_argument("--train-images", type=int, default=2000, help="for the two networks")
    parser.add_argument("--steps", type=int, default=200, help="of their training")
    parser.add_argument("--samples", type=int, default=2, help="pictures of each graph")
    parser.add_argument("--cues", nargs="*", default=CUES, help="predicates that are drawn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    return parser


def main() -> None:
    """Measure and print."""
    options = make_parser().parse_args()
    torch.set_num_threads(options.threads)
    report = run(options)
    note = (
        f"{report['images']} {options.split} graphs, {options.samples} pictures each; shuffling "
        f"left {report['predicates unchanged']:.0%} of the predicates as they were; gain of true "
        "over shuffled with its 95 % interval; * half or more of the class take part in a cue "
        "relation."
    )
    console = Console(soft_wrap=True)
    for boxes in ("true boxes", "predicted boxes"):
        console.print(object_table(report["objects"], boxes, note).to_rich())
    rows = report["predicates"]
    table = Table(
        "Predicate accuracy over the true boxes",
        list(rows[0]) if rows else ["predicate"],
        [list(row.values()) for row in rows],
        "Share of relations whose true predicate (last column: the dealt one) is found.",
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
