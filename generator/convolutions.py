"""Convolutions 3x3 (padding 1) taken in cheaper ways than the plain one.

Each function here equals `F.conv2d(..., padding=1)` up to rounding, with the same weight:

- `layout_convolution`: over a layout's n masks instead of its D maps;
- `enlarged_convolution`: over maps enlarged x2, 4 or 9 / 4 products an output instead of 9;
- `small_convolution`: over a few pixels with a large kernel, as one matrix product.

Which way is the cheaper one is decided by counting products, and the thresholds by measuring on a
CPU (`benchmarks/generator.py`).
"""

from __future__ import annotations

from functools import lru_cache, partial

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from autoenc_sg.generator.layout import Layout

WORTHWHILE = 1 / 3  # of the plain way's products: above, the mask way's overhead is not repaid
LEAST_PIXELS = 256  # enlarged, of the batch: below, making other kernels costs more than it saves
WIDE = 512  # channels of the features from which on differences are cheaper than strides
CHANNELS_A_PIXEL = 8  # from here on a kernel is so large that reordering it is most of the work

# Holds a function's arguments for backward, not what it makes of them up to its last product.
_lean = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)


def layout_convolution(layout: Layout, weight: Tensor, side: int) -> Tensor:
    r"""Convolution over a layout's maps, without making them: `[B, O, side, side]`.

        \sum_c W_oc * \sum_i v_ic m_i = \sum_i (\sum_c W_oc v_ic) * m_i

    So each image has its own kernel over its n masks. For an output channel that takes 9 n D
    products for the kernel and 9 n for each pixel, where the plain way takes 9 D for each, and is
    taken where there are many objects or few pixels. The result is laid out channels last.

    Args:
        layout: D = C channels.
        weight: `[O, C, 3, 3]`.
        side: the maps' side.
    """
    _, count, channels = layout.vectors.shape
    pixels = side * side
    if not 0 < count * (channels + pixels) <= WORTHWHILE * channels * pixels:
        return F.conv2d(layout.maps(side), weight, padding=1)
    out: Tensor = _lean(_over_masks, layout.vectors, layout.rows, layout.columns, weight, side)
    return out


def _over_masks(
    vectors: Tensor, rows: Tensor, columns: Tensor, weight: Tensor, side: int
) -> Tensor:
    batch, count, _ = vectors.shape
    by_channel = weight.permute(1, 2, 3, 0).flatten(1)
    kernels = (vectors @ by_channel).reshape(batch, count * 9, len(weight))
    shifted = F.unfold(Layout(vectors, rows, columns).masks(side), 3, padding=1).to(kernels)
    out: Tensor = torch.bmm(shifted.mT, kernels).reshape(batch, side, side, -1)
    return out.permute(0, 3, 1, 2)


def enlarged_convolution(features: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolution over features enlarged x2 (nearest): `_by_stride` or, if wide, `_by_differences`.

    Shapes: `[B, C, h, w]`, weight `[O, C, 3, 3]`, bias `[O]` -> `[B, O, 2 h, 2 w]`.
    """
    batch, channels, height, width = features.shape
    if 4 * batch * height * width < LEAST_PIXELS:
        return F.conv2d(F.interpolate(features, scale_factor=2.0), weight, bias, padding=1)
    if channels >= WIDE:
        out: Tensor = _lean(_by_differences, features, weight, bias)
        return out
    return _by_stride(features, weight, bias)


def _by_stride(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Of the nine pixels under the kernel at most four differ, so each output takes four products.

    A transposed convolution of stride 2 with the kernel enlarged in place of the features.
    """
    matrix = _enlarging(weight.device).to(weight.dtype)
    kernel = (weight.transpose(0, 1).flatten(2) @ matrix).unflatten(2, (4, 4))
    return F.conv_transpose2d(features, kernel, bias, stride=2, padding=1)


def _by_differences(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Nine products for four outputs.

    Along one axis, with the kernel (a, b, c) and s = a + b + c,

        y_2i   = a x_{i-1} + (b + c) x_i   = s x_i + a (x_{i-1} - x_i)
        y_2i+1 = (a + b) x_i + c x_{i+1}   = s x_i + c (x_{i+1} - x_i)

    are three products for two outputs, so along both axes nine for four. The sums and differences
    around them cost little where channels are many.
    """
    batch, channels, height, width = features.shape
    sums = _summing(weight.device).to(weight.dtype)
    kernels = sums @ weight.permute(3, 2, 0, 1).reshape(9, -1)
    terms = _differences(_differences(features.permute(0, 2, 3, 1), 1), 3)
    products = terms.reshape(9, -1, channels) @ kernels.reshape(9, -1, channels).mT
    parts = products.reshape(3, 3, batch, height, width, -1)  # of columns, of rows
    parts = parts[::2] + parts[1:2]
    parts = parts[:, ::2] + parts[:, 1:2]
    out: Tensor = parts.permute(2, 3, 1, 4, 0, 5).reshape(batch, 2 * height, 2 * width, -1)
    return (out if bias is None else out + bias).permute(0, 3, 1, 2)


def _differences(values: Tensor, axis: int) -> Tensor:
    """`x_{i-1} - x_i`, `x_i` and `x_{i+1} - x_i` along an axis, stacked first; zeros outside."""
    end = torch.zeros_like(values.narrow(axis, 0, 1))
    steps = torch.diff(values, dim=axis, prepend=end, append=end)
    size = values.shape[axis]
    return torch.stack([-steps.narrow(axis, 0, size), values, steps.narrow(axis, 1, size)])


def small_convolution(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolution, where the kernel is much larger than the maps one product of matrices.

    A library's convolution first reorders the kernel; a product reads it once, as it is.

    Shapes: `[B, C, h, w]`, weight `[O, C, 3, 3]`, bias `[O]` -> `[B, O, h, w]`.
    """
    batch, channels, height, width = features.shape
    if features.is_cuda or CHANNELS_A_PIXEL * batch * height * width > channels:
        return F.conv2d(features, weight, bias, padding=1)
    patches = F.pad(features, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1)
    rows = patches.permute(0, 2, 3, 1, 4, 5).reshape(batch, height, width, channels * 9)
    return F.linear(rows, weight.flatten(1), bias).permute(0, 3, 1, 2)


@lru_cache
def _enlarging(device: torch.device) -> Tensor:
    """From a kernel 3x3 to the kernel 4x4 of the transposed convolution: `[9, 16]`."""
    with torch.inference_mode(False):  # cached inference tensors could not be trained with later
        axis = torch.zeros(3, 4)
        for tap in range(3):
            axis[tap, 2 - tap : 4 - tap] = 1
        return torch.kron(axis, axis).to(device)


@lru_cache
def _summing(device: torch.device) -> Tensor:
    """From a kernel 3x3 to its ends and sums along both axes: `[9, 9]`."""
    with torch.inference_mode(False):  # see `_enlarging`
        axis = torch.tensor([[1.0, 0, 0], [1, 1, 1], [0, 0, 1]])
        return torch.kron(axis, axis).to(device)
