"""Layers of pairs' maps with cells first, `[S S, M, C]`: 1 x 1 convolutions are plain products.

`core.layers` has the views from and to maps `[M, C, S, S]`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional as F

from autoenc_sg.core.layers import in_parts


def pointwise(layer: nn.Module, cells: Tensor) -> Tensor:
    """A 1 x 1 convolution: `[S S, M, C] -> [S S, M, C']`."""
    weight, bias = parameters_of(layer)
    return linear_sum([cells], [weight], bias)


def parameters_of(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight `[C', C k k]` and bias `[C']` of a convolution."""
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    return layer.weight.flatten(1), layer.bias


def linear_sum(inputs: Iterable[Tensor], weights: Iterable[Tensor], bias: Tensor) -> Tensor:
    r"""`\sum_k W_k x_k + b`: a layer of the concatenated inputs, which are not concatenated.

    Shapes: `inputs [*, C_k], weights [C', C_k], bias [C'] -> [*, C']`.
    """
    products = (rows @ weight.T for rows, weight in zip(inputs, weights))
    total = next(products)
    for product in products:
        total = total.add_(product)
    return total.add_(bias)


def union_cells(
    features: nn.Module, masks: nn.Sequential, unions: Tensor, covered: Tensor
) -> Tensor:
    """`relu( features(u) + masks(m) )` of union features and of `embeddings.masks_of`.

    Args:
        features: a 1 x 1 convolution.
        masks: as in `mask_cells`.
        unions: `[S S, M, D]`.
        covered: `[S S, M, 2]`.

    Returns:
        `[S S, M, dim]`.
    """
    (weight, bias), (mask_weight, mask_bias) = map(parameters_of, (features, masks[-1]))

    def joined(unions: Tensor, covered: Tensor) -> Tensor:
        inputs = (unions, _hidden(masks[0], covered))
        total = linear_sum(inputs, (weight, mask_weight), bias + mask_bias)
        return F.relu(total, inplace=True)

    return in_parts(joined, unions, covered)


def mask_cells(masks: nn.Sequential, covered: Tensor) -> Tensor:
    """A 3 x 3 convolution with zeros around, ReLU and a 1 x 1 convolution of masks.

    Shapes: `[S S, M, 2] -> [S S, M, dim]`.
    """
    return pointwise(masks[-1], _hidden(masks[0], covered))


def _hidden(layer: nn.Module, covered: Tensor) -> Tensor:
    """A 3 x 3 convolution with zeros around, and ReLU."""
    side = math.isqrt(len(covered))
    around = F.pad(covered.unflatten(0, (side, side)), (0, 0, 0, 0, 1, 1, 1, 1))
    windows = around.unfold(0, 3, 1).unfold(1, 3, 1)  # [S, S, M, 2, 3, 3]
    weight, bias = parameters_of(layer)
    return F.relu(linear_sum([windows.flatten(3).flatten(0, 1)], [weight], bias), inplace=True)
