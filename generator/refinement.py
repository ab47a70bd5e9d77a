"""The cascaded refinement network: from the layout to pixels, coarse to fine.

    f_0 = noise or zeros, `[B, 1, H / 2^K, H / 2^K]`
    f_k = module_k([layout pooled to H / 2^(K-k); nearest x2 (f_{k-1})])      k = 1..K
    image = conv1x1(act(conv3x3(f_K)))

A convolution is linear, so the first one of a module is computed as a sum of convolutions over
layout, upsampled features and noise, which is cheaper than over their concatenation, as in sg2im
(same weights, equal results up to rounding); see `convolutions`.

Source: paper, section 3.2, "Image Generator" (Gaussian noise into the first module); Chen and
Koltun, ICCV 2017; google/sg2im `crn.py` (zeros there).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.layers import activation_layer, constant_in_training
from autoenc_sg.generator.convolutions import (
    enlarged_convolution,
    layout_convolution,
    small_convolution,
)
from autoenc_sg.generator.layout import Layout
from autoenc_sg.generator.normalization import ConvBeforeNorm, normalization_layers

CHANNELS_LAST_SIDE = 32  # from this side on channels last is the faster layout in memory


class RefinementModule(nn.Module):
    """Twice conv 3x3, normalization, activation.

    Args:
        parts: channels of layout, noise and features, in the order of the first weight's columns.
        d_out: channels of the result.
        normalization, activation: by name.
    """

    def __init__(
        self, parts: Sequence[int], d_out: int, normalization: str, activation: str
    ) -> None:
        super().__init__()
        self.parts = list(parts)
        layers: list[nn.Module] = []
        for width in (sum(parts), d_out):
            norm = normalization_layers(normalization, d_out)
            conv = ConvBeforeNorm if norm else nn.Conv2d
            layers += [
                _he(conv(width, d_out, 3, padding=1)),
                *norm,
                activation_layer(activation),
            ]
        self.net = nn.Sequential(*layers)

    def forward(
        self, layout: Layout, noise: Tensor | None, features: Tensor | None, side: int
    ) -> Tensor:
        """The next features `[B, d_out, side, side]`.

        Args:
            layout: of at least `side` pixels.
            noise: `[B, L, side, side]`, or None for zeros.
            features: `[B, d_in, side / 2, side / 2]`, or None for zeros.
            side: of the result, in pixels.
        """
        weight, bias, remaining = _folded(
            self.net[: len(self.net) // 2], len(layout.vectors) * side**2
        )
        of_layout, of_noise, of_features = weight.split(self.parts, 1)
        memory = _memory_format(side)
        out = layout_convolution(layout, of_layout, side).contiguous(memory_format=memory)
        out += bias[:, None, None]
        if noise is not None:
            noise = noise.contiguous(memory_format=memory)
            out += F.conv2d(noise, of_noise, padding=1)
        if features is not None:
            features = features.contiguous(memory_format=memory)
            out += enlarged_convolution(features, of_features)
        weight, bias, last = _folded(self.net[len(self.net) // 2 :], len(layout.vectors) * side**2)
        result: Tensor = last(small_convolution(remaining(out), weight, bias))
        return result


class RefinementNetwork(nn.Module):
    """The cascaded refinement network, formula above.

    Args:
        layout_dim, noise_dim: channels of the layout and of the noise beside it.
        dims: widths of the K modules.
        size: H, side of the image in pixels.
        normalization: see `normalization.normalization_layers`.
        activation: see `layers.activation_layer`.

    Attributes:
        levels: the modules' sides in pixels, the last is H.
        input_side: side of the first module's input before its upsampling.

    Raises:
        InputError: more modules than halvings of `size`.
    """

    def __init__(
        self,
        layout_dim: int,
        noise_dim: int,
        dims: Sequence[int],
        size: int,
        normalization: str,
        activation: str,
    ) -> None:
        super().__init__()
        depth = len(dims)
        self.input_side = size >> depth
        if depth < 1 or self.input_side < 1:
            raise bad_input(
                f"refinement modules at {size} px", f"1..{size.bit_length() - 1}", depth
            )
        self.levels = [size >> k for k in reversed(range(depth))]
        self.refinement_modules = nn.ModuleList(
            RefinementModule((layout_dim, noise_dim, d_in), d_out, normalization, activation)
            for d_in, d_out in zip((1, *dims[:-1]), dims)
        )
        self.output_conv = nn.Sequential(
            _he(nn.Conv2d(dims[-1], dims[-1], 3, padding=1)),
            activation_layer(activation),
            _he(nn.Conv2d(dims[-1], 3, 1)),
        )

    def forward(
        self, layout: Layout, noise: Tensor | None = None, features: Tensor | None = None
    ) -> Tensor:
        """Draw `[B, 3, H, W]`, unbounded.

        Args:
            layout: of H x H pixels.
            noise: `[B, noise_dim, H, H]` beside it, or None for zeros.
            features: `[B, 1, input_side, input_side]`, the start, or None for zeros.
        """
        noises = [None] * len(self.levels) if noise is None else _halvings(noise, self.levels)
        for module, side, pooled in zip(self.refinement_modules, self.levels, noises):
            features = module(layout, pooled, features, side)
        out: Tensor = self.output_conv(features)
        return out


def _halvings(noise: Tensor, sides: Sequence[int]) -> list[Tensor]:
    """Noise average pooled to each of `sides`, which double up to its own."""
    pooled = [noise.contiguous(memory_format=torch.channels_last)]
    for _ in sides[1:]:
        pooled.append(F.avg_pool2d(pooled[-1], 2))
    return pooled[::-1]


def _memory_format(side: int) -> torch.memory_format:
    last = side >= CHANNELS_LAST_SIDE
    return torch.channels_last if last else torch.contiguous_format


def _folded(layers: nn.Sequential, pixels: int) -> tuple[Tensor, Tensor, nn.Sequential]:
    """Kernel and bias of the first layer, a convolution, and the remaining layers.

    Batch normalization in evaluation mode is folded into the kernel, g (W x + b - m) + h with
    g = gamma / sigma, if that is less work than over the pixels.
    """
    conv, norm = layers[0], layers[1]
    assert isinstance(conv, nn.Conv2d)
    weight, bias = conv.weight, conv.bias
    assert bias is not None
    if isinstance(conv, ConvBeforeNorm):
        bias = constant_in_training(conv)
    if not isinstance(norm, nn.BatchNorm2d) or norm.training or weight[0].numel() > pixels:
        return weight, bias, layers[1:]
    mean, var = norm.running_mean, norm.running_var
    assert mean is not None
    assert var is not None
    scale = norm.weight / (var + norm.eps).sqrt()
    return weight * scale[:, None, None, None], (bias - mean) * scale + norm.bias, layers[2:]


def _he(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.kaiming_normal_(conv.weight)
    return conv
