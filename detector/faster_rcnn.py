"""Faster R-CNN (Ren et al. 2015) from torchvision's parts, opened up for scene graphs.

The stages are torchvision's: transform, backbone, region proposals and sampled RoI losses. Ours are
the ways in between: regions can be given, each detection is one object with one class (as in Neural
Motifs: argmax, then non-maximum suppression per class), and pairs have union features.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign, batched_nms

from autoenc_sg.config import DetectorConfig
from autoenc_sg.detector.backbones import Backbone, as_float, build_backbone
from autoenc_sg.detector.contract import Detections, Detector, FeatureMaps
from autoenc_sg.errors import bad_input
from autoenc_sg.layers import first_per_group
from autoenc_sg.structures import ImageSize, Regions, SceneGraphBatch, box_scale, union_boxes

IMAGENET_MEAN = [0.485, 0.456, 0.406]
IMAGENET_STD = [0.229, 0.224, 0.225]
LOSSES = {  # torchvision's names to ours
    "loss_objectness": "rpn_objectness",
    "loss_rpn_box_reg": "rpn_box",
    "loss_classifier": "roi_class",
    "loss_box_reg": "roi_box",
}


def build_detector(config: DetectorConfig, num_classes: int, download: bool = True) -> Detector:
    """The detector that the configuration names, for C = `num_classes` with background.

    `download` off leaves pretrained weights out: a checkpoint's are loaded next.
    """
    backbone = build_backbone(config.backbone, config.channels, config.pretrained, download)
    return FasterRCNN(config, backbone, num_classes)


class FasterRCNN(Detector):
    """Transform, backbone, RPN (256 proposals), RoIAlign to 5x5 and a head of two layers to 512.

    Shapes: see `Detector`. `D = config.feature_dim`, `S = config.pooled_size`.
    """

    def __init__(self, config: DetectorConfig, backbone: Backbone, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        self.feature_dim = config.feature_dim
        self.pooled_size = config.pooled_size
        self.transform = GeneralizedRCNNTransform(
            config.min_size, config.max_size, IMAGENET_MEAN, IMAGENET_STD
        )
        self.backbone = backbone
        self.rpn = _region_proposals(config, backbone)
        self.roi_heads = _roi_heads(config, backbone, num_classes)
        self.union_head = nn.Sequential(
            nn.Conv2d(backbone.out_channels, config.feature_dim, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(config.feature_dim, config.feature_dim, 3, padding=1),
            nn.ReLU(inplace=True),
        )

    def encode(self, images: Sequence[Tensor]) -> FeatureMaps:
        """See `Detector.encode`."""
        sizes = tuple((int(image.shape[-2]), int(image.shape[-1])) for image in images)
        for size in sizes:
            self._check_size(size)
        batch, _ = self.transform([as_float(image) for image in images])
        return self._maps(batch, sizes)

    def _check_size(self, size: ImageSize) -> None:
        """Refuse an image so narrow that nothing of it is left after resizing."""
        if max(size) > min(size) * self.config.max_size:
            most = f"a long side of at most {self.config.max_size} short sides"
            raise bad_input("image", most, f"{size[1]} x {size[0]} pixels")

    def _maps(self, batch: ImageList, sizes: tuple[ImageSize, ...]) -> FeatureMaps:
        maps = self.backbone(batch.tensors)
        padded = (int(batch.tensors.shape[-2]), int(batch.tensors.shape[-1]))
        return FeatureMaps(tuple(maps.values()), sizes, tuple(batch.image_sizes), padded)

    def describe(self, maps: FeatureMaps, boxes: Tensor, image_index: Tensor) -> Regions:
        """See `Detector.describe`."""
        pooled = self._pool(maps.maps, maps.network_sizes, maps.image_sizes, boxes, image_index)
        features = self.roi_heads.box_head(pooled)
        class_logits, _ = self.roi_heads.box_predictor(features)
        return Regions(
            boxes,
            class_logits,
            features,
            image_index,
            maps.image_sizes,
            maps.maps,
            maps.network_sizes,
        )

    def union_features(self, regions: Regions, pairs: Tensor) -> Tensor:
        """See `Detector.union_features`."""
        boxes, index = union_boxes(regions.boxes, pairs), regions.image_index[pairs[:, 0]]
        pooled = self._pool(
            regions.feature_maps, regions.network_sizes, regions.image_sizes, boxes, index
        )
        features: Tensor = self.union_head(pooled)
        return features

    def _pool(
        self,
        maps: tuple[Tensor, ...],
        network_sizes: tuple[ImageSize, ...],
        image_sizes: tuple[ImageSize, ...],
        boxes: Tensor,
        image_index: Tensor,
    ) -> Tensor:
        """RoIAlign of boxes in pixels of the images passed in: `[N, 4] -> [N, D_map, S, S]`.

        The images of the boxes ascend: torchvision wants them in a list, one entry an image.
        """
        scale = box_scale(network_sizes, image_index) / box_scale(image_sizes, image_index)
        counts = torch.bincount(image_index, minlength=len(image_sizes)).tolist()
        per_image = list((boxes * scale.to(boxes)).split(counts))
        named = OrderedDict(zip(self.backbone.names, maps))
        pooled: Tensor = self.roi_heads.box_roi_pool(named, per_image, list(network_sizes))
        return pooled

    @torch.no_grad()
    def detect(self, maps: FeatureMaps) -> Detections:
        """See `Detector.detect`: argmax class, per-class NMS, the best `config.detections`."""
        proposals, image_index = self._propose(maps)
        pooled = self._pool(
            maps.maps, maps.network_sizes, maps.network_sizes, proposals, image_index
        )
        logits, deltas = self.roi_heads.box_predictor(self.roi_heads.box_head(pooled))
        scores, labels = logits.softmax(-1)[:, 1:].max(-1)
        labels = labels + 1
        deltas = deltas.reshape(-1, self.num_classes, 4)
        best = deltas[torch.arange(len(labels), device=labels.device), labels]
        boxes = self.roi_heads.box_coder.decode_single(best, proposals)
        scale = box_scale(maps.image_sizes, image_index) / box_scale(
            maps.network_sizes, image_index
        )
        boxes = clip_to_images(boxes * scale, maps.image_sizes, image_index)
        return self._suppress(Detections(boxes, labels, scores, image_index), len(maps.image_sizes))

    def _propose(self, maps: FeatureMaps) -> tuple[Tensor, Tensor]:
        """Proposals `[K, 4]` in network pixels and their image `[K]`, without losses."""
        pixels = torch.empty(len(maps.image_sizes), 3, *maps.padded_size, device="meta")
        images = ImageList(pixels, list(maps.network_sizes))  # the anchors need its shape alone
        was_training = self.rpn.training
        self.rpn.eval()
        proposals, _ = self.rpn(images, OrderedDict(zip(self.backbone.names, maps.maps)))
        self.rpn.train(was_training)
        counts = torch.tensor([len(p) for p in proposals])
        image_index = torch.arange(len(proposals)).repeat_interleave(counts)
        return torch.cat(proposals), image_index.to(proposals[0].device)

    def _suppress(self, found: Detections, num_images: int) -> Detections:
        config = self.config
        size = found.boxes[:, 2:] - found.boxes[:, :2]
        valid = ((found.scores >= config.score_threshold) & (size >= 1).all(1)).nonzero()[:, 0]
        group = found.image_index * self.num_classes + found.labels
        keep = valid[
            batched_nms(found.boxes[valid], found.scores[valid], group[valid], config.nms_threshold)
        ]
        keep = keep[first_per_group(found.image_index[keep], num_images, config.detections)]
        return Detections(
            found.boxes[keep], found.labels[keep], found.scores[keep], found.image_index[keep]
        )

    def losses(self, images: Sequence[Tensor], truth: SceneGraphBatch) -> dict[str, Tensor]:
        """Classification and box losses of RPN and RoI head (torchvision's), summed elsewhere.

        A part in evaluation mode has none: a frozen RPN proposes, and the RoI head alone learns.
        """
        counts = torch.bincount(truth.image_index, minlength=len(truth)).tolist()
        targets = [
            {"boxes": boxes, "labels": labels}
            for boxes, labels in zip(truth.boxes.split(counts), truth.labels.split(counts))
        ]
        batch, targets = self.transform([as_float(image) for image in images], targets)
        maps = self.backbone(batch.tensors)
        proposals, rpn_losses = self.rpn(batch, maps, targets)
        _, roi_losses = self.roi_heads(maps, proposals, batch.image_sizes, targets)
        computed = rpn_losses | roi_losses
        return {ours: computed[theirs] for theirs, ours in LOSSES.items() if theirs in computed}

    def frozen_modules(self) -> Iterator[nn.Module]:
        """See `Detector.frozen_modules`."""
        yield from (self.backbone, self.rpn)

    def path_modules(self) -> Iterator[nn.Module]:
        """See `Detector.path_modules`."""
        yield from (
            self.roi_heads.box_head,
            self.roi_heads.box_predictor.cls_score,
            self.union_head,
        )


def clip_to_images(
    boxes: Tensor, image_sizes: tuple[ImageSize, ...], image_index: Tensor
) -> Tensor:
    """Boxes `[N, 4]` clipped to their own images, vectorized over images of different sizes."""
    return torch.minimum(boxes.clamp(min=0), box_scale(image_sizes, image_index).to(boxes))


def _region_proposals(config: DetectorConfig, backbone: Backbone) -> RegionProposalNetwork:
    sizes = config.anchor_sizes
    levels = len(backbone.names)
    if levels > 1 and len(sizes) != levels:
        raise bad_input("detector.anchor_sizes", f"{levels} sizes, one a pyramid level", sizes)
    per_level = tuple((size,) for size in sizes) if levels > 1 else (tuple(sizes),)
    anchors = AnchorGenerator(per_level, ((0.5, 1.0, 2.0),) * levels)
    head = RPNHead(backbone.out_channels, anchors.num_anchors_per_location()[0])
    before = {"training": 4 * config.proposals, "testing": 4 * config.proposals}
    after = {"training": config.proposals, "testing": config.proposals}
    return RegionProposalNetwork(anchors, head, 0.7, 0.3, 256, 0.5, before, after, 0.7)


def _roi_heads(config: DetectorConfig, backbone: Backbone, num_classes: int) -> RoIHeads:
    pool = _roi_pool(config, backbone)
    head = TwoMLPHead(backbone.out_channels * config.pooled_size**2, config.feature_dim)
    predictor = FastRCNNPredictor(config.feature_dim, num_classes)
    return RoIHeads(
        pool,
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


def _roi_pool(config: DetectorConfig, backbone: Backbone) -> MultiScaleRoIAlign:
    """RoIAlign that knows the strides.

    torchvision guesses them from the first images it meets and keeps the guess: a narrow first
    image with much padding would spoil every later one. So it first meets one without padding.
    """
    names = [name for name in backbone.names if name != "pool"]
    pool = MultiScaleRoIAlign(names, config.pooled_size, sampling_ratio=2)
    side = max(backbone.strides.values())
    maps = OrderedDict((n, torch.zeros(1, 1, *[side // backbone.strides[n]] * 2)) for n in names)
    pool(maps, [torch.zeros(0, 4)], [(side, side)])
    return pool
