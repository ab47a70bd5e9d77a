"""The encoder beyond the detector computes what its formulas say layer by layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from autoenc_sg.config.model import DetectorConfig, RelpnConfig
from autoenc_sg.config.predictor import PredictorConfig
from autoenc_sg.core.structures import Regions
from autoenc_sg.detector import FasterRCNN, build_detector
from autoenc_sg.predictors.gcn import GraphPredictor
from autoenc_sg.relpn import RelationProposalNetwork
from benchmarks.detector.plain_encoder import plain_graph, plain_relatedness, plain_unions
from tests.support.graphs import C, P, random_boxes, seeded

CONFIG = DetectorConfig(
    backbone="small",
    channels=8,
    min_size=64,
    max_size=96,
    anchor_sizes=(12, 24, 48),
    feature_dim=12,
)


def described(counts: list[int]) -> tuple[FasterRCNN, Regions]:
    """A detector with random weights and `counts` random regions of 64 x 80 pixels."""
    torch.manual_seed(0)
    detector = build_detector(CONFIG, C).eval()
    assert isinstance(detector, FasterRCNN)
    images = [torch.rand(3, 64, 80, generator=seeded(k)) for k in range(len(counts))]
    boxes = torch.cat([random_boxes(n, 64, 80, k) for k, n in enumerate(counts)])
    index = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return detector, detector.describe(detector.encode(images), boxes, index)


def gradients(outputs: list[Tensor], inputs: list[Tensor]) -> tuple[Tensor | None, ...]:
    """Of a sum with random weights."""
    total = sum(
        (values * torch.randn(values.shape, generator=seeded(k))).sum()
        for k, values in enumerate(outputs)
    )
    assert isinstance(total, Tensor)
    return torch.autograd.grad(total, inputs, allow_unused=True, retain_graph=True)


@pytest.mark.parametrize("counts", [[9, 0, 8], [1, 0], [0]])
def test_every_part_and_its_gradients(counts: list[int]) -> None:
    detector, regions = described(counts)
    relpn = RelationProposalNetwork(RelpnConfig(dim=8), detector.feature_dim, C)
    pairs, relatedness = relpn(regions)
    plain_pairs, plain_logits = plain_relatedness(relpn, regions)
    assert torch.equal(pairs, plain_pairs)
    assert_close(relatedness, plain_logits, atol=1e-5, rtol=1e-5)
    inputs = list(relpn.parameters())
    assert_close(gradients([relatedness], inputs), gradients([plain_logits], inputs))

    unions, plain = detector.union_features(regions, pairs), plain_unions(detector, regions, pairs)
    assert len(unions) == sum(n * (n - 1) for n in counts)
    assert_close(unions, plain, atol=1e-5, rtol=1e-5)
    inputs = [*detector.backbone.parameters(), *detector.union_head.parameters()]
    assert_close(gradients([unions], inputs), gradients([plain], inputs), atol=1e-4, rtol=1e-3)

    predictor = GraphPredictor(PredictorConfig("gcn", 8, 2), detector.feature_dim, 5, C, P).eval()
    chosen = relpn.select(regions, pairs, relatedness)
    graph = predictor(regions, chosen, unions[: len(chosen)])
    expected = plain_graph(predictor, regions, chosen.pairs, plain[: len(chosen)])
    computed = [graph.object_logits, graph.boxes, graph.predicate_logits]
    assert_close(computed, list(expected), atol=1e-5, rtol=1e-5)
    inputs = list(predictor.parameters())
    assert_close(
        gradients(computed, inputs), gradients(list(expected), inputs), atol=1e-4, rtol=1e-3
    )


def test_both_directions_of_a_pair_are_pooled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    detector, regions = described([4, 3])
    pooled: list[Tensor] = []
    region_maps = detector.region_maps

    def recorded(regions: Regions) -> Tensor:
        pooled.append(regions.boxes)
        return region_maps(regions)

    monkeypatch.setattr(detector, "region_maps", recorded)
    pairs = torch.tensor([[2, 0], [1, 3], [0, 2], [2, 0], [5, 6]])
    unions = detector.union_features(regions, pairs)
    assert len(pooled[0]) == 3
    assert torch.equal(unions[0], unions[2])
    assert torch.equal(unions[0], unions[3])
    assert_close(unions, plain_unions(detector, regions, pairs), atol=1e-5, rtol=1e-5)
    none = detector.union_features(regions, pairs[:0])
    assert none.shape == (0, 12, 5, 5)


def test_pairs_of_one_direction_are_not_gathered_again() -> None:
    detector, regions = described([4])
    pairs = torch.tensor([[3, 0], [1, 2]])
    unions = detector.union_features(regions, pairs)
    assert_close(unions, plain_unions(detector, regions, pairs), atol=1e-5, rtol=1e-5)
