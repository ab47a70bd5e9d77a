"""Faster R-CNN (Ren et al. 2015) from torchvision's modules, with what scene graphs need.

torchvision's are: transform, backbone, region proposals and sampled RoI losses. Added are features
of given boxes, detections of one class a region (as in Neural Motifs: suppression per class, then
argmax), and features of pairs' union boxes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import get_args

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from autoenc_sg.config.model import CocoName, DetectorConfig
from autoenc_sg.core.boxes import ImageSize, clip_to_images, rescale_boxes
from autoenc_sg.core.images import as_float
from autoenc_sg.core.layers import ImageRandom
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.core.structures import Regions
from autoenc_sg.detector.backbone_memory import BackboneMemory
from autoenc_sg.detector.backbones import Backbone, build_backbone, image_sizes
from autoenc_sg.detector.colors import image_colors
from autoenc_sg.detector.contract import Detections, Detector, FeatureMaps
from autoenc_sg.detector.conventions import CONVENTIONS
from autoenc_sg.detector.detectron2_backend import Detectron2Detector
from autoenc_sg.detector.proposals import region_proposals
from autoenc_sg.detector.regions.gathered_pooling import gathered
from autoenc_sg.detector.regions.heads import BoxPredictor, UnionHead, mlp_head, projection
from autoenc_sg.detector.regions.pooling import roi_pool
from autoenc_sg.detector.sampling import CrowdAwareHeads, ImageSampler, Targets
from autoenc_sg.detector.suppression import choose

LOSS_NAMES = {  # torchvision's -> ours
    "loss_objectness": "rpn_objectness",
    "loss_rpn_box_reg": "rpn_box",
    "loss_classifier": "roi_class",
    "loss_box_reg": "roi_box",
}


def build_detector(config: DetectorConfig, num_classes: int, download: bool = True) -> Detector:
    """The detector that the configuration names, for C = `num_classes` with background.

    `download` off leaves pretrained weights out: a checkpoint's are loaded next.

    Raises:
        InputError: weights cannot be downloaded, a size does not fit, or detectron2 is not there.
    """
    if config.backend == "detectron2":
        return Detectron2Detector(config, num_classes)
    conventions = CONVENTIONS[config.conventions]
    published = config.pretrained or config.weights in get_args(CocoName)  # batch norm is frozen
    backbone, head = build_backbone(
        config.backbone,
        config.channels,
        published,
        download,
        conventions,
        config.backbone_weights,
    )
    if config.backbone == "vgg16" and (config.head_width, config.head_pooled_size) != (4096, 7):
        head = None  # ImageNet's two layers are of this size
    return FasterRCNN(config, backbone, num_classes, head)


class FasterRCNN(Detector):
    """Transform, backbone, RPN, RoI pooling, box head, and a head on the union of two regions.

    The paper's: VGG-16, 256 proposals, RoIAlign to 5x5, features of width 512.
    Shapes: see `Detector`. `D = config.feature_dim`, `S = config.pooled_size`.

    Args:
        config: sizes and thresholds.
        backbone: its maps are pooled from.
        num_classes: C.
        head: from pooled regions to `config.head_width` features, None: two new layers.
    """

    def __init__(
        self,
        config: DetectorConfig,
        backbone: Backbone,
        num_classes: int,
        head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        self.feature_dim = config.feature_dim
        self.pooled_size = config.pooled_size
        self.map_channels = backbone.out_channels
        conventions = CONVENTIONS[config.conventions]
        mean, std = backbone.pixel_statistics or (conventions.mean, conventions.std)
        self.transform = GeneralizedRCNNTransform(
            config.min_size, config.max_size, list(mean), list(std)
        )
        self.backbone = backbone
        strides = tuple(backbone.strides.values())
        self.rpn = region_proposals(config, strides, backbone.out_channels, backbone.all_anchors)
        self.roi_heads = _roi_heads(config, backbone, num_classes, head)
        for part in (self.rpn, self.roi_heads):
            fraction = part.fg_bg_sampler.positive_fraction
            part.fg_bg_sampler = ImageSampler(part.fg_bg_sampler.batch_size_per_image, fraction)
        self.union_pool = gathered(roi_pool(backbone.strides, config.pooled_size, conventions))
        self.union_head = UnionHead(backbone.out_channels, config.feature_dim)
        self.projection = projection(_head_width(config), config.feature_dim)

    def encode(self, images: Sequence[Tensor]) -> FeatureMaps:
        """See `Detector.encode`."""
        sizes = image_sizes(images, self.config.max_size)
        pixels = [as_float(image) for image in images]
        batch, _ = self.transform(pixels)
        return replace(self._maps(batch, sizes), colors=image_colors(pixels))

    def _maps(self, batch: ImageList, sizes: tuple[ImageSize, ...]) -> FeatureMaps:
        maps = self.backbone(batch.tensors, batch.image_sizes)
        padded = (int(batch.tensors.shape[-2]), int(batch.tensors.shape[-1]))
        return FeatureMaps(tuple(maps.values()), sizes, tuple(batch.image_sizes), padded)

    def box_features(
        self, maps: FeatureMaps, boxes: Tensor, image_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Detector.box_features`."""
        sizes = (maps.network_sizes, maps.image_sizes)
        pooled = self._pool(self.roi_heads.box_roi_pool, maps.maps, *sizes, boxes, image_index)
        features: Tensor = self.roi_heads.box_head(pooled)
        class_logits, _ = self.roi_heads.box_predictor(features)
        return features, class_logits

    def region_maps(self, regions: Regions) -> Tensor:
        """See `Detector.region_maps`."""
        maps, sizes = regions.feature_maps, (regions.network_sizes, regions.image_sizes)
        return self._pool(self.union_pool, maps, *sizes, regions.boxes, regions.image_index)

    def _pool(
        self,
        pool: nn.Module,
        maps: tuple[Tensor, ...],
        network_sizes: tuple[ImageSize, ...],
        image_sizes: tuple[ImageSize, ...],
        boxes: Tensor,
        image_index: Tensor,
    ) -> Tensor:
        """RoIAlign of boxes in pixels of the images passed in: `[N, 4] -> [N, D_map, S, S]`.

        `image_index` is ascending, as torchvision expects a list of boxes, one entry an image.
        """
        scaled = rescale_boxes(boxes, image_sizes, network_sizes, image_index).to(boxes)
        counts = torch.bincount(image_index, minlength=len(image_sizes)).tolist()
        per_image = list(scaled.split(counts))
        named = OrderedDict(zip(self.backbone.names, maps))
        pooled: Tensor = pool(named, per_image, list(network_sizes))
        return pooled

    @torch.no_grad()
    def detect(self, maps: FeatureMaps) -> Detections:
        """See `Detector.detect`: per-class NMS, one class a region, the best `detections`."""
        proposals, index = self._propose(maps)
        sizes = (maps.network_sizes, maps.network_sizes)
        pooled = self._pool(self.roi_heads.box_roi_pool, maps.maps, *sizes, proposals, index)
        logits, deltas = self.roi_heads.box_predictor(self.roi_heads.box_head(pooled))
        boxes = self.roi_heads.box_coder.decode_single(deltas, proposals)
        boxes = boxes.reshape(-1, self.num_classes, 4)
        boxes = rescale_boxes(boxes, maps.network_sizes, maps.image_sizes, index)
        boxes = clip_to_images(boxes, maps.image_sizes, index)
        return choose(self.config, logits.softmax(-1), boxes, index, len(maps.image_sizes))

    def _propose(self, maps: FeatureMaps) -> tuple[Tensor, Tensor]:
        """Proposals `[K, 4]` in network pixels and their image `[K]`, without losses."""
        pixels = torch.empty(len(maps.image_sizes), 3, *maps.padded_size, device="meta")
        images = ImageList(
            pixels, list(maps.network_sizes)
        )  # only its shape is read, for the anchors
        was_training = self.rpn.training
        self.rpn.eval()
        proposals, _ = self.rpn(images, OrderedDict(zip(self.backbone.names, maps.maps)))
        self.rpn.train(was_training)
        counts = torch.tensor([len(p) for p in proposals])
        image_index = torch.arange(len(proposals)).repeat_interleave(counts)
        return torch.cat(proposals), image_index.to(proposals[0].device)

    def losses(self, images: Sequence[Tensor], truth: SceneGraphBatch) -> dict[str, Tensor]:
        """Classification and box losses of RPN and RoI head (torchvision's), not yet weighted.

        A module in evaluation mode has none: a frozen RPN still proposes regions for the RoI head.
        """
        return {name: loss for name, (loss, _) in self.counted_losses(images, truth).items()}

    def counted_losses(
        self,
        images: Sequence[Tensor],
        truth: SceneGraphBatch,
        random: ImageRandom | None = None,
    ) -> dict[str, tuple[Tensor, int]]:
        """See `Detector.counted_losses`; the terms are sampled anchors and sampled regions."""
        image_sizes(images, self.config.max_size)
        counts = torch.bincount(truth.image_index, minlength=len(truth)).tolist()
        targets = [
            {"boxes": boxes, "labels": labels}
            for boxes, labels in zip(truth.boxes.split(counts), truth.labels.split(counts))
        ]
        batch, targets = self._resized(images, targets)
        _add_ignored(targets, batch, truth)
        maps = self.backbone(batch.tensors, batch.image_sizes)
        samplers = (self.rpn.fg_bg_sampler, self.roi_heads.fg_bg_sampler)
        for sampler in samplers:
            sampler.random = random
        proposals, rpn_losses = self.rpn(batch, maps, targets)
        _, roi_losses = self.roi_heads(maps, proposals, batch.image_sizes, targets)
        for sampler in samplers:
            sampler.random = None
        computed = [
            (loss, sampler.num_sampled)
            for losses, sampler in zip((rpn_losses, roi_losses), samplers)
            for loss in losses.items()
        ]
        return {LOSS_NAMES[name]: (loss, count) for (name, loss), count in computed}

    def _resized(self, images: Sequence[Tensor], targets: Targets) -> tuple[ImageList, Targets]:
        """Images and boxes of a training batch, at one of `train_min_sizes` if there are some."""
        sizes = self.config.train_min_sizes or (self.config.min_size,)
        self.transform.min_size = sizes
        resized: tuple[ImageList, Targets] = self.transform(
            [as_float(image) for image in images], targets
        )
        self.transform.min_size = (self.config.min_size,)
        return resized

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """See `Detector.backbone_parameters`."""
        frozen = set(self.frozen_parameters())
        yield from (p for p in self.backbone.trunk.parameters() if p not in frozen)

    def frozen_parameters(self) -> Iterator[nn.Parameter]:
        """Those of `config.frozen_layers`."""
        yield from self.backbone.layers(self.config.frozen_layers)

    def frozen_modules(self) -> Iterator[nn.Module]:
        """See `Detector.frozen_modules`."""
        yield from (self.backbone, self.rpn)

    def trainable_head_modules(self) -> Iterator[nn.Module]:
        """See `Detector.trainable_head_modules`."""
        yield from (
            *self.classifier_modules(),
            self.projection,
            self.union_head,
        )

    def remember_backbone(self, megabytes: int) -> None:
        """See `Detector.remember_backbone`."""
        self.backbone.memory = BackboneMemory(megabytes) if megabytes else None

    def classifier_modules(self) -> Iterator[nn.Module]:
        """See `Detector.classifier_modules`."""
        yield from (self.roi_heads.box_head, self.roi_heads.box_predictor.cls_score)


