"""Backbones by name: each maps `[B, 3, H, W]` to an ordered dict of maps, finest first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.resnet import Bottleneck
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.detector.backbone_memory import BackboneMemory, is_constant
from autoenc_sg.detector.conventions import CONVENTIONS, Conventions
from autoenc_sg.detector.regions.heads import StageHead

PixelStatistics = tuple[tuple[float, ...], tuple[float, ...]]


class Backbone(nn.Module):
    """A network with named output maps.

    Attributes:
        strides: pixels of the image per cell of each map, by the map's name, finest first; regions
            are pooled from all but `pool`.
        out_channels: width of every map.
        trunk: the layers that ImageNet weights fill, without a pyramid.
        pixel_statistics: mean and deviation of pixels, by channel; None: those of the conventions.
        memory: of the trunk's maps, by image; None: computed anew each time.
        all_anchors: anchors of all sizes on each map, instead of one size a map of a pyramid.
    """

    all_anchors = False

    def __init__(
        self,
        body: nn.Module,
        strides: dict[str, int],
        out_channels: int,
        pixel_statistics: PixelStatistics | None = None,
    ) -> None:
        super().__init__()
        self.body = body
        self.strides = strides
        self.out_channels = out_channels
        self.pixel_statistics = pixel_statistics
        self.memory: BackboneMemory | None = None

    @property
    def trunk(self) -> nn.Module:
        """See the class."""
        trunk: Any = self.body.body if hasattr(self.body, "fpn") else self.body
        network: nn.Module = trunk
        return network

    def layers(self, names: Sequence[str]) -> Iterator[nn.Parameter]:
        """Parameters of these layers of the trunk.

        Raises:
            InputError: it has no layer of such a name.
        """
        modules = dict(self.trunk.named_modules())
        for name in names:
            if name not in modules:
                top = ", ".join(n for n, _ in self.trunk.named_children())
                raise bad_input("detector.frozen_layers", f"layers of the backbone ({top})", name)
            yield from modules[name].parameters()

    @property
    def names(self) -> tuple[str, ...]:
        """Keys of the output, finest first."""
        return tuple(self.strides)

    def forward(self, images: Tensor, sizes: Sequence[ImageSize] = ()) -> OrderedDict[str, Tensor]:
        """`[B, 3, H, W] -> {name: [B, out_channels, H / stride, W / stride]}`.

        Args:
            images: a padded batch.
            sizes: (height, width) of each image in it. With these, `memory` gives the trunk's maps
                while nothing in the trunk is trained, unless the images carry a gradient.
        """
        if self.memory is not None and not is_constant(self.trunk):
            self.memory.clear()
        elif self.memory is not None and len(sizes) and not images.requires_grad:
            return self._pyramid(self.memory.maps(self._trunk_maps, images, sizes))
        return self._named(self.body(images))

    def _trunk_maps(self, images: Tensor) -> OrderedDict[str, Tensor]:
        maps = self.trunk(images.contiguous(memory_format=torch.channels_last))
        if isinstance(maps, Mapping):
            return OrderedDict((name, part.contiguous()) for name, part in maps.items())
        parts = [maps] if isinstance(maps, Tensor) else maps
        return OrderedDict((str(i), part.contiguous()) for i, part in enumerate(parts))

    def _pyramid(self, maps: OrderedDict[str, Tensor]) -> OrderedDict[str, Tensor]:
        if not hasattr(self.body, "fpn"):
            return self._named(*maps.values())
        fpn: Any = self.body.fpn
        pyramid: OrderedDict[str, Tensor] = fpn(maps)
        return pyramid

    def _named(self, maps: Tensor | OrderedDict[str, Tensor]) -> OrderedDict[str, Tensor]:
        return OrderedDict([(self.names[0], maps)]) if isinstance(maps, Tensor) else maps


class BackboneAndHead(NamedTuple):
    """A backbone, and the box head that comes with it, if any: ImageNet's or the last stage."""

    backbone: Backbone
    head: nn.Module | None = None


def build_backbone(
    name: str,
    channels: int,
    pretrained: bool,
    download: bool = True,
    conventions: Conventions = CONVENTIONS["torchvision"],
    file: str | None = None,
) -> BackboneAndHead:
    """A backbone by name, see `DetectorConfig.backbone`.

    The ImageNet classifier's two layers come with `vgg16`, to be the box head of its width
    (`[N, 512, 7, 7] -> [N, 4096]`), and layer 4 with `resnet101_c4`.

    Args:
        name: see `DetectorConfig.backbone`.
        channels: width of the maps of `small` and of the pyramids.
        pretrained: built for torchvision's ImageNet weights (batch norm is frozen then).
        download: fetch these weights; False if a checkpoint's are loaded next.
        conventions: of the weights to be loaded.
        file: of ImageNet weights, see `DetectorConfig.backbone_weights`.

    Raises:
        InputError: the weights cannot be had, or `small` is asked to be pretrained.
    """
    fetch = pretrained and download
    if name.startswith("timm/"):
        return BackboneAndHead(_timm(name[5:], channels, pretrained, fetch, file))
    if name == "small":
        if pretrained:
            raise InputError("detector.pretrained: expected false for backbone small, got true")
        return BackboneAndHead(Backbone(SmallBody(channels), {"0": 8}, channels))
    if name == "vgg16":  # V1: the FEATURES weights have another pixel normalization
        vgg = _network("vgg16", torchvision.models.vgg16, fetch)
        head = _vgg_head(vgg) if fetch else None
        return BackboneAndHead(Backbone(vgg.features[:-1], {"0": 16}, 512), head)  # stride 16
    if name == "mobilenet_v3_large_fpn":
        return BackboneAndHead(_mobilenet_large_fpn(channels, pretrained, fetch))
    if name == "mobilenet_v3":
        return BackboneAndHead(_mobilenet(channels, pretrained, fetch))
    return _resnet(name, channels, pretrained, fetch, conventions)


