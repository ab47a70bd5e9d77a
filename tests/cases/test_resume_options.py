"""A resumed run obeys the optimizers' options of its configuration, not those of before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from autoenc_sg.core.errors import InputError
from autoenc_sg.training.guards.step_checks import load_optimizer
from tests.training.test_loop import phase_of, some_batch


def test_sgd_takes_weight_decay_and_momentum_of_the_configuration(tiny_run: Path) -> None:
    first, _ = phase_of(tiny_run, "joint")
    first.step(some_batch(tiny_run), 3)
    options = ("--joint.weight_decay", "0.5", "--joint.momentum", "0.25", "--joint.lr", "0.5")
    second, _ = phase_of(tiny_run, "joint", *options)
    second.load_state(first.state())
    for group in second.optimizers["graph"].param_groups:
        assert (group["weight_decay"], group["momentum"]) == (0.5, 0.25)
    assert second.optimizers["graph"].param_groups[0]["lr"] == 0.5
    buffers = [list(p.optimizers["graph"].state.values()) for p in (first, second)]
    assert buffers[0]
    for old, new in zip(*buffers):
        torch.testing.assert_close(old["momentum_buffer"], new["momentum_buffer"])


def test_generator_and_discriminator_take_their_rate_of_the_configuration(tiny_run: Path) -> None:
    first, _ = phase_of(tiny_run, "reconstruction")
    first.step(some_batch(tiny_run), 3)
    second, _ = phase_of(tiny_run, "reconstruction", "--reconstruction.lr", "0.125")
    second.load_state(first.state())
    assert second.optimizers["generator"].param_groups[0]["lr"] == 0.125
    assert second.adversaries[0].optimizer.param_groups[0]["lr"] == 0.125  # type: ignore[attr-defined]
    assert second.state()["optimizer_discriminator"]["state"][0]["step"] == 1


def test_all_options_are_kept_and_all_moments_loaded() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    old = torch.optim.Adam([weight], 0.1, (0.5, 0.9), weight_decay=0.1)
    weight.grad = torch.ones(2)
    old.step()
    new = torch.optim.Adam([weight], 0.2, (0.8, 0.99), eps=1e-4)
    load_optimizer(new, old.state_dict(), "generator")
    group = new.param_groups[0]
    assert (group["lr"], group["betas"], group["eps"]) == (0.2, (0.8, 0.99), 1e-4)
    assert group["weight_decay"] == 0
    torch.testing.assert_close(new.state[weight]["exp_avg"], old.state[weight]["exp_avg"])


def test_an_optimizer_of_other_parameters_is_refused_in_one_line() -> None:
    one, two = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    state = torch.optim.SGD([one, two], 0.1).state_dict()
    with pytest.raises(InputError, match="checkpoint: optimizer graph: expected the parameters"):
        load_optimizer(torch.optim.SGD([one], 0.1), state, "graph")


@pytest.mark.parametrize(
    "kinds", [(torch.optim.SGD, torch.optim.AdamW), (torch.optim.AdamW, torch.optim.SGD)]
)
def test_moments_of_another_optimizer_are_refused_in_one_line(
    kinds: tuple[type[torch.optim.Optimizer], type[torch.optim.Optimizer]],
) -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    options = [{"momentum": 0.9} if kind is torch.optim.SGD else {} for kind in kinds]
    old, new = (kind([weight], lr=0.1, **own) for kind, own in zip(kinds, options))  # type: ignore[call-arg]
    weight.grad = torch.ones(2)
    old.step()
    with pytest.raises(InputError, match=f"expected moments of {kinds[1].__name__}, got those of"):
        load_optimizer(new, old.state_dict(), "graph")
    load_optimizer(kinds[0]([weight], lr=0.1, **options[0]), old.state_dict(), "graph")  # type: ignore[call-arg]


def test_sgd_without_momentum_has_no_moments() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    old = torch.optim.SGD([weight], lr=0.1)
    weight.grad = torch.ones(2)
    old.step()
    load_optimizer(torch.optim.SGD([weight], lr=0.1), old.state_dict(), "graph")
