"""The autoencoder trains on the two formats of sg2im: a few steps of every phase."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from autoenc_sg.data.open import open_dataset
from autoenc_sg.data.sg2im_vg.build import build_sg2im_vg
from autoenc_sg.data.sg2im_vg.rules import RawFiles, Sg2imRules
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.training.loop import train
from autoenc_sg.training.run_log import read_history
from autoenc_sg.weights.checkpoint import read_checkpoint
from tests.support.files.sg2im_data import SMALL, write_coco_stuff, write_raw
from tests.support.tiny import tiny_config

STEPS = [f"--{phase}.steps=2" for phase in ("detector_training", "reconstruction", "joint")]
LOSSES = ["--reconstruction.mask_weight=0.1", "--reconstruction.object_adversarial_weight=0.01"]


def root_of(kind: str, folder: Path) -> Path:
    """A tiny data set of the format; also the folder that the run's configuration names."""
    root = folder / "scenes"
    if kind == "coco_stuff":
        return write_coco_stuff(root, 4)
    build_sg2im_vg(RawFiles(write_raw(root)), root, Sg2imRules(**SMALL))
    return root


@pytest.mark.parametrize("kind", ["coco_stuff", "sg2im_vg"])
def test_all_phases(kind: str, tmp_path: Path) -> None:
    root_of(kind, tmp_path)
    more = ["--data.mask_size=4", "--generator.object_discriminator_dims=[8,12]"]
    config = tiny_config(tmp_path, f"--data.format={kind}", *more, *STEPS, *LOSSES)
    checkpoint = read_checkpoint(train(config))
    history = read_history(tmp_path / "run")
    losses = {row["phase"]: row["losses"] for row in history}
    assert list(losses) == ["detector", "reconstruction", "joint"]
    assert ("mask" in losses["reconstruction"]) == (kind == "coco_stuff")
    assert {"pixel", "layout_box", "auxiliary"} <= losses["reconstruction"].keys()
    assert all(
        torch.isfinite(torch.tensor(list(named_losses.values()))).all()
        for named_losses in losses.values()
    )
    data = open_dataset(config.data, "test")
    assert checkpoint.vocabulary == data.vocabulary
    model = AutoEncoder.from_checkpoint(tmp_path / "run" / "checkpoint.safetensors", "cpu")
    graph = data[0].graph
    assert (graph.masks is not None) == (kind == "coco_stuff")
    assert model.render_batch([graph], [0]).shape == (1, 3, 32, 32)
    assert len(model.parse([data[0].image.float() / 255])) == 1


def test_the_mask_head_learns_from_true_masks(tmp_path: Path) -> None:
    root_of("coco_stuff", tmp_path)
    fixed = [
        "--data.format=coco_stuff",
        "--data.mask_size=4",
        "--data.flip=false",
        "--reconstruction.steps=60",
        "--reconstruction.lr=0.01",
        "--reconstruction.mask_weight=1",
        "--reconstruction.adversarial_weight=0",
        "--generator.mlp_normalization=none",
        "--runtime.log_every=10",
    ]
    train(tiny_config(tmp_path, *fixed), ("reconstruction",))
    losses = [row["losses"]["mask"] for row in read_history(tmp_path / "run")]
    assert losses[-1] < 0.8 * losses[0]
