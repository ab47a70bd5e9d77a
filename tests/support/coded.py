"""A tiny run with appearance codes, and its photos."""

from __future__ import annotations

from pathlib import Path

from autoenc_sg.data.base.samples import Batch, collate_samples
from autoenc_sg.data.open import open_dataset
from tests.support.tiny import tiny_config

CODES = "--generator.appearance_dim=3"


def photos(folder: Path, count: int, split: str = "test") -> Batch:
    dataset = open_dataset(tiny_config(folder).data, split)  # type: ignore[arg-type]
    return collate_samples([dataset[i] for i in range(count)])
