"""Detector weights from a file: a detector's, a whole checkpoint's, or another program's."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from autoenc_sg.core.errors import InputError
from autoenc_sg.detector import Detector
from autoenc_sg.detector.published.classes import take_classes
from autoenc_sg.detector.published.state_dicts import from_imagenet, recognize, translate
from autoenc_sg.weights.state_dict import load_weights, read_weights

COCO: dict[str, str] = {  # torchvision's names of its weights, by ours
    "coco": "FasterRCNN_ResNet50_FPN_Weights",
    "coco_mobilenet_v3": "FasterRCNN_MobileNet_V3_Large_FPN_Weights",
    "coco_mobilenet_v3_320": "FasterRCNN_MobileNet_V3_Large_320_FPN_Weights",
}
logger = logging.getLogger(__name__)


def load_detector_weights(detector: Detector, source: str, names: Sequence[str]) -> None:
    """Load a detector.

    The layers for the graph keep their initial weights if the source has none. From the class head
    of another vocabulary the rows of the same class names are used, from an ImageNet classifier the
    backbone.

    Args:
        detector: to be filled.
        source: a file, or a name in `COCO`: torchvision's published weights, downloaded.
        names: the detector's classes, with background.

    Raises:
        InputError: no file, no network, or a name or shape that does not fit.
    """
    weights = read_detector_weights(source)
    initial = detector.state_dict()
    kind = recognize(weights)
    if kind is not None:
        mixed, num_matched = take_classes(initial, translate(weights, kind, source), kind, names)
        logger.warning(
            "%s: weights of %s; %d of %d classes are known to them, the others begin anew",
            source,
            kind,
            num_matched,
            len(names) - 1,
        )
        weights = {name: value for name, value in mixed.items() if name in initial}
    body = from_imagenet(weights, initial, source) if kind is None else None
    if body is not None:
        logger.warning("%s: ImageNet weights of the backbone; all else begins anew", source)
        weights = initial | body
    optional = (*detector.graph_layers, *_counters(initial))
    optional_weights = {name: value for name, value in initial.items() if name.startswith(optional)}
    load_weights(detector, optional_weights | dict(weights), str(source))


def read_detector_weights(source: str) -> Mapping[str, Tensor]:
    """Names and tensors of `source`; of a whole checkpoint of ours, the detector's."""
    if source in COCO:
        return _download(COCO[source])
    weights = read_weights(Path(source))
    prefix = "detector."
    part = {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}
    return part or weights


def _counters(names: Iterable[str]) -> list[str]:
    """Batch normalization's counters, which frozen layers do not have."""
    return [name for name in names if name.endswith("num_batches_tracked")]


def _download(name: str) -> Mapping[str, Tensor]:
    """Weights of a Faster R-CNN trained on COCO by torchvision."""
    import torchvision

    published = torchvision.models.get_weight(f"{name}.COCO_V1")
    try:
        weights: Mapping[str, Tensor] = published.get_state_dict(progress=True)
    except OSError as error:  # no network: urllib's errors are OSErrors
        raise InputError(
            f"detector.weights: expected a network to download {published.url}, "
            f"got {error}; give detector.weights the file instead"
        ) from error
    return weights
