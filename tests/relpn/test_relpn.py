"""Relation proposals: pairs, suppression, sampling, loss."""

from __future__ import annotations

from math import log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close
from torchvision.ops import box_iou

from autoenc_sg.config.model import RelpnConfig
from autoenc_sg.core.structures import Regions
from autoenc_sg.relpn import (
    RelationProposalNetwork,
    all_pairs,
    pair_nms,
    relatedness_loss,
    sample_pairs,
    top_pairs,
)
from autoenc_sg.relpn.model import positions
from tests.support.graphs import C, D, one_image, random_boxes, random_regions, renumbered, seeded

counts_of_images = st.lists(st.integers(0, 5), min_size=1, max_size=4)


def network(**settings: object) -> RelationProposalNetwork:
    torch.manual_seed(0)
    return RelationProposalNetwork(RelpnConfig(dim=8, **settings), D, C)  # type: ignore[arg-type]


def index_of(counts: list[int]) -> Tensor:
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


@settings(max_examples=60, deadline=None)
@given(counts_of_images)
def test_all_pairs_against_a_double_loop(counts: list[int]) -> None:
    index = index_of(counts)
    expected = [
        [i, j]
        for i in range(len(index))
        for j in range(len(index))
        if i != j and index[i] == index[j]
    ]
    assert all_pairs(index, len(counts)).tolist() == expected


def test_all_pairs_of_nothing() -> None:
    assert all_pairs(torch.zeros(0, dtype=torch.int64), 2).shape == (0, 2)
    assert all_pairs(torch.tensor([0, 1]), 2).shape == (0, 2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=15), st.integers(1, 4))
def test_top_pairs_against_a_loop(pairs: list[tuple[int, int]], k: int) -> None:
    image = torch.tensor([i for i, _ in pairs], dtype=torch.int64)
    scores = torch.tensor([float(s) for _, s in pairs])
    expected: list[int] = []
    for b in range(3):
        rows = [r for r in range(len(pairs)) if pairs[r][0] == b]
        expected += sorted(rows, key=lambda r: (-pairs[r][1], r))[:k]
    assert top_pairs(scores, image, 3, k).tolist() == expected


def naive_nms(boxes: Tensor, pairs: Tensor, scores: Tensor, threshold: float) -> list[int]:
    iou = box_iou(boxes, boxes)
    selected_rows: list[int] = []
    for row in sorted(range(len(pairs)), key=lambda r: (-float(scores[r]), r)):
        s, o = pairs[row].tolist()
        better = [pairs[k].tolist() for k in selected_rows]
        if all(min(float(iou[s, a]), float(iou[o, b])) <= threshold for a, b in better):
            selected_rows.append(row)
    return selected_rows


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 6), st.floats(0, 1), st.integers(0, 1000))
def test_pair_nms_against_a_loop(n: int, threshold: float, seed: int) -> None:
    boxes = random_boxes(n, 20, 20, seed)
    pairs = all_pairs(torch.zeros(n, dtype=torch.int64), 1)
    scores = torch.rand(len(pairs), generator=seeded(seed)).round(decimals=1)
    assert pair_nms(boxes, pairs, scores, threshold).tolist() == naive_nms(
        boxes, pairs, scores, threshold
    )


def test_pair_nms_needs_both_boxes_to_overlap() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4], [10, 10, 14, 14], [20, 0, 24, 4]])
    pairs = torch.tensor([[0, 2], [1, 2], [0, 3], [2, 0]])
    scores = torch.tensor([0.5, 0.9, 0.4, 0.3])
    assert pair_nms(boxes, pairs, scores, 0.5).tolist() == [1, 2, 3]


def test_positions_by_hand() -> None:
    sizes = ((10, 20), (10, 10))
    regions = Regions(
        torch.tensor([[0.0, 0, 10, 5], [2, 2, 2, 2]]),
        torch.zeros(2, C),
        torch.zeros(2, D),
        torch.tensor([0, 1]),
        sizes,
        (),
        sizes,
    )
    expected = [[0, 0, 0.5, 0.5, 0.25, 0.5], [0.2, 0.2, 0.2, 0.2, 0, 0]]
    assert_close(positions(regions), torch.tensor(expected))


def test_relatedness_against_the_formula() -> None:
    net, regions = network(), random_regions([3, 0, 2])
    pairs, logits = net(regions)
    objects = torch.cat([regions.features, regions.class_logits.softmax(-1)], 1)
    place = positions(regions)
    for (i, j), logit in zip(pairs.tolist(), logits):
        learned = net.subject_projection(objects[i]) @ net.object_projection(objects[j])
        placed = net.subject_position(place[i]) @ net.object_position(place[j])
        assert_close(logit, (learned + placed) / 8**0.5, atol=1e-5, rtol=1e-5)


def test_batched_equals_one_by_one() -> None:
    net, regions = network(top_k=4), random_regions([4, 0, 1, 3])
    chosen = net.select(regions, *net(regions))
    start, parts, relatedness = 0, [], []
    for image, count in enumerate((4, 0, 1, 3)):
        one = one_image(regions, image)
        selected = net.select(one, *net(one))
        parts.append(selected.pairs + start)
        relatedness.append(selected.relatedness)
        start += count
    assert_close(chosen.pairs, torch.cat(parts))
    assert_close(chosen.relatedness, torch.cat(relatedness))


