"""The joint phase goes on with discriminators and Adam's moments of the reconstruction phase."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from autoenc_sg.config.phases import PHASES, PhaseName
from autoenc_sg.training.loop import train
from autoenc_sg.training.phases import Phase
from autoenc_sg.training.start import Start, find_start
from autoenc_sg.weights.checkpoint import (
    Checkpoint,
    read_checkpoint,
    read_resumable,
    write_checkpoint,
)
from tests.support.tiny import same, tiny_config
from tests.training.test_loop import Killed, KillingReporter

STATES = ("discriminator", "optimizer_discriminator", "optimizer_generator")


@pytest.fixture(scope="module")
def reconstructed(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished reconstruction phase."""
    folder = tmp_path_factory.mktemp("reconstructed")
    shutil.copytree(tiny_run / "scenes", folder / "scenes")
    train(tiny_config(folder), ("reconstruction",))
    return folder


@pytest.fixture
def folder(reconstructed: Path, tmp_path: Path) -> Path:
    shutil.copytree(reconstructed, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """State of each phase by its name when its first step begins."""
    states: dict[str, dict[str, Any]] = {}
    step = Phase.step

    def recording(phase: Phase, *arguments: Any) -> dict[str, torch.Tensor]:
        if phase.name not in states:
            states[phase.name] = copied(phase.state())
        return step(phase, *arguments)

    monkeypatch.setattr(Phase, "step", recording)
    return states


def copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone()
    return {k: copied(v) for k, v in value.items()} if isinstance(value, dict) else value


def moments(state: Mapping[str, Any], name: str) -> Any:
    """The weights of a discriminator; of an optimizer its moments."""
    return state[name]["state"] if name.startswith("optimizer") else dict(state[name])


def assert_goes_on(begun: Mapping[str, Any], earlier: Mapping[str, Any]) -> None:
    for name in STATES:
        assert len(moments(earlier, name)) > 0
        same(moments(begun, name), moments(earlier, name))


def assert_begins_anew(begun: Mapping[str, Any], earlier: Mapping[str, Any]) -> None:
    weights, before = begun["discriminator"], earlier["discriminator"]
    assert not any(torch.equal(weights[n], before[n]) for n in weights if n.endswith("0.weight"))
    assert moments(begun, "optimizer_discriminator") == {}
    assert moments(begun, "optimizer_generator") == {}


def test_within_one_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, begun: dict[str, Any]
) -> None:
    finished: list[dict[str, Any]] = []
    finish = Phase.finish

    def recording(phase: Phase) -> None:
        finish(phase)
        finished.append(copied(phase.state()))

    monkeypatch.setattr(Phase, "finish", recording)
    train(tiny_config(folder, "--reconstruction.ema_decay=0.5"), ("reconstruction", "joint"))
    assert_goes_on(begun["joint"], finished[0])
    step = begun["joint"]["optimizer_generator"]["state"][0]["step"]
    assert float(step) == 4
    assert float(finished[1]["optimizer_generator"]["state"][0]["step"]) == 8


def test_rates_are_those_of_the_joint_phase(folder: Path, begun: dict[str, Any]) -> None:
    train(tiny_config(folder, "--joint.generator_lr=0.0003"), ("reconstruction", "joint"))
    for name in ("optimizer_discriminator", "optimizer_generator"):
        assert begun["joint"][name]["param_groups"][0]["lr"] == 0.0003


@pytest.mark.parametrize("phases", [("reconstruction", "joint"), ("joint",)])
def test_on_resume_after_the_reconstruction_phase(
    folder: Path, begun: dict[str, Any], phases: tuple[PhaseName, ...]
) -> None:
    config = tiny_config(folder)
    earlier = read_resumable(folder / "run").training
    train(config, phases, find_start(config, None, resume=True))
    assert_goes_on(begun["joint"], earlier)


def test_killed_before_the_first_joint_checkpoint_equals_unbroken(
    tiny_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_run / "scenes", tmp_path / "scenes")
    config = tiny_config(tmp_path)
    with pytest.raises(Killed):
        train(config, reporter=KillingReporter(9))
    assert read_checkpoint(tmp_path / "run").phase == "reconstruction"
    train(config, start=find_start(config, None, resume=True))
    unbroken, resumed = (read_resumable(f / "run") for f in (tiny_run, tmp_path))
    same(dict(unbroken.model), dict(resumed.model))
    same(dict(unbroken.training), dict(resumed.training))


