"""What the joint phase minimizes, and the way from regions to a graph as a whole."""

from __future__ import annotations

from dataclasses import replace
from math import log
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from autoenc_sg.config.model import RelpnConfig
from autoenc_sg.config.phases import JointPhase
from autoenc_sg.config.predictor import PredictorConfig
from autoenc_sg.core.graph_logits import GraphLogits
from autoenc_sg.core.layers import ImageRandom
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.core.structures import Regions
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.samples import Batch
from autoenc_sg.model.autoencoder import AutoEncoder, GraphPass
from autoenc_sg.relpn import all_pairs
from autoenc_sg.training.losses.graph import graph_losses, refinement_loss, sample_predicates
from autoenc_sg.training.objectives import DetectorObjective, JointObjective
from autoenc_sg.training.target_assignment import match_regions, pair_predicates
from tests.support.graphs import C, D, P, one_image, random_boxes, random_graph, renumbered, seeded
from tests.support.tiny import tiny_config

WEIGHTS = JointPhase(
    predicate_weight=2.0, object_weight=3.0, box_weight=4.0, relatedness_weight=5.0
)


def configured(relpn: RelpnConfig) -> Any:
    """What the graph losses read of a model."""
    predictor = SimpleNamespace(config=PredictorConfig(), predicate_counts=None)
    return SimpleNamespace(relpn=SimpleNamespace(config=relpn), predictor=predictor)


AS_CONFIGURED = configured(RelpnConfig())

# Losses -----------------------------------------------------------------------------------------