def _add_ignored(targets: Targets, batch: ImageList, truth: SceneGraphBatch) -> None:
    """Give each target its ignored boxes `[K, 4]` in pixels of the batch, if there are some."""
    if truth.ignored is None:
        return
    image_index = truth.ignored[:, 0].long()
    boxes = truth.ignored[:, 2:]
    scaled = rescale_boxes(boxes, truth.image_sizes, tuple(batch.image_sizes), image_index)
    for i, target in enumerate(targets):
        target["ignored"] = scaled[image_index == i].to(target["boxes"])


def _head_width(config: DetectorConfig) -> int:
    return 2048 if config.backbone == "resnet101_c4" else config.head_width


def _roi_heads(
    config: DetectorConfig, backbone: Backbone, num_classes: int, head: nn.Module | None
) -> CrowdAwareHeads:
    width, size = _head_width(config), config.head_pooled_size
    head = head or mlp_head(backbone.out_channels, size, width)
    predictor = BoxPredictor(width, num_classes, config.class_agnostic)
    return CrowdAwareHeads(
        roi_pool(backbone.strides, size, CONVENTIONS[config.conventions]),
        head,
        predictor,
        0.5,
        0.5,
        config.rois_per_image,
        0.25,
        None,
        config.score_threshold,
        config.nms_threshold,
        config.detections,
    )
