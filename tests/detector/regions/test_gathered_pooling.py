"""Gathered RoIAlign is torchvision's."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision.ops import MultiScaleRoIAlign

from autoenc_sg.detector.conventions import CONVENTIONS, Conventions
from autoenc_sg.detector.regions.gathered_pooling import GatheredRoIAlign, gathered
from autoenc_sg.detector.regions.pooling import roi_pool
from tests.support.graphs import random_boxes, seeded

ONE, LEVELS = {"0": 8}, {"0": 4, "1": 8, "2": 16, "pool": 32}
SIZES = [(96, 64), (200, 128), (33, 17)]
EDGES = torch.tensor(
    [
        [0.0, 0, 128, 200],
        [120, 190, 128, 200],  # at the far corner
        [5, 5, 5, 5],  # of no size
        [5, 5, 6, 6],
        [-40, -30, 20, 20],  # beyond the image
        [100, 100, 300, 260],
        [0, 0, 2, 180],
    ]
)


def maps_of(
    strides: dict[str, int], dtype: torch.dtype = torch.float32
) -> OrderedDict[str, Tensor]:
    g = seeded(1)
    return OrderedDict(
        (name, torch.randn(3, 5, 200 // s, 128 // s, generator=g, dtype=dtype))
        for name, s in strides.items()
    )


def boxes_of(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    boxes = [random_boxes(9, h, w, 3 + h) for h, w in SIZES]
    return [boxes[0].to(dtype), torch.cat([boxes[1], EDGES]).to(dtype), boxes[2].to(dtype)]


@pytest.mark.parametrize("strides", [ONE, LEVELS], ids=["one map", "pyramid"])
@pytest.mark.parametrize("side", [1, 5])
def test_outputs_and_gradients_are_torchvisions(strides: dict[str, int], side: int) -> None:
    plain = roi_pool(strides, side, CONVENTIONS["torchvision"])
    pool = gathered(plain)
    assert isinstance(pool, GatheredRoIAlign)
    maps, boxes = maps_of(strides, torch.float64), boxes_of(torch.float64)
    used = [values.requires_grad_() for name, values in maps.items() if name != "pool"]
    outputs, expected = pool(maps, boxes, SIZES), plain(maps, boxes, SIZES)
    assert outputs.shape == (34, 5, side, side)
    assert_close(outputs, expected)
    factor = torch.randn(expected.shape, generator=seeded(2), dtype=torch.float64)
    gradients = torch.autograd.grad((outputs * factor).sum(), used)
    assert_close(gradients, torch.autograd.grad((expected * factor).sum(), used))


def test_single_precision() -> None:
    plain = roi_pool(LEVELS, 5, CONVENTIONS["torchvision"])
    outputs = gathered(plain)(maps_of(LEVELS), boxes_of(), SIZES)
    assert_close(outputs, plain(maps_of(LEVELS), boxes_of(), SIZES), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("strides", [ONE, LEVELS], ids=["one map", "pyramid"])
def test_the_last_cell_of_the_last_map(strides: dict[str, int]) -> None:
    """Its neighbours beyond the border, of weight 0, would lie outside of the table."""
    plain, size = roi_pool(strides, 3, CONVENTIONS["torchvision"]), SIZES[1]
    for box in ([120.0, 192, 128, 200], [0, 0, 128, 200], [64, 100, 300, 300]):
        boxes = [torch.tensor([box], dtype=torch.float32)]
        maps = OrderedDict((name, values[:1]) for name, values in maps_of(strides).items())
        expected = plain(maps, boxes, [size])
        assert_close(gathered(plain)(maps, boxes, [size]), expected, atol=1e-5, rtol=1e-5)


def test_boxes_have_no_gradient() -> None:
    boxes = [part.requires_grad_() for part in boxes_of()]
    outputs = gathered(roi_pool(ONE, 2, CONVENTIONS["torchvision"]))(maps_of(ONE), boxes, SIZES)
    assert not outputs.requires_grad


@pytest.mark.parametrize("strides", [ONE, LEVELS], ids=["one map", "pyramid"])
def test_no_box_with_backward(strides: dict[str, int]) -> None:
    maps = maps_of(strides)
    maps["0"].requires_grad_()
    none = [torch.zeros(0, 4)] * 3
    outputs = gathered(roi_pool(strides, 3, CONVENTIONS["torchvision"]))(maps, none, SIZES)
    assert outputs.shape == (0, 5, 3, 3)
    outputs.sum().backward()
    assert maps["0"].grad is not None
    assert not maps["0"].grad.any()


def test_other_conventions_are_pooled_as_before() -> None:
    for name in ("motifs", "graph_rcnn"):
        pool = roi_pool({"0": 16}, 3, CONVENTIONS[name])  # type: ignore[index]
        assert gathered(pool) is pool
    adaptive = roi_pool(ONE, 3, Conventions(sampling_ratio=0))
    outputs = gathered(adaptive)(maps_of(ONE), boxes_of(), SIZES)
    assert torch.equal(outputs, adaptive(maps_of(ONE), boxes_of(), SIZES))


def test_no_weights_and_the_same_size() -> None:
    pool = gathered(MultiScaleRoIAlign(["0"], 3, 2))
    assert isinstance(pool, nn.Module)
    assert not pool.state_dict()
