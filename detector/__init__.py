"""Faster R-CNN: boxes, class logits, RoI features of objects and union features of pairs."""

from autoenc_sg.detector.colors import COLOR_PARTS, image_colors
from autoenc_sg.detector.contract import Detections, Detector, FeatureMaps
from autoenc_sg.detector.faster_rcnn import FasterRCNN, build_detector

__all__ = [
    "COLOR_PARTS",
    "Detections",
    "Detector",
    "FasterRCNN",
    "FeatureMaps",
    "build_detector",
    "image_colors",
]
