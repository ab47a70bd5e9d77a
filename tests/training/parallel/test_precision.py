"""Mixed precision: exact boxes, and one scale of the losses for all optimizers of a step."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from torch import nn
from torch.testing import assert_close

from autoenc_sg.config.run import RunConfig
from autoenc_sg.data.base.samples import Batch, collate_samples
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.training import loop
from autoenc_sg.training.parallel.fabric import OpaqueBatch, make_fabric
from autoenc_sg.training.parallel.precision import StepPrecision
from autoenc_sg.training.phases import Phase
from autoenc_sg.training.start import find_start
from autoenc_sg.weights.checkpoint import read_resumable
from tests.support.tiny import same, tiny_config
from tests.training.test_loop import Killed, KillingReporter

OBJECTS = (
    "--reconstruction.object_adversarial_weight=0.01",
    "--generator.object_discriminator_dims=[8,12]",
    "--generator.relation_layout=true",
    *(
        f"--{name}.image_losses.{loss}_weight=0.1"
        for name in ("reconstruction", "joint")
        for loss in ("relation_adversarial", "feature", "relation_feature")
    ),
)


class ScaledFloat32(StepPrecision):
    """The scaling of 16-mixed, computed in float32, so that it can be compared."""

    def __init__(self, scale: float = 2.0**10) -> None:
        scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=1)
        super().__init__("16-mixed", "cpu", scaler)

    def forward_context(self) -> AbstractContextManager[Any]:
        return nullcontext()


@pytest.fixture(scope="module")
def folder(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    own = tmp_path_factory.mktemp("precision")
    shutil.copytree(tiny_run / "scenes", own / "scenes")
    return own


def scaled(scale: float = 2.0**10) -> Fabric:
    fabric = Fabric(accelerator="cpu", devices=1, plugins=ScaledFloat32(scale))
    fabric.launch()
    return fabric


def phase_of(
    folder: Path, name: str, fabric: Fabric | None = None, *overrides: str
) -> tuple[Phase, AutoEncoder, Batch]:
    config = tiny_config(folder, "--joint.warmup=0", *overrides)
    dataset = open_dataset(config.data, "test")
    torch.manual_seed(0)
    model = AutoEncoder(config, dataset.vocabulary)
    phase = Phase(name, fabric or make_fabric(config), model, config)  # type: ignore[arg-type]
    return phase, model, collate_samples([dataset[i] for i in range(3)])


def test_boxes_of_the_object_discriminator_stay_float32_in_mixed_precision(folder: Path) -> None:
    options = (*OBJECTS, "--runtime.precision=bf16-mixed")
    phase, _, batch = phase_of(folder, "reconstruction", None, *options)
    adversary: Any = phase.adversaries[0]
    assert adversary.name == "object_discriminator"
    boxes: list[torch.Tensor] = []
    classes: list[torch.Tensor] = []
    adversary.plain.register_forward_pre_hook(lambda _, inputs: boxes.append(inputs[1]))
    adversary.plain.register_forward_hook(lambda _, __, outputs: classes.append(outputs[1]))
    outcome = phase.objective(OpaqueBatch(batch))
    adversary.discriminator_step(outcome)
    assert len(boxes) == 2
    for each in boxes:
        assert_close(each, outcome.objects.boxes, rtol=0, atol=0)
    assert not torch.equal(boxes[0], boxes[0].bfloat16().float())  # bfloat16 cannot hold them
    assert all(each.dtype == torch.bfloat16 for each in classes)  # and yet autocast is at work


def weights(*modules: nn.Module) -> list[dict[str, torch.Tensor]]:
    return [{n: v.clone() for n, v in module.state_dict().items()} for module in modules]


def moments(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value["state"] for name, value in state.items() if name.startswith("optimizer_")}


@pytest.mark.parametrize("name", ["detector", "reconstruction", "joint"])
def test_a_step_with_a_scale_is_the_step_without(folder: Path, name: str) -> None:
    results = []
    for fabric in (None, scaled()):
        phase, model, batch = phase_of(folder, name, fabric, *OBJECTS)
        for step in range(2):
            torch.manual_seed(step)
            phase.step(batch, step)
        plain = [adversary.plain for adversary in phase.adversaries]  # type: ignore[attr-defined]
        results.append((weights(model, *plain), moments(phase.state())))
    assert_close(results[0], results[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["detector", "reconstruction", "joint"])
def test_the_scale_grows_once_a_step(folder: Path, name: str) -> None:
    fabric = scaled(2.0**10)
    phase, _, batch = phase_of(folder, name, fabric, *OBJECTS)
    scales = []
    for step in range(3):
        phase.step(batch, step)
        scales.append(fabric.strategy.precision.scaler.get_scale())  # type: ignore[attr-defined]
    assert scales == [2.0**11, 2.0**12, 2.0**13]


def test_an_overflow_skips_both_steps_and_halves_the_scale_once(folder: Path) -> None:
    fabric = scaled(2.0**127)
    heavy = ("--joint.pixel_weight=1e6", "--joint.predicate_weight=1e6")
    phase, model, batch = phase_of(folder, "joint", fabric, *heavy)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    phase.step(batch, 0)
    assert fabric.strategy.precision.scaler.get_scale() == 2.0**126  # type: ignore[attr-defined]
    same(before, {name: p.detach() for name, p in model.named_parameters()})


def test_a_step_that_fails_between_two_optimizers_can_be_followed_by_another(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fabric = scaled()
    phase, _, batch = phase_of(folder, "joint", fabric)
    adversary: Any = phase.adversaries[0]

    def failing(outcome: Any) -> dict[str, torch.Tensor]:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(adversary, "discriminator_step", failing)
        with pytest.raises(Killed):
            phase.step(batch, 0)
    phase.step(batch, 1)
    assert fabric.strategy.precision.scaler.get_scale() == 2.0**12  # type: ignore[attr-defined]


def test_resume_restores_the_scale(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(config: RunConfig) -> Fabric:
        torch.set_num_threads(1)
        return scaled()

    monkeypatch.setattr(loop, "make_fabric", make)
    for name in "ab":
        shutil.copytree(folder / "scenes", tmp_path / name / "scenes")
    unbroken, broken = (tiny_config(tmp_path / name) for name in "ab")
    loop.train(unbroken, ("joint",))
    with pytest.raises(Killed):
        loop.train(broken, ("joint",), reporter=KillingReporter(3))
    loop.train(broken, ("joint",), find_start(broken, None, resume=True))
    first, second = (read_resumable(Path(config.out)) for config in (unbroken, broken))
    assert first.training["loss_scale"]["scale"] == 2.0**14
    same(dict(first.training), dict(second.training))
    same(dict(first.model), dict(second.model))


def test_what_training_uses(folder: Path) -> None:
    precision = make_fabric(
        tiny_config(folder, "--runtime.precision=bf16-mixed")
    ).strategy.precision
    assert isinstance(precision, StepPrecision)
    assert precision.scaler is None
    phase, _, _ = phase_of(folder, "joint")
    assert phase.precision is None
    assert "loss_scale" not in phase.state()
