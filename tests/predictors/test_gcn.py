"""The graph convolution over objects and subgraphs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from autoenc_sg.config.model import PredictorConfig
from autoenc_sg.core.structures import Pairs, Regions, to_unit_boxes, union_boxes
from autoenc_sg.predictors.gcn import (
    GraphPredictor,
    MessagePassing,
    coverage,
    decode_boxes,
    encode_boxes,
)
from tests.support.graphs import (
    C,
    D,
    P,
    one_image,
    random_boxes,
    random_pairs,
    random_regions,
    renumbered,
    seeded,
)

S, DIM = 3, 8


def predictor(steps: int = 2, dropout: float = 0.0) -> GraphPredictor:
    torch.manual_seed(0)
    return GraphPredictor(PredictorConfig(DIM, steps, dropout), D, S, C, P)


def subgraphs_of(pairs: Pairs, grad: bool = False) -> Tensor:
    maps = torch.randn(len(pairs), D, S, S, generator=seeded(7))
    return maps.requires_grad_(grad)


def test_coverage_by_hand() -> None:
    frame = torch.tensor([[0.0, 0, 4, 2]])
    # cells are 2 wide and 1 high
    box = torch.tensor([[1.0, 0, 4, 1.25]])
    assert_close(coverage(box, frame, 2), torch.tensor([[[0.5, 1.0], [0.125, 0.25]]]))
    assert_close(coverage(frame, frame, 3), torch.ones(1, 3, 3))
    outside = torch.tensor([[10.0, 10, 12, 12]])
    assert_close(coverage(outside, frame, 2), torch.zeros(1, 2, 2))
    flat = torch.tensor([[1.0, 1, 1, 1]])
    assert_close(coverage(flat, flat, 2), torch.zeros(1, 2, 2))
    assert coverage(torch.zeros(0, 4), torch.zeros(0, 4), 5).shape == (0, 5, 5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_coverage_sums_to_the_area(seed: int, size: int) -> None:
    boxes = random_boxes(6, 50, 80, seed)
    pairs = torch.tensor([[0, 1], [2, 3], [4, 5]])
    frames = union_boxes(boxes, pairs)
    share = coverage(boxes[pairs[:, 0]], frames, size).mean((1, 2))
    own = (boxes[pairs[:, 0], 2:] - boxes[pairs[:, 0], :2]).prod(1)
    whole = (frames[:, 2:] - frames[:, :2]).prod(1)
    assert_close(share, own / whole, atol=1e-5, rtol=1e-4)


def test_coverage_against_a_loop_over_cells() -> None:
    boxes, size = random_boxes(4, 30, 30, 3), 4
    frames = random_boxes(4, 30, 30, 4)
    got = coverage(boxes, frames, size)
    for k in range(4):
        x1, y1, x2, y2 = frames[k].tolist()
        w, h = (x2 - x1) / size, (y2 - y1) / size
        bx1, by1, bx2, by2 = boxes[k].tolist()
        for y in range(size):
            for x in range(size):
                left, top = x1 + x * w, y1 + y * h
                wide = max(0.0, min(bx2, left + w) - max(bx1, left))
                high = max(0.0, min(by2, top + h) - max(by1, top))
                assert abs(float(got[k, y, x]) - wide * high / (w * h)) < 1e-4


def test_message_passing_against_a_loop() -> None:
    torch.manual_seed(0)
    layer = MessagePassing(DIM)
    regions = random_regions([3, 0, 3])
    pairs = random_pairs(regions, 4).pairs
    objects, maps = torch.randn(6, DIM), torch.randn(len(pairs), DIM, S, S)
    new_objects, new_maps = layer(objects, maps, pairs)
    pooled = [m.mean((1, 2)) for m in maps]
    for i in range(6):
        total = torch.zeros(DIM)
        for side, linear in ((0, layer.to_subject), (1, layer.to_object)):
            mine = [pooled[k] for k in range(len(pairs)) if pairs[k, side] == i]
            mean = torch.stack(mine).mean(0) if mine else torch.zeros(DIM)
            total = total + linear(mean)
        assert_close(new_objects[i], objects[i] + F.relu(total))
    for k, (s, o) in enumerate(pairs.tolist()):
        sent = F.relu(layer.from_subject(objects[s]) + layer.from_object(objects[o]))
        assert_close(new_maps[k], maps[k] + sent[:, None, None])


def test_equations_3_and_4_against_a_loop() -> None:
    net = predictor(steps=0).eval()
    regions = random_regions([3, 2])
    pairs = random_pairs(regions, 3)
    subgraphs = subgraphs_of(pairs)
    logits = net(regions, pairs, subgraphs)
    unit = to_unit_boxes(regions.boxes, regions.image_sizes, regions.image_index)
    known = torch.cat([regions.features, regions.class_logits.softmax(1), unit], 1)
    objects = [F.relu(net.object_in(row)) for row in known]
    for k, (i, j) in enumerate(pairs.pairs.tolist()):
        frame = union_boxes(regions.boxes, pairs.pairs[k : k + 1])
        cover = [coverage(regions.boxes[e : e + 1], frame, S) for e in (i, j)]
        s_k = F.relu(net.subgraph_in(subgraphs[k][None]) + net.coverage_in(torch.cat(cover)[None]))[
            0
        ]
        projected = net.subgraph_map(s_k[None])[0]
        parts = []
        for end, kernel in ((i, net.subject_kernel), (j, net.object_kernel)):
            vector, product = kernel(objects[end]), torch.zeros(DIM, S, S)
            for c in range(DIM):  # a depth-wise 1 x 1 convolution
                product[c] = F.relu(vector[c] * projected[c])
            parts.append(product)
        joined = torch.cat([*parts, s_k])[None]
        wanted = net.relation_classifier(F.relu(net.bottleneck(joined)).flatten(1))[0]
        assert_close(logits.predicate_logits[k], wanted, atol=1e-5, rtol=1e-4)
    for i, vector in enumerate(objects):
        wanted = regions.class_logits[i] + net.object_classifier(vector)
        assert_close(logits.object_logits[i], wanted, atol=1e-5, rtol=1e-4)
        box = decode_boxes(net.box_deltas(vector)[None], regions.boxes[i : i + 1])
        assert_close(logits.boxes[i : i + 1], box, atol=1e-4, rtol=1e-5)


def test_what_passes_through() -> None:
    regions = random_regions([2, 0, 2])
    pairs = random_pairs(regions, 2)
    logits = predictor()(regions, pairs, subgraphs_of(pairs))
    assert logits.pairs is pairs.pairs
    assert logits.relatedness is pairs.relatedness
    assert logits.image_index is regions.image_index
    assert logits.image_sizes == regions.image_sizes
    assert logits.object_logits.shape == (4, C)
    assert logits.predicate_logits.shape == (4, P)
    # a fresh network leaves the boxes almost where they are
    assert_close(logits.boxes, regions.boxes, atol=1.0, rtol=0)


@pytest.mark.parametrize("counts", [[0], [1], [0, 0], [0, 1]])
def test_no_pair_and_no_object_with_backward(counts: list[int]) -> None:
    net, regions = predictor(), random_regions(counts, grad=True)
    pairs = random_pairs(regions, 4)
    assert len(pairs) == 0
    logits = net(regions, pairs, subgraphs_of(pairs))
    assert logits.predicate_logits.shape == (0, P)
    total = logits.predicate_logits.sum() + logits.object_logits.sum() + logits.boxes.sum()
    total.backward()
    for parameter in net.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


def test_an_object_without_pairs_keeps_finite_gradients() -> None:
    net, regions = predictor(), random_regions([3, 1], grad=True)
    pairs = Pairs(torch.tensor([[0, 1]]), torch.tensor([0.5]))
    logits = net(regions, pairs, subgraphs_of(pairs))
    (logits.object_logits.sum() + logits.predicate_logits.sum()).backward()
    assert regions.features.grad is not None
    assert regions.features.grad.isfinite().all()


def test_batched_equals_one_by_one() -> None:
    net = predictor().eval()
    regions = random_regions([3, 0, 1, 4])
    pairs = random_pairs(regions, 5)
    subgraphs = subgraphs_of(pairs)
    together = net(regions, pairs, subgraphs)
    start = 0
    owner = regions.image_index[pairs.pairs[:, 0]]
    for image, count in enumerate((3, 0, 1, 4)):
        own = owner == image
        single = Pairs(pairs.pairs[own] - start, pairs.relatedness[own])
        alone = net(one_image(regions, image), single, subgraphs[own])
        rows = slice(start, start + count)
        assert_close(together.object_logits[rows], alone.object_logits)
        assert_close(together.boxes[rows], alone.boxes)
        assert_close(together.predicate_logits[own], alone.predicate_logits)
        start += count


def test_renumbering_the_objects_permutes_the_output() -> None:
    net = predictor().eval()
    regions = random_regions([3, 4])
    pairs = random_pairs(regions, 6)
    subgraphs = subgraphs_of(pairs)
    order = torch.tensor([2, 0, 1, 6, 4, 3, 5])
    shuffled = torch.randperm(len(pairs), generator=seeded(0))
    other = Pairs(order.argsort()[pairs.pairs[shuffled]], pairs.relatedness[shuffled])
    first = net(regions, pairs, subgraphs)
    second = net(renumbered(regions, order), other, subgraphs[shuffled])
    assert_close(first.object_logits[order], second.object_logits)
    assert_close(first.boxes[order], second.boxes)
    assert_close(first.predicate_logits[shuffled], second.predicate_logits)


def test_gradient_reaches_every_parameter() -> None:
    net, regions = predictor(dropout=0.2), random_regions([4, 3], grad=True)
    pairs = random_pairs(regions, 6)
    subgraphs = subgraphs_of(pairs, grad=True)
    logits = net(regions, pairs, subgraphs)
    total = (
        logits.object_logits.softmax(1)[:, 1].sum()
        + logits.predicate_logits.softmax(1)[:, 1].sum()
        + logits.boxes.square().sum()
    )
    total.backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert subgraphs.grad is not None
    assert (subgraphs.grad.flatten(1).abs().sum(1) > 0).all()


def test_encode_boxes_by_hand() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 20]])
    target = torch.tensor([[5.0, 0, 25, 20]])
    # centre moves by one width, the width doubles
    wanted = torch.tensor([[10.0, 0, 5 * 0.6931472, 0]])
    assert_close(encode_boxes(target, boxes), wanted)
    assert_close(decode_boxes(wanted, boxes), target)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_decode_inverts_encode(seed: int) -> None:
    boxes = random_boxes(5, 40, 60, seed)
    scale = 0.3 + 3.5 * torch.rand(5, 2, generator=seeded(seed))  # at most 3.8 a side
    centre = torch.rand(5, 2, generator=seeded(seed + 1)) * 40
    half = (boxes[:, 2:] - boxes[:, :2]) * scale / 2
    target = torch.cat([centre - half, centre + half], 1)
    assert_close(decode_boxes(encode_boxes(target, boxes), boxes), target, atol=1e-3, rtol=1e-4)


def test_growth_is_limited_and_nothing_moves_nothing() -> None:
    boxes = torch.tensor([[4.0, 4, 6, 8]])
    assert_close(decode_boxes(torch.zeros(1, 4), boxes), boxes)
    grown = decode_boxes(torch.full((1, 4), 1e4) * torch.tensor([0.0, 0, 1, 1]), boxes)
    assert_close(grown, torch.tensor([[1.0, -2, 9, 14]]), atol=2e-2, rtol=0)
    none = torch.zeros(0, 4)
    assert decode_boxes(none, none).shape == encode_boxes(none, none).shape == (0, 4)


def test_no_round_needs_no_message() -> None:
    assert len(predictor(steps=0).rounds) == 0
    regions = Regions(
        torch.zeros(0, 4),
        torch.zeros(0, C),
        torch.zeros(0, D),
        torch.zeros(0, dtype=torch.int64),
        (),
        (),
        (),
    )
    none = Pairs(torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0))
    assert len(predictor(steps=0)(regions, none, subgraphs_of(none)).boxes) == 0
