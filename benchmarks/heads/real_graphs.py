"""Relation heads on real scene graphs without photographs: PredCls from geometry and labels alone.

    python benchmarks/heads/real_graphs.py VG --out DIR [--heads frequency gcn motifs transformer]
        [--seeds 0 1 2] [--rates 0.003 0.01] [--epochs 2] [--choose-only] [--json OUT]

VG is a folder of VG150 files; its photographs are not needed. The three parts of its images, which
train, choose and test, are those of `benchmarks/data/relate.py`, and so are the scores: true boxes
and classes, all ordered pairs, a predicate each (graph constraint).

The heads are the package's, of width `DIM`, with the frequency bias, which is counted on the part
that trains, and `motifs` with one layer for each context, as in Scene-Graph-Benchmark. Their
features of regions and of union boxes are zeros, so that they have the classes, the boxes and the
boxes' places in the union box. In training an image has its related pairs and `UNRELATED` others,
drawn anew each epoch, as is one predicate of the pairs that have several; where it is scored, it
has all pairs. Each rate is tried from seed 0; the one with the largest mean of R@20 and mR@20 on
the images that choose is trained from the other seeds, and only then are the test images looked at
(`--choose-only`: they are not). `frequency, counted` is that head as it is counted, without
training; it has no seed.

A run that was ended goes on where it was: what is trained and scored is read from DIR. Heads may be
trained by several processes at a time (`--heads`); the last call prints the table of all.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout, not installed

from autoenc_sg.config.predictor import HeadName, MotifsConfig, PredictorConfig
from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.graph_logits import GraphLogits
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.core.structures import CandidatePairs, Regions
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.eval import RecallSuite
from autoenc_sg.predictors.build import build_predictor
from autoenc_sg.predictors.contract import RelationPredictor
from autoenc_sg.relpn.pairs import all_pairs
from autoenc_sg.visualization.tables import Cell, Table
from benchmarks.data.relate import NAMES, read_parts

HEADS: tuple[HeadName, ...] = ("frequency", "gcn", "motifs", "transformer")
DIM, FEATURES, SIDE, BATCH, DROPOUT, UNRELATED = 32, 32, 3, 32, 0.1, 16
CERTAIN = 100.0  # logit of a given class
COUNTED = "frequency, counted"


@dataclass(frozen=True)
class Setting:
    """Adam's rate, which is a tenth in the last third, and the number of epochs."""

    lr: float
    epochs: int

    def __str__(self) -> str:
        return f"rate {self.lr:g}, {self.epochs} epochs"


Scores = Mapping[str, float]
Parts = Sequence[Sequence[SceneGraph]]


def new_head(name: HeadName, vocabulary: Vocabulary, train: Sequence[SceneGraph], seed: int) -> Any:
    """The head with fresh weights; the training part is counted."""
    torch.manual_seed(seed)
    bias = name != "frequency"
    config = PredictorConfig(name, DIM, dropout=DROPOUT, frequency_bias=bias)
    if name == "motifs":
        config = replace(config, motifs=MotifsConfig(object_layers=1, edge_layers=1))
    sizes = (vocabulary.num_objects, vocabulary.num_predicates)
    head = build_predictor(config, FEATURES, SIDE, *sizes)
    head.fit_frequency(train)
    return head


def run_head(
    head: RelationPredictor, graphs: Sequence[SceneGraph], rows: Tensor | None = None
) -> GraphLogits:
    """The logits of all pairs, or of these rows of them, from classes and boxes."""
    truth = SceneGraphBatch.collate(graphs)
    regions = Regions(
        truth.boxes,
        CERTAIN * F.one_hot(truth.labels, head.num_classes).float(),
        torch.zeros(len(truth.labels), FEATURES),
        truth.image_index,
        tuple(truth.image_sizes),
        (),
        tuple(truth.image_sizes),
        given=True,
    )
    pairs = all_pairs(truth.image_index, len(graphs))
    pairs = pairs if rows is None else pairs[rows]
    candidates = CandidatePairs(pairs, torch.ones(len(pairs)))
    return head(regions, candidates, torch.zeros(len(pairs), FEATURES, SIDE, SIDE))


