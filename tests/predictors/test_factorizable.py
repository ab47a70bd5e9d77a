"""Factorizable Net: shared subgraphs, message passing between objects and cells."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from autoenc_sg.config.predictor import FactorizableConfig, PredictorConfig
from autoenc_sg.core.boxes import decode_deltas
from autoenc_sg.predictors.factorizable import (
    FactorizablePredictor,
    ObjectRelations,
    SpatialMessagePassing,
    clusters,
    exchange,
    geometry,
    masked_softmax,
    shared_subgraphs,
)
from tests.support.graphs import C, D, P, random_pairs, random_regions, seeded

S, DIM = 3, 8


def test_clusters_of_five_boxes_by_hand() -> None:
    """0.9 and 0.8 overlap by 8/12; 0.7 overlaps 0.8 alone (8/12); 0.6 is of another image."""
    boxes = torch.tensor(
        [
            [2.0, 0, 12, 10],  # 0.8: goes to row 1
            [0.0, 0, 10, 10],  # 0.9: kept
            [4.0, 0, 14, 10],  # 0.7: 6/14 with row 1: kept, as row 0 is not
            [0.0, 0, 10, 10],  # 0.6, another image: kept
            [4.0, 0, 13, 10],  # 0.1: 6/13 with row 1, 9/10 with row 2
        ]
    )
    scores = torch.tensor([0.8, 0.9, 0.7, 0.6, 0.1])
    kept, goes_to = clusters(boxes, scores, torch.tensor([0, 0, 0, 1, 0]), 0.5)
    assert kept.tolist() == [1, 2, 3]
    assert goes_to.tolist() == [0, 0, 1, 2, 1]
    alone, own = clusters(boxes, scores, torch.tensor([0, 0, 0, 1, 0]), 1.0)
    assert alone[own].tolist() == [0, 1, 2, 3, 4]
    assert clusters(boxes[:0], scores[:0], torch.zeros(0, dtype=torch.int64), 0.5)[1].shape == (0,)


def test_a_box_goes_to_the_best_that_it_overlaps_not_to_the_nearest() -> None:
    """The last box overlaps the first by 7/13 and the second by 9/11; these two by 6/14."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [4.0, 0, 14, 10], [3.0, 0, 13, 10]])
    kept, goes_to = clusters(boxes, torch.tensor([0.9, 0.8, 0.1]), torch.zeros(3).long(), 0.5)
    assert kept.tolist() == [0, 1]
    assert goes_to.tolist() == [0, 1, 0]


def test_the_pair_of_the_surest_objects_gives_the_subgraph() -> None:
    """All union boxes are the same; the score is the product of both objects' 1 - p(background)."""
    background = torch.tensor([0.1, 0.5, 0.6, 0.05])
    logits = torch.stack([background, *[(1 - background) / (C - 1)] * (C - 1)], 1).log()
    regions = replace(random_regions([4]), class_logits=logits)
    regions = replace(regions, boxes=torch.tensor([[0.0, 0, 20, 20]] * 4))
    pairs = torch.tensor([[0, 1], [1, 2], [1, 3], [2, 3]])
    chosen, subgraph = shared_subgraphs(regions, pairs, 0.5)
    assert chosen.tolist() == [2]
    assert subgraph.tolist() == [0, 0, 0, 0]
    # 0.95 + 0.12 is more than 0.5 + 0.5, 0.95 * 0.12 less than 0.5 * 0.5
    background = torch.tensor([0.05, 0.88, 0.5, 0.5])
    logits = torch.stack([background, *[(1 - background) / (C - 1)] * (C - 1)], 1).log()
    regions = replace(regions, class_logits=logits)
    assert shared_subgraphs(regions, torch.tensor([[0, 1], [2, 3]]), 0.5)[0].tolist() == [1]


def test_an_object_is_linked_to_the_subgraphs_of_all_its_pairs() -> None:
    """As subject or object, in its own image: against one round over the links written out."""
    torch.manual_seed(0)
    layer = SpatialMessagePassing(DIM, 4)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    regions = random_regions([3, 0, 2])
    objects = torch.randn(5, DIM, generator=seeded(0))
    maps = torch.randn(3, DIM, S, S, generator=seeded(1))
    pairs = torch.tensor([[0, 1], [1, 0], [2, 1], [4, 3]])
    subgraph = torch.tensor([1, 1, 2, 0])  # in any order
    rounds = torch.nn.ModuleList([layer])
    new_objects, new_maps = exchange(rounds, regions, objects, maps, pairs, subgraph)
    links = torch.tensor([[[True, False], [True, True], [False, True]]])
    first, own = layer(objects[None, :3], maps[None, 1:], links)
    assert_close(new_objects[:3], first[0], atol=1e-5, rtol=1e-4)
    assert_close(new_maps[1:], own[0], atol=1e-5, rtol=1e-4)
    last, own = layer(objects[None, 3:], maps[None, :1], torch.ones(1, 2, 1, dtype=torch.bool))
    assert_close(new_objects[3:], last[0], atol=1e-5, rtol=1e-4)
    assert_close(new_maps[:1], own[0], atol=1e-5, rtol=1e-4)


def test_masked_softmax_by_hand() -> None:
    scores = torch.tensor([[0.0, math.log(3.0), 9.0], [1.0, 2.0, 3.0]])
    mask = torch.tensor([[True, True, False], [False, False, False]])
    expected = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.0, 0.0]])
    assert_close(masked_softmax(scores, mask, 1), expected)


