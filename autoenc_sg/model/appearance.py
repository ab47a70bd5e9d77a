"""From what a detector sees of a region to its appearance code."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from autoenc_sg.core.layers import mlp

CELLS = 2  # a region's map is averaged over CELLS x CELLS parts of the box


class AppearanceEncoder(nn.Module):
    """The bottleneck `a = tanh(W2 relu(W1 n(f) + b1) + b2)`, in (-1, 1).

    `f` is the region's map (RoIAlign of the backbone's maps over its box), averaged to 2 x 2 cells,
    `n` layer normalization. The map, not the box head's feature: the head learns to tell classes
    and to forget what tells things of one class apart.

    The image losses train it, and their gradient ends here: what the detector sees is what
    recognition made of it, so the picture cannot learn to smuggle an object's class past the graph,
    and what the joint phase freezes stays as it is.

    Args:
        map_channels: D_map of the regions' maps.
        code_dim: A.

    Shapes: `[N, D_map, S, S] -> [N, A]`.
    """

    def __init__(self, map_channels: int, code_dim: int) -> None:
        super().__init__()
        width = map_channels * CELLS**2
        self.norm = nn.LayerNorm(width)
        self.net = mlp((width, 8 * code_dim, code_dim))

    def forward(self, maps: Tensor) -> Tensor:
        """The codes of regions."""
        cells = F.adaptive_avg_pool2d(maps.detach(), CELLS).flatten(1)
        codes: Tensor = self.net(self.norm(cells)).tanh()
        return codes
