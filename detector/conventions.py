"""Conventions of programs that publish weights: pixel values, anchors, pooling.

Weights work only under the conventions they were trained with, as read in the programs' code:

- `torchvision`: RGB with ImageNet's mean and deviation; anchors centred on a cell's corner.
- `motifs` (rowanz/neural-motifs): the same pixels; anchors centred in the cell and not rounded; the
  RPN's ReLU ends at 6; RoIs sampled once a cell, corners on corners (as TensorFlow's
  `crop_and_resize`); boxes hold their last pixel, x2 = x1 + width - 1.
- `graph_rcnn` (jwyang/graph-rcnn.pytorch, from maskrcnn-benchmark): values 0..255 less Caffe's BGR
  means, but in RGB order, because its image file holds BGR and its loader swaps the channels;
  anchors rounded before they are scaled; batch norm without epsilon, stride in the 1x1 convolution.
"""

from __future__ import annotations

from dataclasses import dataclass

from autoenc_sg.config.model import ConventionsName
from autoenc_sg.core.images import IMAGENET_MEAN, IMAGENET_STD

CAFFE_MEAN = (102.9801 / 255, 115.9465 / 255, 122.7717 / 255)
CAFFE_STD = (1 / 255, 1 / 255, 1 / 255)


@dataclass(frozen=True)
class Conventions:
    """One program's conventions; the defaults are torchvision's.

    Attributes:
        mean, std: of pixel values in [0, 1], by channel (RGB).
        centred_anchors: anchors are centred in their cells instead of on the corners.
        anchor_rounding: `corners` (of the anchor), `base` (of the sides at 16 pixels) or `none`.
        rpn_ceiling: largest activation in the RPN, None: none.
        last_pixel: x2 and y2 are the last pixel's when regions are pooled.
        corner_sampling: RoIs have one sample a cell, the outermost on the corners.
        sampling_ratio: RoIAlign's samples per cell and side, without `corner_sampling`; 0: one a
            pixel.
        batch_norm_eps: epsilon of frozen batch normalization.
        stride_in_1x1: residual blocks stride in their first convolution.
    """

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    centred_anchors: bool = False
    anchor_rounding: str = "corners"
    rpn_ceiling: float | None = None
    last_pixel: bool = False
    corner_sampling: bool = False
    sampling_ratio: int = 2
    batch_norm_eps: float = 1e-5
    stride_in_1x1: bool = False


CONVENTIONS: dict[ConventionsName, Conventions] = {
    "torchvision": Conventions(),
    "motifs": Conventions(
        centred_anchors=True,
        anchor_rounding="none",
        rpn_ceiling=6.0,
        last_pixel=True,
        corner_sampling=True,
    ),
    "graph_rcnn": Conventions(
        CAFFE_MEAN,
        CAFFE_STD,
        centred_anchors=True,
        anchor_rounding="base",
        last_pixel=True,
        sampling_ratio=0,
        batch_norm_eps=0.0,
        stride_in_1x1=True,
    ),
}
