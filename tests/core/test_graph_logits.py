"""Logits of a graph: relaxing, decoding, predictions."""

from __future__ import annotations

from dataclasses import fields, replace
from math import log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close
from torchvision.ops import box_iou

from autoenc_sg.core.boxes import clip_to_images
from autoenc_sg.core.graph_logits import GraphLogits, RelaxMode
from autoenc_sg.core.relaxed_graph import RelaxedGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from tests.support.graphs import random_batch, random_pairs, random_regions, renumbered, seeded

MODES: tuple[RelaxMode, ...] = ("soft", "straight_through", "detached")


def by_hand(grad: bool = False) -> GraphLogits:
    """Two images, the first empty; probabilities are written as logs."""
    logs = torch.tensor([[0.2, 0.6, 0.2], [0.5, 0.1, 0.4], [0.1, 0.1, 0.8]]).log()
    predicates = torch.tensor([[0.5, 0.125, 0.375], [0.2, 0.8, 1e-30]]).log()
    return GraphLogits(
        logs.requires_grad_(grad),
        torch.tensor([[-2.0, 1, 5, 9], [4, 4, 30, 30], [1, 1, 1.5, 9]]).requires_grad_(grad),
        torch.tensor([[0, 1], [2, 0]]),
        predicates.requires_grad_(grad),
        torch.tensor([0.8, 0.9]).requires_grad_(grad),
        torch.tensor([1, 1, 1]),
        ((4, 4), (20, 10)),
    )


def random_logits(counts: list[int], seed: int, per_image: int = 4) -> GraphLogits:
    regions = random_regions(counts, seed)
    pairs = random_pairs(regions, per_image, seed)
    predicate_logits = torch.randn(len(pairs), 4, generator=seeded(seed))
    return GraphLogits(
        regions.class_logits,
        regions.boxes,
        pairs.pairs,
        predicate_logits,
        pairs.relatedness,
        regions.image_index,
        regions.image_sizes,
    )


def leaves(logits: GraphLogits) -> list[Tensor]:
    return [logits.object_logits, logits.boxes, logits.predicate_logits, logits.relatedness]


def test_soft_by_hand() -> None:
    graph = by_hand().relax("soft")
    assert_close(graph.objects, torch.tensor([[0, 0.75, 0.25], [0, 0.2, 0.8], [0, 1 / 9, 8 / 9]]))
    assert_close(graph.predicates, torch.tensor([[0, 0.25, 0.75], [0, 1.0, 0]]))
    assert_close(graph.edge_weights, torch.tensor([0.8 * 0.5, 0.9 * 0.8]))
    assert_close(graph.object_weights, torch.tensor([0.8, 0.5, 0.9]))
    assert_close(graph.boxes[0], torch.tensor([-0.2, 0.05, 0.5, 0.45]))
    assert graph.num_images == 2
    assert_close(graph.pairs, torch.tensor([[0, 1], [2, 0]]))
    assert_close(graph.image_index, torch.tensor([1, 1, 1]))


def test_straight_through_is_exactly_one_hot_with_the_soft_gradient() -> None:
    hard, soft = by_hand(grad=True), by_hand(grad=True)
    graph, other = hard.relax("straight_through"), soft.relax("soft")
    assert torch.equal(graph.objects, torch.tensor([[0.0, 1, 0], [0, 0, 1], [0, 0, 1]]))
    assert torch.equal(graph.predicates, torch.tensor([[0.0, 0, 1], [0, 1, 0]]))
    assert torch.equal(graph.edge_weights, torch.tensor([0.0, 1]))
    assert torch.equal(graph.object_weights, torch.tensor([1.0, 0, 1]))
    g = seeded(0)
    names = ("objects", "predicates", "edge_weights", "object_weights", "boxes")
    weights = {n: torch.randn(getattr(graph, n).shape, generator=g) for n in names}
    for one in (graph, other):
        sum((getattr(one, n) * weights[n]).sum() for n in names).backward()
    for leaf, expected in zip(leaves(hard), leaves(soft)):
        assert leaf.grad is not None
        assert leaf.grad.abs().sum() > 0
        assert_close(leaf.grad, expected.grad)


