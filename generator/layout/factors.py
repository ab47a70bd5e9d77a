r"""The layout: from object vectors, boxes and masks to feature maps, without `[N, D, H, W]`.

    layout(x, y) = \sum_i v_i m_i(x, y),    m_i(x, y) = \sum_kl M_i[k, l] h(u_iy - k) h(u_ix - l)
    u_ix = (x - x0_i) / (x1_i - x0_i) (S - 1),   h(t) = max(0, 1 - |t|),   x = j / (W - 1)

This is google/sg2im's `masks_to_layout`, and `boxes_to_layout` with its 8 x 8 mask of ones:
bilinear sampling with aligned corners and zeros outside, so an object fades linearly over
1 / (S - 1) of its size beyond its box. Three properties make it cheap:

- the vector is constant over the object, so only the one-channel mask is warped, 1 / D of the work,
  and the sum is one matrix product per image, `[D, n] @ [n, H W]`;
- a box is parallel to the axes, so the warp is two small products, rows x mask x columns;
- average pooling is linear and separable, so a coarser layout needs only pooled rows and columns.

A layout is therefore kept as its factors (`Layout`); a convolution over it is one over the n masks
(`convolutions.layout_convolution`), and the D maps are computed only on request.

Source: paper, section 3.2, "Image Generator", for the result; the factorization is this project's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

BOX_MASK_SIZE = 8  # sg2im's constant where there are no masks
MIN_EXTENT = 1e-3  # a box narrower than this, in fractions of the image, covers nothing
MAX_OBJECTS = 128  # per image and matrix product; more are summed chunk by chunk, to bound memory


@dataclass(frozen=True, eq=False)
class Layout:
    """A layout as its factors; n is the largest number of objects (and relations) in an image.

    Attributes:
        vectors: `[B, n, D]`, zeros where an image has fewer objects.
        rows, columns: `[B, n, P, S]`; `rows @ columns.mT` are the warped masks `[B, n, P, P]`.
    """

    vectors: Tensor
    rows: Tensor
    columns: Tensor

    def masks(self, side: int) -> Tensor:
        """The warped masks, average pooled: `[B, n, side, side]`."""
        return _pool(self.rows, side) @ _pool(self.columns, side).mT

    def maps(self, side: int) -> Tensor:
        """The layout, average pooled from P to `side`, a divisor of it: `[B, D, side, side]`."""
        factors = (self.vectors, self.rows, self.columns)
        if self.vectors.shape[1] <= MAX_OBJECTS:
            return _product(*factors, side)
        chunks = list(zip(*(t.split(MAX_OBJECTS, 1) for t in factors)))
        return _chunked_product(chunks, side)


def factor_layout(
    vectors: Tensor,
    boxes: Tensor,
    masks: Tensor | None,
    image_index: Tensor,
    num_images: int,
    size: int,
) -> Layout:
    """The factors of the layout at `size` x `size`.

    Differentiable in vectors, boxes and masks. A box of negative extent shows its mask mirrored, as
    in sg2im; one of (almost) no extent covers nothing and gets no gradient (NaN in sg2im).

    Args:
        vectors: `[N, D]`.
        boxes: `[N, 4]` xyxy as fractions of the image; they may reach outside.
        masks: `[N, S, S]` over each box, or None for filled boxes.
        image_index: `[N]` ascending.
        num_images: B.
        size: P, side of the full layout in pixels.
    """
    slots, width = object_slots(image_index, num_images)
    rows, columns = _sampling(boxes, masks, size)
    return Layout(*(in_slots(t, slots, num_images, width) for t in (vectors, rows, columns)))


def with_background_vectors(layout: Layout, ranks: Tensor, vectors: Tensor) -> Layout:
    r"""The layout with vectors added to one object of each image, each in its part of the picture.

        layout(x, y) + m_i(x, y) \sum_g w_g h_g(x, y)

    with the bilinear hats `h_g` of a G x G grid (`hats`), which sum to 1. A hat is a product of a
    row and a column, so each part is one more mask of the layout.

    Args:
        layout: of B images.
        ranks: `[B]`, place of the object i among those of its image: the `__image__` node.
        vectors: `[B, G G, D]`, the w_g, row by row.
    """
    images = torch.arange(len(ranks), device=ranks.device)
    side = math.isqrt(vectors.shape[1])
    weights = hats(side, layout.rows.shape[2], layout.rows)
    rows = layout.rows[images, ranks][:, None] * weights.repeat_interleave(side, 0)[:, :, None]
    columns = layout.columns[images, ranks][:, None] * weights.repeat(side, 1)[:, :, None]
    return joined_layouts(layout, Layout(vectors, rows, columns))


def joined_layouts(first: Layout, second: Layout) -> Layout:
    """The sum of two layouts of the same images: in each the second's masks after the first's."""
    samples = max(first.rows.shape[3], second.rows.shape[3])

    def padded(factor: Tensor) -> Tensor:  # zeros change no product `rows @ columns.mT`
        return F.pad(factor, (0, samples - factor.shape[3]))

    return Layout(
        torch.cat([first.vectors, second.vectors.to(first.vectors)], 1),
        torch.cat([padded(first.rows), padded(second.rows.to(first.rows))], 1),
        torch.cat([padded(first.columns), padded(second.columns.to(first.columns))], 1),
    )


def hats(side: int, pixels: int, like: Tensor) -> Tensor:
    r"""Linear interpolation between the middles of G parts, along one axis: `[G, pixels]`.

        h_g(x) = \max(0, 1 - |c(G x - 1/2) - g|),   x = j / (pixels - 1),   c clamps to [0, G - 1]

    The G values of a pixel sum to 1.
    """
    pixel = torch.linspace(0, 1, pixels, dtype=like.dtype, device=like.device)
    position = (pixel * side - 0.5).clamp(0, side - 1)
    part = torch.arange(side, dtype=like.dtype, device=like.device)
    return (1 - (position - part[:, None]).abs()).relu()


def _sampling(boxes: Tensor, masks: Tensor | None, size: int) -> tuple[Tensor, Tensor]:
    """Factors `[N, size, S]` whose product `rows @ columns.mT` is the warped mask."""
    samples = (BOX_MASK_SIZE,) * 2 if masks is None else masks.shape[1:]
    columns = _axis_weights(boxes[:, 0], boxes[:, 2], size, samples[1])
    rows = _axis_weights(boxes[:, 1], boxes[:, 3], size, samples[0])
    if masks is None:  # a mask of ones is of rank one
        return rows.sum(2, keepdim=True), columns.sum(2, keepdim=True)
    return rows, torch.bmm(columns, masks.mT.to(columns))


def _axis_weights(start: Tensor, stop: Tensor, pixels: int, samples: int) -> Tensor:
    """Weight of each mask sample at each pixel along one axis: `[N, pixels, samples]`."""
    extent = stop - start
    covered = extent.abs() >= MIN_EXTENT
    extent = torch.where(covered, extent, MIN_EXTENT)
    pixel = torch.linspace(0, 1, pixels, dtype=start.dtype, device=start.device)
    position = (pixel - start[:, None]) / extent[:, None] * (samples - 1)
    sample = torch.arange(samples, dtype=start.dtype, device=start.device)
    weights = (1 - (position[:, :, None] - sample).abs()).relu()
    return weights * covered[:, None, None]


def object_slots(image_index: Tensor, num_images: int) -> tuple[Tensor, int]:
    """Index of each object in a padded `[B, width]`, flattened; and width, the most in an image."""
    if num_images == 1:  # no size depends on values, which an export to ONNX needs
        return torch.arange(len(image_index), device=image_index.device), len(image_index)
    counts = torch.bincount(image_index, minlength=num_images)
    first = counts.cumsum(0) - counts
    width = int(counts.max())
    rank = torch.arange(len(image_index), device=image_index.device) - first[image_index]
    slots: Tensor = image_index * width + rank
    return slots, width


def in_slots(values: Tensor, slots: Tensor, num_images: int, width: int) -> Tensor:
    """`[N, ...]` padded to `[B, width, ...]`, zeros where an image has fewer objects."""
    flat = values.new_zeros(num_images * width, *values.shape[1:])
    return flat.index_copy(0, slots, values).reshape(num_images, width, *values.shape[1:])


def _pool(weights: Tensor, pixels: int) -> Tensor:
    """Average the pixels of `[B, n, P, S]` to `[B, n, pixels, S]`."""
    batch, count, full, samples = weights.shape
    return weights.reshape(batch, count, pixels, full // pixels, samples).mean(3)


def _product(vectors: Tensor, rows: Tensor, columns: Tensor, side: int) -> Tensor:
    """`[B, n, D]`, `[B, n, P, S]`, `[B, n, P, S]` to the layout `[B, D, side, side]`."""
    warped = Layout(vectors, rows, columns).masks(side)
    maps = torch.bmm(vectors.mT, warped.flatten(2).to(vectors))
    return maps.reshape(*maps.shape[:2], side, side)


def _chunked_product(chunks: Sequence[tuple[Tensor, Tensor, Tensor]], side: int) -> Tensor:
    """The sum of the chunks' layouts; backward recomputes the masks chunk by chunk."""
    parts = (checkpoint(_product, *chunk, side, use_reentrant=False) for chunk in chunks)
    total: Tensor = reduce(torch.add, parts)
    return total