def targets(graph: SceneGraph, generator: torch.Generator) -> Tensor:
    """A predicate of each ordered pair, 0 for none: `[N (N - 1)]`, in the order of `all_pairs`."""
    count = len(graph)
    table = torch.zeros(count, count, dtype=torch.int64)
    order = torch.randperm(len(graph.triples), generator=generator)
    for s, p, o in graph.triples[order].tolist():
        table[s, o] = p
    return table[~torch.eye(count, dtype=torch.bool)]


def drawn_pairs(target: Tensor, generator: torch.Generator) -> Tensor:
    """Rows of an image's related pairs and of `UNRELATED` others, ascending."""
    order = torch.randperm(len(target), generator=generator)
    unrelated = order[target[order] == 0][:UNRELATED]
    return torch.cat([target.nonzero()[:, 0], unrelated]).sort().values


def batches(count: int, generator: torch.Generator) -> Iterator[list[int]]:
    """The rows of an epoch in a random order."""
    order = torch.randperm(count, generator=generator).tolist()
    for start in range(0, count, BATCH):
        yield order[start : start + BATCH]


def train_head(
    name: HeadName, setting: Setting, seed: int, train: Sequence[SceneGraph], vocabulary: Vocabulary
) -> RelationPredictor:
    """The head after its epochs."""
    head: RelationPredictor = new_head(name, vocabulary, train, seed)
    generator = torch.Generator().manual_seed(seed)
    parameters = [p for p in head.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, setting.lr)
    steps = setting.epochs * math.ceil(len(train) / BATCH)
    step = 0
    head.train()
    for epoch in range(setting.epochs):
        print(f"{name}, {setting}, seed {seed}: epoch {epoch}", file=sys.stderr, flush=True)
        for rows in batches(len(train), generator):
            loss = batch_loss(head, [train[row] for row in rows], generator)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 5.0)
            step += 1
            optimizer.param_groups[0]["lr"] = setting.lr * (0.1 if step > 2 / 3 * steps else 1)
            optimizer.step()
    return head.eval()


def batch_loss(
    head: RelationPredictor, graphs: Sequence[SceneGraph], generator: torch.Generator
) -> Tensor:
    """Cross entropy of the predicates of the drawn pairs."""
    of_images = [targets(graph, generator) for graph in graphs]
    chosen, first = [], 0
    for target in of_images:
        chosen.append(first + drawn_pairs(target, generator))
        first += len(target)
    rows = torch.cat(chosen)
    logits = run_head(head, graphs, rows).predicate_logits
    return F.cross_entropy(logits, torch.cat(of_images)[rows])


@torch.no_grad()
def score(
    head: RelationPredictor, graphs: Sequence[SceneGraph], vocabulary: Vocabulary
) -> dict[str, float]:
    """PredCls of all pairs."""
    head.eval()
    suite = RecallSuite(vocabulary.num_predicates, ("PredCls",))
    for start in range(0, len(graphs), BATCH):
        batch = graphs[start : start + BATCH]
        suite.update(run_head(head, batch).predictions(), batch)
    values = suite.compute()["PredCls"]
    return {name: float(values[name]) for name in NAMES}  # type: ignore[arg-type]


