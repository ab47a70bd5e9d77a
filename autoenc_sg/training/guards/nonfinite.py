"""Losses, gradients and weights that are not finite: found before they do harm.

Every optimizer's gradients are checked before its step (`step_checks`), and everything a checkpoint
holds before it is written (`check_weights`). `NonFiniteSteps` stops the run or skips the step, as
`runtime.on_nonfinite` says. All processes decide alike.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from lightning.fabric import Fabric
from torch import Tensor, nn

from autoenc_sg.core.errors import TrainingDiverged
from autoenc_sg.data.base.samples import Batch
from autoenc_sg.training.guards.saved_batch import save_batch
from autoenc_sg.training.guards.step_checks import NonFiniteStep
from autoenc_sg.training.parallel.fabric import any_process
from autoenc_sg.training.phases import Phase

MAX_SKIPPED = 20  # steps in a row that are skipped before the run stops
OnNonFinite = Literal["stop", "skip"]
logger = logging.getLogger(__name__)


class NonFiniteSteps:
    """Runs training steps; one that is not finite stops the run or is skipped.

    A skipped step leaves weights, optimizers and buffers (batch norm's statistics) as they were;
    where only a discriminator is not finite, the model's step before it stays.

    Args:
        out: folder of the run; the batch of the first such step of a phase is saved to it.
        fabric: of the run.
        action: `stop` or `skip`.

    Attributes:
        skipped: steps skipped so far.
    """

    def __init__(self, out: Path, fabric: Fabric, action: OnNonFinite) -> None:
        self.out = out
        self.fabric = fabric
        self.action = action
        self.skipped = 0
        self._in_a_row = 0
        self._saved: dict[str, Path] = {}  # by phase

    def step(self, phase: Phase, batch: Batch, number: int) -> dict[str, Tensor]:
        """`phase.step`; no losses for a step that is skipped.

        Raises:
            TrainingDiverged: losses or gradients are not finite and the run stops.
        """
        buffers = _copy_buffers(phase) if self.action == "skip" else []
        try:
            losses = phase.step(batch, number)
        except NonFiniteStep as error:
            message = self._describe(phase, batch, number + 1, error)
        else:
            self._in_a_row = 0
            return losses
        if self.action == "stop":
            raise TrainingDiverged(f"training stopped: {message}")
        self._skip(message, buffers)
        return {}

    def _describe(self, phase: Phase, batch: Batch, step: int, error: NonFiniteStep) -> str:
        if phase.name not in self._saved:
            rank = f"-{self.fabric.global_rank}" if self.fabric.world_size > 1 else ""
            path = self.out / f"nonfinite-{phase.name}-{step}{rank}.npz"
            save_batch(path, batch)
            self._saved[phase.name] = path
        saved = self._saved[phase.name]
        return (
            f"{phase.name} step {step}: {error}; batch saved in {saved}; "
            f"images of the batch: {list(batch.image_ids)}"
        )

    def _skip(self, message: str, buffers: list[tuple[Tensor, Tensor]]) -> None:
        for buffer, before in buffers:
            buffer.copy_(before)
        self.skipped += 1
        self._in_a_row += 1
        if self._in_a_row >= MAX_SKIPPED:
            raise TrainingDiverged(
                f"training stopped: {self._in_a_row} steps in a row were skipped; {message}"
            )
        if self.fabric.is_global_zero:
            logger.warning("step skipped (%d so far): %s", self.skipped, message)


def _copy_buffers(phase: Phase) -> list[tuple[Tensor, Tensor]]:
    networks: list[nn.Module] = [phase.objective]
    networks += [adversary.plain for adversary in phase.adversaries]
    return [(b, b.clone()) for network in networks for b in network.buffers()]


def check_weights(fabric: Fabric, model: Mapping[str, Tensor], training: Mapping[str, Any]) -> None:
    """Raise unless all that a checkpoint would hold is finite.

    Raises:
        TrainingDiverged: names the first tensor that is not.
    """
    names = [name for name, tensor in _tensors({"model": model, **training}) if _is_bad(tensor)]
    if any_process(fabric, bool(names)):
        which = names[0] if names else "those of another process"
        raise TrainingDiverged(
            f"training stopped: weights that are not finite: {which}; no checkpoint was written, "
            "the one before is kept"
        )


def _is_bad(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and not bool(tensor.isfinite().all())


def _tensors(tree: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors in dicts and lists, with dotted names."""
    if isinstance(tree, Tensor):
        yield name, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _tensors(value, f"{name}.{key}" if name else str(key))
    elif isinstance(tree, (list, tuple)):
        for index, value in enumerate(tree):
            yield from _tensors(value, f"{name}.{index}")
