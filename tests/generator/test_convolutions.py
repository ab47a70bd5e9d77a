"""Convolutions taken in cheaper ways equal the plain ones."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from autoenc_sg.generator import convolutions
from autoenc_sg.generator.convolutions import (
    enlarged_convolution,
    layout_convolution,
    small_convolution,
)
from tests.support.graphs import some_layout


def _agree(
    results: tuple[Tensor, Tensor], leaves: tuple[Tensor, ...], tolerance: float = 1e-4
) -> None:
    """Two results and their gradients."""
    got, expected = results
    torch.testing.assert_close(got, expected, atol=tolerance, rtol=tolerance)
    upstream = torch.randn_like(expected)
    gradients = [torch.autograd.grad(r, leaves, upstream) for r in (got, expected)]
    torch.testing.assert_close(*gradients, atol=tolerance, rtol=tolerance)


def _inputs(batch: int, channels: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(channels)
    features = torch.randn(batch, channels, height, width, requires_grad=True)
    weight = torch.randn(5, channels, 3, 3, requires_grad=True)
    return features, weight, torch.randn(5, requires_grad=True)


def _plainly_enlarged(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(F.interpolate(features, scale_factor=2.0), weight, bias, padding=1)


@pytest.mark.parametrize("side", [2, 8])
@pytest.mark.parametrize("objects", [1, 3, 9])  # few: over masks; many: over maps
def test_layout_convolution_equals_the_plain_one_with_gradients(objects: int, side: int) -> None:
    layout, weight = some_layout(2, objects, 9, 16), torch.randn(5, 9, 3, 3, requires_grad=True)
    leaf = layout.vectors.detach().requires_grad_()
    layout = replace(layout, vectors=leaf)
    expected = F.conv2d(layout.maps(side), weight, padding=1)
    _agree((layout_convolution(layout, weight, side), expected), (weight, leaf))


def test_enlarged_convolution_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.tensor([[[[1.0, 10.0]]]])
    weight = torch.tensor([[[[0.0, 0, 0], [1, 2, 4], [0, 0, 0]]]])
    row = [2 + 4 * 1, 1 + 2 + 4 * 10, 1 * 1 + 2 * 10 + 4 * 10, 10 + 2 * 10]
    expected = torch.tensor([[[row, row]]]).float()
    for least, wide in ((256, 512), (0, 512), (0, 0)):
        monkeypatch.setattr(convolutions, "LEAST_PIXELS", least)
        monkeypatch.setattr(convolutions, "WIDE", wide)
        torch.testing.assert_close(enlarged_convolution(features, weight), expected)


@pytest.mark.parametrize(("least", "wide"), [(256, 512), (0, 512), (0, 0)])
@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (1, 2, 1, 4), (3, 4, 5, 2), (2, 3, 8, 8)])
def test_enlarged_convolution_equals_the_plain_one_with_gradients(
    shape: tuple[int, int, int, int], least: int, wide: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolutions, "LEAST_PIXELS", least)
    monkeypatch.setattr(convolutions, "WIDE", wide)
    leaves = _inputs(*shape)
    _agree((enlarged_convolution(*leaves), _plainly_enlarged(*leaves)), leaves)
    last = leaves[0].contiguous(memory_format=torch.channels_last)
    _agree((enlarged_convolution(last, *leaves[1:]), _plainly_enlarged(*leaves)), leaves)


def test_wide_features_are_enlarged_by_differences() -> None:
    features, weight, bias = _inputs(4, convolutions.WIDE, 4, 4)
    expected = _plainly_enlarged(features, weight, bias)
    _agree((enlarged_convolution(features, weight, bias), expected), (features, weight, bias), 1e-3)


@pytest.mark.parametrize("channels", [8, 8 * 2 * 12])  # as a convolution; as a product
def test_small_convolution_equals_the_plain_one_with_gradients(channels: int) -> None:
    leaves = _inputs(2, channels, 3, 4)
    _agree((small_convolution(*leaves), F.conv2d(*leaves, padding=1)), leaves)
