"""What a prior of other images' graphs knows: recall on held-out graphs, beside FREQ.

    python benchmarks/data/relate.py VG [--seeds 0 1 2] [--threads 1] [--json OUT]

VG is a folder of VG150 files; photographs are not needed. Its images with relations are ordered by
id: the first 70 % train, the next 10 % choose, the last 20 % test. PredCls: true boxes and classes,
all ordered pairs, a predicate each (graph constraint).

- `FREQ`: Neural Motifs' frequency prior, `FrequencyPrior`;
- `counts`: `RelationPrior` without its geometry model: counts with back-off;
- `prior`: `RelationPrior`, with the options of `CANDIDATES` that have the largest mean of R@20 and
  mR@20 on the images that choose; mean and standard deviation over the seeds;
- `unknown classes`: the same prior that is told no class, as for names that map to nothing.

The last table says how far the probabilities can be believed: of the pairs whose most probable
predicate has a probability in a range, the share with that relation, and with any.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout, not installed

from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.relate.counts import all_pairs, unit_boxes
from autoenc_sg.data.relate.prior import PriorOptions, RelationPrior
from autoenc_sg.data.vg150.dataset import VG150Source, split_rows
from autoenc_sg.data.vg150.files import read_annotations
from autoenc_sg.eval import RecallSuite
from autoenc_sg.scoring.frequency_prior import FrequencyPrior
from autoenc_sg.visualization.tables import Cell, Table

NAMES = ("R@20", "R@50", "mR@20", "mR@50")
CANDIDATES = {
    "hidden 64, vectors of 16": PriorOptions(hidden=64, embedding=16, epochs=3),
    "hidden 128, vectors of 32": PriorOptions(epochs=3),
    "hidden 128, vectors of 32, k_2 = 3": PriorOptions(pair_weight=3.0, epochs=3),
    "hidden 128, vectors of 32, 5 epochs": PriorOptions(),
}
BINS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
Scores = dict[str, float]
Predict = Callable[[SceneGraph], Tensor]


def read_parts(root: Path) -> tuple[Vocabulary, list[list[SceneGraph]]]:
    """Train, choosing and test graphs: images with relations, by id."""
    data = read_annotations(root)
    rows = torch.cat([split_rows(data, split, 0)[0] for split in ("train", "test")])  # type: ignore[arg-type]
    rows = rows[data.image_ids[rows].argsort()]
    source = VG150Source(data, rows, ~data.is_pseudo, "test")
    graphs = [source.annotated(row) for row in range(len(rows))]
    cuts = [0, int(0.7 * len(graphs)), int(0.8 * len(graphs)), len(graphs)]
    return data.vocabulary, [graphs[a:b] for a, b in pairwise(cuts)]


def recall(graphs: Sequence[SceneGraph], vocabulary: Vocabulary, predict: Predict) -> Scores:
    """PredCls of predictions `[N (N - 1), P]`, whose first column is no relation."""
    suite = RecallSuite(vocabulary.num_predicates, ("PredCls",))
    for start in range(0, len(graphs), 64):
        batch = graphs[start : start + 64]
        suite.update([as_prediction(graph, predict(graph)) for graph in batch], batch)
    values = suite.compute()["PredCls"]
    return {name: float(values[name]) for name in NAMES}  # type: ignore[arg-type]


def as_prediction(graph: SceneGraph, scores: Tensor) -> GraphPrediction:
    """The true objects with these scores of all pairs."""
    pairs = all_pairs(len(graph))
    return GraphPrediction(graph.boxes, graph.labels, torch.ones(len(graph)), pairs, scores[:, 1:])


def frequency(graphs: Sequence[SceneGraph], vocabulary: Vocabulary) -> Predict:
    """Neural Motifs' FREQ."""
    prior = FrequencyPrior.fit(graphs, vocabulary.num_objects, vocabulary.num_predicates)

    def predict(graph: SceneGraph) -> Tensor:
        pairs = all_pairs(len(graph))
        empty = torch.zeros(len(pairs), vocabulary.num_predicates)
        scores = prior.predict(as_prediction(graph, empty)).predicate_scores
        return torch.cat([empty[:, :1], scores], 1)

    return predict


