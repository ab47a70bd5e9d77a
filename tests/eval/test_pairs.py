"""Recall of relation proposals and pair accuracy, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.eval import PairRecall, RecallConventions
from tests.eval.test_recall import NOTHING, TRUTH, prediction
from tests.support.eval_graphs import TASKS, random_batch

# Pairs (2, 0) and (0, 1) and (1, 2); the last two are true; the sums rank them 1.2, 0.9, 0.7.
P3 = prediction([[2, 0], [0, 1], [1, 2]], [[0.6, 0.6, 0.0], [0.0, 0.9, 0.0], [0.1, 0.6, 0.0]])


def scores(prediction_: object, **options: object) -> dict[str, float]:
    metric = PairRecall(RecallConventions(ks=(1, 2, 3), **options))
    metric.update([prediction_], [TRUTH])
    return {name: value.item() for name, value in metric.compute().items()}


def test_pairs_come_by_the_sum_of_their_scores_or_by_relatedness() -> None:
    got = scores(P3)
    assert got == {"pair R@1": 0.0, "pair R@2": 0.5, "pair R@3": 1.0}
    related = replace(P3, relatedness=torch.tensor([0.1, 0.2, 0.3]))
    assert scores(related) == {"pair R@1": 0.5, "pair R@2": 1.0, "pair R@3": 1.0}


def test_labels_do_not_matter_and_boxes_do() -> None:
    wrong = replace(P3, labels=torch.tensor([3, 3, 3]))
    assert scores(wrong)["pair R@3"] == 1.0
    moved = replace(P3, boxes=P3.boxes + torch.tensor([[0.0] * 4, [0.0] * 4, [50.0] * 4]))
    assert scores(moved)["pair R@3"] == 0.5


def test_a_pair_with_two_relations_counts_once() -> None:
    both = replace(TRUTH, triples=torch.tensor([[0, 1, 1], [0, 2, 1], [1, 2, 2]]))
    metric = PairRecall(RecallConventions(ks=(2,)))
    metric.update([P3], [both])
    assert metric.compute()["pair R@2"] == 0.5


def test_accuracy_ranks_the_true_pairs_alone() -> None:
    # Given the pairs (0, 1) and (1, 2): the best triplet is (0, 2, 1), wrong; then (1, 2, 2), true.
    got = scores(P3, task="PredCls")
    assert (got["A@1"], got["A@2"]) == (0.0, 0.5)
    assert "A@1" not in scores(P3)


def test_a_pair_the_other_way_round_is_another_pair() -> None:
    # (1, 0) is not true, so the best of the true pairs is the wrong (0, 2, 1), then (1, 2, 2).
    rows = [[0.0, 0.0, 0.9], [0.0, 0.8, 0.0], [0.0, 0.6, 0.0]]
    got = scores(prediction([[1, 0], [0, 1], [1, 2]], rows), task="PredCls")
    assert (got["A@1"], got["A@2"]) == (0.0, 0.5)


def test_accuracy_pools_counts_and_pairs_average_images() -> None:
    one = replace(TRUTH, triples=TRUTH.triples[1:])
    metric = PairRecall(RecallConventions(ks=(2,), task="SGCls", averages=("macro", "micro")))
    metric.update([P3, P3], [TRUTH, one])
    got = {name: value.item() for name, value in metric.compute().items()}
    assert got["A@2"] == pytest.approx(2 / 3)
    assert got["pair R@2"] == pytest.approx((0.5 + 0) / 2)
    assert got["pair R@2/micro"] == pytest.approx(1 / 3)


def test_nothing_predicted_and_nothing_true() -> None:
    assert scores(NOTHING)["pair R@3"] == 0.0
    assert math.isnan(scores(NOTHING, images_without_predictions="skip")["pair R@3"])
    empty, metric = SceneGraph.empty((10, 10)), PairRecall(RecallConventions(task="PredCls"))
    metric.update([], [])
    metric.update([NOTHING], [empty])
    assert all(value.isnan() for value in metric.compute().values())


@pytest.mark.parametrize("task", TASKS)
def test_batched_equals_one_by_one_and_merging_equals_one(task: str) -> None:
    predictions, truths, _ = random_batch(7, images=40)
    whole, single, other = (PairRecall(RecallConventions((2, 5), task)) for _ in range(3))
    whole.update(predictions, truths)
    for i, (p, t) in enumerate(zip(predictions, truths)):
        (single if i < 30 else other).update([p], [t])
    single.merge_state(other)
    torch.testing.assert_close(single.compute(), whole.compute())
    assert whole.compute()["pair R@5"] > 0


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="prediction 0: relatedness: expected finite"):
        scores(replace(P3, relatedness=torch.tensor([0.1, math.nan, 0.3])))
    with pytest.raises(InputError, match="predictions: expected one for each of 1 graphs, got 0"):
        PairRecall().update([], [TRUTH])