@pytest.mark.parametrize("mode", MODES)
def test_codes_are_passed_on(mode: RelaxMode) -> None:
    codes, background = torch.rand(3, 2), torch.rand(2, 4, 2)
    graph = replace(by_hand(), appearance=codes, background=background).relax(mode)
    assert graph.appearance is not None
    assert graph.background is not None
    assert_close(graph.appearance, codes, rtol=0, atol=0)
    assert_close(graph.background, background, rtol=0, atol=0)


def test_a_box_of_one_pixel_is_an_object() -> None:
    boxes = torch.tensor([[0.0, 0, 1, 1], [1, 1, 2, 9], [1, 1, 1.875, 9]])
    objects, _ = replace(by_hand(), boxes=boxes).selection(0.0, 0.0)
    assert objects.tolist() == [True, True, False]


def test_detached_has_the_soft_values_and_no_gradient() -> None:
    logits = by_hand(grad=True)
    graph, soft = logits.relax("detached"), logits.relax("soft")
    for field in fields(graph):
        value = getattr(graph, field.name)
        if isinstance(value, Tensor):
            assert not value.requires_grad
            assert_close(value, getattr(soft, field.name).detach())


def test_soft_gradient_by_hand() -> None:
    logits = by_hand(grad=True)
    logits.relax().edge_weights.sum().backward()
    # d/dr of r (1 - p0), and d/dz0 of it: - r p0 (1 - p0)
    assert_close(logits.relatedness.grad, torch.tensor([0.5, 0.8]))
    assert logits.predicate_logits.grad is not None
    expected = torch.tensor([-0.8 * 0.25, -0.9 * 0.16])
    assert_close(logits.predicate_logits.grad[:, 0], expected)


@pytest.mark.parametrize("mode", MODES)
def test_no_object_and_no_pair_with_backward(mode: RelaxMode) -> None:
    none = torch.zeros(0, dtype=torch.int64)
    parts = [torch.zeros(0, k, requires_grad=True) for k in (5, 4, 4)]
    weights = torch.zeros(0, requires_grad=True)
    logits = GraphLogits(
        parts[0], parts[1], none.reshape(0, 2), parts[2], weights, none, ((4, 4), (5, 5))
    )
    graph = logits.relax(mode)
    assert graph.objects.shape == (0, 5)
    assert graph.predicates.shape == (0, 4)
    assert graph.num_images == 2
    total = graph.objects.sum() + graph.edge_weights.sum() + graph.boxes.sum()
    if mode != "detached":
        total.backward()
        assert weights.grad is not None
    decoded = logits.decode()
    assert [len(g) for g in decoded.split()] == [0, 0]
    assert [len(p.boxes) for p in logits.predictions()] == [0, 0]


def test_straight_through_of_sure_logits_equals_the_hard_graph() -> None:
    batch = random_batch([(3, 2), (0, 0), (2, 3)])
    hard = RelaxedGraph.from_graph(batch, 5, 4)
    logits = GraphLogits(
        hard.objects * 50,
        batch.boxes,
        hard.pairs,
        hard.predicates * 50,
        torch.ones(len(batch.triples)),
        batch.image_index,
        batch.image_sizes,
    )
    for mode in MODES:
        graph = logits.relax(mode)
        for field in fields(graph):
            value = getattr(graph, field.name)
            if isinstance(value, Tensor):
                assert_close(value, getattr(hard, field.name))


def test_decode_by_hand() -> None:
    decoded = by_hand().decode()
    # object 2 is half a pixel wide; its relation goes with it
    assert_close(decoded.labels, torch.tensor([1, 2]))
    assert_close(decoded.boxes, torch.tensor([[0.0, 1, 5, 9], [4, 4, 10, 20]]))
    assert_close(decoded.triples, torch.tensor([[0, 2, 1]]))
    assert_close(decoded.object_scores, torch.tensor([0.6, 0.4]))
    assert_close(decoded.triple_scores, torch.tensor([0.375 * 0.6 * 0.4]))
    assert_close(decoded.image_index, torch.tensor([1, 1]))
    assert [len(g) for g in decoded.split()] == [0, 2]


