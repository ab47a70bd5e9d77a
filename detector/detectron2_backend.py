"""Faster R-CNN from detectron2: its backbone, proposals, RoI pooling and heads as a `Detector`.

detectron2 is not on the package index; docs/detectors.md says how it is installed. It is imported
only when such a detector is built.

detectron2 counts classes from 0 with the background last, here the background is 0. Pixel values,
anchors and pooling are those of its configuration file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from autoenc_sg.config.model import DetectorConfig
from autoenc_sg.core.boxes import ImageSize, clip_to_images, rescale_boxes
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.core.images import as_float
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.core.structures import Regions
from autoenc_sg.detector.backbones import image_sizes
from autoenc_sg.detector.colors import image_colors
from autoenc_sg.detector.contract import Detections, Detector, FeatureMaps
from autoenc_sg.detector.regions.heads import UnionHead, at_least_float, projection
from autoenc_sg.detector.suppression import choose

LOSS_NAMES = {  # detectron2's -> ours
    "loss_rpn_cls": "rpn_objectness",
    "loss_rpn_loc": "rpn_box",
    "loss_cls": "roi_class",
    "loss_box_reg": "roi_box",
}
HEADS = ("StandardROIHeads", "Res5ROIHeads")


class Detectron2Detector(Detector):
    """A `GeneralizedRCNN` of detectron2.

    Shapes: see `Detector`. `D = config.feature_dim`, `S = config.pooled_size`.

    Args:
        config: `detectron2_config`, and sizes and thresholds, which replace those of that file.
        num_classes: C.

    Raises:
        InputError: detectron2 is not installed, or the file does not describe a Faster R-CNN.
    """

    def __init__(self, config: DetectorConfig, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        self.feature_dim = config.feature_dim
        self.pooled_size = config.pooled_size
        d2 = import_detectron2()
        settings = read_settings(d2, config, num_classes)
        self.flipped = settings.INPUT.FORMAT == "BGR"
        self.network = d2.modeling.build_model(settings)
        self._frozen = [p for p in self.network.parameters() if not p.requires_grad]
        shapes = self.network.backbone.output_shape()
        heads = self.network.roi_heads
        self.names = tuple(shapes)
        self.used = tuple(heads.in_features)
        self.transform = GeneralizedRCNNTransform(config.min_size, config.max_size, [0.0], [1.0])
        self.union_pool = d2.modeling.poolers.ROIPooler(
            config.pooled_size, [1 / shapes[n].stride for n in self.used], 0, "ROIAlignV2"
        )
        self.map_channels = shapes[self.used[0]].channels
        self.union_head = UnionHead(self.map_channels, config.feature_dim)
        width = heads.box_predictor.cls_score.in_features
        self.projection = projection(width, config.feature_dim)

    def encode(self, images: Sequence[Tensor]) -> FeatureMaps:
        """See `Detector.encode`."""
        sizes = image_sizes(images, self.config.max_size)
        batch = self._batch(images)
        maps = self.network.backbone(batch.tensor)
        padded = (int(batch.tensor.shape[-2]), int(batch.tensor.shape[-1]))
        network_sizes = tuple((int(h), int(w)) for h, w in batch.image_sizes)
        colors = image_colors([as_float(image) for image in images])
        levels = tuple(maps[n] for n in self.names)
        return FeatureMaps(levels, sizes, network_sizes, padded, colors)

    def _batch(self, images: Sequence[Tensor]) -> Any:
        """The images resized, with detectron2's pixel values, padded to one `ImageList`."""
        resized = []
        for image in images:
            values = self.transform.resize(as_float(image), None)[0] * 255
            resized.append({"image": values.flip(0) if self.flipped else values})
        return self.network.preprocess_image(resized)

    @torch.no_grad()
    def detect(self, maps: FeatureMaps) -> Detections:
        """See `Detector.detect`."""
        proposals = self._propose(maps)
        boxes = [p.proposal_boxes for p in proposals]
        features = self._head(maps.maps, boxes)
        logits, deltas = self.network.roi_heads.box_predictor(features)
        counts = [len(image_boxes) for image_boxes in boxes]
        index = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)).to(logits.device)
        predicted = self.network.roi_heads.box_predictor.predict_boxes((logits, deltas), proposals)
        class_boxes = torch.cat(list(predicted)).reshape(len(index), -1, 4)
        if class_boxes.shape[1] > 1:  # a box for each class but background, which comes first here
            class_boxes = torch.cat([class_boxes[:, :1], class_boxes], 1)
        class_boxes = rescale_boxes(class_boxes, maps.network_sizes, maps.image_sizes, index)
        class_boxes = clip_to_images(class_boxes, maps.image_sizes, index)
        scores = _background_first(logits).softmax(-1)
        return choose(self.config, scores, class_boxes, index, len(maps.image_sizes))

    def _propose(self, maps: FeatureMaps) -> list[Any]:
        """The proposals of each image as detectron2's `Instances`, without losses."""
        d2 = import_detectron2()
        generator = self.network.proposal_generator
        pixels = torch.empty(len(maps.image_sizes), 3, *maps.padded_size, device="meta")
        images = d2.structures.ImageList(pixels, list(maps.network_sizes))
        was_training = generator.training
        generator.eval()
        proposals: list[Any]
        proposals, _ = generator(images, dict(zip(self.names, maps.maps)), None)
        generator.train(was_training)
        return proposals

    def box_features(
        self, maps: FeatureMaps, boxes: Tensor, image_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Detector.box_features`."""
        d2_boxes = self._boxes(maps.network_sizes, maps.image_sizes, boxes, image_index)
        features = self._head(maps.maps, d2_boxes)
        logits, _ = self.network.roi_heads.box_predictor(features)
        return features, _background_first(at_least_float(logits))

    def region_maps(self, regions: Regions) -> Tensor:
        """See `Detector.region_maps`."""
        sizes = (regions.network_sizes, regions.image_sizes)
        d2_boxes = self._boxes(*sizes, regions.boxes, regions.image_index)
        maps: Tensor = self.union_pool(self._used(regions.feature_maps), d2_boxes)
        return maps

    def _boxes(
        self,
        network_sizes: tuple[ImageSize, ...],
        image_sizes: tuple[ImageSize, ...],
        boxes: Tensor,
        image_index: Tensor,
    ) -> list[Any]:
        """Boxes `[N, 4]` in pixels of the images passed in as detectron2's, in its pixels."""
        d2 = import_detectron2()
        scaled = rescale_boxes(boxes, image_sizes, network_sizes, image_index).to(boxes)
        counts = torch.bincount(image_index, minlength=len(image_sizes)).tolist()
        return [d2.structures.Boxes(image_boxes) for image_boxes in scaled.split(counts)]

    def _used(self, maps: tuple[Tensor, ...]) -> list[Tensor]:
        named = dict(zip(self.names, maps))
        return [named[name] for name in self.used]

    def _head(self, maps: tuple[Tensor, ...], boxes: list[Any]) -> Tensor:
        """RoI features of detectron2's boxes: `[N, width]`."""
        heads = self.network.roi_heads
        if hasattr(heads, "res5"):
            pooled: Tensor = heads.res5(heads.pooler(self._used(maps), boxes)).mean((2, 3))
            return pooled
        features: Tensor = heads.box_head(heads.box_pooler(self._used(maps), boxes))
        return features

    def losses(self, images: Sequence[Tensor], truth: SceneGraphBatch) -> dict[str, Tensor]:
        """See `Detector.losses`; computed by detectron2."""
        image_sizes(images, self.config.max_size)
        d2 = import_detectron2()
        network, batch = self.network, self._batch(images)
        features = network.backbone(batch.tensor)
        targets = self._targets(batch.image_sizes, truth)
        with d2.utils.events.EventStorage():  # where detectron2 counts its samples
            proposals, computed = network.proposal_generator(batch, features, targets)
            if network.roi_heads.training:
                _, roi_losses = network.roi_heads(batch, features, proposals, targets)
                computed = {**computed, **roi_losses}
        return {ours: computed[theirs] for theirs, ours in LOSS_NAMES.items() if theirs in computed}

    def _targets(self, sizes: Sequence[ImageSize], truth: SceneGraphBatch) -> list[Any]:
        d2 = import_detectron2()
        true_boxes = self._boxes(tuple(sizes), truth.image_sizes, truth.boxes, truth.image_index)
        counts = [len(boxes) for boxes in true_boxes]
        return [
            d2.structures.Instances(tuple(size), gt_boxes=boxes, gt_classes=labels - 1)
            for size, boxes, labels in zip(sizes, true_boxes, truth.labels.split(counts))
        ]

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """See `Detector.backbone_parameters`."""
        backbone, frozen = self.network.backbone, set(self._frozen)
        layers = getattr(backbone, "bottom_up", backbone)
        yield from (p for p in layers.parameters() if p not in frozen)

    def frozen_parameters(self) -> Iterator[nn.Parameter]:
        """Those that its own configuration freezes (`MODEL.BACKBONE.FREEZE_AT`)."""
        yield from self._frozen

    def frozen_modules(self) -> Iterator[nn.Module]:
        """See `Detector.frozen_modules`."""
        yield from (self.network.backbone, self.network.proposal_generator)

    def trainable_head_modules(self) -> Iterator[nn.Module]:
        """See `Detector.trainable_head_modules`."""
        yield from (*self.classifier_modules(), self.projection, self.union_head)

    def classifier_modules(self) -> Iterator[nn.Module]:
        """See `Detector.classifier_modules`."""
        heads = self.network.roi_heads
        yield heads.res5 if hasattr(heads, "res5") else heads.box_head
        yield heads.box_predictor.cls_score


def import_detectron2() -> ModuleType:
    """detectron2 with the sub-modules that are used here.

    Raises:
        InputError: it is not installed, or cannot be imported.
    """
    try:
        import detectron2
        import detectron2.config
        import detectron2.modeling
        import detectron2.modeling.poolers
        import detectron2.structures
        import detectron2.utils.events
    except ImportError as error:
        raise InputError(
            f"detector.backend: expected detectron2 to be installed, got {error}; "
            "docs/detectors.md says how"
        ) from error
    package: ModuleType = detectron2
    return package


def read_settings(d2: ModuleType, config: DetectorConfig, num_classes: int) -> Any:
    """detectron2's configuration with our sizes and thresholds.

    Raises:
        InputError: no such file or name, or not a Faster R-CNN.
    """
    settings = d2.config.get_cfg()
    path = _config_file(config.detectron2_config)
    try:
        settings.merge_from_file(path)
    except (KeyError, ValueError, AssertionError, TypeError, AttributeError) as error:
        raise bad_input(path, "a configuration of detectron2", error) from error
    model = settings.MODEL
    kind = (model.META_ARCHITECTURE, model.ROI_HEADS.NAME)
    if kind[0] != "GeneralizedRCNN" or kind[1] not in HEADS:
        expected = f"GeneralizedRCNN with one of {', '.join(HEADS)}"
        raise bad_input(f"detector.detectron2_config: {path}", expected, " with ".join(kind))
    model.DEVICE, model.WEIGHTS = "cpu", ""
    model.MASK_ON = model.KEYPOINT_ON = False
    model.ROI_BOX_HEAD.USE_SIGMOID_CE = model.ROI_BOX_HEAD.USE_FED_LOSS = False
    model.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = config.class_agnostic
    if config.box_head_dim:
        model.ROI_BOX_HEAD.FC_DIM = config.box_head_dim
    if config.box_pooled_size:
        model.ROI_BOX_HEAD.POOLER_RESOLUTION = config.box_pooled_size
    model.ROI_HEADS.NUM_CLASSES = num_classes - 1
    model.ROI_HEADS.BATCH_SIZE_PER_IMAGE = config.rois_per_image
    counts = {"TRAIN": config.train_proposals or config.proposals, "TEST": config.proposals}
    for mode, count in counts.items():
        setattr(model.RPN, f"POST_NMS_TOPK_{mode}", count)
        setattr(model.RPN, f"PRE_NMS_TOPK_{mode}", 4 * count)
    return settings


def _config_file(name: str) -> str:
    """A file as it is, or the file of that name in detectron2's model zoo."""
    if Path(name).is_file():
        return name
    try:
        from detectron2 import model_zoo

        path: str = model_zoo.get_config_file(name)
    except (RuntimeError, ImportError) as error:
        expected = "a file, or a name in detectron2's model zoo"
        raise bad_input("detector.detectron2_config", expected, f"{name!r} ({error})") from error
    return path


def _background_first(logits: Tensor) -> Tensor:
    """From detectron2's order of classes, background last, to ours: `[N, C]`."""
    return logits.roll(1, -1)
