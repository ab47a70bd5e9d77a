"""Mixed precision of a training step with several optimizers: one loss scale, exact inputs."""

from __future__ import annotations

from typing import Any, Literal

from lightning.fabric.plugins import MixedPrecision

MixedKind = Literal["16-mixed", "bf16-mixed"]


class StepPrecision(MixedPrecision):
    """Lightning Fabric's mixed precision, apart from two things.

    - Inputs of networks stay float32: boxes in fractions of the image want more digits than
      bfloat16 has. Autocast chooses the type of each operation all the same.
    - With `16-mixed` the scale of the losses changes at the end of a training step
      (`update_scale`), not after each optimizer's step: the optimizers that follow divide their
      gradients by the scale with which these were computed.
    """

    _has_stepped = False

    def convert_input(self, data: Any) -> Any:
        """The data as they are."""
        return data

    def optimizer_step(self, optimizer: Any, **kwargs: Any) -> Any:
        """An optimizer's step, skipped if its gradients overflowed; the scale stays."""
        if self.scaler is None:
            return super().optimizer_step(optimizer, **kwargs)
        self._has_stepped = True
        return self.scaler.step(optimizer, **kwargs)

    def update_scale(self) -> None:
        """After the steps of all optimizers: a smaller scale after an overflow, or a larger one."""
        if self.scaler is not None and self._has_stepped:
            self.scaler.update()
        self._has_stepped = False
