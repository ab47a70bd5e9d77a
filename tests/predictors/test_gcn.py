"""The graph convolution over objects and subgraphs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from autoenc_sg.config.predictor import GcnConfig, PredictorConfig
from autoenc_sg.core.boxes import decode_deltas, grid_coverage, to_unit_boxes, union_boxes
from autoenc_sg.core.structures import CandidatePairs, Regions
from autoenc_sg.predictors.factorizable import shared_subgraphs
from autoenc_sg.predictors.gcn import (
    GraphPredictor,
    MessagePassing,
)
from tests.support.graphs import (
    C,
    D,
    P,
    one_image,
    random_pairs,
    random_regions,
    renumbered,
    seeded,
)

S, DIM = 3, 8


def predictor(steps: int = 2, dropout: float = 0.0) -> GraphPredictor:
    torch.manual_seed(0)
    return GraphPredictor(PredictorConfig("gcn", DIM, steps, dropout), D, S, C, P)


def with_options(**options: bool) -> GraphPredictor:
    torch.manual_seed(0)
    config = PredictorConfig("gcn", DIM, 2, 0.0, gcn=GcnConfig(**options))  # type: ignore[arg-type]
    return GraphPredictor(config, D, S, C, P).eval()


def subgraphs_of(pairs: CandidatePairs, grad: bool = False) -> Tensor:
    maps = torch.randn(len(pairs), D, S, S, generator=seeded(7))
    return maps.requires_grad_(grad)


def test_message_passing_against_a_loop() -> None:
    torch.manual_seed(0)
    layer = MessagePassing(DIM)
    regions = random_regions([3, 0, 3])
    pairs = random_pairs(regions, 4).pairs
    objects, maps = torch.randn(6, DIM), torch.randn(len(pairs), DIM, S, S)
    means = maps.mean((2, 3))
    new_objects, new_means = layer(objects, means, pairs, torch.arange(len(pairs)))
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
        assert_close(new_means[k], (maps[k] + sent[:, None, None]).mean((1, 2)))


def test_equations_3_and_4_against_a_loop() -> None:
    net = predictor(steps=0).eval()
    regions = random_regions([3, 2])
    pairs = random_pairs(regions, 3)
    subgraphs = subgraphs_of(pairs)
    logits = net(regions, pairs, subgraphs)
    unit = to_unit_boxes(regions.boxes, regions.image_sizes, regions.image_index)
    object_inputs = torch.cat([regions.features, regions.class_logits.softmax(1), unit], 1)
    objects = [F.relu(net.object_in(row)) for row in object_inputs]
    for k, (i, j) in enumerate(pairs.pairs.tolist()):
        frame = union_boxes(regions.boxes, pairs.pairs[k : k + 1])
        cover = [grid_coverage(regions.boxes[e : e + 1], frame, S) for e in (i, j)]
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
        expected = net.relation_classifier(F.relu(net.bottleneck(joined)).flatten(1))[0]
        assert_close(logits.predicate_logits[k], expected, atol=1e-5, rtol=1e-4)
    for i, vector in enumerate(objects):
        expected = regions.class_logits[i] + net.object_classifier(vector)
        assert_close(logits.object_logits[i], expected, atol=1e-5, rtol=1e-4)
        box = decode_deltas(net.box_deltas(vector)[None], regions.boxes[i : i + 1])
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
    pairs = CandidatePairs(torch.tensor([[0, 1]]), torch.tensor([0.5]))
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
        in_image = owner == image
        single = CandidatePairs(pairs.pairs[in_image] - start, pairs.relatedness[in_image])
        alone = net(one_image(regions, image), single, subgraphs[in_image])
        rows = slice(start, start + count)
        assert_close(together.object_logits[rows], alone.object_logits)
        assert_close(together.boxes[rows], alone.boxes)
        assert_close(together.predicate_logits[in_image], alone.predicate_logits)
        start += count


def test_renumbering_the_objects_permutes_the_output() -> None:
    net = predictor().eval()
    regions = random_regions([3, 4])
    pairs = random_pairs(regions, 6)
    subgraphs = subgraphs_of(pairs)
    order = torch.tensor([2, 0, 1, 6, 4, 3, 5])
    shuffled = torch.randperm(len(pairs), generator=seeded(0))
    other = CandidatePairs(order.argsort()[pairs.pairs[shuffled]], pairs.relatedness[shuffled])
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
    none = CandidatePairs(torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0))
    assert len(predictor(steps=0)(regions, none, subgraphs_of(none)).boxes) == 0


def test_shared_subgraphs_against_a_loop() -> None:
    """Messages of a subgraph reach the ends of all its pairs; those to it are averaged."""
    net, regions = with_options(shared_subgraphs=True), random_regions([3, 0, 3])
    pairs = random_pairs(regions, 5)
    unions = subgraphs_of(pairs)
    logits = net(regions, pairs, unions)
    chosen, subgraph = shared_subgraphs(regions, pairs.pairs, 0.5)
    assert len(chosen) < len(pairs)
    ends = pairs.pairs.tolist()
    o, s = list(net._objects(regions)), list(F.relu(net.subgraph_in(unions[chosen])))
    for layer in net.rounds:
        assert isinstance(layer, MessagePassing)
        pooled = [m.mean((1, 2)) for m in s]
        new_o, new_s = [], []
        for i, old in enumerate(o):
            total = torch.zeros(DIM)
            for side, linear in ((0, layer.to_subject), (1, layer.to_object)):
                mine = [pooled[subgraph[k]] for k in range(len(ends)) if ends[k][side] == i]
                total = total + linear(torch.stack(mine).mean(0) if mine else torch.zeros(DIM))
            new_o.append(old + F.relu(total))
        for k, old in enumerate(s):
            sent = [
                layer.from_subject(o[i]) + layer.from_object(o[j])
                for row, (i, j) in enumerate(ends)
                if subgraph[row] == k
            ]
            new_s.append(old + F.relu(torch.stack(sent).mean(0))[:, None, None])
        o, s = new_o, new_s
    expected = regions.class_logits + net.object_classifier(torch.stack(o))
    assert_close(logits.object_logits, expected, atol=1e-5, rtol=1e-4)
    for k, (i, j) in enumerate(ends):
        frame = union_boxes(regions.boxes, pairs.pairs[k : k + 1])
        cover = [grid_coverage(regions.boxes[e : e + 1], frame, S) for e in (i, j)]
        own = F.relu(s[subgraph[k]] + net.coverage_in(torch.cat(cover)[None])[0])
        assert logits.pair_vectors is not None
        assert_close(logits.pair_vectors[k], own.mean((1, 2)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"shared_subgraphs": True},
        {"attention": True},
        {"shared_subgraphs": True, "attention": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("counts", [[3, 0, 4], [1], [0]])
def test_options_with_backward(options: dict[str, bool], counts: list[int]) -> None:
    net, regions = with_options(**options), random_regions(counts)
    pairs = random_pairs(regions, 5)
    unions = subgraphs_of(pairs)
    logits = net(regions, pairs, unions)
    (logits.predicate_logits.sum() + logits.object_logits.sum() + logits.boxes.sum()).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    if len(pairs) > 1:
        plain = predictor().eval()(regions, pairs, unions)
        assert not torch.allclose(logits.object_logits, plain.object_logits)
