"""Convolutions by frequencies are those of `F.conv2d`; maps in parts are maps together."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from autoenc_sg.core.layers import as_maps, cells_first, in_parts, select_maps
from autoenc_sg.detector.regions import small_convolution
from autoenc_sg.detector.regions.heads import UnionHead
from autoenc_sg.detector.regions.small_convolution import convolve, weight_frequencies
from tests.support.graphs import seeded


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=dtype)


def by_frequencies(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    frequencies = weight_frequencies(weight, maps.shape[-1])
    return as_maps(convolve(cells_first(maps), frequencies, bias))


def test_a_kernel_that_takes_the_right_neighbour() -> None:
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 1, 2] = 2.0
    maps = torch.tensor([[[[1.0, 2], [3, 4]]]])
    expected = torch.tensor([[[[4.5, 0.5], [8.5, 0.5]]]])
    assert_close(by_frequencies(maps, weight, torch.tensor([0.5])), expected)


@pytest.mark.parametrize(
    ("side", "products"), [(1, 4), (2, 13), (3, 22), (4, 37), (5, 52), (7, 94), (8, 121)]
)
def test_outputs_and_gradients_are_those_of_a_convolution(side: int, products: int) -> None:
    inputs = [
        values.requires_grad_()
        for values in (
            random(5, 3, side, side, dtype=torch.float64),
            random(4, 3, 3, 3, seed=1, dtype=torch.float64),
            random(4, seed=2, dtype=torch.float64),
        )
    ]
    assert weight_frequencies(inputs[1], side).shape == (products, 3, 4)
    outputs, plain = by_frequencies(*inputs), F.conv2d(*inputs, padding=1)
    assert_close(outputs, plain)
    factor = random(*plain.shape, seed=3, dtype=torch.float64)
    gradients = torch.autograd.grad((outputs * factor).sum(), inputs)
    assert_close(gradients, torch.autograd.grad((plain * factor).sum(), inputs))


def test_rounding_is_that_of_a_convolution() -> None:
    maps, weight = random(70, 64, 5, 5), random(64, 64, 3, 3, seed=1) / 24
    outputs = by_frequencies(maps, weight, torch.zeros(64))
    exact = F.conv2d(maps.double(), weight.double(), padding=1)
    assert (outputs - exact).abs().max() < 1e-5
    assert exact.std() > 0.5


def test_transforms_made_in_inference_mode_serve_training() -> None:
    small_convolution._transforms.cache_clear()
    maps, weight = random(2, 3, 3, 3, dtype=torch.float64), random(4, 3, 3, 3, dtype=torch.float64)
    bias = torch.zeros(4, dtype=torch.float64)
    with torch.inference_mode():
        by_frequencies(maps, weight, bias)
    by_frequencies(maps.requires_grad_(), weight, bias).sum().backward()
    assert maps.grad is not None


def test_views_of_cells_and_selected_maps() -> None:
    maps = random(4, 3, 2, 2)
    cells = cells_first(maps)
    assert_close(cells[1, 2], maps[2, :, 0, 1])
    assert_close(as_maps(cells), maps)
    rows = torch.tensor([2, 0, 2])
    assert_close(select_maps(maps, rows), maps[rows])
    assert select_maps(maps, rows[:0]).shape == (0, 3, 2, 2)


@pytest.mark.parametrize("count", [0, 1, 48, 49, 100])
def test_parts_are_joined_in_order(count: int) -> None:
    cells = random(4, count, 3).requires_grad_()
    rows = random(count, 3, seed=1)
    sizes: list[int] = []

    def function(cells: Tensor, rows: Tensor) -> Tensor:
        sizes.append(len(rows))
        return cells * rows

    together = in_parts(function, cells, rows)
    assert_close(together, cells * rows)
    assert max(sizes) <= 48
    with torch.no_grad():
        assert_close(in_parts(function, cells, rows), cells * rows)
    together.sum().backward()
    assert cells.grad is not None
    assert_close(cells.grad, rows.expand(4, count, 3))


@pytest.mark.parametrize("count", [0, 3, 70, 130])
def test_union_head_is_its_layers(count: int) -> None:
    torch.manual_seed(0)
    head = UnionHead(6, 8)
    assert list(head.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    maps = random(count, 6, 5, 5).requires_grad_()
    inputs = [maps, *head.parameters()]
    outputs, plain = head(maps), nn.Sequential.forward(head, maps)
    assert_close(outputs, plain, atol=1e-5, rtol=1e-5)
    factor = random(*plain.shape, seed=1)
    gradients = torch.autograd.grad((outputs * factor).sum(), inputs)
    expected = torch.autograd.grad((plain * factor).sum(), inputs)
    assert_close(gradients, expected, atol=1e-4, rtol=1e-4)


def test_union_head_of_other_maps_is_plain() -> None:
    """Of maps that are not square, that are large, and in bfloat16."""
    head = UnionHead(6, 8)
    for shape in ((70, 6, 4, 5), (70, 6, 5, 4), (70, 6, 9, 9)):
        maps = random(*shape)
        assert torch.equal(head(maps), nn.Sequential.forward(head, maps))
    head, maps = head.bfloat16(), random(70, 6, 5, 5).bfloat16()
    assert torch.equal(head(maps), nn.Sequential.forward(head, maps))


def test_union_head_in_lower_precision_is_plain() -> None:
    head, maps = UnionHead(6, 8), random(70, 6, 5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, plain = head(maps), nn.Sequential.forward(head, maps)
    assert outputs.dtype == torch.bfloat16
    assert torch.equal(outputs, plain)
