r"""Looks: beside an object's class, a small code that says which of its kind it is.

    v'_i = v_i + d_i W a_i

`v_i` is the object's vector after the graph convolutions and `a_i` its code. There is no bias: a
code of zeros is none, and a graph without codes is drawn as if `W` were not there. `d_i` is 1, but
in training 0 for dropped codes, so that this stays a picture the network knows. A code is dropped
with its image's or by itself, each with probability p: hand-made graphs have none at all, edited
ones lack some.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AppearanceInput(nn.Module):
    """The module docstring's sum; `W` starts at 0, so that a new one changes nothing.

    Args:
        code_dim: A, width of the codes.
        dim: D, width of the object vectors.
        dropout: p.
    """

    def __init__(self, code_dim: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.weight = nn.Parameter(torch.zeros(dim, code_dim))

    def forward(
        self, vectors: Tensor, codes: Tensor, image_index: Tensor, num_images: int
    ) -> Tensor:
        """Shapes: `vectors [N, D], codes [N, A], image_index [N] -> [N, D]`."""
        if self.training and self.dropout > 0:
            own = torch.rand(len(codes), device=codes.device) >= self.dropout
            shared = torch.rand(num_images, device=codes.device) >= self.dropout
            codes = codes * (own & shared[image_index])[:, None]
        return vectors + codes.to(vectors) @ self.weight.mT
