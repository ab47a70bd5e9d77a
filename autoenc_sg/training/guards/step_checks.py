"""Checks between backward and an optimizer's step, and optimizers from a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import SGD, Optimizer

from autoenc_sg.core.errors import bad_input
from autoenc_sg.training.parallel.fabric import any_process


class NonFiniteStep(RuntimeError):
    """Losses or gradients of a step are not finite; no optimizer has used them."""


def check_step(
    fabric: Fabric,
    losses: Mapping[str, Tensor],
    optimizers: Mapping[str, Optimizer],
    module: nn.Module,
) -> None:
    """Raise unless the losses and the optimizers' gradients are finite; between backward and step.

    With 16-mixed precision the gradient scaler looks at the gradients (it skips steps while it
    looks for its scale), so only the losses are checked.

    Args:
        fabric: of the run; all processes raise if one does.
        losses: scalars by name.
        optimizers: those about to step, by name.
        module: has their parameters; for names in the message.

    Raises:
        NonFiniteStep: names the losses, or optimizer, parameter group and parameter. The gradients
            of the optimizers are cleared.
    """
    problem = _loss_problem(losses)
    if not problem and getattr(fabric.strategy.precision, "scaler", None) is None:
        problem = _gradient_problem(optimizers, module)
        if problem:
            problem += "; losses: " + ", ".join(
                f"{k} = {float(v.detach()):.4g}" for k, v in losses.items()
            )
    if any_process(fabric, bool(problem)):
        for optimizer in optimizers.values():
            optimizer.zero_grad()
        raise NonFiniteStep(problem or "losses of another process are not finite")


def _loss_problem(losses: Mapping[str, Tensor]) -> str:
    """The losses that are not finite, or an empty text."""
    values = torch.stack([loss.detach().float() for loss in losses.values()]).tolist()
    return ", ".join(f"{k} = {v}" for k, v in zip(losses, values) if not math.isfinite(v))


def _gradient_problem(optimizers: Mapping[str, Optimizer], module: nn.Module) -> str:
    for name, optimizer in optimizers.items():
        for number, group in enumerate(optimizer.param_groups):
            with_gradient = [p for p in group["params"] if p.grad is not None]
            if _all_finite([p.grad for p in with_gradient]):
                continue
            bad = [p for p in with_gradient if not _all_finite([p.grad])]
            names = {parameter: key for key, parameter in module.named_parameters()}
            return (
                f"gradient not finite: optimizer {name}, parameter group {number}, "
                f"{names.get(bad[0], 'a parameter')} ({len(bad)} of {len(with_gradient)})"
            )
    return ""


def _all_finite(gradients: list[Tensor]) -> bool:
    # The largest absolute value, not a sum of squares, which may overflow.
    return bool(get_total_norm(gradients, math.inf).isfinite()) if gradients else True


def load_optimizer(optimizer: Optimizer, state: Mapping[str, Any], name: str) -> None:
    """Load moments and counts, but keep the optimizer's own options (rates, weight decay, …).

    Those are the configuration's, which may differ from that of the run that is continued.

    Raises:
        InputError: the state is of other parameters, or of another optimizer.
    """
    options = [
        {key: value for key, value in group.items() if key != "params"}
        for group in optimizer.param_groups
    ]
    plain = getattr(optimizer, "optimizer", optimizer)  # Fabric's has it inside
    is_sgd = isinstance(plain, SGD)
    if any(("exp_avg" in moments) == is_sgd for moments in state["state"].values()):
        expected = f"moments of {type(plain).__name__}"
        raise bad_input(f"checkpoint: optimizer {name}", expected, "those of another optimizer")
    try:
        optimizer.load_state_dict(dict(state))
    except ValueError as error:
        expected = "the parameters of the configuration; options that decide what is trained differ"
        raise bad_input(f"checkpoint: optimizer {name}", expected, error) from error
    for group, own in zip(optimizer.param_groups, options):
        group.update(own)
