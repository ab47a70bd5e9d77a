"""Triplet recall: conventions computed by hand, batches, bad input."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
import torch

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction
from autoenc_sg.eval import (
    MISSED,
    PairRecall,
    RecallConventions,
    RecallSuite,
    TripletRecall,
    frequency_groups,
    match,
    seen_triplets,
)
from autoenc_sg.eval.ranking import rank_triplets
from tests.support.eval_graphs import TASKS, P, random_batch


def graph(boxes: list[list[float]], labels: list[int], triples: list[list[int]]) -> SceneGraph:
    return SceneGraph(
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(triples, dtype=torch.int64).reshape(-1, 3),
        (100, 100),
    )


# Three objects apart from each other; two relations with labels (1, 1, 2) and (2, 2, 3).
BOXES = [[0.0, 0, 9, 9], [20, 20, 29, 29], [40, 40, 49, 49]]
TRUTH = graph(BOXES, [1, 2, 3], [[0, 1, 1], [1, 2, 2]])


def prediction(
    pairs: list[list[int]],
    predicate_scores: list[list[float]],
    boxes: list[list[float]] = BOXES,
    labels: tuple[int, ...] = (1, 2, 3),
    scores: tuple[float, ...] = (1.0, 1.0, 1.0),
) -> GraphPrediction:
    return GraphPrediction(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(scores),
        torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2),
        torch.tensor(predicate_scores, dtype=torch.float32).reshape(-1, P - 1),
    )


NOTHING = prediction([], [], [], (), ())


def results(
    predictions: list[GraphPrediction], truths: list[SceneGraph], **options: object
) -> dict[str, float]:
    metric = TripletRecall(P, RecallConventions(**options))
    metric.update(predictions, truths)
    return {name: value.item() for name, value in metric.compute().items()}


def test_graph_constraint_takes_the_best_predicate_and_ng_takes_all() -> None:
    # Pair (0, 1): predicate 2 beats the true 1. Pair (1, 2): right, but with the lower score.
    p = prediction([[0, 1], [1, 2]], [[0.6, 0.9, 0.0], [0.0, 0.3, 0.1]])
    got = results([p], [TRUTH], ks=(1, 2, 3))
    # constrained order: (0,2,1) .9, (1,2,2) .3; free: (0,2,1) .9, (0,1,1) .6, (1,2,2) .3
    assert (got["R@1"], got["R@2"], got["R@3"]) == (0.0, 0.5, 0.5)
    assert (got["ngR@1"], got["ngR@2"], got["ngR@3"]) == (0.0, 0.5, 1.0)
    assert got["mR@2"] == pytest.approx(1 / 3)  # predicates 1: 0, 2: 1, 3: absent, counts 0
    assert got["ng-mR@3"] == pytest.approx(2 / 3)
    assert got["F1@2"] == pytest.approx(2 * 0.5 * (1 / 3) / (0.5 + 1 / 3))


def test_without_graph_constraint_predicates_per_pair_can_be_limited() -> None:
    p = prediction([[0, 1], [1, 2]], [[0.6, 0.9, 0.0], [0.0, 0.3, 0.1]])
    assert results([p], [TRUTH], ng_predicates_per_pair=1)["ngR@20"] == 0.5
    assert results([p], [TRUTH], ng_predicates_per_pair=2)["ngR@20"] == 1.0


def test_pairs_are_sorted_or_taken_as_given() -> None:
    p = prediction([[0, 1], [1, 2]], [[0.2, 0.0, 0.0], [0.0, 0.0, 0.9]])  # the second is wrong
    assert results([p], [TRUTH], ks=(1,))["R@1"] == 0.0
    given = results([p], [TRUTH], ks=(1,), order="given")
    assert (given["R@1"], given["ngR@1"]) == (0.5, 0.0)  # without constraint always by score


def test_score_is_the_product_of_three() -> None:
    p = prediction([[0, 1], [1, 2]], [[0.9, 0.0, 0.0], [0.0, 0.5, 0.0]], scores=(0.1, 1.0, 0.5))
    # (0,1): .1 * 1 * .9 = .09; (1,2): 1 * .5 * .5 = .25
    ranked = rank_triplets([p], 2)
    assert match(ranked, [TRUTH], RecallConventions()).ranks.tolist() == [1, 0]
    p = prediction([[0, 1], [1, 2]], [[0.5, 0.0, 0.0], [0.0, 0.9, 0.0]], scores=(0.5, 1.0, 0.1))
    # (0,1): .5 * 1 * .5 = .25; (1,2): 1 * .1 * .9 = .09
    assert match(rank_triplets([p], 2), [TRUTH], RecallConventions()).ranks.tolist() == [0, 1]


def test_ties_go_to_the_pair_that_comes_first() -> None:
    flat = [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]
    for pairs, ranks, ng_ranks in (
        ([[0, 1], [1, 2]], [0, MISSED], [0, 4]),
        ([[1, 2], [0, 1]], [1, MISSED], [3, 1]),
    ):
        matches = match(rank_triplets([prediction(pairs, flat)], 10), [TRUTH], RecallConventions())
        assert matches.ranks.tolist() == ranks
        assert matches.ng_ranks.tolist() == ng_ranks


def test_the_threshold_is_inclusive_and_areas_have_one_pixel_more() -> None:
    # 10 wide against 5 wide: IoU 0.5 with +1 pixels, 4 / 9 without.
    half = [[0.0, 0, 4, 9], *BOXES[1:]]
    p = prediction([[0, 1], [1, 2]], [[0.9, 0, 0], [0, 0.9, 0]], boxes=half)
    assert results([p], [TRUTH])["R@20"] == 1.0
    assert results([p], [TRUTH], plus_one=False)["R@20"] == 0.5
    assert results([p], [TRUTH], iou_threshold=0.51)["R@20"] == 0.5


def test_phrdet_compares_union_boxes_only() -> None:
    # Subject and object boxes are both wrong, and their union right.
    truth = graph([[0, 0, 9, 9], [20, 20, 29, 29]], [1, 2], [[0, 1, 1]])
    p = prediction([[0, 1]], [[0.9, 0, 0]], [[0, 20, 9, 29], [20, 0, 29, 9]], (1, 2), (1.0, 1.0))
    assert results([p], [truth])["R@20"] == 0.0
    assert results([p], [truth], task="PhrDet")["R@20"] == 1.0


def test_union_boxes_have_one_pixel_more_too() -> None:
    # 10 wide against 5 wide, as above.
    truth = graph([[0, 0, 9, 9], [0, 0, 9, 9]], [1, 2], [[0, 1, 1]])
    p = prediction([[0, 1]], [[0.9, 0, 0]], [[0, 0, 4, 9]] * 2, (1, 2), (1.0, 1.0))
    assert results([p], [truth], task="PhrDet")["R@20"] == 1.0
    assert results([p], [truth], task="PhrDet", plus_one=False)["R@20"] == 0.0


def test_one_triplet_finds_duplicates_and_several_find_one() -> None:
    truth = graph(BOXES, [1, 2, 3], [[0, 1, 1], [0, 1, 1], [1, 2, 2]])
    p = prediction([[0, 1], [0, 1]], [[0.9, 0, 0], [0.8, 0, 0]])
    assert results([p], [truth], ks=(1,))["R@1"] == pytest.approx(2 / 3)
    ranks = match(rank_triplets([p], 2), [truth], RecallConventions()).ranks.tolist()
    assert ranks == [0, 0, MISSED]  # the first that finds it counts


def test_macro_and_micro() -> None:
    one = graph(BOXES, [1, 2, 3], [[0, 1, 1]])
    p = prediction([[0, 1]], [[0.9, 0, 0]])
    got = results([p, p], [TRUTH, one], averages=("macro", "micro"))
    assert got["R@20"] == pytest.approx((0.5 + 1) / 2)
    assert got["R@20/micro"] == pytest.approx(2 / 3)
    assert got["mR@20/micro"] == pytest.approx(1 / 3)  # predicates 1: 2 of 2, 2: 0 of 1, 3: absent


def test_images_without_predictions_and_without_relations() -> None:
    p, bare = prediction([[0, 1]], [[0.9, 0, 0]]), graph(BOXES, [1, 2, 3], [])
    assert results([p, NOTHING], [TRUTH, TRUTH])["R@20"] == 0.25
    skip = {"images_without_predictions": "skip"}
    assert results([p, NOTHING], [TRUTH, TRUTH], **skip)["R@20"] == 0.5
    assert results([p, p], [TRUTH, bare])["R@20"] == 0.5
    assert results([p, p], [TRUTH, bare], images_without_relations="zero")["R@20"] == 0.25
    with pytest.raises(InputError, match="true graph 1: expected one or more relations"):
        results([p, p], [TRUTH, bare], images_without_relations="refuse")


def test_absent_predicates_count_zero_or_not() -> None:
    p = prediction([[0, 1], [1, 2]], [[0.9, 0, 0], [0, 0.9, 0]])
    assert results([p], [TRUTH])["mR@20"] == pytest.approx(2 / 3)
    assert results([p], [TRUTH], absent_predicates="skip")["mR@20"] == 1.0


def test_without_graph_constraint_the_first_100_are_kept() -> None:
    boxes = torch.arange(12.0)[:, None] * 20 + torch.tensor([0.0, 0, 9, 9])
    pairs = (~torch.eye(12, dtype=torch.bool)).nonzero()
    scores = torch.full((len(pairs), P - 1), 0.5)
    scores[-1, 0] = 0.4  # the 394th of 396 triplets
    p = GraphPrediction(boxes, torch.ones(12, dtype=torch.int64), torch.ones(12), pairs, scores)
    truth = SceneGraph(p.labels, boxes, torch.tensor([[11, 1, 10]]), (300, 300))
    assert results([p], [truth], ks=(400,))["ngR@400"] == 0.0
    assert results([p], [truth], ks=(400,), ng_per_image_limit=None)["ngR@400"] == 1.0


def test_zero_shot_recall_counts_unseen_triples_only() -> None:
    p = prediction([[0, 1], [1, 2]], [[0.9, 0, 0], [0, 0, 0.9]])
    for train, expected in (([[1, 2, 2]], 1.0), ([[0, 1, 1]], 0.0)):
        seen = seen_triplets([graph(BOXES, [1, 2, 3], train)])
        metric = TripletRecall(P, RecallConventions(averages=("macro", "micro")), seen)
        metric.update([p], [TRUTH])
        got = metric.compute()
        assert got["zR@20"].item() == got["zR@20/micro"].item() == expected
    nothing_unseen = TripletRecall(P, seen=seen_triplets([TRUTH]))
    nothing_unseen.update([p], [TRUTH])
    assert nothing_unseen.compute()["zR@20"].isnan()
    assert seen_triplets([]).shape == (0, 3)


def test_groups_and_per_predicate_recall() -> None:
    p = prediction([[0, 1]], [[0.9, 0, 0]])
    groups = {"head": [1], "tail": [2, 3]}
    metric = TripletRecall(P, groups=groups, per_predicate=True)
    metric.update([p], [TRUTH])
    got = metric.compute()
    assert (got["head mR@20"].item(), got["tail mR@20"].item()) == (1.0, 0.0)
    each = got["R@20 per predicate"].tolist()
    assert each[:2] == [1.0, 0.0]
    assert each[2] != each[2]  # NaN: no true triple has it
    with pytest.raises(InputError, match=r"group tail: expected predicate ids 1\.\.3"):
        TripletRecall(P, groups={"tail": [4]})


def test_the_recall_of_a_single_predicate_is_a_list_of_one() -> None:
    truth = graph(BOXES, [1, 2, 3], [[0, 1, 1], [1, 1, 2]])
    one = GraphPrediction(
        truth.boxes, truth.labels, torch.ones(3), torch.tensor([[0, 1]]), torch.tensor([[0.5]])
    )
    metric = TripletRecall(2, RecallConventions((20,)), per_predicate=True)
    metric.update([one], [truth])
    for again in (metric, pickle.loads(pickle.dumps(metric)), metric.clone()):
        assert again.compute()["R@20 per predicate"].tolist() == [0.5]
        assert again.compute()["R@20"].shape == ()
    suite = RecallSuite(2, ("SGGen",), RecallConventions((20,)), per_predicate=True)
    suite.update([one], [truth])
    assert suite.compute()["SGGen"]["ngR@20 per predicate"] == [0.5]


def test_head_body_and_tail() -> None:
    groups = frequency_groups(torch.tensor([9, 5, 7, 5, 1, 0, 2, 3]))  # entry 0 is no predicate
    assert groups == {"head": (2, 1), "body": (3, 7), "tail": (6, 4, 5)}
    vg150 = {k: len(v) for k, v in frequency_groups(torch.arange(51)).items()}
    assert vg150 == {"head": 16, "body": 17, "tail": 17}
    assert frequency_groups(torch.tensor([0, 4])) == {"tail": (1,)}


def test_tasks_are_given_their_part_of_the_truth() -> None:
    wrong = [[50.0, 0, 59, 9], [60, 0, 69, 9], [70, 0, 79, 9]]
    p = prediction([[0, 1], [1, 2]], [[0.9, 0, 0], [0, 0.9, 0]], wrong, (1, 2, 1), (0, 0.5, 0.5))
    got = {task: results([p], [TRUTH], task=task)["R@20"] for task in TASKS}
    assert got == {"PredCls": 1.0, "SGCls": 0.5, "SGGen": 0.0, "PhrDet": 0.0}
    unsure = prediction([[0, 1], [1, 2]], [[0.9, 0, 0], [0, 0, 0.8]], scores=(0.1, 1.0, 1.0))
    first = {task: results([unsure], [TRUTH], task=task, ks=(1,))["R@1"] for task in TASKS}
    assert first == {"PredCls": 0.5, "SGCls": 0.0, "SGGen": 0.0, "PhrDet": 0.0}  # scores are 1
    with pytest.raises(InputError, match="PredCls: objects of a prediction: expected 3, got 0"):
        results([NOTHING], [TRUTH], task="PredCls")


def test_nothing_at_all() -> None:
    empty = SceneGraph.empty((10, 10))
    metric = TripletRecall(P)
    metric.update([], [])
    metric.update([NOTHING, NOTHING], [empty, empty])
    assert all(value.isnan() for value in metric.compute().values())
    metric.update([NOTHING], [TRUTH])
    assert all(value == 0 for value in metric.compute().values())


def states(metric: TripletRecall) -> dict[str, torch.Tensor]:
    return {name: getattr(metric, name) for name in metric._defaults if name != "never_equal"}


@pytest.mark.parametrize("task", TASKS)
def test_batched_equals_one_by_one_and_merging_equals_one(task: str) -> None:
    predictions, truths, _ = random_batch(7, images=80)  # more than one chunk
    whole, single, other = (TripletRecall(P, RecallConventions(task=task)) for _ in range(3))
    whole.update(predictions, truths)
    for i, (p, t) in enumerate(zip(predictions, truths)):
        (single if i < 30 else other).update([p], [t])
    single.merge_state(other)
    torch.testing.assert_close(states(single), states(whole))


@pytest.mark.gpu
@pytest.mark.parametrize("task", TASKS)
def test_a_gpu_gives_the_same(task: str) -> None:
    predictions, truths, _ = random_batch(9, images=40)
    c = RecallConventions(task=task)
    for here, there in ((TripletRecall(P, c), TripletRecall(P, c)), (PairRecall(c), PairRecall(c))):
        here.update(predictions, truths)
        there.to("cuda").update([p.to("cuda") for p in predictions], truths)
        torch.testing.assert_close(
            {k: v.cpu() for k, v in there.compute().items()}, here.compute(), equal_nan=True
        )


def test_renumbering_the_objects_changes_nothing() -> None:
    predictions, truths, _ = random_batch(11, images=30)
    order = [torch.randperm(len(t), generator=torch.Generator().manual_seed(3)) for t in truths]
    place = [torch.argsort(o) for o in order]
    moved = [
        GraphPrediction(p.boxes[o], p.labels[o], p.scores[o], q[p.pairs], p.predicate_scores)
        for p, o, q in zip(predictions, order, place)
    ]
    first, second = TripletRecall(P), TripletRecall(P)
    first.update(predictions, truths)
    second.update(moved, [t.select(o) for t, o in zip(truths, order)])
    torch.testing.assert_close(states(first), states(second))


def test_one_ranking_serves_sggen_and_phrdet() -> None:
    predictions, truths, _ = random_batch(5, images=12)
    sggen, phrdet = TripletRecall(P), TripletRecall(P, RecallConventions(task="PhrDet"))
    alone = TripletRecall(P, RecallConventions(task="PhrDet"))
    ranked = sggen.rank(predictions, truths)
    sggen.update(ranked, truths)
    phrdet.update(ranked, truths)
    alone.update(predictions, truths)
    torch.testing.assert_close(states(phrdet), states(alone))
    with pytest.raises(InputError, match="ranking: expected depth >= 200, got 100"):
        TripletRecall(P, RecallConventions(ks=(200,))).update(ranked, truths)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"predicate_scores": [[0.5, float("nan"), 0]]},
            "prediction 0: predicate_scores: expected",
        ),
        ({"predicate_scores": [[float("-inf"), 0.1, 0]]}, "predicate_scores: expected finite"),
        ({"scores": [1.0, float("nan"), 1.0]}, "prediction 0: scores: expected finite"),
        ({"scores": [1.0, -0.5, 1.0]}, "scores: expected numbers >= 0, got -0.5"),
        ({"pairs": [[0, 3]]}, "pairs: expected object rows 0..2"),
        ({"pairs": [[-1, 1]]}, "pairs: expected object rows 0..2"),
        ({"labels": [1, -2, 3]}, "labels: expected 0.."),
        ({"boxes": [[0, 0, 1, float("inf")]] * 3}, "boxes: expected finite"),
        ({"predicate_scores": [[0.5, 0.5]]}, "predicate scores: expected 3 columns"),
    ],
)
def test_bad_predictions_are_refused(change: dict[str, list[object]], message: str) -> None:
    p = prediction([[0, 1]], [[0.9, 0, 0]])
    changed = replace(p, **{name: torch.tensor(value) for name, value in change.items()})
    with pytest.raises(InputError, match=message):
        TripletRecall(P).update([changed], [TRUTH])


def test_scores_of_any_sane_size_are_ranked_and_others_named() -> None:
    large = torch.tensor([[3e38, 3e38, 0.0], [0.0, 3e38, 3e38]])  # their sum is beyond float32
    p = replace(prediction([[0, 1], [1, 2]], [[0.9, 0, 0]] * 2), predicate_scores=large)
    assert (rank_triplets([p], 5).constrained.codes[0, :2] > 0).all()
    beyond = replace(p, predicate_scores=-1e200 * torch.ones(2, 3, dtype=torch.float64))
    with pytest.raises(InputError, match=r"prediction 1: predicate_scores: .* got -1e\+200"):
        rank_triplets([p, beyond])


def test_a_k_beyond_all_candidates_costs_nothing() -> None:
    ks = (1, 2_000_000_000)
    metric = TripletRecall(P, RecallConventions(ks, ng_per_image_limit=None))
    metric.update([prediction([[0, 1], [1, 2]], [[0.9, 0, 0], [0, 0.3, 0]])], [TRUTH])
    assert metric.compute()["ngR@2000000000"] == 1


def test_bad_batches_and_truths_are_refused() -> None:
    p = prediction([[0, 1]], [[0.9, 0, 0]])
    with pytest.raises(InputError, match="predictions: expected one for each of 2 graphs, got 1"):
        TripletRecall(P).update([p], [TRUTH, TRUTH])
    with pytest.raises(InputError, match=r"true predicates: expected ids 1\.\.3, got 4"):
        TripletRecall(P).update([p], [graph(BOXES, [1, 2, 3], [[0, 4, 1]])])
    with pytest.raises(InputError, match="predictions: expected one or more"):
        rank_triplets([])
    with pytest.raises(InputError, match="predictions: expected one for each of 2 graphs, got 1"):
        match(rank_triplets([p]), [TRUTH, TRUTH], RecallConventions())
    fewer = replace(p, predicate_scores=torch.zeros(1, 2))
    with pytest.raises(InputError, match="predicate scores: expected one number of predicates"):
        rank_triplets([p, fewer])
    with pytest.raises(InputError, match="num_predicates"):
        TripletRecall(1)


@pytest.mark.parametrize(
    "options",
    [
        {"ks": ()},
        {"ks": (0, 5)},
        {"ks": (5, 5)},
        {"ks": (2**31,)},
        {"iou_threshold": 0.0},
        {"averages": ()},
        {"averages": ("mean",)},
        {"task": "SGGraph"},
        {"order": "file"},
        {"images_without_predictions": "drop"},
        {"images_without_relations": "drop"},
        {"absent_predicates": "drop"},
        {"ng_per_image_limit": -1},
        {"ng_predicates_per_pair": -1},
    ],
)
def test_bad_conventions_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        RecallConventions(**options)


def test_half_precision_scores_are_ranked() -> None:
    pairs = (~torch.eye(40, dtype=torch.bool)).nonzero()
    scores = torch.full((len(pairs), 60), 0.99, dtype=torch.float16)  # their sum is above 65,504
    boxes, labels = torch.zeros(40, 4), torch.ones(40, dtype=torch.int64)
    ranked = rank_triplets([GraphPrediction(boxes, labels, torch.ones(40), pairs, scores)], 5)
    assert (ranked.constrained.codes > 0).all()
