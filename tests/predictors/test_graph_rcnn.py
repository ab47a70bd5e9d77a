"""Attentional graph convolution."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from autoenc_sg.config.predictor import GraphRcnnConfig, PredictorConfig
from autoenc_sg.predictors.graph_rcnn import (
    GraphConvolution,
    GraphRcnnPredictor,
    Neighbours,
    same_image_pairs,
)
from tests.support.graphs import C, D, P, random_pairs, random_regions, seeded


def identity(layer: torch.nn.Module) -> None:
    """All weights 1, all biases 0 (of layers from one number to one)."""
    for parameter in layer.parameters():
        torch.nn.init.constant_(parameter, float(parameter.ndim == 2))


def test_attention_of_three_objects_by_hand() -> None:
    """u_ij = relu(z_i + z_j) with unit weights; objects 1, 2, 3."""
    layer = Neighbours(1, 1, 1)
    identity(layer)
    z = torch.tensor([[1.0], [2.0], [3.0]])
    edges = same_image_pairs(torch.zeros(3, dtype=torch.int64))
    less, more = 1 / (1 + math.e), math.e / (1 + math.e)  # u differs by 1
    less_2, more_2 = 1 / (1 + math.e**2), math.e**2 / (1 + math.e**2)
    expected = [2 * less + 3 * more, 1 * less_2 + 3 * more_2, 1 * less + 2 * more]
    assert_close(layer(z, z, edges[:, 0], edges[:, 1])[:, 0], torch.tensor(expected))


def test_an_object_weighs_itself_by_one_outside_the_softmax() -> None:
    layer = GraphConvolution(1, 1, 1)
    identity(layer)
    objects, relations = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[10.0], [-4.0]])
    skip = same_image_pairs(torch.tensor([0, 0, 1]))
    to_objects, to_relations = layer(objects, relations, skip, torch.tensor([[0, 1], [1, 0]]))
    # one neighbour, one relation as subject and one as object: each softmax is 1
    assert_close(to_objects[:, 0], torch.tensor([1 + 2 + 10 - 4.0, 2 + 1 - 4 + 10.0, 3.0]))
    assert_close(to_relations[:, 0], torch.tensor([3.0, 3.0]))


def test_without_attention_neighbours_count_alike() -> None:
    layer = Neighbours(1, 1, 0)
    assert list(layer.parameters()) == []
    z, to = torch.tensor([[1.0], [2.0], [6.0]]), torch.tensor([0, 0, 2])
    assert_close(layer(z, z, to, torch.tensor([1, 2, 0]))[:, 0], torch.tensor([4.0, 0.0, 1.0]))


def weighted(net: Neighbours, target: Tensor, sources: list[Tensor]) -> Tensor:
    """The sum over some neighbours, one after another."""
    if not sources:
        return torch.zeros(net.of_source.in_features)
    scores = [
        net.score(F.relu(net.of_target(target) + net.of_source(source)))[0] for source in sources
    ]
    weights = torch.stack(scores).softmax(0)
    return sum((w * s for w, s in zip(weights, sources)), torch.zeros_like(sources[0]))


def one_round(
    net: GraphConvolution, z: list[Tensor], r: list[Tensor], image: list[int], ends: list[list[int]]
) -> tuple[list[Tensor], list[Tensor]]:
    to_objects = []
    for i, own in enumerate(z):
        others = [z[j] for j in range(len(z)) if j != i and image[j] == image[i]]
        as_subject = [r[k] for k, (s, _) in enumerate(ends) if s == i]
        as_object = [r[k] for k, (_, o) in enumerate(ends) if o == i]
        to_objects.append(
            net.from_skip(own + weighted(net.skip, own, others))
            + net.from_subject_of(weighted(net.as_subject, own, as_subject))
            + net.from_object_of(weighted(net.as_object, own, as_object))
        )
    return to_objects, [net.to_subject(z[s]) + net.to_object(z[o]) for s, o in ends]


def test_both_levels_against_a_loop() -> None:
    torch.manual_seed(0)
    options = PredictorConfig("graph_rcnn", 8, steps=2, graph_rcnn=GraphRcnnConfig(score_steps=1))
    net = GraphRcnnPredictor(options, D, C, P).eval()
    regions = random_regions([3, 0, 2])
    pairs = random_pairs(regions, 3)
    unions = torch.randn(len(pairs), D, 3, 3, generator=seeded(1))
    logits = net(regions, pairs, unions)
    z = list(F.relu(net.object_in(regions)))
    r = list(net.union_in(regions, pairs.pairs, unions).mean((2, 3)))
    image, ends = regions.image_index.tolist(), pairs.pairs.tolist()
    for layer in net.vector_rounds:
        to_objects, to_relations = one_round(layer, z, r, image, ends)  # type: ignore[arg-type]
        z, r = [F.relu(t) for t in to_objects], [F.relu(a + t) for a, t in zip(r, to_relations)]
    classes = regions.class_logits + net.object_classifier(torch.stack(z))
    predicates = net.relation_classifier(torch.stack(r))
    to_objects, to_relations = one_round(
        net.score_rounds[0],  # type: ignore[arg-type]
        list(classes.softmax(1)),
        list(predicates.softmax(1)),
        image,
        ends,
    )
    expected = classes + torch.stack(to_objects)
    assert_close(logits.object_logits, expected, atol=1e-5, rtol=1e-4)
    expected = predicates + torch.stack(to_relations)
    assert_close(logits.predicate_logits, expected, atol=1e-5, rtol=1e-4)