@pytest.mark.parametrize("place", ["run", "run/checkpoint.safetensors"])
def test_from_a_checkpoint_of_the_reconstruction_phase(
    folder: Path, begun: dict[str, Any], place: str
) -> None:
    config = tiny_config(folder, "--out", str(folder / "next"))
    train(config, ("joint",), find_start(config, "joint", False, folder / place))
    assert_goes_on(begun["joint"], read_resumable(folder / "run").training)


def test_the_reconstruction_phase_itself_begins_anew(folder: Path, begun: dict[str, Any]) -> None:
    config = tiny_config(folder)
    earlier = read_resumable(folder / "run").training
    train(config, ("reconstruction",), find_start(config, "reconstruction", False))
    assert_begins_anew(begun["reconstruction"], earlier)


def test_fresh_discriminator(folder: Path, begun: dict[str, Any]) -> None:
    config = tiny_config(folder, "--joint.fresh_discriminator=true")
    earlier = read_resumable(folder / "run").training
    train(config, ("joint",), find_start(config, "joint", resume=False))
    assert_begins_anew(begun["joint"], earlier)


@pytest.mark.parametrize("name", ["reconstruction", "joint"])
def test_imported_discriminators(folder: Path, begun: dict[str, Any], name: PhaseName) -> None:
    earlier = read_resumable(folder / "run")
    discriminator = earlier.training["discriminator"]
    imported = Checkpoint(
        earlier.config,
        earlier.vocabulary,
        {n: v for n, v in earlier.model.items() if n.startswith("generator.")},
        training={"discriminator": discriminator},
    )
    file = folder / "imported.safetensors"
    write_checkpoint(file, imported)
    config = tiny_config(folder, "--out", str(folder / "next"))
    train(config, (name,), find_start(config, name, False, file))
    same(dict(begun[name]["discriminator"]), dict(discriminator))
    assert moments(begun[name], "optimizer_generator") == {}


def test_another_discriminator_begins_anew_with_a_warning(
    folder: Path, begun: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny_config(folder, "--generator.discriminator_dims=[6,12]")
    start = find_start(config, "joint", resume=False)
    with caplog.at_level(logging.WARNING):
        train(config, ("joint",), start)
    assert "discriminator: begins anew, the earlier one has other layers" in caplog.messages
    assert moments(begun["joint"], "optimizer_discriminator") == {}
    after = read_resumable(folder / "run").training
    assert after["discriminator"]["cnn.0.weight"].shape[0] == 6


def test_a_lost_training_file_is_named_and_the_weights_are_used(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lost = list((folder / "run").glob("training-*.safetensors"))
    for file in lost:
        file.unlink()
    config = tiny_config(folder, "--out", str(folder / "next"))
    with caplog.at_level(logging.WARNING):
        start = find_start(config, "joint", False, folder / "run" / "checkpoint.safetensors")
    assert start.checkpoint is not None
    assert start.checkpoint.training == {}
    assert len(caplog.messages) == 1
    assert "no such file; training state not taken over" in caplog.messages[0]


def test_only_the_joint_phase_goes_on_with_a_reconstruction_phase(folder: Path) -> None:
    checkpoint = read_resumable(folder / "run")
    assert [bool(Start(checkpoint).earlier_state(name)) for name in PHASES] == [False, False, True]
    of_joint = Start(replace(checkpoint, phase="joint"))
    assert [bool(of_joint.earlier_state(name)) for name in PHASES] == [False] * 3


def test_the_joint_phase_has_the_gan_of_the_reconstruction_phase(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = []
    init = Phase.__init__

    def recording(phase: Phase, *arguments: Any) -> None:
        init(phase, *arguments)
        kinds.extend(a.weights.gan for a in phase.adversaries)  # type: ignore[attr-defined]

    monkeypatch.setattr(Phase, "__init__", recording)
    train(tiny_config(folder, "--reconstruction.gan=lsgan"), ("reconstruction", "joint"))
    assert kinds == ["lsgan", "lsgan"]
