"""Normalization of feature maps, by name, and of pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.images import IMAGENET_MEAN, IMAGENET_STD
from autoenc_sg.core.layers import constant_in_training


def normalization_layers(name: str, channels: int) -> list[nn.Module]:
    """`batch`, `instance` (one layer each) or `none` (no layer: later layers have smaller indices).

    Raises:
        InputError: another name.
    """
    if name == "batch":
        return [nn.BatchNorm2d(channels)]
    if name == "instance":
        return [nn.InstanceNorm2d(channels)]
    if name == "none":
        return []
    raise bad_input("normalization", "batch, instance or none", repr(name))


class ConvBeforeNorm(nn.Conv2d):
    """A convolution before a normalization; its bias as in `core.layers.LinearBeforeNorm`."""

    def forward(self, maps: Tensor) -> Tensor:
        """The maps `[B, d_out, h, w]` of `[B, d_in, H, W]`."""
        out: Tensor = self._conv_forward(maps, self.weight, constant_in_training(self))
        return out


class ImageNormalization(nn.Module):
    """RGB in [0, 1] to and from pixels of ImageNet's mean 0 and standard deviation 1.

    sg2im's networks use the latter. Shapes: `[B, 3, H, W]`. The constants are not part of the
    state dict.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """`(image - mean) / std`."""
        return (image - self.mean) / self.std

    def inverse(self, raw: Tensor) -> Tensor:
        """`raw * std + mean`."""
        return raw * self.std + self.mean