def test_renumbering_permutes_the_scores() -> None:
    net, regions = network(top_k=20), random_regions([4, 3])
    order = torch.tensor([2, 0, 3, 1, 6, 4, 5])
    first = net.select(regions, *net(regions))
    other = renumbered(regions, order)
    second = net.select(other, *net(other))
    scores = dict(zip(map(tuple, first.pairs.tolist()), first.relatedness))
    assert len(second) == len(first) == 18
    for pair, score in zip(order[second.pairs].tolist(), second.relatedness):
        assert_close(scores[tuple(pair)], score)


@pytest.mark.parametrize("counts", [[0], [1], [0, 1, 0]])
@pytest.mark.parametrize("nms", [None, 0.5])
def test_no_pair_with_backward(counts: list[int], nms: float | None) -> None:
    net, regions = network(pair_nms=nms), random_regions(counts, grad=True)
    pairs, logits = net(regions)
    related = torch.zeros(0, dtype=torch.bool)
    chosen = net.select(regions, pairs, logits, related)
    assert len(chosen) == len(pairs) == 0
    loss = relatedness_loss(logits, related) + chosen.relatedness.sum()
    loss.backward()
    assert loss == 0
    for parameter in net.parameters():
        assert parameter.grad is None or parameter.grad.abs().sum() == 0


@settings(max_examples=40, deadline=None)
@given(
    counts_of_images, st.integers(0, 500), st.sampled_from([None, 0.0, 0.3, 0.7]), st.integers(1, 6)
)
def test_selection(counts: list[int], seed: int, nms: float | None, k: int) -> None:
    net, regions = network(pair_nms=nms, top_k=k), random_regions(counts, seed)
    pairs = all_pairs(regions.image_index, len(counts))
    logits = torch.randn(len(pairs), generator=seeded(seed))
    required = torch.rand(len(pairs), generator=seeded(seed + 1)) < 0.2
    chosen = net.select(regions, pairs, logits, required)
    image = regions.image_index[chosen.pairs[:, 0]]
    assert image.tolist() == sorted(image.tolist())
    row_of = {tuple(p): r for r, p in enumerate(pairs.tolist())}
    rows = [row_of[tuple(p)] for p in chosen.pairs.tolist()]
    assert_close(chosen.relatedness, logits[rows].sigmoid())
    for b in range(len(counts)):
        image_rows = [r for r in range(len(pairs)) if regions.image_index[pairs[r, 0]] == b]
        selected_rows = [r for r in rows if r in set(image_rows)]
        expected = {r for r in image_rows if required[r]}
        assert len(selected_rows) <= k
        if len(expected) <= k:
            assert expected <= set(selected_rows)
        else:
            assert set(selected_rows) <= expected
        if nms is None:
            best = sorted(image_rows, key=lambda r: (not required[r], -float(logits[r]), r))
            assert selected_rows == best[:k]


def test_required_pairs_survive_suppression() -> None:
    net = network(pair_nms=0.5)
    regions = random_regions([2])
    regions.boxes[:] = torch.tensor([0.0, 0, 10, 10])
    pairs = torch.tensor([[0, 1], [1, 0]])
    logits = torch.tensor([1.0, 2.0])
    assert net.select(regions, pairs, logits).pairs.tolist() == [[1, 0]]
    both = net.select(regions, pairs, logits, torch.tensor([True, True]))
    assert both.pairs.tolist() == [[1, 0], [0, 1]]


def test_loss_by_hand() -> None:
    logits = torch.tensor([0.0, log(3), -log(3)], requires_grad=True)
    loss = relatedness_loss(logits, torch.tensor([True, False, False]))
    expected = 0.5 * log(2) + 0.5 * (log(4) + log(4 / 3)) / 2
    assert_close(loss, torch.tensor(expected))
    loss.backward()
    # sigma - y, by the size of its side
    assert_close(logits.grad, torch.tensor([-0.25, 0.75 / 4, 0.25 / 4]))


@pytest.mark.parametrize("side", [True, False])
def test_loss_of_one_side_only(side: bool) -> None:
    loss = relatedness_loss(torch.zeros(4), torch.full((4,), side))
    assert_close(loss, torch.tensor(0.5 * log(2)))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=30),
    st.integers(1, 8),
    st.floats(0.05, 1),
)
def test_sample_limits(rows: list[tuple[int, bool]], count: int, fraction: float) -> None:
    image = torch.tensor([b for b, _ in rows], dtype=torch.int64)
    related = torch.tensor([r for _, r in rows], dtype=torch.bool)
    chosen = sample_pairs(related, image, 3, count, fraction).tolist()
    assert len(set(chosen)) == len(chosen)
    most = int(count * fraction)
    for b in range(3):
        for side, limit in ((True, most), (False, count - most)):
            there = sum(row == (b, side) for row in rows)
            taken = sum(rows[r] == (b, side) for r in chosen)
            assert taken == min(there, limit)


def test_samples_are_random_and_follow_the_seed() -> None:
    related, image = torch.zeros(100, dtype=torch.bool), torch.zeros(100, dtype=torch.int64)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(sample_pairs(related, image, 1, 10, 0.5).tolist())
    assert draws[0] == draws[1] != draws[2]
    assert len(draws[0]) == 5


def test_gradient_reaches_every_projection() -> None:
    net, regions = network(), random_regions([3, 2], grad=True)
    pairs, logits = net(regions)
    relatedness_loss(logits, torch.arange(len(pairs)) % 2 == 0).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert regions.features.grad is not None
    assert regions.class_logits.grad is not None
