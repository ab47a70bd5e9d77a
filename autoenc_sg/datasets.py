"""Opening a data set by its configuration."""

from __future__ import annotations

from pathlib import Path

from autoenc_sg.coco import CocoDataset, CocoRules
from autoenc_sg.config import DataConfig
from autoenc_sg.samples import GraphDataset, Split
from autoenc_sg.scene_files import ensure_scenes
from autoenc_sg.vg150 import VG150Dataset


def open_dataset(config: DataConfig, split: Split, seed: int = 0) -> GraphDataset:
    """One split of the configured data; drawn scenes are made where there are none yet.

    Args:
        config: format, place and filters.
        split: `train`, `val` or `test`; flips happen in `train` only.
        seed: of everything random in reading (not of drawing scenes).

    Raises:
        InputError: a file is missing or damaged, or the scenes there have other settings.
    """
    root = Path(config.root)
    if config.format == "coco":
        return CocoDataset(
            root / config.annotations,
            root / config.images,
            split,
            CocoRules(config.num_val, config.num_test),
            config.flip,
            seed,
        )
    if config.format == "scenes":
        ensure_scenes(root, config.scenes)
    return VG150Dataset(
        root,
        split,
        config.num_val,
        config.filter_empty_relations,
        config.filter_overlap,
        config.flip,
        seed,
    )
