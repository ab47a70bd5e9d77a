"""Warnings of an adversarial training that has collapsed, each once a phase, in one line."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from torch import Tensor

from autoenc_sg.config.phases import GanKind

NO_LOSS = 1e-3  # a discriminator's loss below has no gradient left for the generator
WINDOW = 5  # mean losses in a row
NO_VARIANCE = 0.01  # standard deviation of RGB in [0, 1] within an image
DISCRIMINATORS = {  # each with the option that is its loss's weight
    "discriminator": "adversarial_weight",
    "object_discriminator": "object_adversarial_weight",
    "relation_discriminator": "image_losses.relation_adversarial_weight",
}
logger = logging.getLogger(__name__)


class CollapseWarnings:
    """Looks at what is logged anyway: mean losses and sample images.

    Args:
        gan: kind of the GAN loss; that of `wgan` has no least value, and is not looked at.
    """

    def __init__(self, gan: GanKind) -> None:
        self.gan = gan
        self._in_a_row: dict[tuple[str, str], int] = {}
        self._warned: set[tuple[str, str]] = set()

    def of_losses(self, phase: str, step: int, means: Mapping[str, float]) -> list[str]:
        """The new warnings: a discriminator's mean GAN loss was 0 five times in a row.

        The object discriminator's whole loss, with its classes', would hardly come to 0.
        """
        lines: list[str] = []
        for name in DISCRIMINATORS if self.gan != "wgan" else ():
            key = (phase, name)
            loss = means.get(f"{name}_adversarial", means.get(name, math.inf))
            is_zero = loss < NO_LOSS
            self._in_a_row[key] = self._in_a_row.get(key, 0) + 1 if is_zero else 0
            if self._in_a_row[key] == WINDOW:
                weight = DISCRIMINATORS[name]
                other = "" if self.gan == "lsgan" else ", or set reconstruction.gan lsgan"
                lines += self._warn(
                    key,
                    f"{phase} step {step}: loss of the {name} at 0 in {WINDOW} logs in a row: it "
                    f"tells all images apart and the generator learns nothing from it; lower "
                    f"{_rate(phase)} or {phase}.{weight}{other}",
                )
        return lines

    def of_images(self, phase: str, step: int, images: Tensor) -> list[str]:
        """The new warnings: every generated image `[B, 3, H, W]` in [0, 1] is of one colour."""
        if float(images.flatten(2).std(2).max()) >= NO_VARIANCE:
            return []
        return self._warn(
            (phase, "images"),
            f"{phase} step {step}: generated images have one colour each: the generator has "
            f"collapsed; lower {_rate(phase)} or {phase}.adversarial_weight and go on from an "
            "earlier checkpoint (--init)",
        )

    def _warn(self, key: tuple[str, str], line: str) -> list[str]:
        if key in self._warned:
            return []
        self._warned.add(key)
        logger.warning("%s", line)
        return [line]


def _rate(phase: str) -> str:
    """The option that is the learning rate of the discriminators in a phase."""
    return "joint.generator_lr" if phase == "joint" else f"{phase}.lr"
