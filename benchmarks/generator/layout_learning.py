"""What the graph convolution knows of layouts: boxes predicted from real graphs, without pictures.

    python benchmarks/generator/layout_learning.py DATA [--epochs 20] [--seeds 2] [--json OUT]

DATA holds VG150 files (no photographs). The generator's embeddings, graph convolutions and box head
are trained on the train split's graphs with sg2im's box loss (squared error, `__image__` nodes
included); the epoch of the least loss on the validation split is kept. Reported on the test split:
the mean IoU of predicted and true boxes over objects, and the share of triples whose predicate
speaks of a place (`autoenc_sg.eval.geometry`) and is obeyed by the predicted boxes. Beside it:

    true boxes               the share of the annotation itself: annotators do not always mean a
                             predicate as it is tested (a network that does can have a higher share)
    true boxes, exchanged    subject and object take each other's box: what a test lets pass anyway
    mean box of the class    over the train split
    no graph convolution     `gconv_layers 0`: a linear layer and the box head, each object alone
    no relations             graph convolution over `__in_image__` relations alone
    graph convolution        over all relations
    .. relations exchanged   the same network on test graphs with subject and object exchanged,
                             measured by the true ones: how far it follows the relations

Predicted corners are put in order and cut to [0, 1] before they are measured.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout, not installed

from autoenc_sg.config.model import GeneratorConfig
from autoenc_sg.core.boxes import paired_iou
from autoenc_sg.core.relaxed_graph import RelaxedGraph
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.augment import flip_graph, left_right_swap
from autoenc_sg.data.vg150.dataset import open_vg150
from autoenc_sg.eval.geometry import FAMILIES, families_of, relations_hold
from autoenc_sg.generator.image_node import add_image_nodes
from autoenc_sg.generator.losses import box_loss
from autoenc_sg.generator.model import Generator
from autoenc_sg.visualization.tables import Table

EXCHANGED = torch.tensor([2, 1, 0])
MEASURED = ("above", "below", "on", "in")  # the others are rare in Visual Genome


@dataclass(frozen=True)
class Settings:
    """How networks are trained."""

    epochs: int
    batch: int
    lr: float
    dim: int
    hidden: int
    layers: int
    device: str


@dataclass(frozen=True, eq=False)
class Score:
    """What boxes are worth on the test split.

    Attributes:
        iou: mean over objects; None where boxes were exchanged.
        obeyed: share over all triples of a place.
        by_family: the same for some families.
    """

    iou: float | None
    obeyed: float
    by_family: dict[str, float]


class Measure:
    """Scores boxes of the test graphs' objects."""

    def __init__(self, graphs: Sequence[SceneGraph], vocabulary: Vocabulary) -> None:
        batch = SceneGraphBatch.collate(graphs)
        self.boxes, self.labels = batch.unit_boxes(), batch.labels
        self.families = families_of(vocabulary.predicates)
        family = self.families[batch.triples[:, 1]]
        self.triples, self.family = batch.triples[family >= 0], family[family >= 0]

    def counts(self) -> dict[str, int]:
        """Triples of each family."""
        return {name: int((self.family == i).sum()) for i, name in enumerate(FAMILIES)}

    def __call__(self, boxes: Tensor, exchange: bool = False) -> Score:
        """Score `[N, 4]` boxes as fractions of their images; `exchange` them in every triple."""
        triples = self.triples[:, EXCHANGED] if exchange else self.triples
        holds = relations_hold(boxes, triples, self.families).double()
        by_family = {
            name: float(holds[self.family == list(FAMILIES).index(name)].mean())
            for name in MEASURED
        }
        iou = None
        if not exchange:
            iou = float(paired_iou(boxes, self.boxes, plus_one=False).mean())
        return Score(iou, float(holds.mean()), by_family)