def passed_by_hand() -> tuple[GraphPass, Tensor, SceneGraphBatch]:
    """Two objects that belong together, then an image of one region that is none."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [10, 10, 20, 20], [0, 0, 5, 5]])
    index, sizes = torch.tensor([0, 0, 1]), ((20, 20), (8, 8))
    regions = Regions(boxes, torch.zeros(3, 3), torch.zeros(3, 2), index, sizes, (), sizes)
    objects = torch.tensor([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8], [0.6, 0.2, 0.2]]).log()
    predicates = torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.7, 0.1]]).log()
    moved = boxes + torch.tensor([[0.0], [1.0], [3.0]])
    pairs = torch.tensor([[1, 0], [0, 1]])
    relatedness = torch.tensor([0.0, log(3)], requires_grad=True)
    graph = GraphLogits(
        objects.requires_grad_(),
        moved.requires_grad_(),
        pairs,
        predicates.requires_grad_(),
        relatedness.sigmoid(),
        index,
        sizes,
    )
    first = SceneGraph(torch.tensor([1, 2]), boxes[:2], torch.tensor([[0, 1, 1]]), (20, 20))
    truth = SceneGraphBatch.collate([first, SceneGraph.empty((8, 8))])
    return GraphPass(regions, pairs.flip(0), relatedness, graph), torch.tensor([0, 1, -1]), truth


def test_graph_losses_by_hand() -> None:
    passed, matched, truth = passed_by_hand()
    losses = graph_losses(passed, matched, truth, WEIGHTS, AS_CONFIGURED)
    expected = {
        "predicate": -2 * (log(0.7) + log(0.5)) / 2,  # related 0-1, unrelated 1-0
        "object": -3 * (log(0.5) + log(0.8) + log(0.6)) / 3,
        # object 1 is a tenth of its side off in x and y: twice 0.5 (0.1 * 10)^2, over 8 numbers
        "box": 4 * 2 * 0.5 / 8,
        "relatedness": 5 * (-log(0.5) - log(0.25)) / 2,
    }
    assert set(losses) == set(expected)
    for name, value in expected.items():
        assert_close(losses[name], torch.tensor(value), msg=name)
    sum(losses.values()).backward()
    for leaf in (passed.graph.object_logits, passed.graph.boxes, passed.graph.predicate_logits):
        assert leaf.grad is not None
    assert passed.graph.boxes.grad is not None
    assert (passed.graph.boxes.grad[2] == 0).all()  # matches nothing: its box is not judged
    assert passed.relatedness_logits.grad is not None
    assert_close(passed.relatedness_logits.grad, torch.tensor([-1.25, 1.875]))


def test_a_pseudo_relation_weighs_as_its_score() -> None:
    passed, matched, truth = passed_by_hand()
    scored = replace(truth, triple_scores=torch.tensor([0.25]))
    losses = graph_losses(passed, matched, scored, WEIGHTS, AS_CONFIGURED)
    expected = -2 * (0.25 * log(0.7) + log(0.5)) / 2
    assert_close(losses["predicate"], torch.tensor(expected))
    human = replace(truth, triple_scores=torch.tensor([float("nan")]))
    unweighted = graph_losses(passed, matched, truth, WEIGHTS, AS_CONFIGURED)
    for name, loss in graph_losses(passed, matched, human, WEIGHTS, AS_CONFIGURED).items():
        assert_close(loss, unweighted[name])


def test_boxes_are_refined_towards_the_objects_that_they_match() -> None:
    passed, _, truth = passed_by_hand()
    losses = graph_losses(passed, torch.tensor([1, 0, -1]), truth, WEIGHTS, AS_CONFIGURED)
    # deltas in x and y: 0 instead of 10 and 1 instead of -10; smooth L1 is |d| - 0.5, of 8 numbers
    assert_close(losses["box"], torch.tensor(4 * (2 * 9.5 + 2 * 10.5) / 8))


def test_refinement_is_measured_from_the_region() -> None:
    passed, _, truth = passed_by_hand()
    wide = torch.tensor([[0.0, 0, 20, 10], [0, 0, 1, 1], [0, 0, 1, 1]])  # region 0 is 10 wide
    wide_pass = replace(passed, graph=replace(passed.graph, boxes=wide))
    losses = graph_losses(wide_pass, torch.tensor([0, -1, -1]), truth, WEIGHTS, AS_CONFIGURED)
    # 10 times half a width in x and 5 log 2 in width, each less 0.5; of 4 numbers
    assert_close(losses["box"], torch.tensor(4 * (5 - 0.5 + 5 * log(2) - 0.5) / 4))


def test_losses_are_sums_over_samples_of_the_whole_batch() -> None:
    passed, matched, truth = passed_by_hand()
    sampled = configured(RelpnConfig(samples_per_image=2))
    one = graph_losses(passed, matched, truth, WEIGHTS, sampled)
    other = graph_losses(passed, matched, truth, WEIGHTS, AS_CONFIGURED)
    assert_close(one["relatedness"], other["relatedness"])
    none = configured(RelpnConfig(samples_per_image=1))
    # one pair an image, at most half of a pair related: the unrelated one alone, at half weight
    assert_close(
        graph_losses(passed, matched, truth, WEIGHTS, none)["relatedness"],
        torch.tensor(-5 * log(0.25) / 2),
    )


def test_no_region_at_all_with_backward() -> None:
    none, sizes = torch.zeros(0, dtype=torch.int64), ((4, 4), (5, 5))
    leaves = [torch.zeros(0, k, requires_grad=True) for k in (C, 4, P)]
    relatedness = torch.zeros(0, requires_grad=True)
    pairs = none.reshape(0, 2)
    regions = Regions(leaves[1], leaves[0], torch.zeros(0, D), none, sizes, (), sizes)
    graph = GraphLogits(leaves[0], leaves[1], pairs, leaves[2], relatedness, none, sizes)
    passed = GraphPass(regions, pairs, relatedness, graph)
    for truth in (
        SceneGraphBatch.collate([SceneGraph.empty(size) for size in sizes]),
        SceneGraphBatch.collate([random_graph(2, 1, 0, sizes[0]), SceneGraph.empty(sizes[1])]),
    ):
        losses = graph_losses(passed, none, truth, WEIGHTS, AS_CONFIGURED)
        total = sum(losses.values())
        assert isinstance(total, Tensor)
        assert float(total.detach()) == 0
        total.backward()
        for leaf in (*leaves, relatedness):
            assert leaf.grad is not None


def test_regions_that_match_nothing_with_backward() -> None:
    passed, _, truth = passed_by_hand()
    losses = graph_losses(passed, torch.tensor([-1, -1, -1]), truth, WEIGHTS, AS_CONFIGURED)
    assert float(losses["box"].detach()) == 0
    assert_close(losses["predicate"], torch.tensor(-2 * (log(0.5) + log(0.2)) / 2))
    assert_close(losses["object"], torch.tensor(-3 * (log(0.2) + log(0.1) + log(0.6)) / 3))
    sum(losses.values()).backward()
    assert passed.graph.boxes.grad is not None
    assert (passed.graph.boxes.grad == 0).all()


@pytest.mark.parametrize(
    ("positive", "negative", "ratio", "num_sampled"),
    [
        (1, 20, 3.5, 3),
        (5, 20, 2.0, 10),
        (5, 6, 2.0, 6),
        (0, 20, 3.5, 3),
        (4, 0, 3.0, 0),
        (4, 9, 0.0, 0),
    ],
)
def test_related_pairs_beside_a_share_of_the_others(
    positive: int, negative: int, ratio: float, num_sampled: int
) -> None:
    predicates = torch.tensor([1, 2] * 20)[: positive + negative].clone()
    predicates[torch.randperm(positive + negative, generator=seeded(0))[:negative]] = 0
    image = torch.ones(len(predicates), dtype=torch.int64)  # image 0 has no pair
    rows = sample_predicates(predicates, image, ratio, ImageRandom([1, 2]))
    assert len(set(rows.tolist())) == len(rows)
    assert int((predicates[rows] > 0).sum()) == positive
    assert int((predicates[rows] == 0).sum()) == num_sampled


def test_an_images_sample_does_not_depend_on_the_other_images() -> None:
    predicates = torch.zeros(60, dtype=torch.int64)
    image = torch.arange(3).repeat_interleave(20)
    together = sample_predicates(predicates, image, 8.0, ImageRandom([5, 6, 7]))
    alone = sample_predicates(predicates[20:40], image[:20], 8.0, ImageRandom([6]))
    assert_close(together[8:16] - 20, alone)
    assert together[:8].tolist() != (together[8:16] - 20).tolist()


def test_refinement_by_hand() -> None:
    start = torch.tensor([[0.0, 0, 10, 20], [0, 0, 8, 8]])
    target = torch.tensor([[0.0, 0, 10, 20], [4, 0, 12, 8]])
    # the second is to move by half its width: 10 / 2 in deltas, linear beyond 1
    assert_close(refinement_loss(start, start, target), torch.tensor((5 - 0.5) / 8))
    assert_close(refinement_loss(target, start, target), torch.tensor(0.0))
    none = torch.zeros(0, 4, requires_grad=True)
    refinement_loss(none, none, none).backward()
    assert none.grad is not None


# The whole way ----------------------------------------------------------------------------------

VOCABULARY = Vocabulary.from_names(["a", "b", "c", "d"], ["on", "by", "in"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("objectives")


def fresh(folder: Path, *overrides: str) -> AutoEncoder:
    torch.manual_seed(0)
    return AutoEncoder(tiny_config(folder, *overrides), VOCABULARY)


def photos(count: int) -> list[Tensor]:
    g = seeded(0)
    return [torch.rand(3, 64, 64, generator=g) for _ in range(count)]


def regions_of(model: AutoEncoder, *counts: int) -> Regions:
    index = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    maps = model.detector.encode(photos(len(counts)))
    return model.detector.describe(maps, random_boxes(sum(counts), 64, 64, 1), index)


def by_pair(graph: GraphLogits, names: Tensor) -> dict[tuple[int, int], Tensor]:
    """Predicate logits and relatedness of each pair of named objects."""
    logits = torch.cat([graph.predicate_logits, graph.relatedness[:, None]], 1)
    return {tuple(names[p].tolist()): row for p, row in zip(graph.pairs, logits)}


def test_renumbering_the_objects_permutes_the_whole_pass(folder: Path) -> None:
    model = fresh(folder, "--relpn.top_k", "7", "--relpn.pair_nms", "0.9").eval()
    regions = regions_of(model, 4, 5)
    order = torch.tensor([2, 0, 3, 1, 6, 8, 4, 5, 7])
    with torch.no_grad():
        first = model.graph_pass(regions).graph
        second = model.graph_pass(renumbered(regions, order)).graph
    assert_close(first.object_logits[order], second.object_logits, atol=1e-5, rtol=1e-4)
    assert_close(first.boxes[order], second.boxes, atol=1e-4, rtol=1e-4)
    one, two = by_pair(first, torch.arange(9)), by_pair(second, order)
    assert set(one) == set(two)
    assert len(one) == 14
    for pair, row in one.items():
        assert_close(row, two[pair], atol=1e-5, rtol=1e-4)


def test_the_whole_pass_batched_equals_one_by_one(folder: Path) -> None:
    model = fresh(folder).eval()
    regions = regions_of(model, 4, 0, 3)
    with torch.no_grad():
        together = model.graph_pass(regions).graph
        for image in range(3):
            rows = (regions.image_index == image).nonzero()[:, 0]
            alone = model.graph_pass(one_image(regions, image)).graph
            assert_close(alone.object_logits, together.object_logits[rows], atol=1e-5, rtol=1e-4)
            assert_close(alone.boxes, together.boxes[rows], atol=1e-4, rtol=1e-4)
            every = by_pair(together, torch.arange(7))
            for pair, row in by_pair(alone, rows).items():
                assert_close(row, every[pair], atol=1e-5, rtol=1e-4)


def test_required_pairs_are_in_the_graph_whatever_their_score(folder: Path) -> None:
    model = fresh(folder, "--relpn.top_k", "2").eval()
    regions = regions_of(model, 5)
    candidates = all_pairs(regions.image_index, 1)
    with torch.no_grad():
        plain = model.graph_pass(regions)
        worst = plain.relatedness_logits.argsort()[:2]
        required = torch.zeros(len(candidates), dtype=torch.bool)
        required[worst] = True
        pairs = model.graph_pass(regions, required).graph.pairs
    assert_close(plain.candidates, candidates)
    best = plain.relatedness_logits.argsort(descending=True)[:2]
    assert_close(plain.graph.pairs, candidates[best])
    assert {tuple(p) for p in pairs.tolist()} == {tuple(p) for p in candidates[worst].tolist()}


def some_batch(*counts: tuple[int, int]) -> Batch:
    graphs = [random_graph(n, m, 3 + i, (64, 64)) for i, (n, m) in enumerate(counts)]
    batch = SceneGraphBatch.collate(graphs)
    return Batch(tuple(photos(len(counts))), batch, tuple(range(len(counts))))


GRAPH = {"predicate", "object", "box", "relatedness"}


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        ((), GRAPH | {"pixel"}),
        (("--joint.image_loss_weight", "0"), GRAPH),
        (
            ("--joint.detection_weight", "1", "--joint.image_loss_weight", "0"),
            GRAPH | {"roi_class", "roi_box"},
        ),
        (
            ("--joint.detection_weight", "1", "--joint.freeze_backbone", "false"),
            GRAPH | {"pixel", "roi_class", "roi_box", "rpn_objectness", "rpn_box"},
        ),
    ],
)
def test_which_losses_there_are(folder: Path, overrides: tuple[str, ...], names: set[str]) -> None:
    model = fresh(folder, *overrides)
    outcome = JointObjective(model, model.config.joint).train()(some_batch((3, 2), (0, 0)))
    assert set(outcome.losses) == names
    assert all(value.ndim == 0 and value.isfinite() for value in outcome.losses.values())
    assert (outcome.image is None) == ("pixel" not in names)
    sum(outcome.losses.values()).backward()


def test_weights_scale_the_losses(folder: Path) -> None:
    plain = fresh(folder, "--predictor.dropout", "0")
    heavy = fresh(
        folder,
        "--predictor.dropout=0",
        "--joint.image_loss_weight=3",
        "--joint.pixel_weight=2",
        "--joint.object_weight=7",
    )
    one, two = (
        JointObjective(m, m.config.joint).eval()(some_batch((3, 2))).losses["object"]
        for m in (plain, heavy)
    )
    assert_close(7 * one, two)
    pixels = []
    for model in (plain, heavy):
        torch.manual_seed(5)
        objective = JointObjective(model, model.config.joint).eval()
        pixels.append(objective(some_batch((3, 2))).losses["pixel"])
    assert_close(6 * pixels[0], pixels[1])


def graph_of(model: AutoEncoder, batch: Batch) -> tuple[GraphPass, Tensor]:
    """The joint phase's graph, in evaluation mode."""
    objective = JointObjective(model, model.config.joint).eval()
    seen = objective.regions.read(batch.images, batch.graphs)
    return objective._graph(seen, batch)[:2]


