"""An exponential moving average of a module's weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    r"""`a <- d a + (1 - d) w` after every step, from `a = w`; buffers are copied.

    Args:
        module: whose parameters are averaged.
        decay: d in (0, 1).

    Attributes:
        values: a.
        own: w, once the module has the average for good; from there training could go on.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = module
        self.decay = decay
        self.values = _copy(module)
        self.own: dict[str, Tensor] | None = None

    @torch.no_grad()
    def update(self) -> None:
        """Take the module's weights of now in."""
        averaged = {name for name, _ in self.module.named_parameters()}
        for name, value in self.module.state_dict().items():
            if name in averaged:
                self.values[name].lerp_(value, 1 - self.decay)
            else:
                self.values[name].copy_(value)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint holds of it beside the module."""
        own = {} if self.own is None else {"unaveraged": self.own}
        return {"average": self.values, **own}

    def load(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`; a module that had the average has its own weights again."""
        for name, value in self.values.items():
            value.copy_(state["average"][name])
        if "unaveraged" in state:
            self.module.load_state_dict(state["unaveraged"])

    def apply(self) -> None:
        """Give the module the average for good."""
        self.own = _copy(self.module)
        self.module.load_state_dict(self.values)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module has the average inside a `with`, its own weights after it."""
        own = _copy(self.module)
        self.module.load_state_dict(self.values)
        try:
            yield
        finally:
            self.module.load_state_dict(own)


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}
