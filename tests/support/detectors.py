"""Small detectors of each back end, for the tests of what all of them promise."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from autoenc_sg.config.model import DetectorConfig
from autoenc_sg.detector import Detector, build_detector
from tests.support.graphs import C

HAS_DETECTRON2 = importlib.util.find_spec("detectron2") is not None
WITHOUT = "detectron2 is not importable (docs/detectors.md says how it is installed)"
needs_detectron2 = pytest.mark.skipif(not HAS_DETECTRON2, reason=WITHOUT)

FPN = """
VERSION: 2
MODEL:
  META_ARCHITECTURE: GeneralizedRCNN
  BACKBONE: {NAME: build_resnet_fpn_backbone, FREEZE_AT: 0}
  RESNETS: {DEPTH: 18, RES2_OUT_CHANNELS: 64, NORM: BN, OUT_FEATURES: [res2, res3, res4, res5]}
  FPN: {IN_FEATURES: [res2, res3, res4, res5], OUT_CHANNELS: 8}
  ANCHOR_GENERATOR: {SIZES: [[8], [16], [32], [64], [128]]}
  RPN: {IN_FEATURES: [p2, p3, p4, p5, p6]}
  ROI_HEADS: {NAME: StandardROIHeads, IN_FEATURES: [p2, p3, p4, p5]}
  ROI_BOX_HEAD: {NAME: FastRCNNConvFCHead, NUM_FC: 2, FC_DIM: 16, POOLER_RESOLUTION: 3}
"""
C4 = """
VERSION: 2
MODEL:
  META_ARCHITECTURE: GeneralizedRCNN
  BACKBONE: {FREEZE_AT: 0}
  RESNETS: {DEPTH: 50, WIDTH_PER_GROUP: 4, RES2_OUT_CHANNELS: 16, STEM_OUT_CHANNELS: 8, NORM: BN}
  ANCHOR_GENERATOR: {SIZES: [[12, 24, 48]]}
  ROI_HEADS: {NAME: Res5ROIHeads}
  ROI_BOX_HEAD: {POOLER_RESOLUTION: 4}
"""
KINDS = ("small", "vgg16", "detectron2-fpn", "detectron2-c4")
MARKED = [pytest.param(k, marks=needs_detectron2 if "detectron2" in k else ()) for k in KINDS]


def small_config(kind: str, folder: Path, **changes: object) -> DetectorConfig:
    """A detector of 12 features and 3x3 subgraphs that keeps everything it finds."""
    sizes: dict[str, object] = {
        "min_size": 64,
        "max_size": 96,
        "anchor_sizes": (12, 24, 48),
        "proposals": 10,
        "rois_per_image": 8,
        "feature_dim": 12,
        "pooled_size": 3,
        "detections": 5,
        "score_threshold": 0.0,
    }
    if kind.startswith("detectron2"):
        file = folder / f"{kind}.yaml"
        file.write_text(FPN if kind.endswith("fpn") else C4, encoding="utf-8")
        sizes |= {"backend": "detectron2", "detectron2_config": str(file)}
    else:
        sizes |= {"backbone": kind, "channels": 8}
    return DetectorConfig(**(sizes | changes))  # type: ignore[arg-type]


def small_detector(kind: str, folder: Path, **changes: object) -> Detector:
    """Such a detector of `tests.support.graphs.C` classes, seeded, in evaluation mode."""
    torch.manual_seed(0)
    return build_detector(small_config(kind, folder, **changes), C).eval()