class Folder:
    """Trained heads and their scores in a folder, each made once.

    Args:
        root: the folder.
        parts: train, choosing and test graphs.
        vocabulary: of the graphs.
    """

    def __init__(self, root: Path, parts: Parts, vocabulary: Vocabulary) -> None:
        self.root, self.parts, self.vocabulary = root, parts, vocabulary
        root.mkdir(parents=True, exist_ok=True)

    def trained(self, name: HeadName, setting: Setting, seed: int) -> RelationPredictor:
        """A trained head."""
        path = self.root / f"{self._cell(name, setting, seed)}.pt"
        if path.is_file():
            head: RelationPredictor = new_head(name, self.vocabulary, (), seed)
            head.load_state_dict(torch.load(path, weights_only=True))
            return head.eval()
        start = time.process_time()
        head = train_head(name, setting, seed, self.parts[0], self.vocabulary)
        seconds = time.process_time() - start
        print(f"{path.stem}: {seconds:.0f} s of CPU time", file=sys.stderr, flush=True)
        with replacing(path) as temporary:
            torch.save(head.state_dict(), temporary)
        return head

    def scores(self, name: HeadName, setting: Setting, seed: int, part: int) -> dict[str, float]:
        """Scores on part 1 or 2."""
        path = self.root / f"{self._cell(name, setting, seed)}-part-{part}.json"
        if not path.is_file():
            head = self.trained(name, setting, seed)
            values = score(head, self.parts[part], self.vocabulary)
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(values), encoding="utf-8")
        values = json.loads(path.read_text(encoding="utf-8"))
        print(f"{path.stem}: {values}", file=sys.stderr, flush=True)
        return values

    def chosen(
        self, name: HeadName, settings: Sequence[Setting]
    ) -> tuple[Setting, dict[str, dict[str, float]]]:
        """The best setting on the images that choose, and the scores of all there."""
        scores = {setting: self.scores(name, setting, 0, 1) for setting in settings}
        best = max(scores, key=lambda setting: scores[setting]["R@20"] + scores[setting]["mR@20"])
        return best, {str(setting): values for setting, values in scores.items()}

    def _cell(self, name: HeadName, setting: Setting, seed: int) -> str:
        sizes = f"{DIM}-{FEATURES}-{SIDE}-{BATCH}-{DROPOUT}-{UNRELATED}"
        return f"{name}-{sizes}-lr-{setting.lr}-epochs-{setting.epochs}-seed-{seed}"


def texts(runs: Sequence[Scores]) -> list[Cell]:
    """Mean and, of several runs, sample standard deviation of each score."""
    cells: list[Cell] = []
    for name in NAMES:
        values = torch.tensor([run[name] for run in runs], dtype=torch.float64)
        spread = f" ± {values.std():.4f}" if len(runs) > 1 else ""
        cells.append(f"{values.mean():.4f}{spread}")
    return cells


def main() -> None:
    """Choose, train, score, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=list(HEADS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rates", type=float, nargs="+", default=[0.003, 0.01])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--choose-only", action="store_true", help="leave the test images alone")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    vocabulary, parts = read_parts(options.root)
    print(*(f"{len(part)} graphs" for part in parts), file=sys.stderr)
    folder = Folder(options.out, parts, vocabulary)
    settings = [Setting(rate, options.epochs) for rate in options.rates]
    part = 1 if options.choose_only else 2
    counted = score(new_head("frequency", vocabulary, parts[0], 0), parts[part], vocabulary)
    report: dict[str, Any] = {"heads": {COUNTED: [counted]}, "choosing": {}, "chosen": {}}
    for name in options.heads:
        best, report["choosing"][name] = folder.chosen(name, settings)
        report["chosen"][name] = str(best)
        if not options.choose_only:
            report["heads"][name] = [folder.scores(name, best, seed, 2) for seed in options.seeds]
    print_report(report, options.choose_only)
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")


def print_report(report: Mapping[str, Any], choose_only: bool) -> None:
    """The table of what was chosen by, and that of the test images."""
    console, heading = Console(width=140), ["head", "setting", *NAMES]
    choice: list[list[Cell]] = [
        [name, setting, *texts([values])]
        for name, scores in report["choosing"].items()
        for setting, values in scores.items()
    ]
    rows: list[list[Cell]] = [
        [name, report["chosen"].get(name, ""), *texts(runs)]
        for name, runs in report["heads"].items()
    ]
    if choose_only:
        choice, rows = [*rows, *choice], []
    console.print(Table("Images that choose (10 %)", heading, choice).to_rich())
    if rows:
        console.print(Table("Test images (20 %)", heading, rows).to_rich())


if __name__ == "__main__":
    main()
