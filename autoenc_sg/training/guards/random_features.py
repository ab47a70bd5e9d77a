"""A warning where a phase compares pictures by a detector that nothing has trained."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from autoenc_sg.config.phases import PhaseName
from autoenc_sg.config.run import RunConfig
from autoenc_sg.weights.checkpoint import Checkpoint, is_decoder

logger = logging.getLogger(__name__)


def warn_of_random_features(
    config: RunConfig, phases: Sequence[PhaseName], checkpoint: Checkpoint | None
) -> None:
    """Log a warning if the reconstruction phase reads maps of a detector with random weights.

    Args:
        config: of the run.
        phases: that are trained.
        checkpoint: whose weights the run starts from, if any.
    """
    losses = config.reconstruction.image_losses
    readers = {
        "reconstruction.image_losses.feature_weight": losses.feature_weight > 0,
        "reconstruction.image_losses.relation_feature_weight": losses.relation_feature_weight > 0,
        "generator.appearance_dim": config.generator.appearance_dim > 0,
    }
    used = [name for name, is_on in readers.items() if is_on]
    if not used or "reconstruction" not in phases or config.reconstruction.steps == 0:
        return
    detector = config.detector
    has_weights = detector.pretrained or detector.weights or detector.backend == "detectron2"
    is_trained = "detector" in phases and config.detector_training.steps > 0
    is_loaded = checkpoint is not None and not is_decoder(checkpoint.model)
    if not (has_weights or is_trained or is_loaded):
        logger.warning(
            "%s: the detector has random weights; train the phase detector before, or set "
            "detector.weights or --init",
            ", ".join(used),
        )