def mean_boxes(train: SceneGraphBatch, labels: Tensor, num_classes: int) -> Tensor:
    """Each label's mean box in the train split (that of all objects, if it is not there)."""
    boxes = train.unit_boxes()
    sums = torch.zeros(num_classes, 4).index_add(0, train.labels, boxes)
    counts = torch.bincount(train.labels, minlength=num_classes)[:, None]
    means = torch.where(counts > 0, sums / counts.clamp(min=1), boxes.mean(0))
    return means[labels]


def without_relations(graph: SceneGraph) -> SceneGraph:
    """The objects alone."""
    return replace(graph, triples=graph.triples[:0])


def exchanged(graph: SceneGraph) -> SceneGraph:
    """Every subject is the object and the other way round."""
    return replace(graph, triples=graph.triples[:, EXCHANGED])


class BoxLearner:
    """The generator's graph side: from a graph to boxes."""

    def __init__(self, vocabulary: Vocabulary, settings: Settings, layers: int, seed: int) -> None:
        torch.manual_seed(seed)
        config = GeneratorConfig(
            image_size=32, embedding_dim=settings.dim, gconv_dim=settings.dim,
            gconv_hidden_dim=settings.hidden, gconv_layers=layers, mask_size=0,
            refinement_dims=(8,),
        )  # fmt: skip
        self.settings, self.vocabulary = settings, vocabulary
        self.network = Generator(config, vocabulary.num_objects, vocabulary.num_predicates)
        self.network.to(settings.device)
        self.random = torch.Generator().manual_seed(seed)
        self.swap = left_right_swap(vocabulary)

    def boxes(self, graphs: Sequence[SceneGraph]) -> tuple[Tensor, Tensor, Tensor]:
        """Predicted boxes of objects `[N, 4]` and of `__image__` nodes `[B, 4]`, and true ones."""
        batch = SceneGraphBatch.collate(graphs).to(self.settings.device)
        sizes = self.vocabulary.num_objects, self.vocabulary.num_predicates
        graph = RelaxedGraph.from_graph(batch, *sizes)
        full = add_image_nodes(graph)
        found = self.network.box_net(self.network.object_vectors(full.graph))
        return found[full.object_rows], found[full.image_rows], graph.boxes

    def predict(self, graphs: Sequence[SceneGraph]) -> Tensor:
        """Boxes of all objects, in order and within the image."""
        with torch.no_grad():
            parts = [self.boxes(graphs[i : i + 64])[0].cpu() for i in range(0, len(graphs), 64)]
        boxes = torch.cat(parts).clamp(0, 1)
        first, second = boxes[:, :2], boxes[:, 2:]
        return torch.cat([torch.minimum(first, second), torch.maximum(first, second)], 1)

    def fit(self, train: Sequence[SceneGraph], held_out: Sequence[SceneGraph]) -> int:
        """Train; keeps the weights of the best epoch on `held_out` and returns its number."""
        own = self.settings
        optimizer = torch.optim.Adam(self.network.parameters(), own.lr)
        steps = -(-len(train) // own.batch) * own.epochs
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        best, kept, number = float("inf"), self.network.state_dict(), 0
        for epoch in range(1, own.epochs + 1):
            order = torch.randperm(len(train), generator=self.random).split(own.batch)
            for rows in order:
                found, image, true = self.boxes([self._mirrored(train[i]) for i in rows.tolist()])
                optimizer.zero_grad()
                box_loss(found, true, image).backward()
                optimizer.step()
                schedule.step()
            loss = self.loss(held_out)
            if loss < best:
                best, number = loss, epoch
                kept = copy.deepcopy(self.network.state_dict())
        self.network.load_state_dict(kept)
        return number

    def loss(self, graphs: Sequence[SceneGraph]) -> float:
        """The mean squared error of all objects' coordinates."""
        with torch.no_grad():
            found, _, true = self.boxes(graphs)
        return float(box_loss(found, true))

    def _mirrored(self, graph: SceneGraph) -> SceneGraph:
        coin = torch.rand((), generator=self.random) < 0.5
        return flip_graph(graph, self.swap) if coin else graph


def learned(
    parts: dict[str, list[SceneGraph]], vocabulary: Vocabulary, settings: Settings, seed: int
) -> tuple[dict[str, Score], dict[str, int]]:
    """The trained rows of the table, and the epoch that each kept."""
    scores, epochs = {}, {}
    measure = Measure(parts["test"], vocabulary)
    for name, layers, change in (
        ("no graph convolution", 0, None),
        ("no relations", settings.layers, without_relations),
        ("graph convolution", settings.layers, None),
    ):
        own = parts
        if change is not None:
            own = {split: [change(graph) for graph in graphs] for split, graphs in parts.items()}
        learner = BoxLearner(vocabulary, settings, layers, seed)
        epochs[name] = learner.fit(own["train"], own["val"])
        scores[name] = measure(learner.predict(own["test"]))
        if name == "graph convolution":
            turned = [exchanged(graph) for graph in parts["test"]]
            scores[".. relations exchanged"] = measure(learner.predict(turned))
    return scores, epochs


def read(root: Path) -> tuple[dict[str, list[SceneGraph]], Vocabulary]:
    """The graphs of each split."""
    parts = {}
    for split in ("train", "val", "test"):
        data = open_vg150(root, split)  # type: ignore[arg-type]
        parts[split] = [data.annotated(i) for i in range(len(data))]
    return parts, data.vocabulary


def report(rows: dict[str, list[Score]], counts: dict[str, int]) -> Table:
    """Means over the seeds."""
    cells = []
    for name, scores in rows.items():
        values = [[s.obeyed, *s.by_family.values()] for s in scores]
        overlaps = [s.iou for s in scores if s.iou is not None]
        iou = statistics.fmean(overlaps) if overlaps else None
        cells.append([name, iou, *(statistics.fmean(column) for column in zip(*values))])
    columns = ["boxes", "mean IoU", f"obeyed ({sum(counts.values())})"]
    columns += [f"{name} ({counts[name]})" for name in MEASURED]
    spread = max(statistics.pstdev(s.obeyed for s in scores) for scores in rows.values())
    count = max(map(len, rows.values()))
    note = f"{count} seeds, mean; standard deviation of `obeyed` at most {spread:.4f}"
    return Table("Boxes predicted from graphs, test split", columns, cells, note)


def main() -> None:
    """Train, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder of VG150 files")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--dim", type=int, default=64, help="sg2im: 128")
    parser.add_argument("--hidden", type=int, default=128, help="sg2im: 512")
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    names = ("epochs", "batch", "lr", "dim", "hidden", "layers", "device")
    settings = Settings(*(getattr(options, name) for name in names))
    parts, vocabulary = read(options.data)
    measure, started = Measure(parts["test"], vocabulary), time.perf_counter()
    train = SceneGraphBatch.collate(parts["train"])
    rows = {
        "true boxes": [measure(measure.boxes)],
        "true boxes, exchanged": [measure(measure.boxes, exchange=True)],
        "mean box of the class": [
            measure(mean_boxes(train, measure.labels, vocabulary.num_objects))
        ],
    }
    kept = []
    for seed in range(options.seeds):
        scores, epochs = learned(parts, vocabulary, settings, seed)
        kept.append(epochs)
        for name, score in scores.items():
            rows.setdefault(name, []).append(score)
    Console(width=120).print(report(rows, measure.counts()).to_rich())
    seconds = time.perf_counter() - started
    images = ", ".join(f"{len(graphs)} {split}" for split, graphs in parts.items())
    print(f"{images} graphs; {settings}; epochs kept {kept}; {seconds:.0f} s, {platform.machine()}")
    if options.json is not None:
        found = {
            "settings": vars(settings),
            "torch": torch.__version__,
            "seconds": seconds,
            "epochs_kept": kept,
            "triples": measure.counts(),
            "scores": {name: [vars(s) for s in scores] for name, scores in rows.items()},
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
