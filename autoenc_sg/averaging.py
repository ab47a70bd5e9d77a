"""An exponential moving average of a module's weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    r"""`a <- d a + (1 - d) w` after every step, from `a = w`; buffers are copied.

    Args:
        module: whose parameters are averaged.
        decay: d in (0, 1).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = module
        self.decay = decay
        self.values = {name: value.clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the module's weights of now in."""
        averaged = {name for name, _ in self.module.named_parameters()}
        for name, value in self.module.state_dict().items():
            if name in averaged:
                self.values[name].lerp_(value, 1 - self.decay)
            else:
                self.values[name].copy_(value)

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Take saved `values` over."""
        for name, value in self.values.items():
            value.copy_(values[name])

    def apply(self) -> None:
        """Give the module the average for good."""
        self.module.load_state_dict(self.values)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module has the average inside a `with`, its own weights after it."""
        own = {name: value.clone() for name, value in self.module.state_dict().items()}
        self.apply()
        try:
            yield
        finally:
            self.module.load_state_dict(own)
