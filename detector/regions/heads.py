"""Heads on pooled regions: features, class logits, box deltas."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead

from autoenc_sg.core.layers import as_maps, cells_first, in_parts
from autoenc_sg.detector.regions.small_convolution import (
    convolve,
    is_faster_by_frequencies,
    weight_frequencies,
)


def at_least_float(values: Tensor) -> Tensor:
    """In float32 at least (bfloat16 is too coarse for boxes); float64 stays."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class BoxPredictor(FastRCNNPredictor):
    """Class logits and box deltas, at least in float32: `[N, D] -> [N, C], [N, 4 C]`.

    With `class_agnostic` one box is predicted and repeated for every class.
    """

    def __init__(self, width: int, num_classes: int, class_agnostic: bool) -> None:
        super().__init__(width, num_classes)
        self.repeats = 1
        if class_agnostic:
            self.bbox_pred = nn.Linear(width, 4)
            self.repeats = num_classes

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        logits, deltas = super().forward(x)
        return at_least_float(logits), at_least_float(deltas).repeat(1, self.repeats)


def mlp_head(channels: int, pooled_size: int, width: int) -> nn.Module:
    """Two layers with ReLU: `[N, channels, S, S] -> [N, width]`."""
    head: nn.Module = TwoMLPHead(channels * pooled_size**2, width)
    return head


class StageHead(nn.Module):
    """A ResNet's last stage, averaged: `[N, 1024, S, S] -> [N, 2048]`."""

    def __init__(self, stage: nn.Module) -> None:
        super().__init__()
        self.layer4 = stage

    def forward(self, pooled: Tensor) -> Tensor:
        """See the class."""
        features: Tensor = self.layer4(pooled).mean((2, 3))
        return features


def projection(width: int, dim: int) -> nn.Module:
    """From the box head's width to D: the identity if they are equal, else a linear layer."""
    if width == dim:
        return nn.Identity()
    return nn.Sequential(nn.Linear(width, dim), nn.ReLU(inplace=True))


class UnionHead(nn.Sequential):
    """Two convolutions with ReLU: `[M, channels, S, S] -> [M, dim, S, S]`.

    On the CPU many small maps go through their frequencies (`small_convolution`).

    Args:
        channels: of the backbone's maps.
        dim: D.
    """

    def __init__(self, channels: int, dim: int) -> None:
        first, second = (nn.Conv2d(width, dim, 3, padding=1) for width in (channels, dim))
        super().__init__(first, nn.ReLU(inplace=True), second, nn.ReLU(inplace=True))
        self._convolutions = (first, second)

    def forward(self, maps: Tensor) -> Tensor:
        """See the class."""
        if not is_faster_by_frequencies(maps):
            features: Tensor = super().forward(maps)
            return features
        weights = [weight_frequencies(conv.weight, maps.shape[-1]) for conv in self._convolutions]

        def convolved(cells: Tensor) -> Tensor:
            for conv, weight in zip(self._convolutions, weights):
                assert conv.bias is not None
                cells = F.relu(convolve(cells, weight, conv.bias), inplace=True)
            return cells

        return as_maps(in_parts(convolved, cells_first(maps)))