def test_true_boxes_join_what_is_found_or_do_not(folder: Path) -> None:
    batch = some_batch((3, 2), (2, 1))
    for true_regions, joined in (("true", True), ("false", False)):
        options = ("--joint.regions_per_image", "2", "--joint.true_regions", true_regions)
        model = fresh(folder, *options)
        passed, matched = graph_of(model, batch)
        regions = passed.regions
        counts = torch.bincount(regions.image_index, minlength=2).tolist()
        again = match_regions(regions.boxes, regions.image_index, batch.graphs)
        if joined:
            assert set(matched.tolist()) >= {0, 1, 2, 3, 4}
            assert counts[0] <= 2 + 3
            assert counts[1] <= 2 + 2
            places = [matched.tolist().index(row) for row in range(5)]
            assert_close(again[places], torch.arange(5))
        else:
            assert max(counts) <= 2
            assert_close(again, matched)


def test_related_pairs_are_in_the_graph_in_training(folder: Path) -> None:
    batch = some_batch((4, 3), (3, 2))
    model = fresh(folder, "--relpn.top_k", "4")
    passed, matched = graph_of(model, batch)
    truth = batch.graphs
    image = passed.regions.image_index
    for i in (0, 1):
        candidates = passed.candidates[image[passed.candidates[:, 0]] == i]
        pairs = passed.graph.pairs[image[passed.graph.pairs[:, 0]] == i]
        related = int((pair_predicates(candidates, matched, truth) > 0).sum())
        assert 0 < related < len(candidates)
        assert len(pairs) == 4
        assert int((pair_predicates(pairs, matched, truth) > 0).sum()) == min(related, 4)


def test_frozen_parts_stay_in_evaluation_mode(folder: Path) -> None:
    for frozen in ("true", "false"):
        model = fresh(folder, "--joint.freeze_backbone", frozen)
        objective = JointObjective(model, model.config.joint).train()
        trains = frozen == "false"
        assert model.detector.backbone.training == trains
        assert model.detector.rpn.training == trains
        assert model.predictor.training
        assert model.detector.roi_heads.training
        objective.eval()
        assert not model.predictor.training


def test_the_detectors_phase_is_its_own_losses(folder: Path) -> None:
    model, batch = fresh(folder), some_batch((2, 0))
    torch.manual_seed(2)
    outcome = DetectorObjective(model.detector).train()(batch)
    torch.manual_seed(2)
    expected = model.detector.losses(batch.images, batch.graphs)
    assert set(outcome.losses) == set(expected)
    assert outcome.image is None
    for name, value in expected.items():
        assert_close(outcome.losses[name], value)
