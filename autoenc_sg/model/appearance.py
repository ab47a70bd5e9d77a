"""From what a detector sees of a region to its appearance code."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from autoenc_sg.core.layers import mlp

CELLS = 2  # a region's map is averaged over CELLS x CELLS parts of the box


class Bottleneck(nn.Module):
    """`a = tanh(W2 relu(W1 n(f) + b1) + b2)`, in (-1, 1); `n` is layer normalization.

    The image losses train it, and their gradient ends here: what the detector sees is what
    recognition made of it, so the picture cannot learn to smuggle an object's class past the graph,
    and what the joint phase freezes stays as it is.

    Args:
        width: of the features `f`.
        code_dim: A.

    Shapes: `[*, width] -> [*, A]`.
    """

    def __init__(self, width: int, code_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.net = mlp((width, 8 * code_dim, code_dim))

    def codes(self, features: Tensor) -> Tensor:
        """The codes of features."""
        codes: Tensor = self.net(self.norm(features.detach())).tanh()
        return codes


class AppearanceEncoder(Bottleneck):
    """The bottleneck of a region's map (RoIAlign of the backbone's maps), averaged to 2 x 2 cells.

    The map, not the box head's feature: the head learns to tell classes and to forget what tells
    things of one class apart.

    Args:
        map_channels: D_map of the regions' maps.
        code_dim: A.

    Shapes: `[N, D_map, S, S] -> [N, A]`.
    """

    def __init__(self, map_channels: int, code_dim: int) -> None:
        super().__init__(map_channels * CELLS**2, code_dim)

    def forward(self, maps: Tensor) -> Tensor:
        """The codes of regions."""
        return self.codes(region_cells(maps))


def region_cells(maps: Tensor) -> Tensor:
    """Regions' maps averaged to 2 x 2 cells, no gradient: `[N, D_map, S, S] -> [N, 4 D_map]`."""
    return F.adaptive_avg_pool2d(maps.detach(), CELLS).flatten(1)
