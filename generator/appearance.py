r"""Appearance codes: a small vector for each object, added to its vector before masks and layout.

    v'_i = v_i + d_i W a_i

`v_i` is the object's vector after the graph convolutions and `a_i` its code, which tells objects of
one class apart (colour, texture, pose). There is no bias, so a code of zeros means no code. `d_i`
is 1, but in training 0 for dropped codes, so that the generator also learns to draw without codes.
A code is dropped by itself or together with all of its image, each with probability p: hand-made
graphs have no codes, edited ones lack some.

The background's codes a_g, of a G x G grid, are added to the `__image__` node's vector, each in its
part of the layout:

    v'_img(x, y) = v_img + \sum_g d W_b a_g h_g(x, y)

with the bilinear hats h_g of the grid (`layout.with_background_vectors`), so that codes blend into
each other. d drops all codes of an image with probability p.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autoenc_sg.core.layers import ImageRandom


class _CodeProjection(nn.Module):
    """A matrix `W [D, A]` from codes to vectors, which starts at 0, and the dropout of codes.

    Args:
        code_dim: A, width of the codes.
        dim: D, width of the object vectors.
        dropout: p.
    """

    def __init__(self, code_dim: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.weight = nn.Parameter(torch.zeros(dim, code_dim))


class AppearanceInput(_CodeProjection):
    """Adds projected appearance codes to object vectors, formula above."""

    def forward(
        self,
        vectors: Tensor,
        codes: Tensor,
        image_index: Tensor,
        num_images: int,
        random: ImageRandom | None = None,
    ) -> Tensor:
        """Shapes: `vectors [N, D], codes [N, A], image_index [N] -> [N, D]`.

        `random` is for dropout; without, its seeds come from the global random state.
        """
        if self.training and self.dropout > 0:
            random = random or ImageRandom.from_global_state(num_images, codes.device)
            images = torch.arange(num_images, device=codes.device)
            kept_objects = random.uniform(image_index) >= self.dropout
            kept_images = random.uniform(images) >= self.dropout
            codes = codes * (kept_objects & kept_images[image_index])[:, None]
        return vectors + codes.to(vectors) @ self.weight.mT


class BackgroundInput(_CodeProjection):
    """Projects the background's codes to `W_b a_g`, formula above."""

    def forward(self, codes: Tensor, random: ImageRandom | None = None) -> Tensor:
        """Shapes: `[B, G G, A] -> [B, G G, D]`; `random` as in `AppearanceInput`."""
        if self.training and self.dropout > 0:
            random = random or ImageRandom.from_global_state(len(codes), codes.device)
            images = torch.arange(len(codes), device=codes.device)
            kept_images = random.uniform(images) >= self.dropout
            codes = codes * kept_images[:, None, None]
        return codes.to(self.weight) @ self.weight.mT
