"""Files with the names and shapes of other programs' detectors, their numbers random or alike."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tests.support.graphs import seeded

Weights = dict[str, Tensor]
MOTIFS_RATIOS = (0.23232838, 0.63365731, 1.28478321, 3.15089189)
MOTIFS_SCALES = (2.22152954, 4.12315647, 7.21692515, 12.60263013, 22.7102731)
VGG16 = {  # number of the layer in `features`: channels in and out
    0: (3, 64),
    2: (64, 64),
    5: (64, 128),
    7: (128, 128),
    10: (128, 256),
    12: (256, 256),
    14: (256, 256),
    17: (256, 512),
    19: (512, 512),
    21: (512, 512),
    24: (512, 512),
    26: (512, 512),
    28: (512, 512),
}


def alike(*shape: int, value: float = 0.0) -> Tensor:
    """A tensor of any size that takes no place in a file."""
    return torch.full((1,), value).expand(shape)


def motifs_detector(classes: int = 151, width: int = 32, side: int = 37) -> Weights:
    """`vg-faster-rcnn.tar` of rowanz/neural-motifs, with a narrower head."""
    g = seeded(0)

    def layer(name: str, d_out: int, *d_in: int, std: float = 0.02) -> Weights:
        return {
            f"{name}.weight": torch.randn(d_out, *d_in, generator=g) * std,
            f"{name}.bias": torch.randn(d_out, generator=g) * std,
        }

    weights: Weights = {}
    for number, (d_in, d_out) in VGG16.items():
        weights[f"features.{number}.weight"] = alike(d_out, d_in, 3, 3, value=0.01)
        weights[f"features.{number}.bias"] = alike(d_out, value=float(number))
    weights |= layer("roi_fmap.0", width, 512 * 49) | layer("roi_fmap.3", width, width)
    weights |= layer("score_fc", classes, width) | layer("bbox_fc", classes * 4, width)
    weights |= layer("rpn_head.conv.0", 512, 512, 3, 3)
    weights |= layer("rpn_head.conv.2", 20 * 6, 512, 1, 1)
    return weights | {"rpn_head.anchors": torch.tensor(motifs_anchor_grid(side))}


def motifs_anchor_grid(side: int) -> list[list[list[list[float]]]]:
    """Corners of all anchors, `[side][side][20][4]`, the last pixel included."""
    cell = []
    for ratio in MOTIFS_RATIOS:
        base = math.sqrt(16 * 16 / ratio)
        for scale in MOTIFS_SCALES:
            w, h = base * scale, base * ratio * scale
            cell.append(
                [7.5 - (w - 1) / 2, 7.5 - (h - 1) / 2, 7.5 + (w - 1) / 2, 7.5 + (h - 1) / 2]
            )
    return [
        [
            [[a + 16 * x, b + 16 * y, c + 16 * x, d + 16 * y] for a, b, c, d in cell]
            for x in range(side)
        ]
        for y in range(side)
    ]


def graph_rcnn_detector(classes: int = 151) -> Weights:
    """A detector's `.pth` of jwyang/graph-rcnn.pytorch (R-101-C4)."""
    weights: Weights = {"backbone.body.stem.conv1.weight": alike(64, 3, 7, 7, value=0.01)}
    weights |= _frozen_norm("backbone.body.stem.bn1", 64)
    width = 64
    for stage, blocks in ((1, 3), (2, 4), (3, 23), (4, 3)):
        inner = 32 * 2**stage
        place = "backbone.body" if stage < 4 else "roi_heads.box.feature_extractor.head"
        for block in range(blocks):
            name = f"{place}.layer{stage}.{block}"
            if block == 0:
                weights[f"{name}.downsample.0.weight"] = alike(4 * inner, width, 1, 1, value=0.01)
                weights |= _frozen_norm(f"{name}.downsample.1", 4 * inner)
            for i, (d_in, d_out, k) in enumerate(
                ((width, inner, 1), (inner, inner, 3), (inner, 4 * inner, 1)), start=1
            ):
                weights[f"{name}.conv{i}.weight"] = alike(d_out, d_in, k, k, value=0.01)
                weights |= _frozen_norm(f"{name}.bn{i}", d_out)
            width = 4 * inner
    g = seeded(1)
    for name, shape in {
        "rpn.head.conv": (1024, 1024, 3, 3),
        "rpn.head.cls_logits": (15, 1024, 1, 1),
        "rpn.head.bbox_pred": (60, 1024, 1, 1),
        "roi_heads.box.predictor.cls_score": (classes, 2048),
        "roi_heads.box.predictor.bbox_pred": (classes * 4, 2048),
    }.items():
        weights[f"{name}.weight"] = torch.randn(shape, generator=g) * 0.02
        weights[f"{name}.bias"] = torch.randn(shape[0], generator=g)
    weights["rpn.anchor_generator.cell_anchors.0"] = alike(15, 4)
    return weights


def _frozen_norm(name: str, width: int) -> Weights:
    ones = {n: alike(width, value=1.0) for n in ("weight", "running_var")}
    zeros = {n: alike(width) for n in ("bias", "running_mean")}
    return {f"{name}.{key}": value for key, value in (ones | zeros).items()}
