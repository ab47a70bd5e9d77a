"""Layers, random draws and tensor operations that several components share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoenc_sg.core.errors import bad_input

SMALLEST_PART = 48  # maps at a time: what is computed of so many stays in the processor's cache


def activation_layer(name: str) -> nn.Module:
    """`relu`, `leakyrelu-<slope>` (e.g. `leakyrelu-0.2`), `gelu` or `none`.

    Raises:
        InputError: another name.
    """
    slope = re.fullmatch(r"leakyrelu(?:-(\d*\.?\d+))?", name)
    if slope is not None:
        return nn.LeakyReLU(float(slope[1] or 0.01), inplace=True)
    if name == "relu":
        return nn.ReLU(inplace=True)
    if name == "gelu":
        return nn.GELU()
    if name == "none":
        return nn.Identity()
    raise bad_input("activation", "relu, leakyrelu-<slope>, gelu or none", repr(name))


def mlp(
    sizes: Sequence[int],
    dropout: float = 0.0,
    final_activation: bool = False,
    batch_norm: bool = False,
) -> nn.Sequential:
    """Linear layers of the given sizes with (batch norm,) ReLU (and dropout) between them.

    Shapes: `[*, sizes[0]] -> [*, sizes[-1]]`.
    """
    layers: list[nn.Module] = []
    for i, (d_in, d_out) in enumerate(pairwise(sizes)):
        is_activated = i < len(sizes) - 2 or final_activation
        if is_activated and batch_norm:
            layers += [LinearBeforeNorm(d_in, d_out), RowNorm(d_out)]
        else:
            layers.append(nn.Linear(d_in, d_out))
        if is_activated:
            layers.append(nn.ReLU(inplace=True))
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


class LinearBeforeNorm(nn.Linear):
    """A linear layer before batch norm; in training its bias is not trained.

    Batch norm subtracts the bias again, so its gradient is zero but for rounding, of which Adam
    makes whole steps. In evaluation mode, where running statistics normalize, it has a gradient.
    """

    def forward(self, rows: Tensor) -> Tensor:
        """The values `[*, d_out]` of `[*, d_in]`."""
        return F.linear(rows, self.weight, constant_in_training(self))


def constant_in_training(layer: nn.Linear | nn.Conv2d) -> Tensor:
    """The bias of a layer before a normalization, `[d_out]`: without gradient in training."""
    assert layer.bias is not None
    return layer.bias.detach() if layer.training else layer.bias


class RowNorm(nn.BatchNorm1d):
    """Batch norm of rows `[K, D]`; a single row in training is normalized as in evaluation.

    One row has no variance, which `BatchNorm1d` refuses; a graph may have one edge or one object.
    The running statistics stay as they are then.
    """

    def forward(self, rows: Tensor) -> Tensor:
        """The normalized rows `[K, D]`."""
        if self.training and len(rows) == 1:
            moments = (self.running_mean, self.running_var)
            return F.batch_norm(rows, *moments, self.weight, self.bias, eps=self.eps)
        return super().forward(rows)


class ImageRandom:
    """Random numbers for the rows of B images, from a stream of its own for each image.

    What is drawn for an image follows from its seed and from the draws before, not from the other
    images of the batch: a batch that is split between processes gets the same numbers.

    Args:
        seeds: one for each image, 0..2^63 - 1.
        device: where the numbers are drawn.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.streams = [torch.Generator(self.device).manual_seed(seed) for seed in seeds]

    @classmethod
    def from_global_state(cls, num_images: int, device: torch.device | str = "cpu") -> ImageRandom:
        """Seeds drawn from PyTorch's global random state of the CPU."""
        return cls(torch.randint(2**62, (num_images,)).tolist(), device)

    def select(self, images: Sequence[int]) -> ImageRandom:
        """The streams of some of the images, in that order; what is drawn is drawn from both."""
        selected = ImageRandom([], self.device)
        selected.streams = [self.streams[image] for image in images]
        return selected

    def uniform(self, image_index: Tensor, *width: int) -> Tensor:
        """Numbers in [0, 1): `[K] -> [K, *width]`; `image_index` holds 0..B-1 in any order."""
        counts = torch.bincount(image_index, minlength=len(self.streams)).tolist()
        parts = [
            torch.rand(count, *width, generator=stream, device=self.device)
            for count, stream in zip(counts, self.streams)
        ]
        drawn = torch.cat(parts)
        return torch.empty_like(drawn).index_copy_(
            0, torch.sort(image_index, stable=True).indices, drawn
        )


