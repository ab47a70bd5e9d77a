"""Cheaper algorithms for 3x3 convolutions with padding 1.

Each function here equals `F.conv2d(..., padding=1)` up to rounding, with the same weight:

- `layout_convolution`: over a layout's n masks instead of its D maps;
- `enlarged_convolution`: over maps upsampled x2 (nearest), 4 or 9 / 4 products an output, not 9;
- `small_convolution`: over a few pixels with a large kernel, as one matrix product.

The cheaper algorithm is chosen by counting products, with thresholds measured on a CPU
(`benchmarks/generator/speed.py`).
"""

from __future__ import annotations

from functools import lru_cache, partial

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from autoenc_sg.generator.layout import Layout

WORTHWHILE = 1 / 3  # of a plain convolution's products: above, the masks' overhead is not repaid
LEAST_PIXELS = (
    256  # of the upsampled batch: below, transforming the kernel costs more than it saves
)
WIDE = 512  # channels of the features from which on differences are cheaper than strides
CHANNELS_A_PIXEL = 8  # from here on a kernel is so large that reordering it is most of the work

# Activation checkpointing: intermediate values are recomputed in backward, not stored.
_checkpointed = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)


def layout_convolution(layout: Layout, weight: Tensor, side: int) -> Tensor:
    r"""Convolution over a layout's maps, without computing them: `[B, O, side, side]`.

        \sum_c W_oc * \sum_i v_ic m_i = \sum_i (\sum_c W_oc v_ic) * m_i

    Each image has its own kernel over its n masks. For an output channel that takes 9 n D products
    for the kernel and 9 n for each pixel; the plain convolution, used where there are many objects
    or few pixels, takes 9 D for each pixel. The memory format of the result is channels last.

    Args:
        layout: D = C channels.
        weight: `[O, C, 3, 3]`.
        side: the maps' side.
    """
    _, count, channels = layout.vectors.shape
    pixels = side * side
    if not 0 < count * (channels + pixels) <= WORTHWHILE * channels * pixels:
        return F.conv2d(layout.maps(side), weight, padding=1)
    out: Tensor = _checkpointed(
        _over_masks, layout.vectors, layout.rows, layout.columns, weight, side
    )
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
    """Convolution over features upsampled x2 (nearest); by strides, or by differences if wide.

    Shapes: `[B, C, h, w]`, weight `[O, C, 3, 3]`, bias `[O]` -> `[B, O, 2 h, 2 w]`.
    """
    batch, channels, height, width = features.shape
    if 4 * batch * height * width < LEAST_PIXELS:
        return F.conv2d(F.interpolate(features, scale_factor=2.0), weight, bias, padding=1)
    if channels >= WIDE:
        out: Tensor = _checkpointed(_by_differences, features, weight, bias)
        return out
    return _by_stride(features, weight, bias)


def _by_stride(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A transposed convolution of stride 2 with the 3x3 kernel expanded to 4x4.

    At most four of the nine upsampled pixels under the kernel differ: four products an output.
    """
    matrix = _kernel_expansion(weight.device).to(weight.dtype)
    kernel = (weight.transpose(0, 1).flatten(2) @ matrix).unflatten(2, (4, 4))
    return F.conv_transpose2d(features, kernel, bias, stride=2, padding=1)


def _by_differences(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Nine products for four outputs, by sums and differences.

    Along one axis, with the kernel (a, b, c) and s = a + b + c,

        y_2i   = a x_{i-1} + (b + c) x_i   = s x_i + a (x_{i-1} - x_i)
        y_2i+1 = (a + b) x_i + c x_{i+1}   = s x_i + c (x_{i+1} - x_i)

    are three products for two outputs, so nine for four along both axes. With many channels the
    sums and differences cost little.
    """
    batch, channels, height, width = features.shape
    sums = _kernel_sums(weight.device).to(weight.dtype)
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
    """Convolution; as one matrix product if the kernel is much larger than the maps.

    Library convolutions first reorder the kernel; a matrix product reads it once, unchanged.

    Shapes: `[B, C, h, w]`, weight `[O, C, 3, 3]`, bias `[O]` -> `[B, O, h, w]`.
    """
    batch, channels, height, width = features.shape
    if features.is_cuda or CHANNELS_A_PIXEL * batch * height * width > channels:
        return F.conv2d(features, weight, bias, padding=1)
    patches = F.pad(features, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1)
    rows = patches.permute(0, 2, 3, 1, 4, 5).reshape(batch, height, width, channels * 9)
    return F.linear(rows, weight.flatten(1), bias).permute(0, 3, 1, 2)


@lru_cache
def _kernel_expansion(device: torch.device) -> Tensor:
    """Linear map from a 3x3 kernel to the 4x4 kernel of the transposed convolution: `[9, 16]`."""
    with torch.inference_mode(False):  # cached inference tensors could not be trained with later
        axis = torch.zeros(3, 4)
        for tap in range(3):
            axis[tap, 2 - tap : 4 - tap] = 1
        return torch.kron(axis, axis).to(device)


@lru_cache
def _kernel_sums(device: torch.device) -> Tensor:
    """Linear map from a 3x3 kernel to its ends and sums along both axes: `[9, 9]`."""
    with torch.inference_mode(False):  # see `_kernel_expansion`
        axis = torch.tensor([[1.0, 0, 0], [1, 1, 1], [0, 0, 1]])
        return torch.kron(axis, axis).to(device)
