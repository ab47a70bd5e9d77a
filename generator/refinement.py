"""The cascaded refinement network: from the layout to pixels, coarse to fine.

    f_0 = noise or zeros, `[B, 1, H / 2^K, H / 2^K]`
    f_k = module_k([layout pooled to H / 2^(K-k); nearest x2 (f_{k-1})])      k = 1..K
    image = conv1x1(act(conv3x3(f_K)))

A convolution is linear, so the first one of a module is taken in parts that cost less than the
concatenation that sg2im makes (same weights, same numbers up to rounding):

- over the layout: `layout_convolution`, one over the n masks instead of the D maps;
- over the enlarged features: `enlarged_convolution`, 4 products a pixel instead of 9;
- over noise: as it is, and not at all where there is none.

Source: paper, section 3.2, "Image Generator" (Gaussian noise into the first module); Chen and
Koltun, ICCV 2017; google/sg2im `crn.py` (zeros there).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoenc_sg.errors import bad_input
from autoenc_sg.generator.layout import Layout
from autoenc_sg.generator.normalization import normalization_layers
from autoenc_sg.layers import activation_layer

FEW_OBJECTS = 1 / 3  # of the layout's channels: up to here nine shifted masks are the smaller work
LEAST_SIDE = 16  # of the enlarged features: below, making the 4x4 kernel costs more than it saves


def layout_convolution(layout: Layout, weight: Tensor, side: int) -> Tensor:
    r"""Convolution 3x3 (padding 1) over a layout's maps, without making them: `[B, O, side, side]`.

        \sum_c W_oc * \sum_i v_ic m_i = \sum_i (\sum_c W_oc v_ic) * m_i

    So each image has its own kernel over its n masks; it costs n / D of the plain way, which is
    taken where n is not small.

    Args:
        layout: D = C channels.
        weight: `[O, C, 3, 3]`.
        side: the maps' side.
    """
    batch, count, channels = layout.vectors.shape
    if not 0 < count <= channels * FEW_OBJECTS:
        return F.conv2d(layout.maps(side), weight, padding=1)
    by_channel = weight.transpose(0, 1).flatten(1)
    kernels = (layout.vectors @ by_channel).reshape(batch, count, len(weight), 9)
    shifted = F.unfold(layout.masks(side), 3, padding=1)
    flat = torch.bmm(kernels.transpose(1, 2).reshape(batch, len(weight), -1), shifted.to(kernels))
    return flat.reshape(batch, -1, side, side)


def enlarged_convolution(features: Tensor, weight: Tensor) -> Tensor:
    """Convolution 3x3 (padding 1) over features enlarged x2 (nearest).

    Of the nine pixels under the kernel at most four differ. As a transposed convolution of stride 2
    with the kernel enlarged instead, each output takes four products.

    Shapes: `[B, C, h, w]`, weight `[O, C, 3, 3]` -> `[B, O, 2 h, 2 w]`.
    """
    if 2 * features.shape[-1] < LEAST_SIDE:
        return F.conv2d(F.interpolate(features, scale_factor=2.0), weight, padding=1)
    matrix = _enlarging(weight.device).to(weight.dtype)
    kernel = (weight.flatten(2) @ matrix).transpose(0, 1).unflatten(2, (4, 4))
    return F.conv_transpose2d(features, kernel, stride=2, padding=1)


@lru_cache
def _enlarging(device: torch.device) -> Tensor:
    """From a kernel 3x3 to the kernel 4x4 of the transposed convolution: `[9, 16]`."""
    axis = torch.zeros(3, 4)
    for tap in range(3):
        axis[tap, 2 - tap : 4 - tap] = 1
    return torch.kron(axis, axis).to(device)


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
            layers += [
                _he(nn.Conv2d(width, d_out, 3, padding=1)),
                *normalization_layers(normalization, d_out),
                activation_layer(activation),
            ]
        self.net = nn.Sequential(*layers)

    def forward(
        self, layout: Layout, noise: Tensor | None, features: Tensor | None, side: int
    ) -> Tensor:
        """The next features `[B, d_out, side, side]`.

        Args:
            layout: at least as large as `side`.
            noise: `[B, L, side, side]`, or None for zeros.
            features: `[B, d_in, side / 2, side / 2]`, or None for zeros.
            side: of the result.
        """
        first, *rest = self.net
        assert isinstance(first, nn.Conv2d)
        assert first.bias is not None
        of_layout, of_noise, of_features = first.weight.split(self.parts, 1)
        out = layout_convolution(layout, of_layout, side) + first.bias[:, None, None]
        if noise is not None:
            out = out + F.conv2d(noise, of_noise, padding=1)
        if features is not None:
            out = out + enlarged_convolution(features, of_features)
        for layer in rest:
            out = layer(out)
        return out


class RefinementNetwork(nn.Module):
    """The module docstring's network.

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
        for module, side in zip(self.refinement_modules, self.levels):
            pooled = None if noise is None else F.avg_pool2d(noise, noise.shape[-1] // side)
            features = module(layout, pooled, features, side)
        out: Tensor = self.output_conv(features)
        return out


def _he(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.kaiming_normal_(conv.weight)
    return conv