def _vgg_head(vgg: Any) -> nn.Module:
    head = TwoMLPHead(1, 1)
    head.fc6, head.fc7 = vgg.classifier[0], vgg.classifier[3]
    network: nn.Module = head
    return network


def _mobilenet(channels: int, pretrained: bool, fetch: bool) -> Backbone:
    """MobileNetV3-Large with a feature pyramid over its last maps of strides 8, 16 and 32."""
    norm = partial(FrozenBatchNorm2d if pretrained else nn.BatchNorm2d, eps=0.001)
    make = partial(torchvision.models.mobilenet_v3_large, norm_layer=norm)
    layers, widths = {"6": "0", "12": "1", "16": "2"}, [40, 112, 960]
    body = _network("mobilenet_v3_large", make, fetch).features
    pyramid = BackboneWithFPN(body, layers, widths, channels, LastLevelMaxPool())
    return Backbone(pyramid, {"0": 8, "1": 16, "2": 32, "pool": 64}, channels)


def _mobilenet_large_fpn(channels: int, pretrained: bool, fetch: bool) -> Backbone:
    """The pyramid of torchvision's `fasterrcnn_mobilenet_v3_large_fpn`, whose epsilon is 1e-5."""
    norm = FrozenBatchNorm2d if pretrained else nn.BatchNorm2d
    make = partial(torchvision.models.mobilenet_v3_large, norm_layer=norm)
    body = _network("mobilenet_v3_large", make, fetch).features
    layers, widths = {"13": "0", "16": "1"}, [160, 960]
    pyramid = BackboneWithFPN(body, layers, widths, channels, LastLevelMaxPool())
    backbone = Backbone(pyramid, {"0": 32, "1": 32, "pool": 64}, channels)
    backbone.all_anchors = True
    return backbone


def _timm(name: str, channels: int, pretrained: bool, fetch: bool, file: str | None) -> Backbone:
    from autoenc_sg.detector.timm_backbones import PYRAMID_STRIDES, pixel_statistics, timm_pyramid

    pyramid = timm_pyramid(name, channels, pretrained, fetch, file)
    return Backbone(pyramid, dict(PYRAMID_STRIDES), channels, pixel_statistics(name))


def _resnet(
    name: str, channels: int, pretrained: bool, fetch: bool, conventions: Conventions
) -> BackboneAndHead:
    depth, *single = name.split("_")
    norm: Callable[..., nn.Module] = nn.BatchNorm2d
    if pretrained or conventions.batch_norm_eps == 0:
        norm = partial(FrozenBatchNorm2d, eps=conventions.batch_norm_eps)
    resnet = _network(depth, partial(getattr(torchvision.models, depth), norm_layer=norm), fetch)
    if conventions.stride_in_1x1:
        _stride_first(resnet)
    if single == ["c4"]:
        stem = OrderedDict((n, getattr(resnet, n)) for n in ("conv1", "bn1", "relu", "maxpool"))
        stages = OrderedDict((f"layer{i}", getattr(resnet, f"layer{i}")) for i in (1, 2, 3))
        body = nn.Sequential(stem | stages)
        return BackboneAndHead(Backbone(body, {"0": 16}, 1024), StageHead(resnet.layer4))
    widths = [resnet.inplanes // 8 * 2**i for i in range(4)]
    layers = {f"layer{i + 1}": str(i) for i in range(4)}
    pyramid = BackboneWithFPN(resnet, layers, widths, channels, LastLevelMaxPool())
    return BackboneAndHead(
        Backbone(pyramid, {"0": 4, "1": 8, "2": 16, "3": 32, "pool": 64}, channels)
    )


def _stride_first(resnet: nn.Module) -> None:
    """Stride in the 1x1 convolution of each block, as in the first ResNets (Caffe)."""
    for block in resnet.modules():
        if isinstance(block, Bottleneck):
            block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride


def _network(name: str, make: Callable[..., Any], fetch: bool) -> Any:
    weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    try:
        return make(weights=weights if fetch else None)
    except OSError as error:  # no network: urllib's errors are OSErrors
        raise InputError(
            f"detector.pretrained: expected a network to download {weights.url}, got {error}; "
            "give detector.weights the file instead"
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

    For small images on a CPU: the receptive field of the stride-8 map covers 128 pixels.
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


def image_sizes(images: Sequence[Tensor], max_size: int) -> tuple[ImageSize, ...]:
    """(height, width) of each image; refuses one so narrow that resizing leaves nothing of it.

    Raises:
        InputError: a long side is more than `max_size` short sides.
    """
    sizes = tuple((int(image.shape[-2]), int(image.shape[-1])) for image in images)
    for height, width in sizes:
        if max(height, width) > min(height, width) * max_size:
            most = f"a long side of at most {max_size} short sides"
            raise bad_input("image", most, f"{width} x {height} pixels")
    return sizes
