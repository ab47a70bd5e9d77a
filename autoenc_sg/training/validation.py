"""Validation during training: when it is due, what is measured, and the best weights on disk.

- `detector` phase: after every `validate_epochs` epochs, but not before `validate_min_steps` steps,
  and at the end, by COCO's AP; the weights of the best `detector_training.best_metric` go to
  `best_detector.safetensors`.
- `reconstruction` phase: every `validate_every` steps and at the end, by the weighted losses
  (without those of discriminators); the weights of their lowest sum go to `best.safetensors`.
- `joint` phase: when the detector phase would be, by the recall of triplets (SGGen); the weights of
  the best `joint.best_metric` go to `best_joint.safetensors`.

Modules are in evaluation mode, the noise of an image follows from its id, and the global random
state is not used: training continues exactly as it would have without validation.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from autoenc_sg.config.phases import (
    JOINT_METRICS,
    DetectorPhase,
    JointPhase,
    PhaseName,
    ReconstructionPhase,
)
from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.images import target_images
from autoenc_sg.data.base.samples import GraphDataset
from autoenc_sg.data.loading import batches
from autoenc_sg.eval import DetectionPrecision, RecallSuite
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.model.modes import eval_mode
from autoenc_sg.model.region_reader import DetectorRegions, RegionReader, graph_of_detections
from autoenc_sg.training.losses.features import FeatureLoss
from autoenc_sg.training.objectives import reconstruction_losses
from autoenc_sg.training.parallel.loss_terms import total_losses
from autoenc_sg.training.phases import Phase, phase_settings
from autoenc_sg.training.splits import Splits, cached_regions
from autoenc_sg.weights.checkpoint import Checkpoint, write_checkpoint

BEST = "best.safetensors"
BEST_DETECTOR = "best_detector.safetensors"
BEST_JOINT = "best_joint.safetensors"


@dataclass(frozen=True)
class Validation:
    """What a phase is validated on.

    Attributes:
        dataset: the validation split.
        regions: where the joint phase's regions come from.
    """

    dataset: GraphDataset
    regions: RegionReader


def open_validation_split(phase: Phase, splits: Splits) -> Validation | None:
    """The validation split; None if the phase is not validated, or not by this process.

    The joint phase is not validated if the split is empty.

    Raises:
        InputError: the split is empty, and the phase is another; or see `splits.cached_regions`.
    """
    options = ("validate_epochs", "validate_every")
    is_validated = any(getattr(phase.settings, name, 0) > 0 for name in options)
    if splits.open_validation is None or not (is_validated and phase.fabric.is_global_zero):
        return None
    dataset = splits.open_validation()
    if phase.name == "joint" and len(dataset) == 0:
        return None
    _check_not_empty(dataset)
    return Validation(dataset, _validation_regions(phase, dataset))


def _validation_regions(phase: Phase, dataset: GraphDataset) -> RegionReader:
    joint = phase.config.joint
    if phase.name != "joint" or not joint.region_cache:
        return DetectorRegions(phase.model.detector)
    folder, count = Path(joint.region_cache) / "val", joint.validation_images
    return cached_regions(folder, phase.model, dataset, count, joint.region_precision)


def criterion(config: RunConfig, name: PhaseName) -> tuple[object, ...]:
    """The options by which a phase's best weights are chosen.

    Values by different ones cannot be compared.
    """
    if name != "reconstruction":
        return (phase_settings(config, name).best_metric,)
    settings = config.reconstruction
    kinds = (settings.pixel_space, settings.box_kind)
    weights = (settings.pixel_weight, settings.box_weight, settings.mask_weight)
    return (*kinds, *weights, settings.image_losses)


def is_due(phase: Phase, steps_done: int, num_images: int) -> bool:
    """Whether the phase is validated after `steps_done` steps on `num_images` training images."""
    if steps_done == phase.steps:
        return True
    settings = phase.settings
    if phase.name == "reconstruction":
        return steps_done % int(settings.validate_every) == 0
    least = int(settings.validate_min_steps) * phase.batch_size
    interval = max(num_images * int(settings.validate_epochs), least)
    now, before = (steps * phase.batch_size // interval for steps in (steps_done, steps_done - 1))
    return now > before


def validate_phase(
    phase: Phase, model: AutoEncoder, validation: Validation, out: Path, step: int
) -> dict[str, float]:
    """Named scores on the validation split; the best weights so far are written to `out`.

    The reconstruction phase is measured with the moving average of its weights, if it has one.
    """
    dataset = validation.dataset
    if phase.name == "detector":
        settings = phase.config.detector_training
        with phase.fabric.autocast():
            scores = detector_precision(model, dataset, settings)
        _keep_best(phase, model, -scores[settings.best_metric], out / BEST_DETECTOR, step)
        return scores
    if phase.name == "joint":
        joint = phase.config.joint
        with phase.fabric.autocast():
            scores = joint_recall(model, dataset, joint, validation.regions)
        _keep_best(phase, model, -scores.get(joint.best_metric, -math.inf), out / BEST_JOINT, step)
        return scores
    with nullcontext() if phase.average is None else phase.average.applied():
        losses = validation_losses(model, dataset, phase.config.reconstruction)
        _keep_best(phase, model, sum(losses.values()), out / BEST, step)
    return losses


def _keep_best(phase: Phase, model: AutoEncoder, value: float, file: Path, step: int) -> None:
    """Write the model's weights if `value` (lower is better) is the phase's lowest so far."""
    if value < phase.best:
        phase.best = value
        weights = model.state_dict()
        checkpoint = Checkpoint(phase.config, model.vocabulary, weights, phase.name, step)
        write_checkpoint(file, checkpoint)


@torch.no_grad()
def detector_precision(
    model: AutoEncoder, dataset: GraphDataset, settings: DetectorPhase
) -> dict[str, float]:
    """COCO's AP, AP50, AP75, AR and micro AP50 of the detector on the first `validation_images`."""
    # In training, process 0 alone runs this, so the metric must not wait for the other processes.
    detector, metric = model.detector, DetectionPrecision(sync_on_compute=False)
    with eval_mode(model):
        for batch in batches(dataset, settings.batch_size, settings.validation_images):
            images = [image.to(model.device) for image in batch.images]
            detections = detector.detect(detector.encode(images))
            metric.update(detections.split(len(batch)), batch.graphs.split())
    return {name: float(value) for name, value in metric.compute().items()}