@pytest.mark.parametrize(
    ("object_threshold", "edge_threshold", "labels", "relations"),
    [(0.39, 0.39, [1, 2], 1), (0.41, 0.0, [1], 0), (0.0, 0.41, [1, 2], 0), (0.9, 0.0, [], 0)],
)
def test_decode_thresholds(
    object_threshold: float, edge_threshold: float, labels: list[int], relations: int
) -> None:
    decoded = by_hand().decode(object_threshold, edge_threshold)
    assert decoded.labels.tolist() == labels
    assert len(decoded.triples) == relations


def test_predictions_keep_all_by_image() -> None:
    first, second = by_hand().predictions()
    assert len(first.boxes) == len(first.pairs) == 0
    assert first.predicate_scores.shape == (0, 2)
    assert_close(second.labels, torch.tensor([1, 2, 2]))
    assert_close(second.scores, torch.tensor([0.6, 0.4, 0.8]))
    assert_close(second.boxes[2], torch.tensor([1.0, 1, 1.5, 9]))
    assert_close(second.predicate_scores, torch.tensor([[0.125, 0.375], [0.8, 0.0]]))
    assert_close(second.pairs, torch.tensor([[0, 1], [2, 0]]))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=3), st.integers(0, 500))
def test_batched_equals_one_by_one(counts: list[int], seed: int) -> None:
    logits = random_logits(counts, seed)
    together, predictions = logits.decode(0.3, 0.2), logits.predictions()
    owner = logits.image_index[logits.pairs[:, 0]]
    singles = []
    for image in range(len(counts)):
        rows, in_image = logits.image_index == image, owner == image
        start = sum(counts[:image])
        one = GraphLogits(
            logits.object_logits[rows],
            logits.boxes[rows],
            logits.pairs[in_image] - start,
            logits.predicate_logits[in_image],
            logits.relatedness[in_image],
            logits.image_index[rows] * 0,
            (logits.image_sizes[image],),
        )
        singles.extend(one.decode(0.3, 0.2).split())
        for field in fields(predictions[image]):
            a, b = (getattr(p, field.name) for p in (predictions[image], one.predictions()[0]))
            assert_close(a, b)
    expected = SceneGraphBatch.collate(singles)
    assert_close(together.labels, expected.labels)
    assert_close(together.triples, expected.triples)
    assert_close(together.boxes, expected.boxes)
    assert_close(together.triple_scores, expected.triple_scores)


def test_renumbering_permutes_the_relaxed_graph() -> None:
    regions = random_regions([4])
    order = torch.tensor([2, 0, 3, 1])
    pairs = torch.tensor([[0, 1], [3, 2]])
    predicate_logits = torch.randn(2, 4, generator=seeded(1))
    graphs = []
    for numbered, ends in ((regions, pairs), (renumbered(regions, order), order.argsort()[pairs])):
        logits = GraphLogits(
            numbered.class_logits,
            numbered.boxes,
            ends,
            predicate_logits,
            torch.tensor([0.3, 0.9]),
            numbered.image_index,
            numbered.image_sizes,
        )
        graphs.append(logits)
    first, second = (g.relax() for g in graphs)
    assert_close(first.objects[order], second.objects)
    assert_close(first.boxes[order], second.boxes)
    assert_close(first.edge_weights, second.edge_weights)
    triples = [
        {(int(order[s]) if new else s, p, int(order[o]) if new else o) for s, p, o in t.tolist()}
        for new, t in enumerate(g.decode().triples for g in graphs)
    ]
    assert triples[0] == triples[1]


def test_probabilities_of_large_logits_stay_finite() -> None:
    logits = by_hand()
    sure = GraphLogits(
        logits.object_logits * 1e4 + log(2),
        logits.boxes,
        logits.pairs,
        logits.predicate_logits.clamp(min=-1) * 1e4,
        logits.relatedness,
        logits.image_index,
        logits.image_sizes,
    )
    for mode in MODES:
        graph = sure.relax(mode)
        assert graph.objects.isfinite().all()
        assert graph.edge_weights.isfinite().all()


