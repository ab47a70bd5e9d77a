"""When a phase is validated on held-out images, and by what; the best weights are kept.

The detector phase is scored after epochs by COCO's AP; the reconstruction phase every so many steps
by its losses (`validation`). Validation draws no random numbers: training goes on as if nothing
had happened.
"""

from __future__ import annotations

from pathlib import Path

import torch

from autoenc_sg.config.phases import DetectorPhase
from autoenc_sg.core.errors import bad_input
from autoenc_sg.data.base.samples import GraphDataset
from autoenc_sg.data.loading import batches
from autoenc_sg.data.open import open_dataset
from autoenc_sg.eval import DetectionPrecision
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.model.modes import eval_mode
from autoenc_sg.training.generator_validation import validate
from autoenc_sg.training.phases import Phase
from autoenc_sg.weights.checkpoint import Checkpoint, write_checkpoint

BEST_DETECTOR = "best_detector.pt"


def open_held_out(phase: Phase) -> GraphDataset | None:
    """The validation split, or None where the phase is not validated, or by another process.

    Raises:
        InputError: it is empty.
    """
    names = ("validate_epochs", "validate_every")
    asked = any(getattr(phase.settings, name, 0) > 0 for name in names)
    if not (asked and phase.fabric.is_global_zero):
        return None
    held_out = open_dataset(phase.config.data, "val", phase.config.seed)
    if len(held_out) == 0:
        raise bad_input("validation split", "one image or more (data.num_val)", 0)
    return held_out


def is_due(phase: Phase, done: int, size: int) -> bool:
    """Whether it is validated after `done` steps over a train split of `size` images."""
    if phase.name != "detector":
        return done % int(phase.settings.validate_every) == 0 or done == phase.steps
    images = size * int(phase.settings.validate_epochs)
    passed, before = (step * phase.batch_size // images for step in (done, done - 1))
    return passed > before or done == phase.steps


def validate_phase(
    phase: Phase, model: AutoEncoder, held_out: GraphDataset, out: Path, step: int
) -> dict[str, float]:
    """Named scores on held-out images; better ones than before leave their weights in `out`."""
    if phase.name != "detector":
        return validate(phase, model, held_out, out, step)
    with phase.fabric.autocast():
        scores = detector_precision(model, held_out, phase.config.detector_training)
    if -scores["AP50"] < phase.best:
        phase.best = -scores["AP50"]
        weights = model.state_dict()
        checkpoint = Checkpoint(phase.config, model.vocabulary, weights, phase.name, step)
        write_checkpoint(out / BEST_DETECTOR, checkpoint)
    return scores


@torch.no_grad()
def detector_precision(
    model: AutoEncoder, dataset: GraphDataset, settings: DetectorPhase
) -> dict[str, float]:
    """COCO's AP, AP50, AP75 and AR of the detector on the first `validation_images`."""
    # In training the first process alone is here: it must not wait for the others' images.
    detector, metric = model.detector, DetectionPrecision(sync_on_compute=False)
    with eval_mode(model):
        for batch in batches(dataset, settings.batch_size, settings.validation_images):
            images = [image.to(model.device) for image in batch.images]
            found = detector.detect(detector.encode(images))
            metric.update(found.split(len(batch)), batch.graphs.split())
    return {name: float(value) for name, value in metric.compute().items()}
