"""The configuration of a run: plain frozen dataclasses, checked when made.

Every value can be set in a YAML file and on the command line by its dotted name, for example
`--joint.image_loss_weight 0`. The defaults are the paper's where it states one (section 4,
"Implementation Details"), else those of the code it builds on (sg2im, Graph R-CNN, Neural Motifs).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from autoenc_sg.config.detector import ConventionsName as ConventionsName
from autoenc_sg.config.detector import DetectorConfig as DetectorConfig
from autoenc_sg.config.detector import DetectorPhase as DetectorPhase
from autoenc_sg.config.phases import BoxKind as BoxKind
from autoenc_sg.config.phases import GanKind as GanKind
from autoenc_sg.config.phases import JointPhase as JointPhase
from autoenc_sg.config.phases import PixelSpace as PixelSpace
from autoenc_sg.config.phases import ReconstructionPhase as ReconstructionPhase
from autoenc_sg.core.errors import require, require_at_least

PhaseName = Literal["detector", "reconstruction", "joint"]
FormatName = Literal[
    "scenes", "vg150", "coco", "coco_stuff", "sg2im_vg", "coco_vg150", "vrd", "psg"
]
PHASES: tuple[PhaseName, ...] = ("detector", "reconstruction", "joint")


@dataclass(frozen=True)
class ScenesConfig:
    """The embedded data set: drawn worlds, written as VG150 files.

    Attributes:
        num_train: images of the train split (validation is cut from it).
        num_test: images of the test split.
        image_size: side of the square images in pixels.
        seed: everything follows from it.
        drop_relations: fraction of the train split's relations left out of the annotation.
        wrong_predicates: fraction of the train split's relations given another predicate.
        wrong_labels: fraction of the train split's objects given another class.
        tint: how far an object's colours may lie from its class's, in levels of 255 a channel.
    """

    num_train: int = 2000
    num_test: int = 300
    image_size: int = 128
    seed: int = 0
    drop_relations: float = 0.0
    wrong_predicates: float = 0.0
    wrong_labels: float = 0.0
    tint: int = 10

    def __post_init__(self) -> None:
        require(self.num_train >= 2, "num_train", ">= 2", self.num_train)
        require(self.num_test >= 1, "num_test", ">= 1", self.num_test)
        require(32 <= self.image_size <= 1024, "image_size", "32..1024", self.image_size)
        for name in ("drop_relations", "wrong_predicates", "wrong_labels"):
            value = getattr(self, name)
            require(0.0 <= value <= 1.0, name, "0..1", value)
        require(0 <= self.tint <= 255, "tint", "0..255", self.tint)


@dataclass(frozen=True)
class DataConfig:
    """Where the images and graphs come from; docs/data.md tells of the formats.

    Attributes:
        format: `scenes` (drawn into `root` if it is not there), `vg150`, `coco`, `coco_stuff` and
            `sg2im_vg` (both by sg2im's rules), `coco_vg150` (RelTR's or SGG-Benchmark's files),
            `vrd` or `psg`.
        root: folder of the data set.
        annotations: JSON relative to `root`; empty: `instances.json` of `coco`, `psg.json`.
        images: folder of the images (of `vg150` also a zip or `imdb_1024.h5`), relative to `root`;
            empty: where the format has them.
        short_side: larger images are shrunk to it when they are read, in pixels; 0: none are.
        cache: folder of files that keep the images decoded and shrunk, relative to `root`; empty:
            images are decoded each time. An image takes 3 bytes a pixel.
        stuff: a second JSON with more boxes of the same images, relative to `root` (`coco` only).
        mask_size: side of the objects' true masks (`coco`, `coco_stuff`), 0: graphs have none;
            None: 16 of `coco_stuff`, none of `coco`. A mask loss wants the generator's `mask_size`.
        max_objects: of a graph, with the `__image__` node; those with relations come first; 0: all
            (`sg2im_vg` only).
        num_val: validation images cut from the train split; 10 % where there are fewer than 10
            times as many. Of `coco_stuff` the first of `val2017` (sg2im: 1024), a third
            where there are not more.
        num_test: last image ids held out as the test split (`coco` only).
        filter_empty_relations: leave out images without relations, in every split (`vg150`,
            `coco_vg150`).
        filter_overlap: train only relations whose boxes overlap, train split only (`vg150`).
        flip: mirror half of the train images, boxes and left/right predicates with them.
        workers: loader processes.
        scenes: how `scenes` is drawn.
    """

    format: FormatName = "scenes"
    root: str = "runs/scenes"
    annotations: str = ""
    images: str = ""
    short_side: int = 0
    cache: str = ""
    stuff: str = ""
    mask_size: int | None = None
    max_objects: int = 10
    num_val: int = 5000
    num_test: int = 30
    filter_empty_relations: bool = True
    filter_overlap: bool = False
    flip: bool = True
    workers: int = 0
    scenes: ScenesConfig = field(default_factory=ScenesConfig)

    def __post_init__(self) -> None:
        for name in ("short_side", "mask_size", "max_objects"):
            require((getattr(self, name) or 0) >= 0, f"data.{name}", ">= 0", getattr(self, name))
        require(self.max_objects != 1, "data.max_objects", "0 or >= 2", self.max_objects)
        require(self.num_val >= 0, "data.num_val", ">= 0", self.num_val)
        require_at_least(0, self, "data", "workers", "num_test")


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
        overlap = self.pair_nms
        require(overlap is None or 0 <= overlap <= 1, "relpn.pair_nms", "0..1 or null", overlap)
        require(
            0 < self.positive_fraction <= 1,
            "relpn.positive_fraction",
            "0..1",
            self.positive_fraction,
        )


@dataclass(frozen=True)
class PredictorConfig:
    """The graph convolution over objects and subgraphs.

    Attributes:
        dim: width of the object vectors and subgraph maps.
        steps: rounds of message passing.
        dropout: of the classifiers' hidden layers.
    """

    dim: int = 512
    steps: int = 2
    dropout: float = 0.5

    def __post_init__(self) -> None:
        require_at_least(1, self, "predictor", "dim")
        require_at_least(0, self, "predictor", "steps")
        require(0 <= self.dropout < 1, "predictor.dropout", "0..1", self.dropout)


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
        layout_noise_dim: channels of noise concatenated to the layout (sg2im: 32).
        input_noise: noise instead of zeros as the first refinement module's input (the paper).
        refinement_dims: widths of the refinement modules, coarse to fine.
        normalization: `batch`, `instance` or `none`; of feature maps, in discriminators too.
        mlp_normalization: `batch` or `none`, between the linear layers of graph convolution and
            box head.
        activation: see `layers.activation_layer`.
        discriminator_dims: widths of the patch discriminator's convolutions.
        discriminator_condition: what the discriminator sees beside the image: the `layout` or
            `none` (sg2im).
        discriminator_classifier: its last layer scores patches; without (sg2im, which holds but
            never calls it) the loss is averaged over the last convolution's channels.
        object_discriminator_dims: widths of the object discriminator's convolutions.
        object_size: side in pixels that it sees objects at.
        appearance_dim: numbers of an object's appearance code, such as 16; 0: no codes (the paper).
        appearance_dropout: in training, fraction of images and of objects whose codes are left out.
    """

    image_size: int = 64
    embedding_dim: int = 128
    gconv_dim: int = 128
    gconv_hidden_dim: int = 512
    gconv_layers: int = 5
    gconv_pooling: Literal["avg", "sum"] = "avg"
    mask_size: int = 16
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

    def __post_init__(self) -> None:
        sizes = (32, 64, 128, 256)
        require(
            self.image_size in sizes, "generator.image_size", f"one of {sizes}", self.image_size
        )
        mask = self.mask_size
        require(
            mask == 0 or mask & (mask - 1) == 0, "generator.mask_size", "0 or a power of two", mask
        )
        where = "generator"
        require_at_least(
            1, self, where, "embedding_dim", "gconv_dim", "gconv_hidden_dim", "object_size"
        )
        require_at_least(0, self, where, "gconv_layers", "layout_noise_dim", "appearance_dim")
        dropout = self.appearance_dropout
        require(0 <= dropout <= 1, f"{where}.appearance_dropout", "0..1", dropout)
        for name in ("refinement_dims", "discriminator_dims", "object_discriminator_dims"):
            dims = getattr(self, name)
            good = len(dims) > 0 and min(dims) > 0
            require(good, f"{where}.{name}", "one or more, all > 0", dims)
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
    """

    object_threshold: float = 0.3
    edge_threshold: float = 0.3


@dataclass(frozen=True)
class RuntimeConfig:
    """Where and how a run runs.

    Attributes:
        accelerator: Lightning Fabric's: `auto`, `cpu`, `gpu`.
        devices: Lightning Fabric's: how many processes, a list of devices, or `auto`.
        num_nodes: Lightning Fabric's: machines.
        strategy: Lightning Fabric's; `auto` is DistributedDataParallel where there are several.
        precision: Lightning Fabric's.
        threads: CPU threads of PyTorch; 0: its own choice.
        log_every: steps between TensorBoard's scalars.
        checkpoint_every: steps between checkpoints; a phase's end is one, too.
        sample_every: steps between TensorBoard's sample pictures.
        compile: `torch.compile` of the refinement network in training; wants a C++ compiler.
    """

    accelerator: str = "auto"
    devices: int | str = "auto"
    num_nodes: int = 1
    strategy: str = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    threads: int = 0
    log_every: int = 20
    checkpoint_every: int = 1000
    sample_every: int = 1000
    compile: bool = False

    def __post_init__(self) -> None:
        for name in ("log_every", "checkpoint_every", "sample_every"):
            require(getattr(self, name) > 0, f"runtime.{name}", "> 0", getattr(self, name))
        require_at_least(1, self, "runtime", "num_nodes")
        require_at_least(0, self, "runtime", "threads")


@dataclass(frozen=True)
class RunConfig:
    """A whole run.

    Attributes:
        out: folder of checkpoints, logs and results.
        seed: of initialization, order, augmentation and noise.
    """

    out: str = "runs/run"
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    relpn: RelpnConfig = field(default_factory=RelpnConfig)
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    detector_training: DetectorPhase = field(default_factory=DetectorPhase)
    reconstruction: ReconstructionPhase = field(default_factory=ReconstructionPhase)
    joint: JointPhase = field(default_factory=JointPhase)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
