"""Options of the data: format, folders, splits, and how the embedded scenes are drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from autoenc_sg.core.errors import require, require_at_least

FormatName = Literal[
    "scenes", "vg150", "coco", "coco_stuff", "sg2im_vg", "coco_vg150", "vrd", "psg"
]
PseudoUse = Literal["by_score", "equal", "none"]


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
        biased_predicates: fraction of the train split's relations of rare predicates that are given
            the frequent one they are taken for, where places allow it (`riding` becomes `on`).
        tint: how far an object's colours may lie from its class's, in levels of 255 a channel.
    """

    num_train: int = 2000
    num_test: int = 300
    image_size: int = 128
    seed: int = 0
    drop_relations: float = 0.0
    wrong_predicates: float = 0.0
    wrong_labels: float = 0.0
    biased_predicates: float = 0.0
    tint: int = 10

    def __post_init__(self) -> None:
        require(self.num_train >= 2, "num_train", ">= 2", self.num_train)
        require(self.num_test >= 1, "num_test", ">= 1", self.num_test)
        require(32 <= self.image_size <= 1024, "image_size", "32..1024", self.image_size)
        rates = ("drop_relations", "wrong_predicates", "wrong_labels", "biased_predicates")
        for name in rates:
            value = getattr(self, name)
            require(0.0 <= value <= 1.0, name, "0..1", value)
        require(0 <= self.tint <= 255, "tint", "0..255", self.tint)


@dataclass(frozen=True)
class DataConfig:
    """Where the images and graphs come from; docs/data.md describes the formats.

    Attributes:
        format: `scenes` (drawn into `root` if it is not there), `vg150`, `coco`, `coco_stuff` and
            `sg2im_vg` (both by sg2im's rules), `coco_vg150` (RelTR's or SGG-Benchmark's files),
            `vrd` or `psg`.
        root: folder of the data set.
        annotations: JSON relative to `root`; empty: `instances.json` of `coco` or the files of a
            Roboflow, CVAT or labelme2coco export, `psg.json`.
        images: folder of the images (of `vg150` also a zip or `imdb_1024.h5`), relative to `root`;
            empty: where the format has them.
        short_side: larger images are shrunk to it when they are read, in pixels; 0: none are.
        cache: folder of files that keep the images decoded and shrunk, relative to `root`; empty:
            images are decoded each time. An image takes 3 bytes a pixel.
        stuff: a second JSON with more boxes of the same images, relative to `root` (`coco` only).
        mask_size: side of the objects' true masks (`coco`, `coco_stuff`), 0: graphs have none;
            None: 16 of `coco_stuff`, none of `coco`. A mask loss needs the same size as the
            generator's masks (`generator.mask_size`).
        max_objects: of a graph, with the `__image__` node; those with relations come first; 0: all
            (`sg2im_vg` only).
        num_val: validation images cut from the train split; 10 % where there are fewer than 10
            times as many. Of `coco_stuff` the first of `val2017` (sg2im: 1024), a third
            where there are not more.
        num_test: last image ids held out as the test split (`coco` only); None: 30 of 60 images or
            more, else 10 %.
        filter_empty_relations: leave out images without relations, in every split (`vg150`,
            `coco_vg150`).
        pseudo_relations: those of the train split (`vg150`, written by `data relate`) weigh
            `by_score` in the predicate loss, `equal` to relations of humans, or `none` are used.
            Validation and test never have any.
        pseudo_threshold: pseudo-relations of a lower score are left out (`vg150`).
        filter_overlap: train only relations whose boxes overlap, train split only (`vg150`).
        annotated_fraction: this share of the train images, in (0, 1], keeps its relations. Of the
            others boxes and classes alone are used, and in the joint phase not even these: it
            treats them as photos (`joint.unannotated`). Those of 0.05 are among those of 0.2.
        annotated_seed: of the choice of these images. It does not depend on the run's `seed`: runs
            that are compared have the same annotated images.
        unannotated: more images for the joint phase: a folder of photos, or one of a data set of
            any format, of whose train split the images alone are read. Empty: none.
        flip: mirror half of the train images, boxes and left/right predicates with them.
        allow_outside: read images that `..`, absolute names or links place outside of `root` and
            `images`, too.
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
    num_test: int | None = None
    filter_empty_relations: bool = True
    filter_overlap: bool = False
    annotated_fraction: float = 1.0
    annotated_seed: int = 0
    unannotated: str = ""
    pseudo_relations: PseudoUse = "by_score"
    pseudo_threshold: float = 0.0
    flip: bool = True
    allow_outside: bool = False
    workers: int = 0
    scenes: ScenesConfig = field(default_factory=ScenesConfig)

    def __post_init__(self) -> None:
        for name in ("short_side", "mask_size", "max_objects"):
            require((getattr(self, name) or 0) >= 0, f"data.{name}", ">= 0", getattr(self, name))
        require(self.max_objects != 1, "data.max_objects", "0 or >= 2", self.max_objects)
        require(self.num_val >= 0, "data.num_val", ">= 0", self.num_val)
        require((self.num_test or 0) >= 0, "data.num_test", ">= 0", self.num_test)
        threshold = self.pseudo_threshold
        require(0 <= threshold <= 1, "data.pseudo_threshold", "0..1", threshold)
        fraction = self.annotated_fraction
        require(0 < fraction <= 1, "data.annotated_fraction", "above 0, 1 at most", fraction)
        require_at_least(0, self, "data", "workers")
