"""The train and validation split of a run, and what a frozen detector sees of them.

Data sets are given as objects, or are those of the run's configuration.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lightning.fabric import Fabric

from autoenc_sg.config.phases import PhaseName, RegionPrecision
from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.errors import bad_input
from autoenc_sg.data.base.augment import is_mirroring, views
from autoenc_sg.data.base.samples import GraphDataset
from autoenc_sg.data.base.unannotated import WithMoreImages
from autoenc_sg.data.loading import BatchPlan, MixedPlan
from autoenc_sg.data.open import open_dataset, open_unannotated
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.model.region_cache import (
    CacheKey,
    RegionCache,
    data_digest,
    detector_digest,
    write_region_cache,
)
from autoenc_sg.visualization.progress import Reporter

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Splits:
    """What a run trains on and is validated on.

    Attributes:
        train: the training images.
        unannotated: images for the joint phase beside those of `train`, or None.
        open_validation: gives the validation images when a phase needs them; None: no phase is
            validated.
    """

    train: GraphDataset
    open_validation: Callable[[], GraphDataset] | None
    unannotated: GraphDataset | None = None


@dataclass(frozen=True)
class PhaseImages:
    """The images of a phase.

    Attributes:
        dataset: all of them.
        annotated, unannotated: their indices; a batch has images of both.
        per_batch: unannotated images in a batch, over all processes.
    """

    dataset: GraphDataset
    annotated: Sequence[int]
    unannotated: Sequence[int] = ()
    per_batch: int = 0

    def plan(self, batch_size: int, steps: int, seed: int, first: int, fabric: Fabric) -> MixedPlan:
        """The batches of this process from the step `first` on."""
        place = (fabric.global_rank, fabric.world_size)
        plan = BatchPlan(len(self.annotated), batch_size, steps, seed, first, *place)
        return MixedPlan(plan, (self.annotated, self.unannotated), self.per_batch)


def phase_images(splits: Splits, config: RunConfig, phase: PhaseName) -> PhaseImages:
    """What a phase trains on: the train split, the joint phase's without relations apart."""
    if phase != "joint":
        return PhaseImages(splits.train, range(len(splits.train)))
    joint = config.joint
    images = WithMoreImages(splits.train, splits.unannotated)
    unannotated = sorted(images.unannotated)
    annotated = [i for i in range(len(splits.train)) if i not in images.unannotated]
    per_batch = joint.unannotated_per_batch if unannotated else 0
    if joint.unannotated.has_teacher and per_batch == 0:
        logger.warning(
            "joint.unannotated: pseudo-labels and consistency have no effect, there are no "
            "unannotated images (data.annotated_fraction, data.unannotated, per_batch)"
        )
    return PhaseImages(images, annotated, unannotated, per_batch)


def make_splits(
    config: RunConfig,
    fabric: Fabric,
    dataset: GraphDataset | None = None,
    val_dataset: GraphDataset | None = None,
) -> Splits:
    """The given data sets, and `config.data` for those that are not given.

    With `dataset` alone there is no validation split: `config.data` is about other images. It may
    name its own unannotated ones, see `annotation.unannotated_rows`.

    Raises:
        InputError: an argument is no data set, the vocabularies differ, or `config.data` is wrong.
    """
    for name, value in (("dataset", dataset), ("val_dataset", val_dataset)):
        if value is not None and not (hasattr(value, "vocabulary") and hasattr(value, "sample")):
            expected = "a GraphDataset, such as PairsDataset(pairs, vocabulary)"
            raise bad_input(name, expected, type(value).__name__)
    open_validation: Callable[[], GraphDataset] | None = None
    if val_dataset is not None:
        open_validation = partial(_same, val_dataset)
    elif dataset is None:
        open_validation = partial(open_dataset, config.data, "val", config.seed)
    train = _open_train_split(config, fabric) if dataset is None else dataset
    unannotated = None
    if dataset is None and config.data.unannotated:
        unannotated = open_unannotated(config.data, train.vocabulary, config.seed)
    if val_dataset is not None and val_dataset.vocabulary != train.vocabulary:
        raise bad_input("val_dataset", "the vocabulary of the training images", "another one")
    return Splits(train, open_validation, unannotated)


def _same(dataset: GraphDataset) -> GraphDataset:
    return dataset


def _open_train_split(config: RunConfig, fabric: Fabric) -> GraphDataset:
    """Opened by the first process alone before the others: it may have to be written first."""
    if fabric.is_global_zero:
        open_dataset(config.data, "train", config.seed)
    fabric.barrier()
    return open_dataset(config.data, "train", config.seed)


def cached_regions(
    folder: Path,
    model: AutoEncoder,
    dataset: GraphDataset,
    limit: int | None = None,
    precision: RegionPrecision = "float16",
    reporter: Reporter | None = None,
) -> RegionCache:
    """What the model's detector, which must not change then, sees of a data set.

    Args:
        folder: of the cache; what is missing of it is computed, with progress.
        model: its detector is used, and its vocabulary is that of the data set.
        dataset: with mirrored images if it mirrors some.
        limit: only its first images.
        precision: of the stored maps and features.
        reporter: gets the stage "cache regions"; None: on standard error.

    Raises:
        InputError: the folder holds the regions of other weights or of other images, or is damaged.
    """
    count = len(dataset) if limit is None else min(limit, len(dataset))
    graphs = (dataset.graph(i) for i in range(count))
    boxes = ((dataset.image_ids[i], g.boxes, g.image_size) for i, g in enumerate(graphs))
    key = CacheKey(
        detector_digest(model.detector, model.config.detector),
        data_digest(boxes),
        count * (1 + is_mirroring(dataset)),
        precision,
    )
    reporter = reporter or Reporter([("cache regions", 1.0)])
    with reporter.stage("cache regions", key.images):
        return write_region_cache(
            folder,
            key,
            model.detector,
            lambda start: (
                (sample.image, sample.graph.boxes) for sample in views(dataset, count, start)
            ),
            reporter.advance,
        )
