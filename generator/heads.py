"""Heads on object vectors: boxes and soft masks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.layers import mlp
from autoenc_sg.generator.convolutions import enlarged_convolution

LAYERS_A_STEP = 4  # layers of the mask head for each doubling of the side
MASKS_AT_ONCE = 256  # in evaluation mode


def box_head(dim: int, hidden: int, batch_norm: bool = False) -> nn.Sequential:
    """`relu(W2 relu(W1 v + b1) + b2)`: `[N, dim] -> [N, 4]`, xyxy as fractions of the image.

    As in google/sg2im both linear layers are followed by ReLU: coordinates are >= 0, unbounded
    above, and x1 >= x0 is not enforced. b2 is initialized to the central box
    [1/4, 1/4, 3/4, 3/4] (not so in sg2im); else about half of all coordinates start at exactly 0,
    where ReLU passes no gradient.
    """
    head = mlp([dim, hidden, 4], 0.0, True, batch_norm)
    last = head[-2]  # the linear layer, or the batch norm, which cancels the linear layer's bias
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
        """The masks of all objects; in evaluation mode in chunks, so that memory stays bounded."""
        if self.training or len(vectors) <= MASKS_AT_ONCE:
            return self._masks(vectors)
        return torch.cat([self._masks(part) for part in vectors.split(MASKS_AT_ONCE)])

    def _masks(self, vectors: Tensor) -> Tensor:
        maps = vectors[:, :, None, None].contiguous(memory_format=torch.channels_last)
        *layers, last = self
        for i in range(0, len(layers), LAYERS_A_STEP):
            upsample, norm, conv, activation = layers[i : i + LAYERS_A_STEP]
            assert isinstance(norm, nn.BatchNorm2d)
            assert isinstance(conv, nn.Conv2d)
            if i == 0:  # from 1x1: one object alone has a variance only after upsampling
                maps = activation(conv(norm(upsample(maps))))
            else:
                normalized = _normalize_as_upsampled(maps, norm)
                maps = activation(enlarged_convolution(normalized, conv.weight, conv.bias))
        logits: Tensor = last(maps)
        return logits.squeeze(1).sigmoid()


def _normalize_as_upsampled(maps: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """Batch normalization of maps as if they were upsampled x2 (nearest), without upsampling.

    Mean and variance are the same; the running variance, which is unbiased, is that of 4 m values
    instead of m.
    """
    if not norm.training:
        out: Tensor = norm(maps)
        return out
    if type(norm) is not nn.BatchNorm2d:  # over all processes: it knows the number of values
        upsampled: Tensor = norm(F.interpolate(maps, scale_factor=2.0))
        return upsampled[:, :, ::2, ::2]
    mean, var, momentum = norm.running_mean, norm.running_var, norm.momentum
    assert mean is not None
    assert var is not None
    assert momentum is not None
    new_mean, new_var = mean.clone(), torch.zeros_like(var)
    affine = (norm.weight, norm.bias)
    out = F.batch_norm(maps, new_mean, new_var, *affine, True, momentum, norm.eps)
    count = maps.numel() // maps.shape[1]
    with torch.no_grad():
        mean.copy_(new_mean)
        var.mul_(1 - momentum).add_(new_var, alpha=4 * (count - 1) / (4 * count - 1))
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
    return out
