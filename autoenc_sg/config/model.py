"""Options of the networks: detector, relation proposals, generator, and decoding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from autoenc_sg.config.limits import MAX_LAYERS, MAX_WIDTH
from autoenc_sg.core.errors import require, require_at_least, require_at_most

BackboneName = Literal[
    "small",
    "resnet18",
    "resnet50",
    "resnet50_fpn",
    "resnet101",
    "resnet101_c4",
    "mobilenet_v3",
    "mobilenet_v3_large_fpn",
    "vgg16",
]
# torchvision's detectors of COCO: ResNet-50, and MobileNetV3-Large trained at 800 and at 320 pixels
CocoName = Literal["coco", "coco_mobilenet_v3", "coco_mobilenet_v3_320"]
ConventionsName = Literal["torchvision", "motifs", "graph_rcnn"]


@dataclass(frozen=True)
class DetectorConfig:
    """Faster R-CNN; docs/detectors.md describes the backbones and other programs' weights.

    Attributes:
        backend: `torchvision`, or `detectron2`, which brings its own backbone and anchors.
        detectron2_config: of that back end, a file or a name in its model zoo.
        backbone: `small` (stride 8, for the CPU); `resnet18`, `resnet50` (also `resnet50_fpn`),
            `resnet101` and `mobilenet_v3` (with feature pyramids); `mobilenet_v3_large_fpn`
            (torchvision's pyramid, two maps of stride 32 and one of 64, all anchors on each);
            `vgg16` (one map of stride 16, as in the paper and Neural Motifs); `resnet101_c4` (one
            map of stride 16 and layer 4 as head, as in Graph R-CNN); `timm/NAME`, a network of timm
            with a feature pyramid over its maps of strides 8, 16 and 32, such as
            `timm/tf_efficientnet_lite0`.
        conventions: of pixel values, anchors and RoI pooling: those of the program that the weights
            come from.
        channels: width of the maps that regions are pooled from (`small`, and the pyramids').
        pretrained: ImageNet weights for the backbone, downloaded by torchvision; those of timm's
            networks from `backbone_weights`, an installed package, or downloaded by timm.
        backbone_weights: a file of ImageNet weights for a network of timm.
        frozen_layers: layers of the backbone that no phase trains, by their names in it, such as
            `conv1` and `layer1` of a ResNet (back end `torchvision`).
        weights: a file of detector weights (`.pt`, `.pth`, `.pkl` or `.safetensors`), loaded first,
            or one of torchvision's detectors of COCO, downloaded: `coco` (`resnet50`),
            `coco_mobilenet_v3` or `coco_mobilenet_v3_320` (`mobilenet_v3_large_fpn`).
        min_size, max_size: images are resized so that the short side is `min_size`, unless the long
            side would pass `max_size`, pixels.
        train_min_sizes: short sides of which one is drawn for each image when the detector is
            trained (back end `torchvision`); empty: `min_size`.
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
    backbone: str = "vgg16"
    conventions: ConventionsName = "torchvision"
    channels: int = 256
    pretrained: bool = False
    backbone_weights: str | None = None
    frozen_layers: tuple[str, ...] = ()
    weights: str | None = None
    min_size: int = 600
    max_size: int = 1000
    train_min_sizes: tuple[int, ...] = ()
    anchor_sizes: tuple[float, ...] = (32.0, 64.0, 128.0, 256.0, 512.0)
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
        known = self.backbone in get_args(BackboneName) or self.backbone.startswith("timm/")
        names = f"one of {', '.join(get_args(BackboneName))}, timm/NAME"
        require(known, "detector.backbone", names, self.backbone)
        sizes = self.train_min_sizes
        require(
            all(0 < s <= self.max_size for s in sizes),
            "detector.train_min_sizes",
            "1..max_size",
            sizes,
        )
        for name in ("min_size", "proposals", "detections", "feature_dim", "pooled_size"):
            require(getattr(self, name) > 0, f"detector.{name}", "> 0", getattr(self, name))
        for name in ("train_proposals", "box_head_dim", "box_pooled_size"):
            require(getattr(self, name) >= 0, f"detector.{name}", ">= 0", getattr(self, name))
        require(self.max_size >= self.min_size, "detector.max_size", ">= min_size", self.max_size)
        for name in ("anchor_sizes", "anchor_ratios"):
            values = getattr(self, name)
            good = len(values) > 0 and min(values) > 0
            require(good, f"detector.{name}", "one or more, > 0", values)
        require_at_most(MAX_WIDTH, self, "detector", "channels", "feature_dim", "box_head_dim")
        require_at_most(MAX_LAYERS, self, "detector", "pooled_size", "box_pooled_size")
        for name in ("anchor_sizes", "anchor_ratios"):
            count = len(getattr(self, name))
            require(count <= MAX_LAYERS, f"detector.{name}", f"at most {MAX_LAYERS}", count)

    @property
    def head_width(self) -> int:
        """Width of the box head's layers."""
        return self.box_head_dim or self.feature_dim

    @property
    def head_pooled_size(self) -> int:
        """RoIAlign's output side for the box head."""
        return self.box_pooled_size or self.pooled_size


@dataclass(frozen=True)
class RelpnConfig:
    """Relation proposals.

    Attributes:
        dim: width of the two projections.
        top_k: pairs kept per image.
        pair_nms: IoU above which, for both boxes, a pair suppresses a lower one; None: no
            suppression.
        samples_per_image: pairs per image in the relatedness loss.
        positive_fraction: at most this fraction of them is related.
    """

    dim: int = 64
    top_k: int = 128
    pair_nms: float | None = None
    samples_per_image: int = 128
    positive_fraction: float = 0.5

    def __post_init__(self) -> None:
        require_at_least(1, self, "relpn", "dim", "top_k", "samples_per_image")
        require_at_most(MAX_WIDTH, self, "relpn", "dim")
        overlap = self.pair_nms
        require(overlap is None or 0 <= overlap <= 1, "relpn.pair_nms", "0..1 or null", overlap)
        require(
            0 < self.positive_fraction <= 1,
            "relpn.positive_fraction",
            "0..1",
            self.positive_fraction,
        )


@dataclass(frozen=True)
class GeneratorConfig:
    """sg2im's generator and the patch discriminator.

    Attributes:
        image_size: side of the square output in pixels, a power of two from 32 to 256.
        embedding_dim: width of the object and predicate embeddings.
        gconv_dim, gconv_hidden_dim: widths of the graph convolution's vectors and hidden layers.
        gconv_layers: rounds of graph convolution; 0: a linear layer instead.
        gconv_pooling: of the messages that reach an object.
        mask_size: side of the soft masks (a power of two); 0: no mask head, boxes are filled.
        relation_layout: predicates are drawn over the union boxes of their relations, with masks of
            their own; false as in sg2im, where only objects are drawn.
        layout_noise_dim: channels of noise concatenated to the layout (sg2im: 32).
        input_noise: noise instead of zeros as the first refinement module's input (the paper).
        refinement_dims: widths of the refinement modules, coarse to fine.
        normalization: `batch`, `instance` or `none`; of feature maps, in discriminators too.
        mlp_normalization: `batch` or `none`, between the linear layers of graph convolution and
            box head.
        activation: see `layers.activation_layer`.
        discriminator_dims: widths of the patch discriminator's convolutions.
        discriminator_condition: input of the discriminator beside the image: the `layout` or
            `none` (sg2im).
        discriminator_classifier: its last layer scores patches; without (sg2im, which holds but
            never calls it) the loss is averaged over the last convolution's channels.
        object_discriminator_dims: widths of the object discriminator's convolutions.
        object_size: side of its input crops in pixels.
        appearance_dim: numbers of an object's appearance code, such as 16; 0: no codes (the paper).
        appearance_dropout: in training, fraction of images and of objects whose codes are left out.
        appearance_colors: K: codes are also made of mean colours, an object's of K x K cells of its
            box, the background's of its parts; 0: of the detector's maps alone.
        background_cells: appearance codes of what lies outside all boxes: 0: none, 1: one for the
            image, G: one for each part of a G x G grid.
    """

    image_size: int = 64
    embedding_dim: int = 128
    gconv_dim: int = 128
    gconv_hidden_dim: int = 512
    gconv_layers: int = 5
    gconv_pooling: Literal["avg", "sum"] = "avg"
    mask_size: int = 16
    relation_layout: bool = False
    layout_noise_dim: int = 0
    input_noise: bool = True
    refinement_dims: tuple[int, ...] = (1024, 512, 256, 128, 64)
    normalization: Literal["batch", "instance", "none"] = "batch"
    mlp_normalization: Literal["batch", "none"] = "none"
    activation: str = "leakyrelu-0.2"
    discriminator_dims: tuple[int, ...] = (64, 128, 256)
    discriminator_condition: Literal["layout", "none"] = "layout"
    discriminator_classifier: bool = True
    object_discriminator_dims: tuple[int, ...] = (64, 128, 256)
    object_size: int = 32
    appearance_dim: int = 0
    appearance_dropout: float = 0.2
    appearance_colors: int = 0
    background_cells: int = 0

    def __post_init__(self) -> None:
        sizes = (32, 64, 128, 256)
        require(
            self.image_size in sizes, "generator.image_size", f"one of {sizes}", self.image_size
        )
        mask = self.mask_size
        require(
            0 <= mask <= 256 and mask & (mask - 1) == 0,
            "generator.mask_size",
            "0 or a power of two up to 256",
            mask,
        )
        where = "generator"
        require_at_least(
            1, self, where, "embedding_dim", "gconv_dim", "gconv_hidden_dim", "object_size"
        )
        require_at_least(
            *(0, self, where, "gconv_layers", "layout_noise_dim"),
            *("appearance_dim", "appearance_colors", "background_cells"),
        )
        drawn, expected = self.relation_layout, "false without graph convolutions (gconv_layers 0)"
        require(self.gconv_layers > 0 or not drawn, f"{where}.relation_layout", expected, drawn)
        expected = "0 without appearance codes (generator.appearance_dim 0)"
        for name in ("appearance_colors", "background_cells"):
            cells = getattr(self, name)
            require(cells == 0 or self.appearance_dim > 0, f"{where}.{name}", expected, cells)
        dropout = self.appearance_dropout
        require(0 <= dropout <= 1, f"{where}.appearance_dropout", "0..1", dropout)
        for name in ("refinement_dims", "discriminator_dims", "object_discriminator_dims"):
            dims = getattr(self, name)
            good = len(dims) > 0 and min(dims) > 0
            require(good, f"{where}.{name}", "one or more, all > 0", dims)
            require(len(dims) <= MAX_LAYERS, f"{where}.{name}", f"<= {MAX_LAYERS}", len(dims))
            require_at_most(MAX_WIDTH, self, where, name)
        widths = ("embedding_dim", "gconv_dim", "gconv_hidden_dim", "layout_noise_dim")
        require_at_most(MAX_WIDTH, self, where, *widths, "appearance_dim", "object_size")
        require_at_most(16, self, where, "appearance_colors")
        require_at_most(MAX_LAYERS, self, where, "gconv_layers")
        depth = len(self.refinement_dims)
        require(
            1 <= depth < self.image_size.bit_length(),
            "generator.refinement_dims",
            f"1..{self.image_size.bit_length() - 1} modules for {self.image_size} px",
            self.refinement_dims,
        )


@dataclass(frozen=True)
class DecodeConfig:
    """What `parse` keeps.

    Attributes:
        object_threshold: least class score of an object.
        edge_threshold: least relatedness x (1 - p(no relation)) of a relation.
        nms_threshold: detected objects that overlap a better one of their class by more IoU go,
            in `parse` and in evaluation; 1: none.
    """

    object_threshold: float = 0.3
    edge_threshold: float = 0.3
    nms_threshold: float = 0.5

    def __post_init__(self) -> None:
        for name in ("object_threshold", "edge_threshold", "nms_threshold"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"decode.{name}", "a number in 0..1", value)
