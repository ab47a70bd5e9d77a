r"""Appearance codes: a small vector for each object, added to its vector before masks and layout.

    v'_i = v_i + d_i W a_i

`v_i` is the object's vector after the graph convolutions and `a_i` its code, which tells objects of
one class apart (colour, texture, pose). There is no bias, so a code of zeros means no code. `d_i`
is 1, but in training 0 for dropped codes, so that the generator also learns to draw without codes.
A code is dropped by itself or together with all of its image, each with probability p: hand-made
graphs have no codes, edited ones lack some.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AppearanceInput(nn.Module):
    """Adds projected appearance codes to object vectors, formula above; `W` starts at 0.

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
            kept_objects = torch.rand(len(codes), device=codes.device) >= self.dropout
            kept_images = torch.rand(num_images, device=codes.device) >= self.dropout
            codes = codes * (kept_objects & kept_images[image_index])[:, None]
        return vectors + codes.to(vectors) @ self.weight.mT
