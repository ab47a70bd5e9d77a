"""What codes of the background are worth, and what an edit of one object changes.

    python benchmarks/evaluation/background.py WEIGHTS [--data FOLDER] [--limit N] [--threads 2]

The test split's true graphs are drawn by the generator as it is, noise by image id, with the codes
that the detector sees in the true boxes and outside of them. Rows: with all codes, with those of
objects or of the background alone, with another image's background (the next one's), without any.
L1 is of whole pictures and of the pixels outside all boxes.

Then one object of each graph, the largest that covers at most half of the picture, becomes of the
next class and loses its code. Its picture should change within its box and stay elsewhere: the mean
change of a pixel in the box and outside, and the share of all change that lies in the box.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout, not installed

from autoenc_sg.core.images import target_images
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.data.base.dataset import AnnotatedDataset
from autoenc_sg.data.loading import batches
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model.autoencoder import AutoEncoder

BATCH = 16
LARGEST = 0.5  # of the picture, for the object that is edited
Graphs = list[SceneGraph]


def variants(coded: Graphs) -> dict[str, Graphs]:
    """The same graphs with more or fewer of their codes."""
    others = [*coded[1:], *coded[:1]]
    return {
        "all codes": coded,
        "objects' codes": [replace(g, background=None) for g in coded],
        "background's codes": [replace(g, appearance=None) for g in coded],
        "another image's background": [
            replace(g, background=o.background) for g, o in zip(coded, others)
        ],
        "no codes": [replace(g, appearance=None, background=None) for g in coded],
    }


def inside(graph: SceneGraph, size: int) -> Tensor:
    """Which pixels of a picture have their middle in each object's box: `[N, S, S]` bool."""
    height, width = graph.image_size
    x0, y0, x1, y1 = (graph.boxes / torch.tensor([width, height, width, height])).unbind(1)
    middles = (torch.arange(size) + 0.5) / size
    across = (middles >= x0[:, None]) & (middles < x1[:, None])
    down = (middles >= y0[:, None]) & (middles < y1[:, None])
    return down[:, :, None] & across[:, None]


def edited_row(graph: SceneGraph, size: int) -> int | None:
    """The largest object that covers at most `LARGEST` of the picture, and at least a pixel."""
    areas = inside(graph, size).flatten(1).float().mean(1)
    areas = areas.where(areas <= LARGEST, torch.zeros(()))
    return int(areas.argmax()) if len(graph) and float(areas.max()) > 0 else None


def edited(graph: SceneGraph, row: int, num_classes: int) -> SceneGraph:
    """The graph with another class and no code in this row; C counts the reserved 0."""
    labels = graph.labels.clone()
    labels[row] = labels[row] % (num_classes - 1) + 1
    assert graph.appearance is not None
    codes = graph.appearance.clone()
    codes[row] = 0
    return replace(graph, labels=labels, appearance=codes)


def change(before: Tensor, after: Tensor, mask: Tensor) -> tuple[float, float, float]:
    """Mean change of a pixel in the mask and outside, and the share of all change in the mask.

    Shapes: pictures `[3, S, S]`, `mask [S, S]` bool.
    """
    difference = (before - after).abs().mean(0)
    within, without = difference[mask], difference[~mask]
    total = float(difference.sum())
    share = float(within.sum()) / total if total else 1.0
    return float(within.mean()), float(without.mean()), share


def mean_of(values: Sequence[Sequence[float]]) -> list[float]:
    """Column means."""
    return torch.tensor(values, dtype=torch.float64).mean(0).tolist()


@torch.no_grad()
def measure(
    model: AutoEncoder, test: AnnotatedDataset, limit: int | None
) -> dict[str, list[float]]:
    """L1 (whole, outside) of each variant, and the three numbers of `edit`."""
    size = model.config.generator.image_size
    scores: dict[str, list[list[float]]] = {}
    for batch in batches(test, BATCH, limit):
        ids = list(batch.image_ids)
        targets = target_images(batch.images, size).clamp(0, 1)
        coded = model.with_appearance(batch.images, batch.graphs).split()
        masks = [inside(graph, size) for graph in coded]
        for name, graphs in variants(coded).items():
            pictures = model.render_batch(graphs, ids).cpu()
            differences = (pictures - targets).abs().mean(1)
            for difference, mask in zip(differences, masks):
                outside = difference[~mask.any(0)]
                if outside.numel():
                    row = [float(difference.mean()), float(outside.mean())]
                    scores.setdefault(name, []).append(row)
            if name == "all codes":
                drawn = pictures
        for i, graph in enumerate(coded):
            row = edited_row(graph, size)
            if row is not None:
                changed = edited(graph, row, model.vocabulary.num_objects)
                after = model.render_batch([changed], [ids[i]]).cpu()[0]
                scores.setdefault("edit", []).append([*change(drawn[i], after, masks[i][row])])
    return {name: mean_of(rows) for name, rows in scores.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("weights")
    parser.add_argument("--data", type=Path, help="folder of the data set, if it has moved")
    parser.add_argument("--limit", type=int, help="test images at most")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = AutoEncoder.from_pretrained(options.weights)
    data = model.config.data
    test = open_dataset(replace(data, root=str(options.data or data.root)), "test", 0)
    scores = measure(model, test, options.limit)
    edit = scores.pop("edit", None)
    for name, (whole, outside) in scores.items():
        print(f"{name}: L1 {whole:.4f}, outside all boxes {outside:.4f}")
    if edit is not None:
        print(
            "an edit changes a pixel by {:.4f} in its box, {:.4f} outside; {:.3f} inside".format(
                *edit
            )
        )


if __name__ == "__main__":
    main()