@torch.no_grad()
def validation_losses(
    model: AutoEncoder, dataset: GraphDataset, settings: ReconstructionPhase
) -> dict[str, float]:
    """Weighted losses of the reconstruction phase, means over the first `validation_images`.

    `reconstruction_losses` and the feature losses; a discriminator's are of no fixed scale.

    Raises:
        InputError: the data set is empty.
    """
    _check_not_empty(dataset)
    generator, num_images = model.generator, 0
    feature_loss = FeatureLoss(model.detector, settings.image_losses)
    sums: dict[str, float] = {}
    with eval_mode(model):
        for batch in batches(dataset, settings.batch_size, settings.validation_images):
            images = [image.to(model.device) for image in batch.images]
            graph = model.relax(model.with_appearance(images, batch.graphs))
            target = target_images(images, generator.config.image_size)
            generated = generator(graph, generator.seeded_noise(batch.image_ids))
            losses = reconstruction_losses(generated, graph, target, settings)
            losses |= total_losses(feature_loss.terms(generated.image, images, graph))
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0.0) + float(loss) * len(batch)
            num_images += len(batch)
    return {name: total / num_images for name, total in sums.items()}


@torch.no_grad()
def joint_recall(
    model: AutoEncoder,
    dataset: GraphDataset,
    settings: JointPhase,
    regions: RegionReader | None = None,
) -> dict[str, float]:
    """The `JOINT_METRICS` on the first `validation_images`; a mean over nothing is left out.

    They are counted as `evaluate` counts them by default. Without `regions` the detector runs.
    """
    regions = regions or DetectorRegions(model.detector)
    # Process 0 alone runs this, so the metrics must not wait for the other processes.
    suite = RecallSuite(model.vocabulary.num_predicates, ("SGGen",), sync_on_compute=False)
    with eval_mode(model):
        for batch in batches(dataset, settings.batch_size, settings.validation_images):
            batch = batch.to(model.device)
            seen = regions.read(batch.images, batch.graphs)
            logits = graph_of_detections(model, seen.regions(seen.detected_rows), seen.maps)
            predictions = logits.predictions()
            suite.update([p.to("cpu") for p in predictions], batch.graphs.to("cpu").split())
    values = {f"SGGen {name}": value for name, value in suite.compute()["SGGen"].items()}
    scores = {name: value for name, value in values.items() if isinstance(value, float)}
    return {name: scores[name] for name in JOINT_METRICS if math.isfinite(scores[name])}


def _check_not_empty(dataset: GraphDataset) -> None:
    if len(dataset) == 0:
        expected = "one image or more (data.num_val, data.filter_empty_relations)"
        raise bad_input("validation split", expected, 0)
