"""A model and a data set small enough to train in a test."""

from __future__ import annotations

from pathlib import Path

import torch

from autoenc_sg.config.files import load_config
from autoenc_sg.config.run import RunConfig
from autoenc_sg.data.base.samples import Batch, collate_samples
from autoenc_sg.data.open import open_dataset

TINY = """
data: {format: scenes, num_val: 2, scenes: {num_train: 16, num_test: 6, image_size: 64}}
detector:
  backbone: small
  channels: 16
  min_size: 64
  max_size: 64
  anchor_sizes: [12, 24, 48]
  proposals: 16
  rois_per_image: 12
  feature_dim: 24
  detections: 6
  score_threshold: 0.0
relpn: {dim: 8, top_k: 12, samples_per_image: 12}
predictor: {dim: 16, steps: 1, dropout: 0.1}
generator:
  image_size: 32
  embedding_dim: 8
  gconv_dim: 12
  gconv_hidden_dim: 16
  gconv_layers: 2
  mask_size: 4
  refinement_dims: [16, 12, 8]
  discriminator_dims: [8, 12]
detector_training: {steps: 4, batch_size: 3, lr: 0.01, warmup: 2}
reconstruction: {steps: 4, batch_size: 3, lr: 0.001}
joint: {steps: 4, batch_size: 3, lr: 0.01, warmup: 2, regions_per_image: 6}
decode: {object_threshold: 0.0, edge_threshold: 0.0}
runtime:
  {accelerator: cpu, devices: 1, threads: 1, log_every: 2, checkpoint_every: 2, sample_every: 2}
"""


CODES = "--generator.appearance_dim=3"  # an override of `tiny_config`


def tiny_config(folder: Path, *overrides: str) -> RunConfig:
    """A run in `folder / "run"` on scenes in `folder / "scenes"`."""
    file = folder / "tiny.yaml"
    file.write_text(TINY, encoding="utf-8")
    own = ["--out", str(folder / "run"), "--data.root", str(folder / "scenes")]
    return load_config(file, [*own, *overrides])


def photos(folder: Path, count: int, split: str = "test") -> Batch:
    """The first images of a tiny run's scenes."""
    dataset = open_dataset(tiny_config(folder).data, split)  # type: ignore[arg-type]
    return collate_samples([dataset[i] for i in range(count)])


def same(a: object, b: object) -> None:
    """Equal to the last bit, through dicts, lists and tensors."""
    if isinstance(a, torch.Tensor):
        assert isinstance(b, torch.Tensor)
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert isinstance(b, dict)
        assert a.keys() == b.keys()
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert isinstance(b, (list, tuple))
        assert len(a) == len(b)
        for x, y in zip(a, b):
            same(x, y)
    else:
        assert a == b
