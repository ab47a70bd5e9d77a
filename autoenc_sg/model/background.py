r"""Appearance codes of the background: what a detector sees outside all boxes of a graph.

An image is divided into a G x G grid, and the finest map is averaged over the map's cells in each
part whose centres lie inside the image and outside all boxes,

    f_g = \sum_p o_p F_p / \sum_p o_p     over the map's cells p in part g; o_p is 1 outside, else 0

With colours, the mean RGB of the part outside the boxes is added to f_g likewise.

A part that boxes cover wholly has no f_g; its code is zeros: none.
"""

from __future__ import annotations

import torch
from torch import Tensor

from autoenc_sg.core.boxes import to_unit_boxes
from autoenc_sg.detector import FeatureMaps
from autoenc_sg.generator.layout import in_slots, object_slots
from autoenc_sg.model.appearance import Bottleneck, color_maps


class BackgroundEncoder(Bottleneck):
    """The bottleneck of `f_g`, formula above.

    Args:
        map_channels: D_map of the backbone's maps.
        code_dim: A.
        cells: G.
        with_colors: read mean colours, too.
    """

    def __init__(
        self, map_channels: int, code_dim: int, cells: int, with_colors: bool = False
    ) -> None:
        super().__init__(map_channels, code_dim, 3 * with_colors)
        self.cells, self.with_colors = cells, with_colors

    def forward(self, maps: FeatureMaps, boxes: Tensor, image_index: Tensor) -> Tensor:
        """The codes `[B, G G, A]` of what lies outside the boxes, row by row.

        Args:
            maps: of B images; the finest is read.
            boxes: `[N, 4]` xyxy in pixels of the images passed in.
            image_index: `[N]`, ascending.
        """
        seen = seen_outside(maps, boxes, image_index, self.cells, self.with_colors)
        return self.codes_of(*seen)

    def codes_of(self, means: Tensor, counts: Tensor) -> Tensor:
        """The codes of what `seen_outside` gives."""
        return self.codes(means) * (counts > 0)[..., None]


def seen_outside(
    maps: FeatureMaps, boxes: Tensor, image_index: Tensor, cells: int, with_colors: bool = False
) -> tuple[Tensor, Tensor]:
    """`outside_means` of the finest map, without gradient; and of the colours, if they are read.

    Args:
        maps: of B images.
        boxes: `[N, 4]` xyxy in pixels of the images passed in.
        image_index: `[N]`, ascending.
        cells: G.
        with_colors: append those of `maps.colors`, zeros where boxes cover all of their parts.
    """
    finest = maps.maps[0].detach()
    sizes = torch.tensor(maps.network_sizes, dtype=torch.float32, device=finest.device)
    inside = sizes / sizes.new_tensor(maps.padded_size)
    unit_boxes = to_unit_boxes(boxes.detach().float(), maps.image_sizes, image_index)
    with torch.autocast(finest.device.type, enabled=False):
        means, counts = outside_means(finest.float(), inside, unit_boxes, image_index, cells)
        if with_colors:
            colors = color_maps(maps).float()
            whole = torch.ones_like(inside)
            parts, _ = outside_means(colors, whole, unit_boxes, image_index, cells)
            means = torch.cat([means, parts], -1)
    return means.to(finest), counts


def outside_means(
    maps: Tensor, inside: Tensor, boxes: Tensor, image_index: Tensor, cells: int
) -> tuple[Tensor, Tensor]:
    """`f_g` of each part, zeros where it is covered; and how many of the map's cells it averages.

    Args:
        maps: `[B, D, H, W]` of padded images.
        inside: `[B, 2]`, fractions of the padded height and width that the image takes.
        boxes: `[N, 4]` xyxy as fractions of the image.
        image_index: `[N]`, ascending.
        cells: G.

    Returns:
        `[B, G G, D]` and `[B, G G]`.
    """
    height, width = maps.shape[2:]
    y, x = _centres(height, inside[:, 0]), _centres(width, inside[:, 1])
    outside = ~_covered(y, x, boxes, image_index)
    weights = outside.to(maps)
    rows, columns = _parts(y, cells, maps), _parts(x, cells, maps)
    counts = rows @ weights @ columns.mT
    sums = rows[:, None] @ (maps * weights[:, None]) @ columns.mT[:, None]
    means = sums / counts.clamp(min=1)[:, None]
    return means.flatten(2).mT, counts.flatten(1)


def _centres(count: int, inside: Tensor) -> Tensor:
    """The middles of a map's cells along one axis, as fractions of the image: `[B, count]`."""
    steps = torch.arange(count, dtype=inside.dtype, device=inside.device)
    return (steps + 0.5) / count / inside[:, None]


def _covered(y: Tensor, x: Tensor, boxes: Tensor, image_index: Tensor) -> Tensor:
    """Whether any box holds the middle of a cell: `[B, H, W]`.

    A box is the product of its rows and columns, so one matrix product counts the boxes of a cell.
    """
    slots, most = object_slots(image_index, len(y))
    x1, y1, x2, y2 = boxes[:, :, None].unbind(1)
    down = (y[image_index] >= y1) & (y[image_index] < y2)
    across = (x[image_index] >= x1) & (x[image_index] < x2)
    rows, columns = (in_slots(axis.to(y), slots, len(y), most) for axis in (down, across))
    return rows.mT @ columns > 0.5


def _parts(centres: Tensor, cells: int, like: Tensor) -> Tensor:
    """Whether a cell of a map belongs to a row or column of the grid: `[B, G, count]`, 0 or 1.

    Cells beyond the image, in the padding, belong to none.
    """
    part = (centres * cells).floor()
    numbers = torch.arange(cells, device=centres.device)
    return (part[:, None] == numbers[:, None]).to(like)
