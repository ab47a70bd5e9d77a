"""Backbones by name: each maps `[B, 3, H, W]` to an ordered dict of maps, finest first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from autoenc_sg.errors import InputError


class Backbone(nn.Module):
    """A network with named output maps.

    Attributes:
        strides: pixels of the image per cell of each map, by the map's name, finest first; regions
            are pooled from all but `pool`.
        out_channels: width of every map.
    """

    def __init__(self, body: nn.Module, strides: dict[str, int], out_channels: int) -> None:
        super().__init__()
        self.body = body
        self.strides = strides
        self.out_channels = out_channels

    @property
    def names(self) -> tuple[str, ...]:
        """Keys of the output, finest first."""
        return tuple(self.strides)

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """`[B, 3, H, W] -> {name: [B, out_channels, H / stride, W / stride]}`."""
        maps = self.body(images)
        return OrderedDict([(self.names[0], maps)]) if isinstance(maps, Tensor) else maps


def build_backbone(name: str, channels: int, pretrained: bool, download: bool = True) -> Backbone:
    """`small`, `resnet18`, `resnet50` or `vgg16`.

    Args:
        name: which.
        channels: width of the maps of `small` and of the pyramids.
        pretrained: made for torchvision's ImageNet weights (a ResNet's batch norm is frozen then).
        download: fetch these weights; off where a checkpoint's are loaded next.

    Raises:
        InputError: the weights cannot be downloaded, or `small` is asked to be pretrained.
    """
    fetch = pretrained and download
    if name == "small":
        if pretrained:
            raise InputError("detector.pretrained: expected false for backbone small, got true")
        return Backbone(SmallBody(channels), {"0": 8}, channels)
    if name == "vgg16":  # V1: the FEATURES weights want other pixel values than ours
        vgg = _network(torchvision.models.vgg16, fetch)
        return Backbone(vgg.features[:-1], {"0": 16}, 512)  # stride 16, as in the paper
    make = {"resnet18": torchvision.models.resnet18, "resnet50": torchvision.models.resnet50}[name]
    norm = FrozenBatchNorm2d if pretrained else nn.BatchNorm2d
    resnet = _network(partial(make, norm_layer=norm), fetch)
    widths = [resnet.inplanes // 8 * 2**i for i in range(4)]
    layers = {f"layer{i + 1}": str(i) for i in range(4)}
    pyramid = BackboneWithFPN(resnet, layers, widths, channels, LastLevelMaxPool())
    return Backbone(pyramid, {"0": 4, "1": 8, "2": 16, "3": 32, "pool": 64}, channels)


def _network(make: Callable[..., Any], fetch: bool) -> Any:
    weights = "IMAGENET1K_V1"
    try:
        return make(weights=weights if fetch else None)
    except OSError as error:  # no network: urllib's errors are OSErrors
        raise InputError(
            f"detector.pretrained: expected a network to download {weights}, got {error}; "
            "give detector.weights a file instead"
        ) from error


def _conv(d_in: int, d_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(d_in, d_out, 3, stride, 1, bias=False),
        nn.BatchNorm2d(d_out),
        nn.ReLU(inplace=True),
    )


class _Residual(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first = _conv(dim, dim)
        self.second = nn.Sequential(nn.Conv2d(dim, dim, 3, 1, 1, bias=False), nn.BatchNorm2d(dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


class SmallBody(nn.Module):
    """A few residual blocks down to stride 32, summed top-down into one map of stride 8.

    For small pictures on a CPU: the stride-8 map sees the whole of a 128-pixel image.
    Shapes: `[B, 3, H, W] -> [B, channels, H / 8, W / 8]`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.stem = nn.Sequential(
            _conv(3, half // 2, 2), _conv(half // 2, half, 2), _Residual(half)
        )
        self.stages = nn.ModuleList(
            nn.Sequential(_conv(d_in, channels, 2), _Residual(channels))
            for d_in in (half, channels, channels)
        )
        self.laterals = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(3))
        self.smooth = _conv(channels, channels)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        x, maps = self.stem(images), []
        for stage, lateral in zip(self.stages, self.laterals):
            x = stage(x)
            maps.append(lateral(x))
        top = maps[2]
        for finer in (maps[1], maps[0]):
            top = finer + F.interpolate(top, size=finer.shape[-2:], mode="nearest")
        smoothed: Tensor = self.smooth(top)
        return smoothed


def as_float(image: Tensor) -> Tensor:
    """An image `[3, H, W]`, uint8 or float in [0, 1], as float in [0, 1]."""
    return image.float() / 255 if image.dtype == torch.uint8 else image
