"""The detector's part of the configuration: the network, and the phase that trains it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from autoenc_sg.core.errors import require

BackboneName = Literal[
    "small",
    "resnet18",
    "resnet50",
    "resnet50_fpn",
    "resnet101",
    "resnet101_c4",
    "mobilenet_v3",
    "vgg16",
]
ConventionsName = Literal["torchvision", "motifs", "graph_rcnn"]


@dataclass(frozen=True)
class DetectorConfig:
    """Faster R-CNN; docs/detectors.md tells of the backbones and of others' weights.

    Attributes:
        backend: `torchvision`, or `detectron2`, which brings its own backbone and anchors.
        detectron2_config: of that back end, a file or a name in its model zoo.
        backbone: `small` (stride 8, for the CPU); `resnet18`, `resnet50` (also `resnet50_fpn`),
            `resnet101` and `mobilenet_v3` (with feature pyramids); `vgg16` (one map of stride 16,
            as in the paper and Neural Motifs); `resnet101_c4` (one map of stride 16 and layer 4 as
            head, as in Graph R-CNN).
        conventions: of pixel values, anchors and RoI pooling: those of the program that the weights
            come from.
        channels: width of the maps that regions are pooled from (`small`, and the pyramids').
        pretrained: ImageNet weights for the backbone, downloaded by torchvision.
        weights: a file of detector weights (`.pt`, `.pth`, `.pkl` or `.safetensors`), loaded first,
            or `coco`: torchvision's detector of COCO, downloaded (`resnet50` and `torchvision`).
        min_size, max_size: images are resized so that the short side is `min_size`, unless the long
            side would pass `max_size`, pixels.
        anchor_sizes: sides of the anchors in pixels of the resized image.
        anchor_ratios: height / width of the anchors.
        proposals: regions the RPN proposes per image.
        train_proposals: the same when the detector is trained; 0: as many.
        rois_per_image: regions sampled per image for the detection loss.
        feature_dim: D of the object and subgraph features.
        pooled_size: RoIAlign's output side for subgraphs.
        box_head_dim: width of the box head's two layers; 0: `feature_dim`. Where it differs, a
            linear layer makes D of it.
        box_pooled_size: RoIAlign's output side for the box head; 0: `pooled_size`.
        class_agnostic: one box per region instead of one per class.
        detections: regions kept per image at most.
        score_threshold: least class score of a detection.
        nms_threshold: IoU of the per-class non-maximum suppression.
    """

    backend: Literal["torchvision", "detectron2"] = "torchvision"
    detectron2_config: str = "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"
    backbone: BackboneName = "vgg16"
    conventions: ConventionsName = "torchvision"
    channels: int = 256
    pretrained: bool = False
    weights: str | None = None
    min_size: int = 600
    max_size: int = 1000
    anchor_sizes: tuple[float, ...] = (32, 64, 128, 256, 512)
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    proposals: int = 256
    train_proposals: int = 0
    rois_per_image: int = 256
    feature_dim: int = 512
    pooled_size: int = 5
    box_head_dim: int = 0
    box_pooled_size: int = 0
    class_agnostic: bool = False
    detections: int = 64
    score_threshold: float = 0.05
    nms_threshold: float = 0.3

    def __post_init__(self) -> None:
        for name in ("min_size", "proposals", "detections", "feature_dim", "pooled_size"):
            require(getattr(self, name) > 0, f"detector.{name}", "> 0", getattr(self, name))
        for name in ("train_proposals", "box_head_dim", "box_pooled_size"):
            require(getattr(self, name) >= 0, f"detector.{name}", ">= 0", getattr(self, name))
        require(self.max_size >= self.min_size, "detector.max_size", ">= min_size", self.max_size)
        for name in ("anchor_sizes", "anchor_ratios"):
            values = getattr(self, name)
            good = len(values) > 0 and min(values) > 0
            require(good, f"detector.{name}", "one or more, > 0", values)

    @property
    def head_width(self) -> int:
        """Width of the box head's layers."""
        return self.box_head_dim or self.feature_dim

    @property
    def head_pooled_size(self) -> int:
        """RoIAlign's output side for the box head."""
        return self.box_pooled_size or self.pooled_size


@dataclass(frozen=True)
class DetectorPhase:
    """Phase 0: Faster R-CNN on the data set's boxes (SGD with warm-up, decayed by 0.1).

    Attributes:
        steps: how long.
        batch_size: images a step, over all processes.
        lr, momentum, weight_decay: of SGD.
        warmup: steps of linear warm-up.
        decay_at: fractions of `steps` after which the learning rate is multiplied by 0.1.
        clip: largest gradient norm.
        validate_epochs: epochs between validations (COCO AP on the validation split), which keep
            `best_detector.pt`; the phase's end is one, too. 0: none.
        validation_images: of the validation split, at most.
    """

    steps: int = 100_000
    batch_size: int = 8
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: int = 500
    decay_at: tuple[float, ...] = (0.7, 0.9)
    clip: float = 5.0
    validate_epochs: int = 1
    validation_images: int = 1000

    def __post_init__(self) -> None:
        where, epochs = "detector_training", self.validate_epochs
        for name in ("steps", "warmup", "lr", "momentum", "weight_decay"):
            require(getattr(self, name) >= 0, f"{where}.{name}", ">= 0", getattr(self, name))
        require(self.batch_size >= 1, f"{where}.batch_size", ">= 1", self.batch_size)
        require(self.clip > 0, f"{where}.clip", "> 0", self.clip)
        require(epochs >= 0, f"{where}.validate_epochs", ">= 0", epochs)
        images = self.validation_images
        require(images > 0, f"{where}.validation_images", "> 0", images)
