"""Gradients that are not finite though losses are: no optimizer uses them, no file keeps them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from autoenc_sg.core.errors import InputError, TrainingDiverged
from autoenc_sg.training.guards.nonfinite import MAX_SKIPPED, check_weights
from autoenc_sg.training.guards.saved_batch import read_batch
from autoenc_sg.training.guards.step_checks import NonFiniteStep, check_step
from autoenc_sg.training.loop import train
from autoenc_sg.training.parallel.fabric import make_fabric
from autoenc_sg.training.phases import Phase
from autoenc_sg.training.run_log import read_history
from autoenc_sg.weights.checkpoint import read_resumable
from tests.support.tiny import same, tiny_config

LAST = 3  # the phase's last step, from 0: its checkpoint would be that of the finished phase


def parameter_of(phase: Phase, part: str) -> torch.nn.Parameter:
    if part in phase.optimizers:
        groups = phase.optimizers[part].param_groups
        return next(p for group in groups for p in group["params"] if p.requires_grad)
    return next(next(a for a in phase.adversaries if a.name == part).plain.parameters())


def spoil(
    monkeypatch: pytest.MonkeyPatch, part: str, value: float, is_bad: Callable[[int], bool]
) -> list[Any]:
    """Make gradients of a part's first parameter `value` in some steps; gives their batches."""
    step, batches = Phase.step, []

    def spoiled(self: Phase, batch: Any, number: int) -> Any:
        if not is_bad(number):
            return step(self, batch, number)
        batches.append(batch)
        hook = parameter_of(self, part).register_hook(lambda g: torch.full_like(g, value))
        try:
            return step(self, batch, number)
        finally:
            hook.remove()

    monkeypatch.setattr(Phase, "step", spoiled)
    return batches


def config_beside(tiny_run: Path, folder: Path, *options: str) -> Any:
    scenes = ("--data.root", str(tiny_run / "scenes"))
    return tiny_config(folder, *scenes, "--runtime.checkpoint_every", "1", *options)


@pytest.mark.parametrize(
    ("phase", "part", "value"),
    [
        ("detector", "graph", float("nan")),
        ("reconstruction", "generator", float("inf")),
        ("reconstruction", "discriminator", float("nan")),
        ("joint", "generator", float("nan")),
    ],
)
def test_the_run_stops_and_the_checkpoint_is_the_last_good_one(
    tiny_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    phase: Any,
    part: str,
    value: float,
) -> None:
    batches = spoil(monkeypatch, part, value, lambda number: number == LAST)
    with pytest.raises(TrainingDiverged) as caught:
        train(config_beside(tiny_run, tmp_path), (phase,))
    line = str(caught.value)
    assert f"{phase} step 4: gradient not finite: optimizer {part}, parameter group 0, " in line
    assert "; losses: " in line
    assert line.endswith(f"images of the batch: {list(batches[0].image_ids)}")
    assert "\n" not in line
    run = tmp_path / "run"
    kept = read_resumable(run)
    assert (kept.phase, kept.step) == (phase, LAST)
    check_weights(make_fabric(config_beside(tiny_run, tmp_path)), kept.model, kept.training)
    saved = read_batch(run / f"nonfinite-{phase}-4.npz")
    same(list(saved.images), list(batches[0].images))
    same(saved.graphs.triples, batches[0].graphs.triples)
    assert saved.image_ids == batches[0].image_ids


def test_a_skipped_step_changes_nothing_and_the_run_goes_on(
    tiny_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = config_beside(tiny_run, tmp_path, "--runtime.on_nonfinite", "skip")
    reports: list[Any] = []
    with monkeypatch.context() as patched:
        spoil(patched, "generator", float("nan"), lambda number: number == LAST)
        train(config, ("joint",), on_step=reports.append)
    assert [bool(r.losses) for r in reports] == [True, True, True, False]
    assert caplog.text.count("step skipped (1 so far): joint step 4: gradient not finite") == 1
    end = read_resumable(tmp_path / "run")
    before = read_resumable_file(tmp_path / "run" / "checkpoint-joint-3.safetensors")
    assert end.step == 4
    same(dict(before.model), dict(end.model))  # batch norm's statistics, too
    for name in ("optimizer_graph", "optimizer_generator", "discriminator"):
        moments = [state.training[name] for state in (before, end)]
        same(*(m.get("state", m) for m in moments))
    means = read_history(tmp_path / "run")[-1]["losses"]
    torch.testing.assert_close(means["pixel"], reports[2].losses["pixel"])


def read_resumable_file(path: Path) -> Any:
    from dataclasses import replace

    from autoenc_sg.weights.checkpoint import read_checkpoint, read_training_state

    return replace(read_checkpoint(path), training=read_training_state(path))


def test_many_skipped_steps_in_a_row_stop_the_run(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = ("--detector_training.steps", "40", "--detector_training.validate_epochs", "0")
    config = config_beside(tiny_run, tmp_path, "--runtime.on_nonfinite", "skip", *steps)
    batches = spoil(monkeypatch, "graph", float("nan"), lambda number: number >= 2)
    with pytest.raises(TrainingDiverged, match="20 steps in a row were skipped; detector step 22"):
        train(config, ("detector",))
    assert len(batches) == MAX_SKIPPED
    assert len(list((tmp_path / "run").glob("nonfinite-*"))) == 1


def test_loss_and_gradient_are_named(tmp_path: Path) -> None:
    fabric = make_fabric(tiny_config(tmp_path))
    module = torch.nn.Linear(2, 1)
    optimizers = {"graph": torch.optim.SGD(module.parameters(), 0.1)}
    losses = {"good": torch.tensor(1.0), "bad": torch.tensor(float("nan"))}
    with pytest.raises(NonFiniteStep, match=r"^bad = nan$"):
        check_step(fabric, losses, optimizers, module)
    module.weight.grad = torch.full((1, 2), 3e38)  # finite, though the sum of squares is not
    check_step(fabric, {"good": torch.tensor(1.0)}, optimizers, module)
    module.bias.grad = torch.tensor([float("-inf")])
    with pytest.raises(NonFiniteStep, match=r"group 0, bias \(1 of 2\); losses: good = 1$"):
        check_step(fabric, {"good": torch.tensor(1.0)}, optimizers, module)
    assert module.bias.grad is None


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    fabric = make_fabric(tiny_config(tmp_path))
    check_weights(fabric, {"w": torch.ones(2)}, {"rng_cpu": torch.ones(2, dtype=torch.uint8)})
    moments = {"optimizer_graph": {"state": {0: {"exp_avg": torch.tensor([float("nan")])}}}}
    with pytest.raises(TrainingDiverged, match=r"optimizer_graph\.state\.0\.exp_avg"):
        check_weights(fabric, {"w": torch.ones(2)}, moments)


def test_a_file_that_is_no_batch_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.npz").write_bytes(b"no zip")
    with pytest.raises(InputError, match="expected a batch that training saved"):
        read_batch(tmp_path / "b.npz")
