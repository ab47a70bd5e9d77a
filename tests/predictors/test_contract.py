"""What holds for every relation head."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from autoenc_sg.config.predictor import HEADS, HeadName, PredictorConfig
from autoenc_sg.core.graph_logits import GraphLogits
from autoenc_sg.core.structures import CandidatePairs, Regions
from autoenc_sg.predictors.build import build_predictor
from autoenc_sg.predictors.contract import RelationPredictor
from autoenc_sg.predictors.graph_rcnn import GraphRcnnPredictor
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
LEARNED: list[HeadName] = [name for name in HEADS if name != "frequency"]
EQUIVARIANT: list[HeadName] = list(HEADS)

each_head = pytest.mark.parametrize("name", HEADS)


def head(name: HeadName, dim: int = DIM, bias: bool = True) -> RelationPredictor:
    torch.manual_seed(0)
    config = PredictorConfig(name, dim, dropout=0.0, frequency_bias=bias)
    made = build_predictor(config, D, S, C, P)
    if made.frequency_bias is not None:
        torch.nn.init.normal_(made.frequency_bias.table.weight)
    return made


def unions_of(pairs: CandidatePairs) -> Tensor:
    return torch.randn(len(pairs), D, S, S, generator=seeded(7))


def all_sums(logits: GraphLogits) -> Tensor:
    return logits.predicate_logits.sum() + logits.object_logits.sum() + logits.boxes.sum()


@each_head
def test_what_passes_through(name: HeadName) -> None:
    regions = random_regions([2, 0, 2])
    pairs = random_pairs(regions, 2)
    logits = head(name)(regions, pairs, unions_of(pairs))
    assert logits.pairs is pairs.pairs
    assert logits.relatedness is pairs.relatedness
    assert logits.image_index is regions.image_index
    assert logits.image_sizes == regions.image_sizes
    assert logits.object_logits.shape == (4, C)
    assert logits.predicate_logits.shape == (4, P)
    assert_close(logits.boxes, regions.boxes, atol=1.0, rtol=0)


@each_head
@pytest.mark.parametrize("counts", [[0], [1], [0, 0], [0, 1]])
def test_no_pair_and_no_object_with_backward(name: HeadName, counts: list[int]) -> None:
    net, regions = head(name), random_regions(counts, grad=True)
    pairs = random_pairs(regions, 4)
    logits = net(regions, pairs, unions_of(pairs))
    assert logits.predicate_logits.shape == (0, P)
    assert logits.object_logits.shape == (sum(counts), C)
    all_sums(logits).backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@each_head
def test_batched_equals_one_by_one(name: HeadName) -> None:
    net = head(name).eval()
    regions = random_regions([3, 0, 1, 4])
    pairs = random_pairs(regions, 5)
    unions = unions_of(pairs)
    together = net(regions, pairs, unions)
    start, owner = 0, regions.image_index[pairs.pairs[:, 0]]
    for image, count in enumerate((3, 0, 1, 4)):
        in_image = owner == image
        single = CandidatePairs(pairs.pairs[in_image] - start, pairs.relatedness[in_image])
        alone = net(one_image(regions, image), single, unions[in_image])
        rows = slice(start, start + count)
        assert_close(together.object_logits[rows], alone.object_logits, atol=1e-5, rtol=1e-4)
        assert_close(together.boxes[rows], alone.boxes)
        predicates = together.predicate_logits[in_image]
        assert_close(predicates, alone.predicate_logits, atol=1e-5, rtol=1e-4)
        start += count


@pytest.mark.parametrize("name", EQUIVARIANT)
def test_renumbering_the_objects_permutes_the_output(name: HeadName) -> None:
    net = head(name).eval()
    regions = random_regions([3, 4])
    pairs = random_pairs(regions, 6)
    table = torch.randn(7, 7, D, S, S, generator=seeded(7))
    i, j = pairs.pairs.unbind(1)
    unions = table[i, j] + table[j, i]  # the union box of (i, j) is that of (j, i)
    order = torch.tensor([2, 0, 1, 6, 4, 3, 5])
    shuffled = torch.cat([torch.randperm(6, generator=seeded(0)), torch.arange(11, 5, -1)])
    other = CandidatePairs(order.argsort()[pairs.pairs[shuffled]], pairs.relatedness[shuffled])
    first = net(regions, pairs, unions)
    second = net(renumbered(regions, order), other, unions[shuffled])
    assert_close(first.object_logits[order], second.object_logits, atol=1e-5, rtol=1e-4)
    assert_close(first.boxes[order], second.boxes)
    predicates = first.predicate_logits[shuffled]
    assert_close(predicates, second.predicate_logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", LEARNED)
def test_gradient_reaches_every_parameter_and_input(name: HeadName) -> None:
    net, regions = head(name, bias=False), random_regions([4, 3], grad=True)
    pairs = random_pairs(regions, 6)
    unions = unions_of(pairs).requires_grad_()
    logits = net(regions, pairs, unions)
    total = logits.object_logits.softmax(1)[:, 1].sum()
    (
        total + logits.predicate_logits.softmax(1)[:, 1].sum() + logits.boxes.square().sum()
    ).backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().sum() > 0, key
    for value in (regions.features, regions.class_logits, unions):
        assert value.grad is not None
        assert value.grad.abs().sum() > 0


@each_head
def test_mixed_precision(name: HeadName) -> None:
    net, regions = head(name), random_regions([3, 0, 4])
    pairs = random_pairs(regions, 4)
    unions = unions_of(pairs)
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(regions, pairs, unions)
        all_sums(logits).backward()
    full = net(regions, pairs, unions)
    assert_close(logits.predicate_logits.float(), full.predicate_logits, atol=0.1, rtol=0.1)


@each_head
def test_given_classes_stay(name: HeadName) -> None:
    """PredCls: logits of 100 are not overruled, whatever the head says."""
    regions = random_regions([4, 3])
    labels = torch.tensor([1, 2, 2, 4, 3, 3, 1])
    given = replace(regions, class_logits=100.0 * F.one_hot(labels, C).float(), given=True)
    pairs = random_pairs(given, 4)
    logits = head(name).eval()(given, pairs, unions_of(pairs))
    assert_close(logits.object_logits.softmax(1)[torch.arange(7), labels], torch.ones(7))


@each_head
def test_the_frequency_bias_is_added(name: HeadName) -> None:
    regions = random_regions([3, 4])
    pairs = random_pairs(regions, 4)
    net = head(name).eval()
    assert net.frequency_bias is not None
    with_bias = net(regions, pairs, unions_of(pairs))
    labels = with_bias.object_logits[:, 1:].argmax(1) + 1
    table = net.frequency_bias.table.weight
    s, o = labels[pairs.pairs].unbind(1)
    expected = torch.stack([table[i * C + j] for i, j in zip(s.tolist(), o.tolist())])
    plain = net.graph_logits(regions, pairs, unions_of(pairs), None)
    assert_close(with_bias.predicate_logits, plain.predicate_logits + expected)


@pytest.mark.parametrize("name", [name for name in HEADS if name != "graph_rcnn"])
def test_training_starts_at_the_prior(name: HeadName) -> None:
    config = PredictorConfig(name, DIM, dropout=0.0, frequency_bias=True, start_at_prior=True)
    net = build_predictor(config, D, S, C, P)
    assert net.frequency_bias is not None
    torch.nn.init.normal_(net.frequency_bias.table.weight)
    regions = random_regions([3, 4])
    pairs = random_pairs(regions, 4)
    logits = net(regions, pairs, unions_of(pairs))
    labels = logits.object_logits[:, 1:].argmax(1) + 1
    assert_close(logits.predicate_logits, net.frequency_bias(labels, pairs.pairs))
    if name == "frequency":
        return
    F.cross_entropy(logits.predicate_logits, torch.ones(8, dtype=torch.int64)).backward()
    last = [p for n, p in net.named_parameters() if n.startswith("relation_classifier")][-2]
    assert last.grad is not None  # it does not stay there
    assert last.grad.any()


def test_graph_rcnn_starts_at_the_prior_before_its_score_rounds() -> None:
    config = PredictorConfig("graph_rcnn", DIM, frequency_bias=True, start_at_prior=True)
    net = build_predictor(config, D, S, C, P)
    assert isinstance(net, GraphRcnnPredictor)
    assert_close(net.relation_classifier(torch.randn(5, DIM)), torch.zeros(5, P))


def scenes() -> tuple[Regions, CandidatePairs, Tensor, Tensor, Tensor]:
    """Eight images of four objects and six pairs with labels and predicates drawn at random."""
    g = seeded(3)
    regions = random_regions([4] * 8)
    labels = torch.randint(1, C, (32,), generator=g)
    logits = 2.0 * F.one_hot(labels, C) + torch.randn(32, C, generator=g)
    boxes = random_boxes(32, 40, 60, 1)
    regions = replace(regions, class_logits=logits, boxes=boxes, given=True)
    pairs = random_pairs(regions, 6)
    predicates = torch.randint(P, (len(pairs),), generator=g)
    return regions, pairs, torch.randn(len(pairs), D, S, S, generator=g), labels, predicates


@pytest.mark.parametrize("name", LEARNED)
def test_eight_scenes_are_learned_by_heart(name: HeadName) -> None:
    regions, pairs, unions, labels, predicates = scenes()
    net = head(name, dim=32, bias=False)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(120):
        logits = net(regions, pairs, unions)
        loss = F.cross_entropy(logits.predicate_logits, predicates)
        loss = loss + F.cross_entropy(logits.object_logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if bool((logits.predicate_logits.argmax(1) == predicates).all()):
            break
    logits = net.eval()(regions, pairs, unions)
    accuracy = (logits.predicate_logits.argmax(1) == predicates).float().mean()
    assert accuracy >= 0.95
