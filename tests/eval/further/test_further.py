"""Metrics beyond recall: by hand, and against nested loops on random graphs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction
from autoenc_sg.eval import RecallConventions, RecallSuite, further_names, object_matches
from tests.eval.further.slow_further import slow_further
from tests.support.eval_graphs import P, random_batch, random_conventions

# Two true objects of class 1 that overlap, and one of class 2.
TRUTH = SceneGraph(
    torch.tensor([1, 1, 2]),
    torch.tensor([[0.0, 0, 10, 10], [2, 0, 12, 10], [30, 0, 40, 10]]),
    torch.tensor([[0, 1, 2], [1, 2, 2]]),
    (50, 50),
)
# Detection 0 lies on true object 0, detection 1 too (worse), detection 2 is the other class.
DETECTED = GraphPrediction(
    torch.tensor([[0.0, 0, 10, 10], [0.5, 0, 10.5, 10], [30, 0, 40, 10]]),
    torch.tensor([1, 1, 2]),
    torch.tensor([0.5, 1.0, 1.0]),
    torch.tensor([[0, 2], [1, 2]]),
    torch.tensor([[0.9, 0.05, 0.0], [0.3, 0.2, 0.4]]),
)
ALL = RecallConventions(ks=(1, 2), plus_one=False, metrics="all", thresholds=(0.1, 0.42))


def score(c: RecallConventions, p: GraphPrediction = DETECTED, t: SceneGraph = TRUTH) -> dict:
    suite = RecallSuite(4, ["SGGen"], c)
    suite.update([p], [t])
    return suite.compute()["SGGen"]


def test_objects_by_hand() -> None:
    # IoU: detection 0 with the true objects 1 and 8/12; detection 1 with 9.5/10.5 and 8.5/11.5.
    def rows(matching: str) -> list[list[int]]:
        return object_matches(DETECTED, TRUTH, replace(ALL, matching=matching)).int().tolist()

    assert rows("each") == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert rows("best") == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]
    # detection 1 has the higher score and takes true object 0; detection 0 takes the next
    assert rows("one_to_one") == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


def test_figures_by_hand() -> None:
    # Triplets under graph constraint: (0, 1, 2) 0.45, then (1, 3, 2) 0.4.
    each, best, single = (score(replace(ALL, matching=m)) for m in ("each", "best", "one_to_one"))
    assert [x["R@1"] for x in (each, best, single)] == [0.5, 0.5, 0.0]
    assert [x["InstR"] for x in (each, best, single)] == [1.0, pytest.approx(2 / 3), 1.0]
    assert each["R-rel"] == each["R@2"] == 0.5
    assert [x["precision>=0.1"] for x in (each, single)] == [0.5, 0.0]
    assert [each["precision>=0.42"], each["recall>=0.42"], each["F1>=0.42"]] == [
        1.0,
        0.5,
        pytest.approx(2 / 3),
    ]
    assert [x["PR@1"] for x in (each, best, single)] == [1.0, 0.5, 0.5]
    assert single["PR@2"] == 1.0
    # Predicates of the pair (0, 2), best: 1 (0.45), 3 (0.4), 2 (0.2). Of `one_to_one`: detection 1
    # is true object 0: 3, 1, 2, so predicate 1 has rank 1; detection 0 is object 1: 1, 2, 3.
    assert best["PRank"] == 0
    assert single["PRank"] == 1
    # Bins of 1/15: 0.45 in [6/15, 7/15) is right, 0.4 is in the same bin (0.4 in float32 is above).
    assert each["ECE"] == pytest.approx(abs(1 - 0.45 - 0.4) / 2, abs=1e-6)
    assert score(replace(ALL), replace(DETECTED, scores=DETECTED.scores * 3))["ECE"] != each["ECE"]


def test_weighted_recall_by_hand() -> None:
    # Predicate 1 has two triples in two images, one found; predicate 2 has one, not found.
    suite = RecallSuite(4, ["SGGen"], ALL)
    suite.update([DETECTED, DETECTED], [TRUTH, replace(TRUTH, triples=torch.tensor([[2, 1, 0]]))])
    found = suite.compute()["SGGen"]
    assert found["wR@2"] == pytest.approx(2 / 3 * 0.5 + 1 / 3 * 0)
    assert found["R-rel"] == pytest.approx(0.25)


def test_scores_above_one_have_no_calibration() -> None:
    high = replace(DETECTED, scores=DETECTED.scores * 3)
    found = score(ALL, high)
    assert found["ECE"] != found["ECE"]


@pytest.mark.parametrize("matching", ["each", "best", "one_to_one"])
@pytest.mark.parametrize("task", ["PredCls", "SGCls", "SGGen", "PhrDet"])
def test_against_nested_loops(task: str, matching: str) -> None:
    if (task, matching) in (("PhrDet", "best"), ("PhrDet", "one_to_one")):
        with pytest.raises(InputError, match=r"matching: expected each \(PhrDet"):
            RecallConventions(task=task, matching=matching)
        return
    for seed in range(12):
        predictions, truths, rng = random_batch(seed, images=8)
        c = replace(random_conventions(rng, task), matching=matching, metrics="all", order="score")
        c = replace(c, averages=("macro",), thresholds=(0.1, 0.25, 0.5))
        predictions = [_without_repeated_pairs(p) for p in predictions]
        suite = RecallSuite(P, [task], c)
        suite.update(predictions, truths)
        found = suite.compute()[task]
        expected = slow_further(predictions, truths, c)
        assert set(expected) < set(found)
        if task == "PhrDet":  # of objects, whose boxes are compared one by one
            expected.pop("InstR"), expected.pop("PRank")
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, abs=1e-12, nan_ok=True), (seed, name, c)


def _without_repeated_pairs(p: GraphPrediction) -> GraphPrediction:
    """Random batches repeat some pairs at the end."""
    rows = [i for i, x in enumerate(p.pairs.tolist()) if x not in p.pairs[:i].tolist()]
    related = None if p.relatedness is None else p.relatedness[rows]
    return GraphPrediction(
        p.boxes, p.labels, p.scores, p.pairs[rows], p.predicate_scores[rows], related
    )


def test_names_cover_all_numbers_and_the_default_has_none_of_them() -> None:
    c = replace(ALL, averages=("macro", "micro"))
    names = set(further_names(c))
    more, usual = set(score(c)), set(score(replace(c, metrics="recall")))
    assert usual < more
    assert not usual & names
    assert more - usual - names <= {"ngR-rel/micro"} | {n for n in more if "-rel" in n}
    assert names & more


def test_intervals_of_all_figures() -> None:
    from autoenc_sg.eval import Resampling

    predictions, truths, _ = random_batch(3, images=8)
    c = RecallConventions(metrics="all")
    suite = RecallSuite(P, ["SGGen"], c, keep_images=True)
    suite.update(predictions, truths)
    ranges = suite.intervals(Resampling(5))["SGGen"]
    assert set(ranges) == set(suite.compute()["SGGen"])
    low, high = ranges["PRank"]
    assert low <= high


def test_empty_images() -> None:
    nothing = GraphPrediction(
        torch.zeros(0, 4),
        torch.zeros(0, dtype=torch.int64),
        torch.zeros(0),
        torch.zeros(0, 2, dtype=torch.int64),
        torch.zeros(0, 3),
    )
    for matching in ("each", "best", "one_to_one"):
        found = score(replace(ALL, matching=matching), nothing)
        assert found["InstR"] == found["F1>=0.1"] == found["PR@2"] == found["R-rel"] == 0
        assert found["PRank"] != found["PRank"]
