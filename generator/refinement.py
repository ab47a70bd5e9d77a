"""The cascaded refinement network: from the layout to pixels, coarse to fine.

    f_0 = noise or zeros, `[B, 1, H / 2^K, H / 2^K]`
    f_k = module_k([layout pooled to H / 2^(K-k); nearest x2 (f_{k-1})])      k = 1..K
    image = conv1x1(act(conv3x3(f_K)))

Source: paper, section 3.2, "Image Generator" (Gaussian noise into the first module); Chen and
Koltun, ICCV 2017; google/sg2im `crn.py` (zeros there).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, cat, nn
from torch.nn import functional as F

from autoenc_sg.errors import bad_input
from autoenc_sg.generator.normalization import normalization_layers
from autoenc_sg.layers import activation_layer


class RefinementModule(nn.Module):
    """Twice conv 3x3, normalization, activation: `[B, d_in, h, w] -> [B, d_out, h, w]`."""

    def __init__(self, d_in: int, d_out: int, normalization: str, activation: str) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in (d_in, d_out):
            layers += [
                _he(nn.Conv2d(width, d_out, 3, padding=1)),
                *normalization_layers(normalization, d_out),
                activation_layer(activation),
            ]
        self.net = nn.Sequential(*layers)

    def forward(self, layout: Tensor, features: Tensor) -> Tensor:
        """The next features, from the layout and the last features, of equal sides."""
        out: Tensor = self.net(cat([layout, features], 1))
        return out


class RefinementNetwork(nn.Module):
    """The module docstring's network.

    Args:
        layout_dim: channels of the layout.
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
        self, layout_dim: int, dims: Sequence[int], size: int, normalization: str, activation: str
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
            RefinementModule(layout_dim + d_in, d_out, normalization, activation)
            for d_in, d_out in zip((1, *dims[:-1]), dims)
        )
        self.output_conv = nn.Sequential(
            _he(nn.Conv2d(dims[-1], dims[-1], 3, padding=1)),
            activation_layer(activation),
            _he(nn.Conv2d(dims[-1], 3, 1)),
        )

    def forward(self, layouts: Sequence[Tensor], noise: Tensor | None = None) -> Tensor:
        """Draw `[B, 3, H, W]`, unbounded.

        Args:
            layouts: `[B, layout_dim, side, side]` for each of `levels`.
            noise: `[B, 1, input_side, input_side]`, or None for zeros.
        """
        first = layouts[0]
        features = noise
        if features is None:
            features = first.new_zeros(len(first), 1, self.input_side, self.input_side)
        for module, layout in zip(self.refinement_modules, layouts):
            features = module(layout, F.interpolate(features, scale_factor=2.0, mode="nearest"))
        out: Tensor = self.output_conv(features)
        return out


def _he(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.kaiming_normal_(conv.weight)
    return conv
