"""Training targets against plain loops."""

from __future__ import annotations

from dataclasses import replace
from math import log

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close
from torchvision.ops import box_iou

from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.relpn import all_pairs
from autoenc_sg.training.losses.graph import graph_losses
from autoenc_sg.training.target_assignment import (
    add_missed,
    in_ignored,
    match_regions,
    pair_predicates,
    pair_weights,
    region_labels,
)
from tests.support.graphs import random_batch, random_boxes, random_graph, seeded
from tests.training.losses.test_objectives import AS_CONFIGURED, WEIGHTS, passed_by_hand

images = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=3
)


def found_near(truth: SceneGraphBatch, counts: list[int], seed: int) -> tuple[Tensor, Tensor]:
    """Boxes and their images; about half are shifted true boxes."""
    g = seeded(seed)
    boxes, index = [], []
    for b, count in enumerate(counts):
        true_boxes = truth.boxes[truth.image_index == b]
        for k in range(count):
            if len(true_boxes) and torch.rand((), generator=g) < 0.5:
                boxes.append(true_boxes[k % len(true_boxes)] + torch.rand(4, generator=g) * 2)
            else:
                boxes.append(random_boxes(1, 40, 60, seed + 31 * k + b)[0])
            index.append(b)
    return torch.stack(boxes) if boxes else torch.zeros(0, 4), torch.tensor(
        index, dtype=torch.int64
    )


def naive_match(boxes: Tensor, index: Tensor, truth: SceneGraphBatch) -> list[int]:
    matched = []
    for box, image in zip(boxes, index):
        best, row = 0.5, -1
        for t in range(len(truth.labels)):
            if truth.image_index[t] == image:
                iou = float(box_iou(box[None], truth.boxes[t][None]))
                if iou > best or (iou == best and row < 0):
                    best, row = iou, t
        matched.append(row)
    return matched


def two_images() -> SceneGraphBatch:
    box = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]])
    first = SceneGraph(torch.tensor([1, 2]), box, torch.tensor([[0, 1, 1], [0, 3, 1]]), (40, 40))
    second = SceneGraph(torch.tensor([3, 4]), box, torch.tensor([[1, 2, 0]]), (20, 80))
    return SceneGraphBatch.collate([first, SceneGraph.empty((9, 9)), second])


def test_matching_by_hand_stays_inside_the_image() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 5], [0, 0, 10, 4.9], [0, 0, 10, 10], [20, 0, 30, 10]])
    index = torch.tensor([0, 0, 1, 2])
    matched = match_regions(boxes, index, two_images())
    assert matched.tolist() == [0, -1, -1, 3]  # IoU 0.5 is enough; the empty image has none
    assert region_labels(matched, two_images()).tolist() == [1, 0, 0, 4]


def test_predicates_by_hand_the_last_one_wins() -> None:
    matched = torch.tensor([0, 1, 0, -1, 3, 2])
    pairs = torch.tensor([[0, 1], [2, 1], [1, 0], [0, 2], [3, 1], [4, 5], [5, 4]])
    assert pair_predicates(pairs, matched, two_images()).tolist() == [3, 3, 0, 0, 0, 2, 0]


def test_an_empty_truth_and_no_region() -> None:
    nothing = SceneGraphBatch.collate([SceneGraph.empty((4, 4))] * 2)
    boxes, index = torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([1])
    assert match_regions(boxes, index, nothing).tolist() == [-1]
    assert region_labels(torch.tensor([-1]), nothing).tolist() == [0]
    assert pair_predicates(torch.tensor([[0, 0]]), torch.tensor([-1]), nothing).tolist() == [0]
    same, where, rows = add_missed(boxes, index, nothing)
    assert_close(same, boxes)
    assert (where.tolist(), rows.tolist()) == ([1], [-1])
    none = torch.zeros(0, dtype=torch.int64)
    assert match_regions(torch.zeros(0, 4), none, two_images()).shape == (0,)
    assert region_labels(none, two_images()).shape == (0,)
    assert pair_predicates(none.reshape(0, 2), none, two_images()).shape == (0,)
    every, where, rows = add_missed(torch.zeros(0, 4), none, two_images())
    assert_close(every, two_images().boxes)
    assert (where.tolist(), rows.tolist()) == ([0, 0, 2, 2], [0, 1, 2, 3])
    assert add_missed(torch.zeros(0, 4), none, nothing)[0].shape == (0, 4)


