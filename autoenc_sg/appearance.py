"""From a region's feature to its appearance code."""

from __future__ import annotations

from torch import Tensor, nn

from autoenc_sg.layers import mlp


class AppearanceEncoder(nn.Module):
    """The bottleneck `a = tanh(W2 relu(W1 f + b1) + b2)`: `[N, D] -> [N, A]` in (-1, 1).

    The image losses train it, and their gradient ends here: features are what recognition made of
    them, so the picture cannot learn to smuggle an object's class past the graph, and what the
    joint phase freezes stays as it is.

    Args:
        feature_dim: D of the regions' features.
        code_dim: A.
    """

    def __init__(self, feature_dim: int, code_dim: int) -> None:
        super().__init__()
        self.net = mlp((feature_dim, 8 * code_dim, code_dim))

    def forward(self, features: Tensor) -> Tensor:
        """The codes of regions."""
        codes: Tensor = self.net(features.detach()).tanh()
        return codes
