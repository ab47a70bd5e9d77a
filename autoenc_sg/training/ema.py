"""An exponential moving average of a module's weights (`torch.optim.swa_utils.AveragedModel`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class WeightAverage:
    r"""`a <- d a + (1 - d) w` after every step, from `a = w`; buffers are copied.

    Args:
        module: whose parameters w are averaged.
        decay: d in (0, 1).

    Attributes:
        averaged: a copy of the module with the parameters a.
        unaveraged: w, kept once `apply` has given the module the average; training can be resumed
            from it.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = module
        self.averaged = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
        self.averaged.update_parameters(module)  # AveragedModel's first update copies: a = w
        self.unaveraged: dict[str, Tensor] | None = None

    def update(self) -> None:
        """Include the module's current weights in the average."""
        self.averaged.update_parameters(self.module)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint holds of it beside the module's weights."""
        unaveraged = {} if self.unaveraged is None else {"unaveraged": self.unaveraged}
        return {"average": self.averaged.module.state_dict(), **unaveraged}

    def load(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`; undoes `apply` if it was called before the state was saved."""
        self.averaged.module.load_state_dict(state["average"])
        if "unaveraged" in state:
            self.module.load_state_dict(state["unaveraged"])

    def apply(self) -> None:
        """Replace the module's weights by the average, for good."""
        self.unaveraged = _copy(self.module)
        self.module.load_state_dict(self.averaged.module.state_dict())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module has the average inside a `with`, its own weights after it."""
        unaveraged = _copy(self.module)
        self.module.load_state_dict(self.averaged.module.state_dict())
        try:
            yield
        finally:
            self.module.load_state_dict(unaveraged)


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}
