"""Region proposals: torchvision's RPN with anchors by convention, in float32 at least."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RPNHead

from autoenc_sg.config.model import DetectorConfig
from autoenc_sg.core.errors import bad_input
from autoenc_sg.detector.conventions import CONVENTIONS, Conventions
from autoenc_sg.detector.regions.heads import at_least_float
from autoenc_sg.detector.sampling import CrowdAwareProposals


class Anchors(AnchorGenerator):
    """Anchors of each cell, ratio by ratio, size by size within a ratio, in float32.

    An anchor of side s and ratio r is `s / sqrt(r)` wide and `s sqrt(r)` high. torchvision computes
    them in the maps' precision, which under bfloat16 is wrong by whole pixels.

    Args:
        sizes: sides in pixels, one tuple a map.
        ratios: height / width.
        strides: pixels a cell of each map.
        conventions: where they are centred and how they are rounded.
    """

    def __init__(
        self,
        sizes: tuple[tuple[float, ...], ...],
        ratios: tuple[float, ...],
        strides: tuple[int, ...],
        conventions: Conventions,
    ) -> None:
        self.conventions = conventions
        super().__init__(sizes, (ratios,) * len(sizes))
        if conventions.centred_anchors:
            cells = zip(self.cell_anchors, strides)
            self.cell_anchors: list[Tensor] = [anchors + stride / 2 for anchors, stride in cells]

    def generate_anchors(self, scales: Any, aspect_ratios: Any, *_: Any, **__: Any) -> Tensor:
        """The anchors of a cell around (0, 0): `[A, 4]`."""
        sizes, ratios = torch.tensor(scales).double(), torch.tensor(aspect_ratios).double()
        if self.conventions.anchor_rounding == "base":
            widths = (256 / ratios).sqrt().round()
            heights = (widths * ratios).round()
            widths, heights = widths[:, None] * sizes / 16, heights[:, None] * sizes / 16
        else:
            widths, heights = sizes / ratios.sqrt()[:, None], sizes * ratios.sqrt()[:, None]
        corners = torch.stack([-widths, -heights, widths, heights], -1).reshape(-1, 4) / 2
        if self.conventions.anchor_rounding == "corners":
            corners = corners.round()
        return corners.float()

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """All anchors of each image, map by map."""
        grids = [m.shape[-2:] for m in feature_maps]
        with torch.inference_mode(False):  # they are kept, and used in training later
            self.set_cell_anchors(torch.float32, feature_maps[0].device)
        padded = image_list.tensors.shape[-2:]
        strides = [[torch.tensor(p // g) for p, g in zip(padded, grid)] for grid in grids]
        anchors = torch.cat(self.grid_anchors([list(grid) for grid in grids], strides))
        return [anchors for _ in image_list.image_sizes]


class ProposalHead(RPNHead):
    """Objectness and box deltas of each anchor, at least in float32.

    Args:
        channels: of the maps.
        anchors: how many a cell.
        ceiling: largest activation of the hidden layer, None: none.
    """

    def __init__(self, channels: int, anchors: int, ceiling: float | None) -> None:
        super().__init__(channels, anchors)
        if ceiling is not None:
            self.conv[0][1] = nn.Hardtanh(0.0, ceiling, inplace=True)

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """`[B, D, H, W]` of each map to `[B, A, H, W]` and `[B, 4 A, H, W]`."""
        objectness, deltas = super().forward(x)
        return [at_least_float(o) for o in objectness], [at_least_float(d) for d in deltas]


def region_proposals(
    config: DetectorConfig, strides: tuple[int, ...], channels: int, all_anchors: bool = False
) -> CrowdAwareProposals:
    """The RPN over maps of these strides and width.

    Several maps have anchors of one size each, in order; with `all_anchors` of all sizes.

    Raises:
        InputError: several maps, but not one anchor size for each.
    """
    sizes, levels = config.anchor_sizes, len(strides)
    one_each = levels > 1 and not all_anchors
    if one_each and len(sizes) != levels:
        raise bad_input("detector.anchor_sizes", f"{levels} sizes, one a pyramid level", sizes)
    conventions = CONVENTIONS[config.conventions]
    per_level = tuple((size,) for size in sizes) if one_each else (tuple(sizes),) * levels
    anchors = Anchors(per_level, config.anchor_ratios, strides, conventions)
    head = ProposalHead(channels, anchors.num_anchors_per_location()[0], conventions.rpn_ceiling)
    kept_after_nms = {
        "training": config.train_proposals or config.proposals,
        "testing": config.proposals,
    }
    kept_before_nms = {mode: 4 * count for mode, count in kept_after_nms.items()}
    return CrowdAwareProposals(
        anchors, head, 0.7, 0.3, 256, 0.5, kept_before_nms, kept_after_nms, 0.7
    )
