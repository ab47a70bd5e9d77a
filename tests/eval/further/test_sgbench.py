"""R, mR, ngR, pair recall, InstR and PRank equal SGBench's own on random graphs."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest
import torch

from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction
from autoenc_sg.eval import RecallConventions, RecallSuite
from tests.support.eval_graphs import random_boxes

GRAPHS, PREDICATES, KS = 500, 5, (1, 3, 8, 50)
CONVENTIONS = RecallConventions(
    ks=KS, plus_one=False, matching="best", metrics="all", ng_per_image_limit=0
)

sgbench = pytest.importorskip(
    "sgbench", reason="sgbench is not installed: its numbers not compared"
)


def random_graph(rng: random.Random) -> tuple[GraphPrediction, SceneGraph]:
    """A true graph with relations, and detections near its objects; no score occurs twice."""
    n, more = rng.choice([2, 3, 5, 7]), rng.randrange(4)
    boxes = random_boxes(rng, n) * 10
    labels = torch.tensor([rng.randrange(1, 3) for _ in range(n)])
    triples = [
        (s, rng.randrange(1, PREDICATES + 1), o) for s in range(n) for o in range(n) if s != o
    ]
    triples = rng.sample(triples, rng.randrange(1, min(len(triples), 9) + 1))
    triples += triples[: rng.randrange(2)]  # a repeated one, and one with another predicate
    triples.append((triples[0][0], triples[0][1] % PREDICATES + 1, triples[0][2]))
    truth = SceneGraph(labels, boxes, torch.tensor(triples), (100, 100))
    rows = torch.tensor([*range(n), *(rng.randrange(n) for _ in range(more))])
    generator = torch.Generator().manual_seed(rng.randrange(10**9))
    moved = boxes[rows] + torch.rand(len(rows), 4, generator=generator) * 4
    names = torch.tensor([int(labels[r]) if rng.random() < 0.8 else 1 for r in rows])
    pairs = [(s, o) for s in range(len(rows)) for o in range(len(rows)) if s != o]
    pairs = rng.sample(pairs, rng.randrange(1, len(pairs) + 1))
    scores = torch.rand(len(pairs), PREDICATES, generator=generator)
    for m, (s, o) in enumerate(pairs):  # true predicates have high scores more often
        for a, q, b in triples:
            if [int(rows[s]), int(rows[o])] == [a, b] and rng.random() < 0.6:
                scores[m, q - 1] += rng.random()
    objects = torch.rand(len(rows), generator=generator)
    return GraphPrediction(moved, names, objects, torch.tensor(pairs), scores), truth


def sgbench_figures(p: GraphPrediction, t: SceneGraph) -> dict[str, object]:
    """SGBench's functions for one image; its triplets are subject, object, predicate from 0."""
    true = t.triples[:, [0, 2, 1]].numpy() - [0, 0, 1]
    of_objects = p.scores.double()[p.pairs].prod(1)
    products = of_objects[:, None] * p.predicate_scores.double()
    order = products.flatten().argsort(descending=True)
    rows, columns = order // PREDICATES, order % PREDICATES
    free = torch.cat([p.pairs[rows], columns[:, None]], 1).numpy()
    best, predicates = products.max(1)
    order = best.argsort(descending=True)
    single = torch.cat([p.pairs[order], predicates[order][:, None]], 1).numpy()
    objects = sgbench.match_instances(
        t.boxes.double().numpy(), t.labels.numpy(), p.boxes.double().numpy(), p.labels.numpy()
    )
    single, free = (sgbench.remap_triplets(objects, x) for x in (single, free))
    figures: dict[str, object] = {
        "InstR": sgbench.instance_recall(len(t), objects),
        "PRank": sgbench.predicate_rank(true, free, PREDICATES),
    }
    for k in KS:
        figures[f"R@{k}"] = sgbench.recall(k, False, true, single, PREDICATES)
        figures[f"ngR@{k}"] = sgbench.recall(k, False, true, free, PREDICATES)
        figures[f"R@{k} per predicate"] = sgbench.recall(k, True, true, single, PREDICATES)
        if len(true) <= k:  # it cuts the truth at K, too
            figures[f"PR@{k}"] = sgbench.pair_recall(k, true, single)
    return figures


def ours(images: list[tuple[GraphPrediction, SceneGraph]]) -> dict[str, float | list[float]]:
    suite = RecallSuite(PREDICATES + 1, ["SGGen"], CONVENTIONS, per_predicate=True)
    suite.update([p for p, _ in images], [t for _, t in images])
    return suite.compute()["SGGen"]


def test_500_random_graphs() -> None:
    rng = random.Random(0)
    images = [random_graph(rng) for _ in range(GRAPHS)]
    theirs = [sgbench_figures(p, t) for p, t in images]
    single = [ours([image]) for image in images[:40]]
    for figures, expected in zip(single, theirs):  # image by image
        for name, value in expected.items():
            if name != "PRank":
                assert figures[name] == pytest.approx(value, abs=1e-9, nan_ok=True), name
    together = ours(images)  # and as SGBench averages over a data set
    for name in ("InstR", *(f"{x}@{k}" for x in ("R", "ngR") for k in KS)):
        expected = np.mean([figures[name] for figures in theirs])
        assert together[name] == pytest.approx(expected, abs=1e-9), name
    for k in KS:
        each = np.nanmean([figures[f"R@{k} per predicate"] for figures in theirs], axis=0)
        assert together[f"R@{k} per predicate"] == pytest.approx(each, abs=1e-9)
        assert together[f"mR@{k}"] == pytest.approx(each.mean(), abs=1e-9)
    expected = np.nanmean([figures["PRank"] for figures in theirs])
    assert together["PRank"] == pytest.approx(expected, abs=1e-9)
    assert 0.1 < expected < 3
    assert 0.05 < together["R@8"] < 0.9
    assert sum(f"PR@{KS[2]}" in figures for figures in theirs) > 100


def test_sgbench_is_the_version_compared_with() -> None:
    assert sgbench.__version__ == "1.0.0", sys.modules["sgbench"]
