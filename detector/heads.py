"""Heads on pooled regions: features, class logits, box deltas."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead


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


def union_head(channels: int, dim: int) -> nn.Sequential:
    """Two convolutions: `[M, channels, S, S] -> [M, dim, S, S]`."""
    return nn.Sequential(
        nn.Conv2d(channels, dim, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(dim, dim, 3, padding=1),
        nn.ReLU(inplace=True),
    )
