"""Every recall against the nested loops: 2,000 random graphs for each task, all options drawn."""

from __future__ import annotations

from math import inf

import pytest
import torch

from autoenc_sg.eval import MISSED, PairRecall, RecallConventions, TripletRecall, match
from autoenc_sg.eval.ranking import rank_triplets, with_true_objects
from tests.eval.slow_pairs import slow_pairs
from tests.eval.slow_recall import ranks, slow_recall
from tests.support.eval_graphs import TASKS, P, random_batch, random_conventions

GRAPHS, IMAGES = 2000, 10
SEEN = {(1, 1, 1), (1, 2, 2), (2, 1, 2), (2, 3, 1)}
GROUPS = {"head ": (1,), "tail ": (2, 3)}


@pytest.mark.parametrize("task", TASKS)
def test_all_metrics_equal_the_nested_loops(task: str) -> None:
    seen = torch.tensor(sorted(SEEN))
    groups = {name.strip(): ids for name, ids in GROUPS.items()}
    for seed in range(GRAPHS // IMAGES):
        predictions, truths, rng = random_batch(seed, IMAGES)
        c = random_conventions(rng, task)
        fast, pairs = TripletRecall(P, c, seen, groups, per_predicate=True), PairRecall(c)
        fast.update(predictions, truths)
        pairs.update(predictions, truths)
        got = {name: v.tolist() for name, v in (fast.compute() | pairs.compute()).items()}
        expected = slow_recall(predictions, truths, P, c, SEEN, GROUPS)
        expected |= slow_pairs(predictions, truths, c)
        assert set(got) == set(expected)
        for name, value in expected.items():
            assert got[name] == pytest.approx(value, abs=1e-12, nan_ok=True), (seed, name, c)


@pytest.mark.parametrize("task", TASKS)
def test_all_ranks_equal_the_nested_loops(task: str) -> None:
    for seed in range(40):
        predictions, truths, rng = random_batch(seed, IMAGES)
        c = random_conventions(rng, task)
        given = [with_true_objects(p, t, c.task) for p, t in zip(predictions, truths)]
        ranked = rank_triplets(given, 400, c.ng_per_image_limit, c.ng_predicates_per_pair, c.order)
        matches = match(ranked, truths, c)
        for free, got in ((False, matches.ranks), (True, matches.ng_ranks)):
            both = zip(predictions, truths)
            expected = [MISSED if r == inf else r for p, t in both for r in ranks(p, t, c, free)]
            assert got.tolist() == expected, (seed, free, c)


def test_the_random_graphs_have_hits_misses_and_ties() -> None:
    values, tied = [], 0
    for seed in range(60):
        predictions, truths, _ = random_batch(seed, IMAGES)
        metric = TripletRecall(P, RecallConventions(ks=(3,)))
        metric.update(predictions, truths)
        values.append(metric.compute()["R@3"].item())
        best = [p.predicate_scores.amax(1) for p in predictions if len(p.pairs)]
        tied += sum(len(x.unique()) < len(x) for x in best)
    assert sum(0 < v < 1 for v in values) > 10
    assert tied > 90
