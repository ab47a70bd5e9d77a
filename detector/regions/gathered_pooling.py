"""RoIAlign as weighted sums of cells, gathered from one table of all maps: fast on the CPU.

RoIAlign's output cell is the mean of r x r bilinear samples, each a weighted sum of four cells of
the map. Bilinear weights are products of one for y and one for x, so an output cell is

    sum_{a, b} v_a w_b map[y_a, x_b],      a, b = 1..2 r

of 4 r r cells, and one gather with weights (`embedding_bag`) gives all channels of all boxes, from
the maps of all levels and images, which lie in one table. torchvision's takes the maps channel by
channel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import MultiScaleRoIAlign

from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.layers import as_maps


def gathered(pool: nn.Module) -> nn.Module:
    """A pool of `pooling.roi_pool` that gathers if it is a plain RoIAlign, else the pool itself."""
    return GatheredRoIAlign(pool) if isinstance(pool, MultiScaleRoIAlign) else pool


class GatheredRoIAlign(nn.Module):
    """The same as a `MultiScaleRoIAlign`, which is used where this way is not faster.

    Its output's memory has the cells first (`core.layers.cells_first`).

    Args:
        pool: with known scales.
    """

    def __init__(self, pool: MultiScaleRoIAlign) -> None:
        super().__init__()
        self.pool = pool

    def forward(
        self, maps: dict[str, Tensor], boxes: list[Tensor], image_sizes: list[ImageSize]
    ) -> Tensor:
        """See `pooling.roi_pool`."""
        used = [maps[name] for name in self.pool.featmap_names]
        if not all(map(_is_faster_gathered, used)) or self.pool.sampling_ratio < 1:
            pooled: Tensor = self.pool(maps, boxes, image_sizes)
            return pooled
        index, weights = self._cells(used, boxes)
        table = torch.cat([values.permute(0, 2, 3, 1).flatten(0, 2) for values in used])
        sums = F.embedding_bag(index, table, mode="sum", per_sample_weights=weights.to(table))
        side = self.pool.output_size[0]
        return as_maps(sums.unflatten(0, (side * side, -1)))

    @torch.no_grad()
    def _cells(self, maps: Sequence[Tensor], boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Rows of the table for each output cell and box, and their weights: `[S S N, 4 r r]`."""
        together = torch.cat(boxes)
        counts = torch.tensor([len(part) for part in boxes])
        image = torch.arange(len(boxes)).repeat_interleave(counts)
        level = torch.zeros_like(image)
        if len(maps) > 1:
            assert self.pool.map_levels is not None
            level = self.pool.map_levels(boxes)
        sizes = torch.tensor([values.shape[-2:] for values in maps])
        cells = sizes.prod(1)
        starts = (cells * len(boxes)).cumsum(0) - cells * len(boxes)
        scaled = together * together.new_tensor(self.pool.scales)[level, None]
        height, width = sizes[level].unbind(1)
        side, ratio = self.pool.output_size[0], self.pool.sampling_ratio
        y, along_y = _samples(scaled[:, 1], scaled[:, 3], height, side, ratio)
        x, along_x = _samples(scaled[:, 0], scaled[:, 2], width, side, ratio)
        rows = starts[level] + image * cells[level]
        lines = rows[:, None] + y * width[:, None]  # the first cell of each line
        index = lines[:, None, :, :, None] + x[None, :, :, None, :]
        weights = along_y[:, None, :, :, None] * along_x[None, :, :, None, :]
        return index.flatten(3).flatten(0, 2), weights.flatten(3).flatten(0, 2)


def _samples(
    low: Tensor, high: Tensor, cells: Tensor, side: int, ratio: int
) -> tuple[Tensor, Tensor]:
    """RoIAlign's cells and their weights along one side of boxes.

    Shapes: `low, high [N]` of the boxes and `cells [N]` of their maps, in cells of the map ->
    indices and weights `[side, N, 2 ratio]`.
    """
    length = (high - low).clamp(min=1)[:, None] / side
    steps = torch.arange(side).to(low)[:, None, None]
    parts = torch.arange(ratio).to(low) + 0.5
    at = low[:, None] + steps * length + parts * length / ratio  # [side, N, ratio]
    last = (cells - 1)[:, None]
    is_inside = (at >= -1) & (at <= cells[:, None])
    at = torch.minimum(at.clamp(min=0), last.to(at))
    first = at.floor()
    share = at - first  # 0 outside, where `at` is the first or last cell
    weights = torch.stack([is_inside.to(at) - share, share], -1) / ratio
    first = first.long()
    index = torch.stack([first, torch.minimum(first + 1, last)], -1)
    return index.flatten(2), weights.flatten(2)


def _is_faster_gathered(maps: Tensor) -> bool:
    return (
        maps.device.type == "cpu"
        and maps.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
    )
