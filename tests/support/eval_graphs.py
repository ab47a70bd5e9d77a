"""Random graphs, predictions and conventions of small numbers: much is tied, much overlaps."""

from __future__ import annotations

import random

import torch

from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction
from autoenc_sg.eval import RecallConventions

P = 4  # predicates with the reserved 0
TASKS = ("PredCls", "SGCls", "SGGen", "PhrDet")


def random_boxes(rng: random.Random, count: int) -> torch.Tensor:
    corners = torch.tensor([[rng.randrange(3), rng.randrange(3)] for _ in range(count)])
    sides = torch.tensor([[rng.randrange(1, 5), rng.randrange(1, 5)] for _ in range(count)])
    return torch.cat([corners, corners + sides], 1).float().reshape(-1, 4)


def random_truth(rng: random.Random) -> SceneGraph:
    n = rng.choice([0, 1, 2, 3, 5])
    labels = torch.tensor([rng.randrange(1, 3) for _ in range(n)], dtype=torch.int64)
    rows = [
        (rng.randrange(n), rng.randrange(1, P - (rng.random() < 0.5)), rng.randrange(n))
        for _ in range(rng.choice([0, 1, 3, 6]) if n else 0)
    ]
    triples = torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)
    return SceneGraph(labels, random_boxes(rng, n), triples, (8, 8))


def random_prediction(rng: random.Random, truth: SceneGraph, ties: bool) -> GraphPrediction:
    """Rows of the truth's objects; boxes and labels often right; few different scores if `ties`."""

    def score() -> float:
        return rng.choice([0.0, 0.25, 0.5, 1.0]) if ties else rng.random()

    n = len(truth)
    moved = torch.tensor([rng.random() < 0.3 for _ in range(n)], dtype=torch.bool)
    boxes = torch.where(moved[:, None], random_boxes(rng, n), truth.boxes)
    labels = torch.where(moved, truth.labels % 2 + 1, truth.labels)
    pairs = [(s, o) for s in range(n) for o in range(n) if s != o and rng.random() < 0.8]
    pairs = rng.sample(pairs, len(pairs)) + pairs[: rng.randrange(3)]  # repeated pairs too
    table = [[score() for _ in range(P - 1)] for _ in pairs]
    return GraphPrediction(
        boxes,
        labels,
        torch.tensor([score() for _ in range(n)]),
        torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2),
        torch.tensor(table).reshape(-1, P - 1),
        torch.tensor([score() for _ in pairs]) if rng.random() < 0.3 else None,
    )


def random_batch(
    seed: int, images: int = 4
) -> tuple[list[GraphPrediction], list[SceneGraph], random.Random]:
    rng = random.Random(seed)
    truths = [random_truth(rng) for _ in range(images)]
    return [random_prediction(rng, t, rng.random() < 0.6) for t in truths], truths, rng


def random_conventions(rng: random.Random, task: str) -> RecallConventions:
    return RecallConventions(
        ks=tuple(rng.sample([1, 2, 3, 5, 9, 100], 2)),
        task=task,
        iou_threshold=rng.choice([0.5, 0.5, 0.3, 0.75]),
        plus_one=rng.random() < 0.6,
        averages=rng.choice([("macro",), ("micro",), ("macro", "micro"), ("micro", "macro")]),
        order=rng.choice(["score", "score", "given"]),
        images_without_predictions=rng.choice(["zero", "skip"]),
        images_without_relations=rng.choice(["zero", "skip"]),
        ng_per_image_limit=rng.choice([None, 100, 4]),
        ng_predicates_per_pair=rng.choice([None, None, 1, 2]),
        absent_predicates=rng.choice(["zero", "skip"]),
    )
