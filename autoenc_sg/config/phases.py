"""Options of the three training phases: `detector`, `reconstruction` and `joint`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from autoenc_sg.config.image_losses import ImageLossConfig
from autoenc_sg.config.unannotated import UnannotatedConfig
from autoenc_sg.core.errors import require, require_at_least

PhaseName = Literal["detector", "reconstruction", "joint"]
PHASES: tuple[PhaseName, ...] = ("detector", "reconstruction", "joint")

GanKind = Literal["gan", "lsgan", "wgan"]
BoxKind = Literal["squared", "l1"]
PixelSpace = Literal["rgb", "normalized"]
RegionPrecision = Literal["float16", "float32"]
DETECTION_METRICS = ("AP", "AP50", "AP75", "AR", "micro AP50")
_RECALL = ("R", "mR", "F1", "ngR", "ng-mR", "ng-F1")
JOINT_METRICS = tuple(f"SGGen {name}@{k}" for name in _RECALL for k in (20, 50, 100))


@dataclass(frozen=True)
class DetectorPhase:
    """Phase 0: Faster R-CNN on the data set's boxes (linear warm-up, then decayed by 0.1).

    Attributes:
        steps: how long.
        batch_size: images a step, over all processes.
        optimizer: `sgd`, as everybody trains Faster R-CNN, or `adamw`, which learns faster in few
            steps (with a smaller `lr`, such as 5e-4).
        lr, momentum, weight_decay: of the optimizer; AdamW has no momentum of its own.
        warmup: steps of linear warm-up.
        decay_at: fractions of `steps` after which the learning rate is multiplied by 0.1.
        clip: largest gradient norm.
        frozen_backbone_steps: first steps in which the backbone's ImageNet layers stay as they are.
        backbone_lr_factor: of `lr`, for these layers afterwards.
        validate_epochs: epochs between validations (COCO AP on the validation split), which keep
            `best_detector.safetensors`; the phase's end is one, too. 0: none.
        validate_min_steps: least number of steps between two validations, whatever an epoch is.
        validation_images: of the validation split, at most.
        best_metric: the score whose best weights are kept: `AP`, `AP50`, `AP75`, `AR` or `micro
            AP50`, which depends less on classes of few boxes.
    """

    steps: int = 100_000
    batch_size: int = 8
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: int = 500
    decay_at: tuple[float, ...] = (0.7, 0.9)
    clip: float = 5.0
    frozen_backbone_steps: int = 0
    backbone_lr_factor: float = 1.0
    validate_epochs: int = 1
    validate_min_steps: int = 200
    validation_images: int = 1000
    best_metric: str = "AP50"

    def __post_init__(self) -> None:
        where, epochs = "detector_training", self.validate_epochs
        rates = ("lr", "momentum", "weight_decay", "backbone_lr_factor")
        require_at_least(0, self, where, "steps", "warmup", "frozen_backbone_steps", *rates)
        require(self.batch_size >= 1, f"{where}.batch_size", ">= 1", self.batch_size)
        require(self.clip > 0, f"{where}.clip", "> 0", self.clip)
        require(epochs >= 0, f"{where}.validate_epochs", ">= 0", epochs)
        require_at_least(1, self, where, "validate_min_steps")
        images = self.validation_images
        require(images > 0, f"{where}.validation_images", "> 0", images)
        best, expected = self.best_metric, f"one of {', '.join(DETECTION_METRICS)}"
        require(best in DETECTION_METRICS, f"{where}.best_metric", expected, best)


@dataclass(frozen=True)
class ReconstructionPhase:
    """Phase 1: the generator on true graphs; generator step first, then the discriminators (Adam).

    The six losses of sg2im are pixels, boxes, masks, image and object adversaries, and classes.
    `configs/sg2im.yaml` holds sg2im's own weights and choices.

    Attributes:
        steps, batch_size: as in `DetectorPhase`.
        lr: of Adam, for all networks.
        pixel_weight: weight of the L1 pixel loss (lambda of eq. 6).
        pixel_space: `rgb`, or `normalized` as sg2im measures it, about 4.4 times larger.
        box_weight: weight of the box head's error (sg2im: 10).
        box_kind: `squared` as in sg2im's code, or `l1` as in its paper.
        mask_weight: weight of the mask head's cross entropy, where graphs have masks.
        gan: `gan`, `lsgan` or `wgan`, for all discriminators.
        adversarial_weight: weight of the generator's GAN loss; 0: no image discriminator.
        object_adversarial_weight: the same on objects (sg2im: 0.01); 0: no object discriminator.
        auxiliary_weight: weight of the generated objects' classes, with an object discriminator.
            0.1 as in sg2im's code; its guide says multiplied by 0.01, which is 0.001.
        decay_at: as in `DetectorPhase`, for all networks.
        eval_mode_after: steps after which batch normalization keeps its statistics and the
            generator gets a fresh optimizer (sg2im: 100,000); 0: never.
        ema_decay: of an average of the generator's weights (such as 0.999), which is what the phase
            ends with and what is validated; 0: none.
        seen_memory: MiB for what the detector, which this phase does not train, has seen of an
            image and its boxes, so that appearance codes cost its pass once an image (and once
            mirrored); each image is then seen alone. 0: none; of no use without codes.
        validate_every: steps between validations, which keep `best.safetensors`, and one at the
            end; 0: none.
        validation_images: of the validation split, at most.
    """

    steps: int = 1_000_000
    batch_size: int = 32
    lr: float = 1e-4
    pixel_weight: float = 1.0
    pixel_space: PixelSpace = "rgb"
    box_weight: float = 10.0
    box_kind: BoxKind = "squared"
    mask_weight: float = 0.0
    gan: GanKind = "gan"
    adversarial_weight: float = 0.01
    object_adversarial_weight: float = 0.0
    auxiliary_weight: float = 0.1
    decay_at: tuple[float, ...] = ()
    eval_mode_after: int = 0
    ema_decay: float = 0.0
    seen_memory: int = 0
    validate_every: int = 0
    validation_images: int = 1024
    image_losses: ImageLossConfig = field(default_factory=ImageLossConfig)

    def __post_init__(self) -> None:
        self.image_losses.check("reconstruction.image_losses")
        require_at_least(1, self, "reconstruction", "batch_size")
        require_at_least(0, self, "reconstruction", "steps", "lr")
        weights = ("pixel", "box", "mask", "adversarial", "object_adversarial", "auxiliary")
        counts = ("eval_mode_after", "validate_every", "seen_memory")
        require_at_least(0, self, "reconstruction", *(f"{w}_weight" for w in weights), *counts)
        require(0 <= self.ema_decay < 1, "reconstruction.ema_decay", "0..1", self.ema_decay)
        images = self.validation_images
        require(images > 0, "reconstruction.validation_images", "> 0", images)


@dataclass(frozen=True)
class JointPhase:
    """Phase 2: detector heads, relation proposals, predictor and generator together.

    SGD for the graph's side (section 4: 0.01, decay 0.1), Adam for the generator and discriminator.

    Attributes:
        steps, batch_size, warmup, decay_at, clip: as in `DetectorPhase`.
        lr, momentum, weight_decay: of SGD.
        detector_lr_factor: of `lr`, for what the detector phase has trained (box head, classifier).
        generator_lr: Adam's, for generator and discriminator; decayed as `lr` is.
        mode: how gradient crosses the graph to the generator, see `GraphLogits.relax`.
        predicate_weight: l_rel of eq. 7, of the predicates' cross entropy.
        object_weight: l_obj of eq. 7, of the classes' cross entropy.
        box_weight: l_bb of eq. 7, of the boxes' smooth L1.
        relatedness_weight: of the relation proposals' loss.
        image_loss_weight: of all image losses; 0 is the graph-only baseline.
        pixel_weight, adversarial_weight: as in `ReconstructionPhase`; the kind of the GAN loss is
            `reconstruction.gan`.
        fresh_discriminator: the discriminator and the Adam moments of generator and discriminator
            begin anew, instead of going on from the reconstruction phase (or an imported file).
        true_graph_weight: of the pixel loss on images generated from the true graphs, beside those
            from the predicted ones, so that the generator stays able to draw hard graphs (not in
            the paper); 0: not computed.
        layout_box_weight: of the box head's squared error on the true graphs, times
            `true_graph_weight`; without it the head does not follow the changing object vectors.
        detection_weight: of the detector's own losses on the same batch; 0: not computed.
        freeze_backbone: backbone and RPN stay as they are.
        freeze_detector: the detector's box head and classifier, too; of the detector, only the
            layers that plain detectors do not have are trained. Needs `freeze_backbone`.
        region_cache: a folder for what a frozen detector sees of the training and validation
            images, so that a head trains without running it; made if it is missing. Needs
            `freeze_detector`, and no `detection_weight`. Empty: none.
        region_precision: of the maps and features in these files; `float16` is half as large.
        true_regions: true boxes join the detections in training.
        regions_per_image: regions per image at most in training.
        background_ratio: unrelated pairs per related one in the predicate loss, in each image; one
            without relations gives as many as one with one.
        validate_epochs: epochs between validations (recall of triplets, SGGen, on the validation
            split), which keep `best_joint.safetensors`; the phase's end is one, too. 0: none, as if
            the split is empty.
        validate_min_steps: as in `DetectorPhase`.
        validation_images: of the validation split, at most.
        best_metric: the score whose best weights are kept in `best_joint.safetensors`: `SGGen R`,
            `mR`, `F1`, `ngR`, `ng-mR` or `ng-F1`, at 20, 50 or 100.
    """

    steps: int = 100_000
    batch_size: int = 8
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: int = 500
    decay_at: tuple[float, ...] = (0.7, 0.9)
    clip: float = 5.0
    detector_lr_factor: float = 1.0
    generator_lr: float = 1e-4
    mode: Literal["soft", "straight_through", "detached"] = "soft"
    predicate_weight: float = 1.0
    object_weight: float = 1.0
    box_weight: float = 1.0
    relatedness_weight: float = 1.0
    image_loss_weight: float = 1.0
    pixel_weight: float = 1.0
    adversarial_weight: float = 0.01
    fresh_discriminator: bool = False
    true_graph_weight: float = 0.0
    layout_box_weight: float = 10.0
    detection_weight: float = 0.0
    freeze_backbone: bool = True
    freeze_detector: bool = False
    region_cache: str = ""
    region_precision: RegionPrecision = "float16"
    true_regions: bool = True
    regions_per_image: int = 64
    background_ratio: float = 3.0
    validate_epochs: int = 1
    validate_min_steps: int = 200
    validation_images: int = 1000
    best_metric: str = "SGGen R@50"
    image_losses: ImageLossConfig = field(default_factory=ImageLossConfig)
    unannotated: UnannotatedConfig = field(default_factory=UnannotatedConfig)

    def __post_init__(self) -> None:
        self.image_losses.check("joint.image_losses")
        self.unannotated.check("joint.unannotated")
        require_at_least(1, self, "joint", "batch_size", "regions_per_image")
        require_at_least(1, self, "joint", "validate_min_steps", "validation_images")
        require_at_least(0, self, "joint", "validate_epochs")
        expected = f"one of {', '.join(JOINT_METRICS)}"
        require(self.best_metric in JOINT_METRICS, "joint.best_metric", expected, self.best_metric)
        rates = ("lr", "generator_lr", "momentum", "weight_decay", "background_ratio")
        require_at_least(0, self, "joint", "steps", "warmup", *rates)
        weights = ("predicate", "object", "box", "relatedness", "image_loss", "pixel")
        others = ("adversarial", "true_graph", "layout_box", "detection")
        names = (f"{w}_weight" for w in (*weights, *others))
        require_at_least(0, self, "joint", *names)
        require(self.clip > 0, "joint.clip", "> 0", self.clip)
        frozen, weight = self.freeze_detector, self.detection_weight
        whole = "joint.freeze_detector"
        require(self.freeze_backbone or not frozen, whole, "false without freeze_backbone", frozen)
        require(weight == 0 or not frozen, whole, "false with a detection_weight", frozen)
        expected = "none without freeze_detector"
        require(frozen or not self.region_cache, "joint.region_cache", expected, self.region_cache)

    @property
    def unannotated_per_batch(self) -> int:
        """Unannotated images in each batch where there are some."""
        options = self.unannotated
        if options.per_batch is not None:
            return options.per_batch
        return self.batch_size if self.image_loss_weight > 0 or options.has_teacher else 0
