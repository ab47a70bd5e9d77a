r"""3 x 3 convolutions of small square maps, as products of frequencies on the CPU.

With zeros around a map of S x S cells, a 3 x 3 convolution of stride 1 has the outputs 0..S - 1 a
side. The circular convolution of period n = S + 1 has the same: only the outputs -1 and S, which
are not wanted, fall on the same place. With the discrete Fourier transform of period n

    Y_f = \sum_c X_cf conj(W_cf)          for each of the n x n frequencies f,

and as maps are real, one of f and -f does. A complex product takes three real ones (Gauss), so

    y = A ((B x) \odot (G w))             with R products a channel pair instead of 9 S S,

where S = 5 has R = 52 instead of 225. `odot` is a product of matrices for each r, of all maps at
once. The transforms are orthogonal but for Gauss's sums, so the rounding error is that of a plain
convolution.

These products want maps with cells first, `[S S, M, C]` (`core.layers.cells_first`).
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

LARGEST_SIDE = 8  # the transforms cost S^4 a channel
FEWEST_MAPS = 64  # the transform of the weights costs as much as some tens of maps


def is_faster_by_frequencies(maps: Tensor) -> bool:
    """Whether `convolve` is faster than a plain convolution of maps `[M, C, S, S]`."""
    return (
        maps.device.type == "cpu"
        and maps.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and maps.shape[-1] == maps.shape[-2] <= LARGEST_SIDE
        and len(maps) >= FEWEST_MAPS
    )


def weight_frequencies(weight: Tensor, side: int) -> Tensor:
    """`G w` of the module's docstring: `[C', C, 3, 3] -> [R, C, C']`, for maps of `side` cells."""
    of_weight = _transforms(side)[1].to(weight)
    by_place = weight.permute(2, 3, 1, 0)
    return (of_weight @ by_place.reshape(9, -1)).reshape(-1, *by_place.shape[2:])


def convolve(cells: Tensor, frequencies: Tensor, bias: Tensor) -> Tensor:
    """`F.conv2d(maps, weight, bias, padding=1)` with cells first.

    Shapes: `cells [S S, M, C], frequencies [R, C, C'], bias [C'] -> [S S, M, C']`.
    """
    of_maps, _, to_outputs = (t.to(cells) for t in _transforms(math.isqrt(len(cells))))
    shape = cells.shape[1:]
    products: Tensor = (of_maps @ cells.reshape(len(cells), -1)).unflatten(1, shape) @ frequencies
    outputs: Tensor = (to_outputs @ products.flatten(1)).unflatten(1, products.shape[1:])
    outputs += bias
    return outputs


@cache
@torch.inference_mode(False)  # they are kept, and training uses them, too
def _transforms(side: int) -> tuple[Tensor, Tensor, Tensor]:
    """B `[R, S S]`, G `[R, 9]` and A `[S S, R]` of maps of S x S cells, float64."""
    period = side + 1
    of_maps = _frequencies(period, range(side), -1)
    of_weight = _frequencies(period, range(-1, 2), 1)
    to_outputs = of_maps.conj().T / period**2
    frequencies = torch.cartesian_prod(torch.arange(period), torch.arange(period))
    opposite = (-frequencies) % period
    code = frequencies @ torch.tensor([period, 1])
    opposite_code = opposite @ torch.tensor([period, 1])
    real, half = code == opposite_code, code < opposite_code
    x, w, y = of_maps[half], of_weight[half], 2 * to_outputs[:, half]
    # (x.real + i x.imag) (w.real + i w.imag) by three products, and the real part of y times it
    parts_x = (of_maps[real].real, x.real + x.imag, x.real, x.imag)
    parts_w = (of_weight[real].real, w.real, w.imag - w.real, w.real + w.imag)
    parts_y = (to_outputs[:, real].real, y.real - y.imag, -y.imag, -y.real)
    return torch.cat(parts_x), torch.cat(parts_w), torch.cat(parts_y, 1).contiguous()


def _frequencies(period: int, places: range, sign: int) -> Tensor:
    r"""`exp(sign 2 \pi i (f_y y + f_x x) / period)`: `[period^2, len(places)^2]`, complex."""
    turns = torch.outer(torch.arange(period), torch.tensor(places)).double() / period
    one_side = torch.polar(torch.ones_like(turns), sign * 2 * math.pi * turns)
    return torch.kron(one_side, one_side)