def test_message_passing_against_a_loop() -> None:
    torch.manual_seed(0)
    layer = SpatialMessagePassing(DIM, 4)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    objects = torch.randn(1, 3, DIM, generator=seeded(0))
    maps = torch.randn(1, 2, DIM, S, S, generator=seeded(1))
    linked = torch.tensor([[[True, True], [False, True], [False, False]]])
    new_objects, new_maps = layer(objects, maps, linked)
    o = list(objects[0])
    cells = [[maps[0, k].flatten(1)[:, c] for c in range(S * S)] for k in range(2)]
    for i in range(3):
        seen = [cell for k in range(2) if linked[0, i, k] for cell in cells[k]]
        total = torch.zeros(DIM)
        if seen:
            query = layer.to_objects.query(F.relu(o[i]))
            scores = [query @ layer.to_objects.key(F.relu(cell)) / 2 for cell in seen]
            weights = torch.stack(scores).softmax(0)
            total = torch.stack([w * cell for w, cell in zip(weights, seen)]).sum(0)
        assert_close(new_objects[0, i], o[i] + layer.object_out(F.relu(total)))
    for k in range(2):
        members = [o[i] for i in range(3) if linked[0, i, k]]
        for c, cell in enumerate(cells[k]):
            key = layer.to_maps.key(F.relu(cell))
            scores = [layer.to_maps.query(F.relu(member)) @ key / 2 for member in members]
            weights = torch.stack(scores).softmax(0)
            total = torch.stack([w * member for w, member in zip(weights, members)]).sum(0)
            expected = cell + layer.map_out(F.relu(total))
            assert_close(new_maps[0, k].flatten(1)[:, c], expected)


def head(**options: object) -> FactorizablePredictor:
    torch.manual_seed(0)
    own = FactorizableConfig(**options)  # type: ignore[arg-type]
    config = PredictorConfig("factorizable", DIM, factorizable=own)
    return FactorizablePredictor(config, D, S, C, P).eval()


def test_relations_and_boxes_against_a_loop() -> None:
    net = head()
    net.rounds = torch.nn.ModuleList()
    regions = random_regions([3, 0, 3])
    pairs = random_pairs(regions, 4)
    unions = torch.randn(len(pairs), D, S, S, generator=seeded(1))
    logits = net(regions, pairs, unions)
    objects = net.object_in(regions)
    for i, o in enumerate(objects):
        expected = regions.class_logits[i] + net.object_classifier(F.relu(o))
        assert_close(logits.object_logits[i], expected)
        box = decode_deltas(net.box_deltas(F.relu(o))[None], regions.boxes[i : i + 1])
        assert_close(logits.boxes[i : i + 1], box)
    kept, goes_to = shared_subgraphs(regions, pairs.pairs, 0.5)
    assert len(kept) < len(pairs)
    for k, (i, j) in enumerate(pairs.pairs.tolist()):
        shared = F.relu(net.subgraph_in(unions[kept[goes_to[k]]][None]))
        ends = net.subject_part(F.relu(objects[i])) + net.object_part(F.relu(objects[j]))
        joined = net.bottleneck(F.relu(net.subgraph_part(shared) + ends[None, :, None, None]))
        assert_close(logits.predicate_logits[k], net.relation_classifier(joined.flatten(1))[0])


def test_pairs_of_a_subgraph_read_the_union_features_of_its_best_pair() -> None:
    net, regions = head(), random_regions([4])
    pairs = random_pairs(regions, 12)
    unions = torch.randn(12, D, S, S, generator=seeded(1))
    kept, _ = shared_subgraphs(regions, pairs.pairs, 0.5)
    other = torch.randn(12, D, S, S, generator=seeded(2))
    other[kept] = unions[kept]
    expected = net(regions, pairs, unions).predicate_logits
    assert_close(net(regions, pairs, other).predicate_logits, expected)


def test_geometry_by_hand() -> None:
    boxes = torch.tensor([[[0.0, 0, 4, 2], [6.0, 0, 8, 2]]])
    logs = geometry(boxes)[0]
    assert_close(logs[0, 1], torch.tensor([math.log(5 / 4), 0.0, math.log(2), 0.0]))
    assert_close(logs[1, 0], torch.tensor([math.log(5 / 2), 0.0, -math.log(2), 0.0]))
    assert_close(logs[0, 0], torch.zeros(4))


def test_object_relations_against_a_loop() -> None:
    torch.manual_seed(0)
    layer = ObjectRelations(DIM, 4)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    objects = torch.randn(1, 4, DIM, generator=seeded(0))
    boxes = torch.tensor([[[0.0, 0, 4, 2], [6, 0, 8, 2], [1, 1, 9, 9], [0, 0, 0, 0]]])
    updated = layer(objects, boxes, torch.tensor([[True, True, True, False]]))
    for i in range(3):
        shares: dict[int, Tensor] = {}
        for j in range(3):
            if i != j:
                query = layer.attention.query(F.relu(objects[0, i]))
                key = layer.attention.key(F.relu(objects[0, j]))
                shares[j] = (query @ key / 2).exp() * layer.geometry(geometry(boxes)[0, i, j])[0]
        total = torch.stack(list(shares.values())).sum()
        message = torch.stack([w / total * objects[0, j] for j, w in shares.items()]).sum(0)
        expected = objects[0, i] + layer.output(F.relu(message))
        assert_close(updated[0, i], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("counts", [[3, 0, 4], [1], [0]])
def test_object_relations_as_an_option(counts: list[int]) -> None:
    regions = random_regions(counts)
    pairs = random_pairs(regions, 3)
    unions = torch.randn(len(pairs), D, S, S, generator=seeded(1))
    net = head(object_relations=True)
    logits = net(regions, pairs, unions)
    (logits.predicate_logits.sum() + logits.object_logits.sum() + logits.boxes.sum()).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