def dropout(layers: nn.Sequential, rows: Tensor, uniform: Callable[[int], Tensor]) -> Tensor:
    """`layers(rows)`, where dropout in training takes its random numbers from `uniform`.

    Args:
        layers: of an `mlp`.
        rows: `[K, D]`.
        uniform: gives numbers in [0, 1) of shape `[K, width]`.
    """
    for layer in layers:
        if isinstance(layer, nn.Dropout) and layer.training:
            is_kept = uniform(rows.shape[1]) >= layer.p
            rows = rows * is_kept / (1 - layer.p)
        else:
            rows = layer(rows)
    return rows


def segment_mean(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Mean of the rows of `values [K, ...]` for each index: `[size, ...]`, 0 without rows."""
    total = values.new_zeros(size, *values.shape[1:]).index_add(0, index, values)
    count = values.new_zeros(size).index_add(0, index, torch.ones_like(index, dtype=values.dtype))
    return total / count.clamp(min=1).reshape(-1, *[1] * (values.ndim - 1))


def segment_softmax(scores: Tensor, index: Tensor, size: int) -> Tensor:
    """Softmax of `scores [K]` among those of the same index (0..size - 1): `[K]`."""
    highest = scores.new_full((size,), -torch.inf).scatter_reduce(
        0, index, scores.detach(), "amax", include_self=True
    )
    shares = (scores - highest[index]).exp()
    return shares / scores.new_zeros(size).index_add(0, index, shares)[index]


def first_per_group(group: Tensor, num_groups: int, count: int | Tensor) -> Tensor:
    """Rows of the first `count` members of each group: groups ascending, each in its old order.

    Shapes: `[K] -> [k]`, where `group` holds 0..num_groups-1 in any order; `count` may be
    `[num_groups]`, of each group.
    """
    order = torch.sort(group, stable=True).indices
    sizes = torch.bincount(group, minlength=num_groups)
    starts = (sizes.cumsum(0) - sizes)[group[order]]
    rank = torch.arange(len(group), device=group.device) - starts
    limit = count if isinstance(count, int) else count[group[order]]
    return order[rank < limit]


def cells_first(maps: Tensor) -> Tensor:
    """`[M, C, S, S]` as `[S S, M, C]`: a view."""
    return maps.flatten(2).permute(2, 0, 1)


def as_maps(cells: Tensor) -> Tensor:
    """The inverse of `cells_first`: a view."""
    side = math.isqrt(len(cells))
    maps: Tensor = cells.permute(1, 2, 0).unflatten(2, (side, side))
    return maps


def select_maps(maps: Tensor, rows: Tensor) -> Tensor:
    """`maps[rows]`, with cells first in memory: `[K, C, S, S], [M] -> [M, C, S, S]`."""
    return as_maps(cells_first(maps).index_select(1, rows))


def in_parts(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """What a function makes of M maps; on the CPU it gets them in parts, one after another.

    Args:
        function: treats each map alone.
        inputs: each `[*, M, C]`, as is the result.
    """
    count, channels = inputs[0].shape[-2:]
    part = max(SMALLEST_PART, channels // 4)  # wide weights are read for more maps
    if inputs[0].device.type != "cpu" or count <= part:
        return function(*inputs)
    rows = [part_inputs.chunk(math.ceil(count / part), -2) for part_inputs in inputs]
    outputs = (function(*part_inputs) for part_inputs in zip(*rows))
    if torch.is_grad_enabled():
        return torch.cat(list(outputs), -2)
    return _gathered(outputs, count)  # which has one part at a time in memory


def _gathered(parts: Iterator[Tensor], count: int) -> Tensor:
    """Parts `[*, m, C]` of `count` rows as `[*, count, C]`."""
    first = next(parts)
    whole = first.new_empty(*first.shape[:-2], count, first.shape[-1])
    start = 0
    for part in chain([first], parts):
        end = start + part.shape[-2]
        whole[..., start:end, :] = part
        start = end
    return whole