@settings(max_examples=40, deadline=None)
@given(images, st.integers(0, 1000))
def test_everything_against_loops(sizes: list[tuple[int, int, int]], seed: int) -> None:
    truth = random_batch([(n, m if n else 0) for n, m, _ in sizes], seed)
    boxes, index = found_near(truth, [k for *_, k in sizes], seed)
    matched = match_regions(boxes, index, truth)
    assert matched.tolist() == naive_match(boxes, index, truth)
    labels = [int(truth.labels[t]) if t >= 0 else 0 for t in matched.tolist()]
    assert region_labels(matched, truth).tolist() == labels

    pairs = all_pairs(index, len(sizes))
    predicates = {(s, o): p for s, p, o in truth.triples.tolist()}  # the last one stays
    rows = matched.tolist()
    expected = [predicates.get((rows[i], rows[j]), 0) for i, j in pairs.tolist()]
    assert pair_predicates(pairs, matched, truth).tolist() == expected

    all_boxes, all_index, all_rows = add_missed(boxes, index, truth)
    assert all_index.tolist() == sorted(all_index.tolist())
    assert set(range(len(truth.labels))) <= set(all_rows.tolist())
    missed = [t for t in range(len(truth.labels)) if t not in rows]
    assert len(all_boxes) == len(boxes) + len(missed)
    start = 0
    for b in range(len(sizes)):
        regions, new = (
            (index == b).nonzero()[:, 0],
            [t for t in missed if truth.image_index[t] == b],
        )
        end = start + len(regions) + len(new)
        assert_close(all_boxes[start:end], torch.cat([boxes[regions], truth.boxes[new]]))
        assert all_rows[start:end].tolist() == [rows[i] for i in regions.tolist()] + new
        start = end


def test_batched_equals_one_by_one() -> None:
    truth = random_batch([(3, 3), (0, 0), (4, 4)])
    boxes, index = found_near(truth, [4, 2, 5], 5)
    together = region_labels(match_regions(boxes, index, truth), truth)
    alone = []
    for b, graph in enumerate(truth.split()):
        one = SceneGraphBatch.collate([graph])
        in_image = index == b
        alone.append(region_labels(match_regions(boxes[in_image], index[in_image] * 0, one), one))
    assert_close(together, torch.cat(alone))


def test_pairs_weigh_as_their_relations_scores() -> None:
    """Regions 0..3 are the true objects 0, 1, 2 and none; human, 0.25, and none for the pair."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [10, 0, 20, 10], [20, 0, 30, 10]])
    triples, scores = torch.tensor([[0, 1, 1], [1, 2, 2]]), torch.tensor([float("nan"), 0.25])
    graph = SceneGraph(torch.tensor([1, 1, 1]), boxes, triples, (40, 40), triple_scores=scores)
    pairs = torch.tensor([[0, 1], [1, 2], [2, 1], [3, 1]])
    matched = torch.tensor([0, 1, 2, -1])
    truth = SceneGraphBatch.collate([graph])
    assert pair_predicates(pairs, matched, truth).tolist() == [1, 2, 0, 0]
    assert_close(pair_weights(pairs, matched, truth), torch.tensor([1, 0.25, 1, 1]))


def test_regions_in_an_ignored_one_of_their_image() -> None:
    truth = SceneGraphBatch.collate([random_graph(1, 0, i, (64, 64)) for i in (0, 1)])
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [6, 0, 16, 10], [0, 0, 10, 10]])
    index = torch.tensor([0, 0, 0, 1])
    assert in_ignored(boxes, index, truth).tolist() == [False] * 4
    some = replace(truth, ignored=torch.tensor([[0.0, 1, 0, 0, 10, 20]]))
    assert in_ignored(boxes, index, some).tolist() == [True, True, False, False]
    assert in_ignored(boxes[:0], index[:0], some).tolist() == []


def test_a_region_in_an_ignored_one_has_no_class() -> None:
    """The third region matches nothing: background, unless a crowd covers half of it."""
    passed, matched, truth = passed_by_hand()
    before = graph_losses(passed, matched, truth, WEIGHTS, AS_CONFIGURED)
    for ignored, expected in (
        ([[1.0, 1, 0, 0, 5, 2]], before["object"]),
        ([[1.0, 1, 0, 0, 5, 3]], torch.tensor(-3 * (log(0.5) + log(0.8)) / 2)),
        ([[0.0, 1, 0, 0, 20, 20]], before["object"]),  # matched ones stay as they are
    ):
        crowd = replace(truth, ignored=torch.tensor(ignored))
        losses = graph_losses(passed, matched, crowd, WEIGHTS, AS_CONFIGURED)
        assert_close(losses["object"], expected)
        assert_close(losses["predicate"], before["predicate"])
