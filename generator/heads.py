"""What an object vector says by itself: its box and its soft mask."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autoenc_sg.errors import bad_input
from autoenc_sg.layers import mlp

MASKS_AT_ONCE = 256  # made in turns, so that memory stays bounded


def box_head(dim: int, hidden: int, batch_norm: bool = False) -> nn.Sequential:
    """`relu(W2 relu(W1 v + b1) + b2)`: `[N, dim] -> [N, 4]`, xyxy as fractions of the image.

    As in google/sg2im both linears are followed by ReLU: coordinates are >= 0, unbounded above, and
    x1 >= x0 is not enforced. b2 starts at the central box [1/4, 1/4, 3/4, 3/4] (ours), else about
    half of all coordinates start at exactly 0, where ReLU passes no gradient.
    """
    head = mlp([dim, hidden, 4], 0.0, True, batch_norm)
    last = head[-2]  # the linear, or the batch norm that undoes the linear's bias
    assert isinstance(last, (nn.Linear, nn.BatchNorm1d))
    with torch.no_grad():
        last.bias.copy_(torch.tensor([0.25, 0.25, 0.75, 0.75]))
    return head


class MaskHead(nn.Sequential):
    """Object vectors to soft masks over their boxes: `[N, dim] -> [N, size, size]` in [0, 1].

    log2(size) times nearest x2, batch norm, conv 3x3, ReLU, from 1x1; then conv 1x1 and sigmoid
    (google/sg2im; the layers' order and numbers are those of its checkpoints).

    Raises:
        InputError: `size` is not a power of two.
    """

    def __init__(self, dim: int, size: int) -> None:
        if size < 1 or size & (size - 1):
            raise bad_input("mask size", "a power of two", size)
        layers: list[nn.Module] = []
        for _ in range(size.bit_length() - 1):
            layers += [
                nn.Upsample(scale_factor=2, mode="nearest"),
                nn.BatchNorm2d(dim),
                nn.Conv2d(dim, dim, 3, padding=1),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers, nn.Conv2d(dim, 1, 1))

    def forward(self, vectors: Tensor) -> Tensor:
        """The masks of all objects; in training at once, since batch norm sees them together."""
        if not self.training and len(vectors) > MASKS_AT_ONCE:
            return torch.cat([self(part) for part in vectors.split(MASKS_AT_ONCE)])
        logits: Tensor = super().forward(vectors[:, :, None, None])
        return logits.squeeze(1).sigmoid()
