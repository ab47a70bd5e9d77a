"""Options of the joint phase: the detector's own rate, pictures of true graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from autoenc_sg.core.images import target_images
from autoenc_sg.data.base.samples import Batch, collate_samples
from autoenc_sg.data.open import open_dataset
from autoenc_sg.generator import GeneratorNoise, box_loss, pixel_loss
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.training.objectives import JointObjective
from autoenc_sg.training.parallel.fabric import make_fabric
from autoenc_sg.training.phases import Phase
from tests.support.tiny import tiny_config


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("joint")


def fresh(folder: Path, *overrides: str) -> tuple[AutoEncoder, Batch]:
    config = tiny_config(folder, *overrides)
    dataset = open_dataset(config.data, "test")
    torch.manual_seed(0)
    model = AutoEncoder(config, dataset.vocabulary)
    return model, collate_samples([dataset[i] for i in range(2)])


@pytest.mark.parametrize("factor", [0.0, 0.5])
def test_what_the_detector_has_learnt_has_a_rate_of_its_own(folder: Path, factor: float) -> None:
    model, batch = fresh(
        folder, f"--joint.detector_lr_factor={factor}", "--joint.weight_decay=0", "--joint.warmup=0"
    )
    phase = Phase("joint", make_fabric(model.config), model, model.config)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    phase.step(batch, 0)
    new, old = phase.optimizers["graph"].param_groups
    assert (new["lr"], old["lr"]) == (0.01, 0.01 * factor)
    assert {id(p) for p in old["params"]} == {
        id(p) for part in model.detector.classifier_modules() for p in part.parameters()
    }
    phase.step(batch, 3)  # beyond 0.7 of the 4 steps
    assert (new["lr"], old["lr"]) == pytest.approx((1e-3, 1e-3 * factor))
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    head = "detector.roi_heads.box_predictor.cls_score.weight"
    assert (head in moved) == (factor > 0)
    assert {"detector.union_head.0.weight", "relpn.subject_projection.0.weight"} <= moved


def test_pictures_of_true_graphs_are_scored_beside_those_of_predicted_ones(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--joint.true_graph_weight=0.5", "--joint.image_loss_weight=3")
    model, batch = fresh(folder, *options, "--joint.pixel_weight=2")
    generator, size = model.generator, model.config.generator.image_size
    noise = generator.seeded_noise([0, 1])
    monkeypatch.setattr(generator, "noise_of", lambda random: noise)
    objective = JointObjective(model, model.config.joint).eval()
    with torch.no_grad():
        losses = objective(batch).losses
        drawn = generator(model.relax(batch.graphs), noise)
    assert isinstance(noise, GeneratorNoise)
    expected = 3 * 2 * 0.5 * pixel_loss(drawn.image, target_images(batch.images, size))
    assert_close(losses["true_graph_pixel"], expected)
    true_boxes = batch.graphs.unit_boxes()
    error = box_loss(drawn.boxes, true_boxes, drawn.image_boxes)
    assert_close(losses["layout_box"], 3 * 0.5 * 10 * error)
    plain, batch = fresh(folder)
    assert "true_graph_pixel" not in JointObjective(plain, plain.config.joint)(batch).losses


def test_the_box_head_is_trained_on_true_graphs(folder: Path) -> None:
    for options, trained in (
        (("--joint.true_graph_weight=1",), True),
        (("--joint.true_graph_weight=1", "--joint.layout_box_weight=0"), False),
    ):
        model, batch = fresh(folder, *options)
        losses = JointObjective(model, model.config.joint)(batch).losses
        torch.stack(list(losses.values())).sum().backward()
        assert all((p.grad is not None) == trained for p in model.generator.box_net.parameters())


@pytest.mark.parametrize(("name", "rate"), [("reconstruction", 0.001), ("joint", 0.002)])
def test_discriminators_decay_as_the_generator_does(folder: Path, name: str, rate: float) -> None:
    options = ("--reconstruction.decay_at=[0.5]", "--joint.decay_at=[0.5]")
    model, batch = fresh(folder, *options, "--joint.generator_lr=0.002")
    phase = Phase(name, make_fabric(model.config), model, model.config)  # type: ignore[arg-type]
    adversary: Any = phase.adversaries[0]
    rates = []
    for step in (0, 1, 2, 3):  # of 4 steps
        phase.step(batch, step)
        groups = (
            phase.optimizers["generator"].param_groups[0],
            adversary.optimizer.param_groups[0],
        )
        rates.append(tuple(group["lr"] for group in groups))
    decayed = pytest.approx(rate / 10)
    assert rates == [(rate, rate), (rate, rate), (decayed, decayed), (decayed, decayed)]
    before = {n: p.detach().clone() for n, p in adversary.plain.named_parameters()}
    for group in adversary.optimizer.param_groups:
        group["lr"] = 1.0  # of no effect: each step sets its own rate
    phase.step(batch, 3)
    moved = max(
        float((p.detach() - before[n]).abs().max()) for n, p in adversary.plain.named_parameters()
    )
    assert 0 < moved < rate  # a step of Adam is about its learning rate
