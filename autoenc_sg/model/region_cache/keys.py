"""What a cache of regions was made of: the detector's weights, the images and how they are stored.

The detector is known by a digest of its weights without those of `Detector.graph_layers`, which
are trained with the graph, and of its configuration without the names of files and without what
only its training reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autoenc_sg.config.model import DetectorConfig
from autoenc_sg.config.phases import RegionPrecision
from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.detector import Detector

KEY_FILE = "regions.json"
VERSION = 2
_OF_TRAINING = frozenset(
    {"pretrained", "backbone_weights", "weights", "frozen_layers", "train_min_sizes"}
    | {"train_proposals", "rois_per_image"}
)


@dataclass(frozen=True)
class CacheKey:
    """What a cache was made of.

    Attributes:
        weights: `detector_digest`.
        data: `data_digest` of the images and boxes.
        images: how many entries the cache has; a mirrored image is one of its own.
        precision: of maps and features.
        version: of the files.
    """

    weights: str
    data: str
    images: int
    precision: RegionPrecision
    version: int = VERSION

    def write(self, folder: Path) -> None:
        """Write the key to its file, atomically."""
        with replacing(folder / KEY_FILE) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    def check(self, folder: Path) -> None:
        """Compare with the key in a folder.

        Raises:
            InputError: the folder holds a cache of something else; the message says of what.
        """
        stored = read_key(folder)
        for field in fields(self):
            expected, got = getattr(self, field.name), stored.get(field.name)
            if got != expected:
                what = f"regions cached in {folder}: {field.name}"
                advice = f"{got}: a cache of something else; remove it or choose another folder"
                raise bad_input(what, str(expected), advice)


def read_key(folder: Path) -> dict[str, Any]:
    """The content of a folder's key file.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = folder / KEY_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected the key of cached regions, got {error}") from None
    if not isinstance(content, dict):
        raise bad_input(path, "the key of cached regions", type(content).__name__)
    return content


def detector_digest(detector: Detector, config: DetectorConfig) -> str:
    """BLAKE2b (32 hex digits) of what decides the regions that a frozen detector gives."""
    settings = {n: v for n, v in asdict(config).items() if n not in _OF_TRAINING}
    weights = {
        name: value
        for name, value in detector.state_dict().items()
        if not name.startswith(detector.graph_layers)
    }
    return weights_digest(weights, repr(sorted(settings.items())))


def weights_digest(weights: Mapping[str, Tensor], settings: str = "") -> str:
    """BLAKE2b (32 hex digits) of tensors by name, and of a text."""
    digest = hashlib.blake2b(settings.encode(), digest_size=16)
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        plain = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(plain.numpy().data)
    return digest.hexdigest()


def data_digest(images: Iterable[tuple[int, Tensor, tuple[int, int]]]) -> str:
    """BLAKE2b (32 hex digits) of the id, true boxes `[n, 4]` and (height, width) of each image."""
    digest = hashlib.blake2b(digest_size=16)
    for image_id, boxes, size in images:
        digest.update(f"{image_id} {size} {tuple(boxes.shape)}".encode())
        digest.update(boxes.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
