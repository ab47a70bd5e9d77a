"""Layers on maps with cells first are convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from autoenc_sg.core.layers import as_maps, cells_first
from autoenc_sg.predictors.parts.cells import linear_sum, mask_cells, pointwise, union_cells
from autoenc_sg.predictors.parts.embeddings import UnionEmbedding, masks_of
from tests.support.graphs import D, random_pairs, random_regions, seeded

S, DIM = 3, 8


def mask_layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, DIM, 3, padding=1), nn.ReLU(), nn.Conv2d(DIM, DIM, 1))


def test_linear_sum_by_hand() -> None:
    inputs = (torch.tensor([[1.0, 2]]), torch.tensor([[3.0]]))
    weights = (torch.tensor([[1.0, 10], [0, 1]]), torch.tensor([[100.0], [-1]]))
    total = linear_sum(inputs, weights, torch.tensor([0.5, 0]))
    assert_close(total, torch.tensor([[321.5, -1]]))


@pytest.mark.parametrize("count", [0, 4])
def test_layers_are_convolutions(count: int) -> None:
    torch.manual_seed(0)
    layer, masks = nn.Conv2d(D, DIM, 1), mask_layers()
    maps, covered = torch.randn(count, D, S, S), torch.rand(count, 2, S, S)
    assert_close(as_maps(pointwise(layer, cells_first(maps))), layer(maps))
    assert_close(as_maps(mask_cells(masks, cells_first(covered))), masks(covered))
    both = union_cells(layer, masks, cells_first(maps), cells_first(covered))
    assert_close(as_maps(both), F.relu(layer(maps) + masks(covered)))


@pytest.mark.parametrize("counts", [[9, 0, 8], [1], [0]])
def test_union_embedding_and_its_gradient(counts: list[int]) -> None:
    torch.manual_seed(0)
    layer, regions = UnionEmbedding(D, DIM), random_regions(counts)
    pairs = random_pairs(regions, 40).pairs
    unions = torch.randn(len(pairs), D, S, S, generator=seeded(0)).requires_grad_()
    covered = as_maps(masks_of(regions, pairs, S))
    plain = F.relu(layer.features(unions) + layer.masks(covered))
    outputs = layer(regions, pairs, unions)
    assert_close(outputs, plain, atol=1e-5, rtol=1e-5)
    inputs = [unions, *layer.parameters()]
    factor = torch.randn(plain.shape, generator=seeded(1))
    gradients = torch.autograd.grad((outputs * factor).sum(), inputs)
    expected = torch.autograd.grad((plain * factor).sum(), inputs)
    assert_close(gradients, expected, atol=1e-4, rtol=1e-4)
