"""The generator's noise, passed in by the caller, so that drawing is deterministic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autoenc_sg.core.structures import to_device


@dataclass(frozen=True, eq=False)
class GeneratorNoise:
    """Standard normal noise for B images; None stands for zeros.

    Attributes:
        input: `[B, 1, h, w]`, the input features of the first refinement module.
        layout: `[B, L, H, W]`, concatenated to the layout.
    """

    input: Tensor | None = None
    layout: Tensor | None = None

    def to(self, device: torch.device | str) -> GeneratorNoise:
        """The same on another device."""
        return to_device(self, device)

    def scaled(self, temperature: float) -> GeneratorNoise:
        """The noise multiplied by `temperature`; 0 turns it off."""
        return GeneratorNoise(
            None if self.input is None else self.input * temperature,
            None if self.layout is None else self.layout * temperature,
        )

    @classmethod
    def cat(cls, parts: Sequence[GeneratorNoise]) -> GeneratorNoise:
        """The noise of all images of `parts`, in order; all parts have the same fields."""
        return cls(_cat([p.input for p in parts]), _cat([p.layout for p in parts]))


def _cat(tensors: Sequence[Tensor | None]) -> Tensor | None:
    present = [t for t in tensors if t is not None]
    return torch.cat(present) if present else None
