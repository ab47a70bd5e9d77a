"""The inputs that heads share: a vector of each region, a map of each union box; rows by image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autoenc_sg.core.boxes import grid_coverage, to_unit_boxes, union_boxes
from autoenc_sg.core.layers import as_maps, cells_first
from autoenc_sg.core.structures import Regions
from autoenc_sg.predictors.parts.cells import union_cells


class RegionEmbedding(nn.Module):
    """`W [f_i ; softmax(class logits_i) ; box_i]`, the box in fractions of the image.

    Args:
        feature_dim: D of the regions' features.
        num_classes: C with the reserved 0.
        dim: width of the vectors.

    Shapes: `N regions -> [N, dim]`.
    """

    def __init__(self, feature_dim: int, num_classes: int, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(feature_dim + num_classes + 4, dim)

    def forward(self, regions: Regions) -> Tensor:
        """The vectors, before any nonlinearity."""
        unit = to_unit_boxes(regions.boxes, regions.image_sizes, regions.image_index)
        inputs = torch.cat([regions.features, regions.class_logits.softmax(-1), unit], 1)
        vectors: Tensor = self.linear(inputs)
        return vectors


class UnionEmbedding(nn.Module):
    """A union box's features, and where the two boxes lie in it.

        s_k = relu( W u_k + c(m_subject, m_object) )            at each of the S x S cells

    `m` are the shares of each cell that the boxes cover, `c` two convolutions (as Neural Motifs'
    box masks).

    Args:
        feature_dim: D of the union features `u_k`.
        dim: width of the maps.

    Shapes: `unions [M, D, S, S] -> [M, dim, S, S]`.
    """

    def __init__(self, feature_dim: int, dim: int) -> None:
        super().__init__()
        self.features = nn.Conv2d(feature_dim, dim, 1)
        self.masks = nn.Sequential(
            nn.Conv2d(2, dim, 3, padding=1), nn.ReLU(), nn.Conv2d(dim, dim, 1)
        )

    def forward(self, regions: Regions, pairs: Tensor, unions: Tensor) -> Tensor:
        """The maps of `pairs [M, 2]`."""
        covered = masks_of(regions, pairs, unions.shape[-1])
        return as_maps(union_cells(self.features, self.masks, cells_first(unions), covered))


class ByImage:
    """Rows of B images as a table with a line for each image, and back.

    Lines have the length of the longest image (at least 1) and are filled up with zeros.

    Args:
        image_index: `[N]`, of each row, in any order.
        num_images: B.
        keys: `[N]`: in a line, rows of higher keys come first; None: rows in their order.

    Attributes:
        is_row: `[B, n] bool`, false where a line is filled up.
        counts: `[B]`, rows of each line.
    """

    def __init__(self, image_index: Tensor, num_images: int, keys: Tensor | None = None) -> None:
        order = torch.sort(image_index, stable=True).indices
        if keys is not None:
            order = torch.sort(keys, descending=True, stable=True).indices
            order = order[torch.sort(image_index[order], stable=True).indices]
        if num_images == 1:  # no size depends on values, which an export to ONNX needs
            counts = image_index.new_full((1,), len(image_index))
            longest = max(len(image_index), 1)
        else:
            counts = torch.bincount(image_index, minlength=num_images)
            longest = max(int(counts.max()) if num_images else 0, 1)
        rank = torch.arange(len(order), device=order.device)
        rank = rank - (counts.cumsum(0) - counts)[image_index[order]]
        self.image_index = image_index
        self.place = torch.empty_like(rank).index_copy_(0, order, rank)
        self.counts = counts
        columns = torch.arange(longest, device=order.device)
        self.is_row = columns < counts[:, None]

    def table(self, rows: Tensor) -> Tensor:
        """`[N, ...] -> [B, n, ...]`."""
        empty = rows.new_zeros(*self.is_row.shape, *rows.shape[1:])
        return empty.index_put((self.image_index, self.place), rows)

    def rows(self, table: Tensor) -> Tensor:
        """The inverse of `table`."""
        return table[self.image_index, self.place]


def masks_of(regions: Regions, pairs: Tensor, size: int) -> Tensor:
    """The shares of each cell of the union box that each box covers: `[S S, M, 2]` in [0, 1]."""
    frames = union_boxes(regions.boxes, pairs)
    ends = [grid_coverage(regions.boxes[pairs[:, side]], frames, size) for side in (0, 1)]
    return cells_first(torch.stack(ends, 1))