def unknown(prior: RelationPrior) -> Predict:
    """The prior without the classes."""
    return lambda graph: prior.probabilities(torch.zeros_like(graph.labels), unit_boxes(graph))


def reliability(graphs: Sequence[SceneGraph], prior: RelationPrior) -> Table:
    """Of pairs by the probability of their likeliest predicate: how many are annotated so."""
    rows: list[tuple[float, bool, bool]] = []
    for graph in graphs:
        best, predicates = prior.of_graph(graph)[:, 1:].max(1)
        triples = {tuple(row) for row in graph.triples.tolist()}
        related = {(s, o) for s, _, o in triples}
        for value, predicate, (s, o) in zip(
            best.tolist(), (predicates + 1).tolist(), all_pairs(len(graph)).tolist()
        ):
            rows.append((value, (s, predicate, o) in triples, (s, o) in related))
    table = torch.tensor(rows, dtype=torch.float64)
    cells: list[list[Cell]] = []
    for low, high in pairwise(BINS):
        part = table[(table[:, 0] >= low) & (table[:, 0] < high + (high == 1))]
        if len(part):
            cells.append([f"{low:g} - {high:g}", len(part), *part.mean(0).tolist()])
    columns = ["probability", "pairs", "mean of it", "this relation", "any relation"]
    return Table("Probabilities on the test graphs", columns, cells)


def main() -> None:
    """Choose, fit, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    vocabulary, (train, choosing, test) = read_parts(options.root)
    console = Console(width=110)
    console.print(f"{len(train)} train, {len(choosing)} choosing, {len(test)} test graphs")

    chosen: dict[str, Scores] = {}
    for name, candidate in CANDIDATES.items():
        prior = RelationPrior.fit(train, vocabulary, candidate)
        chosen[name] = recall(choosing, vocabulary, prior.of_graph)
    print_scores(console, "Choice (10 % of the images)", chosen)
    best = max(chosen, key=lambda name: chosen[name]["R@20"] + chosen[name]["mR@20"])
    console.print(f"chosen: {best}")

    results: dict[str, list[Scores]] = {
        "FREQ": [recall(test, vocabulary, frequency(train, vocabulary))],
        "counts": [
            recall(
                test,
                vocabulary,
                RelationPrior.fit(train, vocabulary, PriorOptions(hidden=0)).of_graph,
            )
        ],
        "prior": [],
        "unknown classes": [],
    }
    for seed in options.seeds:
        start = time.process_time()
        prior = RelationPrior.fit(train, vocabulary, replace(CANDIDATES[best], seed=seed))
        console.print(f"seed {seed}: fitted in {time.process_time() - start:.0f} s of CPU time")
        results["prior"].append(recall(test, vocabulary, prior.of_graph))
        results["unknown classes"].append(recall(test, vocabulary, unknown(prior)))
    print_results(console, results)
    console.print(reliability(test, prior).to_rich())
    if options.json is not None:
        content = {"choice": chosen, "chosen": best, "test": results}
        options.json.write_text(json.dumps(content, indent=1))


def print_scores(console: Console, title: str, scores: dict[str, Scores]) -> None:
    """A row a name."""
    rows: list[list[Cell]] = [[name, *values.values()] for name, values in scores.items()]
    console.print(Table(title, ["", *NAMES], rows).to_rich())


def print_results(console: Console, results: dict[str, list[Scores]]) -> None:
    """A row a name: mean and standard deviation over its runs."""
    rows: list[list[Cell]] = []
    for name, runs in results.items():
        cells: list[Cell] = [name]
        for key in NAMES:
            values = torch.tensor([run[key] for run in runs], dtype=torch.float64)
            spread = f" ± {values.std():.4f}" if len(runs) > 1 else ""
            cells.append(f"{values.mean():.4f}{spread}")
        rows.append(cells)
    console.print(Table("Test (20 % of the images)", ["", *NAMES], rows).to_rich())


if __name__ == "__main__":
    main()
