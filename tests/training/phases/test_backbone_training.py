"""What the detector phase does to a backbone: frozen layers, frozen steps, its own rate."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from autoenc_sg.data.base.samples import Batch, collate_samples
from autoenc_sg.data.open import open_dataset
from autoenc_sg.detector import FasterRCNN
from autoenc_sg.model import AutoEncoder
from autoenc_sg.training.parallel.fabric import make_fabric
from autoenc_sg.training.phases import Phase
from tests.support.tiny import tiny_config

PYRAMID = (
    "--detector.backbone=timm/resnet10t",
    "--detector.anchor_sizes=[8, 16, 32, 64]",
    "--detector_training.warmup=0",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backbone")


def steps(folder: Path, count: int, *overrides: str) -> tuple[dict[str, Tensor], AutoEncoder]:
    """Change of every parameter of the detector in `count` steps of its phase."""
    config = tiny_config(folder, *PYRAMID, *overrides)
    dataset = open_dataset(config.data, "test")
    torch.manual_seed(0)
    model = AutoEncoder(config, dataset.vocabulary)
    phase = Phase("detector", make_fabric(config), model, config)
    before = {n: p.detach().clone() for n, p in model.detector.named_parameters()}
    batch: Batch = collate_samples([dataset[i] for i in range(2)])
    for step in range(count):
        torch.manual_seed(step)
        phase.step(batch, step)
    return {n: p.detach() - before[n] for n, p in model.detector.named_parameters()}, model


def moved(changes: dict[str, Tensor], prefix: str) -> set[bool]:
    return {bool(c.abs().max() > 0) for n, c in changes.items() if n.startswith(prefix)}


def test_the_backbone_rests_for_the_first_steps_and_its_pyramid_does_not(folder: Path) -> None:
    frozen = "--detector_training.frozen_backbone_steps=2"
    changes, _ = steps(folder, 2, frozen)
    assert moved(changes, "backbone.body.body.") == {False}
    assert moved(changes, "backbone.body.fpn.") == {True}
    changes, _ = steps(folder, 3, frozen)
    assert True in moved(changes, "backbone.body.body.layer1.")


def test_frozen_layers_stay_in_every_phase(folder: Path) -> None:
    frozen = ("--detector.frozen_layers=[conv1, layer1]", "--joint.freeze_backbone=false")
    changes, model = steps(folder, 2, *frozen)
    assert moved(changes, "backbone.body.body.conv1.") == {False}
    assert moved(changes, "backbone.body.body.layer1.") == {False}
    assert moved(changes, "backbone.body.body.layer2.") == {True}
    Phase("joint", make_fabric(model.config), model, model.config)
    assert isinstance(model.detector, FasterRCNN)
    trunk = model.detector.backbone.trunk
    assert {n.split(".")[0] for n, p in trunk.named_parameters() if not p.requires_grad} == {
        "conv1",
        "layer1",
    }


def test_the_factor_is_of_the_backbone_alone(folder: Path) -> None:
    whole, _ = steps(folder, 1)
    half, _ = steps(folder, 1, "--detector_training.backbone_lr_factor=0.5")
    for name, change in whole.items():
        factor = 0.5 if name.startswith("backbone.body.body.") else 1.0
        assert_close(half[name], change * factor, rtol=2e-3, atol=1e-7)
    assert True in moved(whole, "backbone.body.body.")


def test_adamw_moves_every_weight_with_a_gradient_by_its_rate(folder: Path) -> None:
    options = ("optimizer=adamw", "lr=0.001", "weight_decay=0", "backbone_lr_factor=0.5")
    changes, _ = steps(folder, 1, *(f"--detector_training.{option}" for option in options))
    for prefix, rate in (("rpn.head.conv", 1e-3), ("backbone.body.body.layer4", 5e-4)):
        sizes = torch.cat([c.abs().flatten() for n, c in changes.items() if n.startswith(prefix)])
        assert sizes.count_nonzero() > 100
        assert_close(sizes.max(), torch.tensor(rate), rtol=1e-3, atol=0)
