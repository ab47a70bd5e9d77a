"""The frequency prior: counts by hand, and against a plain loop."""

from __future__ import annotations

import math
import random

import pytest
import torch

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction
from autoenc_sg.scoring.frequency_prior import FrequencyPrior

C, P = 4, 3


def graph(boxes: list[list[float]], labels: list[int], triples: list[list[int]]) -> SceneGraph:
    return SceneGraph(
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(boxes).reshape(-1, 4),
        torch.tensor(triples, dtype=torch.int64).reshape(-1, 3),
        (100, 100),
    )


# Objects 0 and 1 overlap, 2 is apart; 0 (class 1) has relations 1 and 2 to 1 (class 2).
GRAPH = graph(
    [[0.0, 0, 10, 10], [5, 5, 15, 15], [50, 50, 60, 60]], [1, 2, 2], [[0, 1, 1], [0, 2, 1]]
)


@pytest.mark.parametrize(
    ("overlapping", "related", "background"),
    [(False, False, 2), (False, True, 3), (True, False, 1), (True, True, 2)],
)
def test_counts_by_hand(overlapping: bool, related: bool, background: int) -> None:
    prior = FrequencyPrior.fit([GRAPH], C, P, overlapping, related)
    total = background + 2
    wanted = [math.log(k / total + 1e-3) for k in (background, 1, 1)]
    torch.testing.assert_close(prior.log_prior[1, 2], torch.tensor(wanted))
    never = [math.log(1 + 1e-3), math.log(1e-3), math.log(1e-3)]
    torch.testing.assert_close(prior.log_prior[3, 3], torch.tensor(never))


def test_predict_keeps_the_detections_and_scores_all_ordered_pairs() -> None:
    prior = FrequencyPrior.fit([GRAPH], C, P)
    detections = GraphPrediction(
        GRAPH.boxes,
        torch.tensor([2, 1, 3]),
        torch.tensor([0.9, 0.8, 0.7]),
        torch.zeros(0, 2, dtype=torch.int64),
        torch.zeros(0, P - 1),
    )
    got = prior.predict(detections)
    assert got.boxes is detections.boxes
    assert got.scores is detections.scores
    assert got.labels is detections.labels
    assert got.pairs.tolist() == [[0, 1], [0, 2], [1, 0], [1, 2], [2, 0], [2, 1]]
    # 1 -> 2: shares 1/2, 1/4, 1/4; softmax of log (share + eps) divides by 1 + 3 eps
    torch.testing.assert_close(got.predicate_scores[2], torch.full((2,), 0.251 / 1.003))
    torch.testing.assert_close(got.predicate_scores[1], torch.full((2,), 0.001 / 1.003))


def test_equals_a_plain_loop() -> None:
    rng = random.Random(0)
    graphs = []
    for _ in range(20):
        n = rng.randrange(5)
        boxes = [[x, y, x + 9.0, y + 9.0] for x, y in ((rng.randrange(30),) * 2 for _ in range(n))]
        ends = [(s, o) for s in range(n) for o in range(n) if s != o and rng.random() < 0.4]
        triples = [[s, rng.randrange(1, P), o] for s, o in ends]
        graphs.append(graph(boxes, [rng.randrange(1, C) for _ in range(n)], triples))
    counts = torch.zeros(C, C, P, dtype=torch.float64)
    counts[:, :, 0] = 1
    for g in graphs:
        labels, triples = g.labels.tolist(), g.triples.tolist()
        for s, p, o in triples:
            counts[labels[s], labels[o], p] += 1
        for s in range(len(g)):
            for o in range(len(g)):
                if s != o and not any((t[0], t[2]) == (s, o) for t in triples):
                    counts[labels[s], labels[o], 0] += 1
    wanted = (counts / counts.sum(2, keepdim=True) + 1e-3).log().float()
    torch.testing.assert_close(FrequencyPrior.fit(graphs, C, P).log_prior, wanted)


def test_no_graph_and_no_object() -> None:
    prior = FrequencyPrior.fit([SceneGraph.empty((10, 10))], C, P)
    torch.testing.assert_close(prior.log_prior, FrequencyPrior.fit([], C, P).log_prior)
    nothing = GraphPrediction(
        torch.zeros(0, 4),
        torch.zeros(0, dtype=torch.int64),
        torch.zeros(0),
        torch.zeros(0, 2, dtype=torch.int64),
        torch.zeros(0, P - 1),
    )
    got = prior.predict(nothing)
    assert got.pairs.shape == (0, 2)
    assert got.predicate_scores.shape == (0, P - 1)


def test_unknown_ids_are_refused() -> None:
    with pytest.raises(InputError, match=r"frequency prior: labels: expected 1\.\.1, got 1\.\.2"):
        FrequencyPrior.fit([GRAPH], 2, P)
    with pytest.raises(InputError, match=r"predicates: expected 1\.\.1, got 1\.\.2"):
        FrequencyPrior.fit([GRAPH], C, 2)
    prior = FrequencyPrior.fit([], 2, P)
    with pytest.raises(InputError, match="labels"):
        prior.predict(
            GraphPrediction(
                GRAPH.boxes, GRAPH.labels, torch.ones(3), torch.zeros(0, 2), torch.zeros(0, P - 1)
            )
        )
