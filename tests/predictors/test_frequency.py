"""The frequency bias and the heads `frequency` and `vanilla`."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch.nn import functional as F
from torch.testing import assert_close

from autoenc_sg.config.predictor import FrequencyConfig, PredictorConfig
from autoenc_sg.core.boxes import grid_coverage, to_unit_boxes, union_boxes
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import CandidatePairs
from autoenc_sg.predictors.frequency import FrequencyPredictor
from autoenc_sg.predictors.parts.frequency_bias import FrequencyBias, count_predicates
from autoenc_sg.predictors.vanilla import VanillaPredictor
from tests.support.graphs import C, D, P, random_pairs, random_regions, seeded


def graph(boxes: list[list[float]], labels: list[int], triples: list[list[int]]) -> SceneGraph:
    return SceneGraph(
        torch.tensor(labels),
        torch.tensor(boxes),
        torch.tensor(triples, dtype=torch.int64).reshape(-1, 3),
        (50, 50),
    )


NEAR, NEXT, FAR = [0.0, 0, 10, 10], [5.0, 5, 15, 15], [30.0, 30, 40, 40]
THREE_IMAGES = [
    graph([NEAR, NEXT, FAR], [1, 2, 2], [[0, 1, 1], [0, 1, 2]]),
    graph([NEAR, NEXT], [1, 2], [[0, 3, 1]]),
    graph([NEAR, NEXT], [1, 2], []),
]


def test_the_counts_of_three_images() -> None:
    """Labels 1 -> 2: predicate 1 twice (once between boxes apart), 3 once, three overlapping."""
    bias = FrequencyBias(C, P)
    assert_close(bias.table.weight.detach(), torch.zeros(C * C, P))
    bias.fit(count_predicates(THREE_IMAGES, C, P, True, True))
    background = 3 + 1
    shares = [background / 7, 2 / 7, 0, 1 / 7]
    expected = torch.tensor([math.log(share + 1e-3) for share in shares])
    assert_close(bias(torch.tensor([2, 1]), torch.tensor([[1, 0]]))[0], expected)
    never = torch.tensor([math.log(1.001), *[math.log(1e-3)] * 3])
    assert_close(bias(torch.tensor([2, 1]), torch.tensor([[0, 1]]))[0][1:], never[1:])
    assert_close(bias(torch.tensor([3]), torch.tensor([[0, 0]]))[0], never)


def test_a_proposed_relation_counts_as_much_as_its_score() -> None:
    scores = torch.tensor([torch.nan, 0.25])  # the first is annotated
    proposed = replace(THREE_IMAGES[0], triple_scores=scores)
    counts = count_predicates([proposed], C, P, True, True)
    assert counts[1, 2].tolist() == [2, 1.25, 0, 0]  # both from 1 to 2; one pair overlaps
    bias = FrequencyBias(C, P)
    bias.fit(counts)
    expected = torch.tensor([math.log(n / 3.25 + 1e-3) for n in (2, 1.25, 0, 0)])
    assert_close(bias(torch.tensor([1, 2]), torch.tensor([[0, 1]]))[0], expected)


def test_the_table_is_trained() -> None:
    bias = FrequencyBias(C, P)
    bias.fit(count_predicates(THREE_IMAGES, C, P, True, True))
    bias(torch.tensor([1, 2]), torch.tensor([[0, 1]])).sum().backward()
    rows = bias.table.weight.grad
    assert rows is not None
    assert rows.sum(1).nonzero()[:, 0].tolist() == [1 * C + 2]


def test_the_bias_of_distributions_is_the_mean_over_labels() -> None:
    bias = FrequencyBias(C, P)
    torch.nn.init.normal_(bias.table.weight)
    classes = torch.rand(2, C, generator=seeded(0)).softmax(1)
    expected = sum(
        classes[0, s] * classes[1, o] * bias.table.weight[s * C + o]
        for s in range(C)
        for o in range(C)
    )
    assert_close(bias.expected(classes, torch.tensor([[0, 1]]))[0], expected)


def test_freq_and_freq_with_overlap() -> None:
    regions = random_regions([3])
    regions = replace(
        regions,
        boxes=torch.tensor([NEAR, NEXT, FAR]),
        class_logits=10.0 * F.one_hot(torch.tensor([1, 2, 2]), C),
    )
    pairs = CandidatePairs(torch.tensor([[0, 1], [0, 2]]), torch.ones(2))
    scores = []
    for overlap in (False, True):
        config = PredictorConfig("frequency", frequency=FrequencyConfig(overlap))
        net = FrequencyPredictor(config, C, P)
        net.fit_frequency(THREE_IMAGES)
        logits = net(regions, pairs, torch.zeros(2, D, 3, 3))
        assert_close(logits.object_logits, regions.class_logits)
        scores.append(logits.predicate_logits.detach().softmax(1)[:, 1:])
    assert_close(scores[0][0], torch.tensor([2 / 7, 0, 1 / 7]) / 1.004 + 1e-3 / 1.004)
    assert_close(scores[0][0], scores[0][1])
    assert_close(scores[1][0], scores[0][0])
    assert float(scores[1][1].max()) < 1e-9
    assert scores[1][1].argmax() == 0


def test_vanilla_against_a_loop() -> None:
    torch.manual_seed(0)
    net = VanillaPredictor(PredictorConfig("vanilla", 8), D, C, P).eval()
    regions = random_regions([3, 2])
    pairs = random_pairs(regions, 3)
    unions = torch.randn(len(pairs), D, 3, 3, generator=seeded(1))
    logits = net(regions, pairs, unions)
    unit = to_unit_boxes(regions.boxes, regions.image_sizes, regions.image_index)
    rows = torch.cat([regions.features, regions.class_logits.softmax(1), unit], 1)
    objects = [F.relu(net.object_in.linear(row)) for row in rows]
    for i, vector in enumerate(objects):
        expected = regions.class_logits[i] + net.object_classifier(vector)
        assert_close(logits.object_logits[i], expected)
    for k, (i, j) in enumerate(pairs.pairs.tolist()):
        frame = union_boxes(regions.boxes, pairs.pairs[k : k + 1])
        masks = torch.stack([grid_coverage(regions.boxes[e : e + 1], frame, 3)[0] for e in (i, j)])
        maps = net.union_in.features(unions[k][None]) + net.union_in.masks(masks[None])
        joined = torch.cat([objects[i], objects[j], F.relu(maps)[0].mean((1, 2))])
        assert_close(logits.predicate_logits[k], net.relation_classifier(joined))