def overlapping() -> GraphLogits:
    """Image 0: four boxes of which 0, 1 and 2 overlap; image 1: a copy of box 0."""
    probabilities = torch.tensor(
        [[0.1, 0.7, 0.2], [0.1, 0.8, 0.1], [0.1, 0.3, 0.6], [0.1, 0.6, 0.3], [0.1, 0.7, 0.2]]
    )
    boxes = [[0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 9], [20, 20, 30, 30], [0, 0, 10, 10]]
    return GraphLogits(
        probabilities.log(),
        torch.tensor(boxes, dtype=torch.float32),
        torch.tensor([[0, 1], [1, 2], [3, 1], [2, 3], [3, 0]]),
        torch.arange(15.0).reshape(5, 3),
        torch.linspace(0.1, 0.5, 5),
        torch.tensor([0, 0, 0, 0, 1]),
        ((40, 40), (40, 40)),
        object_vectors=torch.arange(5.0)[:, None],
        pair_vectors=torch.arange(5.0)[:, None],
    )


def test_duplicates_by_hand() -> None:
    """Box 1 (0.8) suppresses box 0 (0.7, IoU 0.8), not box 2, which is of another class."""
    kept = overlapping().without_duplicates(0.5)
    assert kept.object_vectors is not None
    assert kept.pair_vectors is not None
    assert kept.object_vectors[:, 0].tolist() == [1, 2, 3, 4]
    assert kept.pair_vectors[:, 0].tolist() == [1, 2, 3]
    assert kept.pairs.tolist() == [[0, 1], [2, 0], [1, 2]]
    assert_close(kept.relatedness, torch.tensor([0.2, 0.3, 0.4]))
    assert kept.image_index.tolist() == [0, 0, 0, 1]
    assert_close(kept.predicate_logits, torch.arange(15.0).reshape(5, 3)[[1, 2, 3]])


def test_duplicates_within_the_threshold_stay() -> None:
    for threshold in (0.81, 1.0):
        kept = overlapping().without_duplicates(threshold)
        assert len(kept.object_logits) == 5
        assert torch.equal(kept.pairs, overlapping().pairs)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.3, 0.5]))
def test_suppression_equals_a_plain_loop(seed: int, threshold: float) -> None:
    logits = random_logits([6, 0, 8, 1], seed)
    scores, labels = logits.object_logits.softmax(-1)[:, 1:].max(-1)
    boxes = clip_to_images(logits.boxes, logits.image_sizes, logits.image_index)
    kept: list[int] = []
    for row in scores.argsort(descending=True, stable=True).tolist():
        same = [
            other
            for other in kept
            if labels[other] == labels[row] and logits.image_index[other] == logits.image_index[row]
        ]
        if not same or float(box_iou(boxes[same], boxes[row][None]).max()) <= threshold:
            kept.append(row)
    expected = logits.select(torch.tensor(sorted(kept)))
    got = logits.without_duplicates(threshold)
    assert_close(got.boxes, expected.boxes, rtol=0, atol=0)
    assert torch.equal(got.pairs, expected.pairs)


def test_suppression_of_nothing() -> None:
    empty = random_logits([0, 0], 0).without_duplicates(0.5)
    assert (len(empty.object_logits), len(empty.pairs)) == (0, 0)


def test_suppression_compares_boxes_as_they_are_clipped() -> None:
    """Of one image 10 wide: [0, 10] and [0, 90] are one box after clipping, IoU 1/9 before."""
    logits = replace(
        random_logits([2], 0),
        object_logits=torch.tensor([[0.0, 3.0, 0.0], [0.0, 2.0, 0.0]]),
        boxes=torch.tensor([[0.0, 0, 10, 10], [0, 0, 90, 10]]),
        image_sizes=((10, 10),),
    )
    assert logits.without_duplicates(0.5).boxes.tolist() == [[0, 0, 10, 10]]
