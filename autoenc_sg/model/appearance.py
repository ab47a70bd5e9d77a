"""From what a detector sees of a region to its appearance code."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoenc_sg.core.boxes import to_unit_boxes
from autoenc_sg.core.layers import mlp
from autoenc_sg.core.structures import Regions
from autoenc_sg.detector import FeatureMaps
from autoenc_sg.generator.crops import crop_objects

CELLS = 2  # a region's map is averaged over CELLS x CELLS parts of the box
_SAMPLES = 4  # of colours, along each side of a cell


class Bottleneck(nn.Module):
    """`a = tanh(W2 relu(W1 n(f) + b1) + b2 + W3 c)`, in (-1, 1); `n` is layer normalization.

    `f` are features and `c` mean colours in [-1, 1], behind them in one vector. `W3` starts at 0;
    without colours there is none.

    The image losses train it, and their gradient ends here: what the detector sees is what
    recognition made of it, so the picture cannot learn to smuggle an object's class past the graph,
    and what the joint phase freezes stays as it is.

    Args:
        width: of the features `f`.
        code_dim: A.
        num_colors: width of the colours `c`.

    Shapes: `[*, width + num_colors] -> [*, A]`.
    """

    def __init__(self, width: int, code_dim: int, num_colors: int = 0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.net = mlp((width, 8 * code_dim, code_dim))
        self.color_net = nn.Linear(num_colors, code_dim, bias=False) if num_colors else None
        if self.color_net is not None:
            nn.init.zeros_(self.color_net.weight)

    def codes(self, looks: Tensor) -> Tensor:
        """The codes of features followed by colours."""
        width = self.norm.normalized_shape[0]
        features, colors = looks.detach().tensor_split((width,), -1)
        codes: Tensor = self.net(self.norm(features))
        if self.color_net is not None:
            codes = codes + self.color_net(colors)
        return codes.tanh()


class AppearanceEncoder(Bottleneck):
    """The bottleneck of a region's map (RoIAlign of the backbone's maps), averaged to 2 x 2 cells.

    And of the mean colours of K x K cells of its box, if K > 0.

    The map, not the box head's feature: the head learns to tell classes and to forget what tells
    things of one class apart.

    Args:
        map_channels: D_map of the regions' maps.
        code_dim: A.
        color_cells: K.
    """

    def __init__(self, map_channels: int, code_dim: int, color_cells: int = 0) -> None:
        super().__init__(map_channels * CELLS**2, code_dim, 3 * color_cells**2)
        self.color_cells = color_cells

    def forward(self, maps: Tensor, regions: Regions) -> Tensor:
        """The codes `[N, A]` of regions, whose maps are `[N, D_map, S, S]`."""
        return self.codes(region_looks(maps, regions, self.color_cells))


def region_looks(maps: Tensor, regions: Regions, color_cells: int) -> Tensor:
    """What is seen of each region, no gradient: `[N, 4 D_map + 3 K K]`.

    Its map `[D_map, S, S]` averaged to 2 x 2 cells, and the mean colours of K x K cells of its box.
    """
    cells = F.adaptive_avg_pool2d(maps.detach(), CELLS).flatten(1)
    if color_cells == 0:
        return cells
    boxes = to_unit_boxes(regions.boxes.detach().float(), regions.image_sizes, regions.image_index)
    colors = box_colors(color_maps(regions).float(), boxes, regions.image_index, color_cells)
    return torch.cat([cells, colors.to(cells)], 1)


def box_colors(colors: Tensor, boxes: Tensor, image_index: Tensor, cells: int) -> Tensor:
    """Mean colours of K x K cells of each box: `[N, 3 K K]`, channel by channel, row by row.

    Each is the mean of 4 x 4 bilinear samples; what lies outside the image has the colour of its
    border.

    Args:
        colors: `[B, 3, G, G]` of `detector.image_colors`.
        boxes: `[N, 4]` xyxy, fractions of the image.
        image_index: `[N]`, ascending.
        cells: K.
    """
    margin = 0.5 / colors.shape[-1]  # a part's colour is that of its middle
    between_middles = ((boxes - margin) / (1 - 2 * margin)).clamp(0, 1)
    samples = crop_objects(colors, between_middles, image_index, cells * _SAMPLES)
    return F.adaptive_avg_pool2d(samples, cells).flatten(1)


def color_maps(seen: FeatureMaps | Regions) -> Tensor:
    """The mean colours `[B, 3, G, G]` that a detector kept."""
    assert seen.colors is not None, "expected a detector's `encode` to keep colours"
    return seen.colors
