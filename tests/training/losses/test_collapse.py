"""Warnings of a collapsed adversarial training: once, in one line, and not before."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoenc_sg.config.model import GeneratorConfig
from autoenc_sg.generator import ObjectDiscriminator
from autoenc_sg.training.discriminators import AdversarialLossWeights, ObjectAdversary
from autoenc_sg.training.guards.collapse import NO_VARIANCE, WINDOW, CollapseWarnings
from autoenc_sg.training.objectives import Objects, Outcome
from autoenc_sg.training.parallel.fabric import make_fabric
from autoenc_sg.training.parallel.processes import Processes
from tests.support.tiny import tiny_config


def test_a_discriminator_at_zero_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    warnings = CollapseWarnings("gan")
    with caplog.at_level(logging.WARNING):
        for step in range(1, WINDOW):
            assert warnings.of_losses("joint", step, {"discriminator": 0.0}) == []
        assert warnings.of_losses("joint", WINDOW, {"discriminator": 0.5}) == []  # starts anew
        lines = [warnings.of_losses("joint", s, {"discriminator": 1e-4}) for s in range(20)]
    assert [len(new) for new in lines] == [0] * (WINDOW - 1) + [1] + [0] * (20 - WINDOW)
    assert "adversarial_weight" in lines[WINDOW - 1][0]
    assert len(caplog.records) == 1
    assert "\n" not in caplog.records[0].getMessage()


class ScoresByImage(nn.Module):
    """Stands for the object discriminator: real images, which are white, have the given score.

    Generated ones, which are black, have its negative; the class logits are `classes`.
    """

    def __init__(self, score: float, classes: Tensor) -> None:
        super().__init__()
        self.score = nn.Parameter(torch.tensor(score))
        self.classes = classes

    def forward(self, image: Tensor, boxes: Tensor, image_index: Tensor) -> tuple[Tensor, Tensor]:
        sign = 2 * image.mean((1, 2, 3))[image_index, None] - 1
        return sign * self.score, self.classes


@pytest.mark.parametrize(
    ("score", "sure_of_classes", "warnings"),
    [(20.0, False, 1), (20.0, True, 1), (0.0, True, 0), (1.0, False, 0)],
)
def test_the_object_discriminator_is_looked_at_without_its_classes(
    tmp_path: Path, score: float, sure_of_classes: bool, warnings: int
) -> None:
    objects = Objects(
        torch.tensor([1, 0]), torch.tensor([[0.0, 0, 1, 1]] * 2), torch.tensor([0, 1])
    )
    outcome = Outcome({}, torch.zeros(2, 3, 8, 8), None, torch.ones(2, 3, 8, 8), objects)
    network = ObjectDiscriminator(GeneratorConfig(object_discriminator_dims=(8,)), 2)
    processes = Processes(make_fabric(tiny_config(tmp_path)), 2)
    adversary = ObjectAdversary(processes, network, AdversarialLossWeights(objects=1.0), 1e-3)
    classes = torch.tensor([[0.0, 1], [1, 0]]) * (100 if sure_of_classes else 0)
    adversary.network = ScoresByImage(score, classes)
    guard = CollapseWarnings("gan")
    lines = []
    for step in range(2 * WINDOW):
        losses: dict[str, Any] = adversary.discriminator_step(outcome)
        lines += guard.of_losses("reconstruction", step, {k: float(v) for k, v in losses.items()})
    assert len(lines) == warnings
    assert all("object_adversarial_weight" in line for line in lines)


def test_losses_that_say_nothing_are_not_warned_of() -> None:
    wgan, gan = CollapseWarnings("wgan"), CollapseWarnings("gan")
    for step in range(2 * WINDOW):
        assert wgan.of_losses("joint", step, {"discriminator": 0.0}) == []
        assert gan.of_losses("joint", step, {"pixel": 0.0}) == []
        assert gan.of_losses("joint", step, {"discriminator": 0.0 if step % 2 else 1.0}) == []


def test_images_of_one_colour_are_warned_of_once() -> None:
    warnings = CollapseWarnings("wgan")
    plain = torch.tensor([0.2, 0.5, 0.9])[None, :, None, None].expand(2, 3, 4, 4).clone()
    one_drawn = plain.clone()
    one_drawn[1, 2, 0, 0] = 0.78  # deviation 0.03 in that channel, 0.005 in the mean of all
    assert warnings.of_images("joint", 1, one_drawn) == []
    assert 0.005 < NO_VARIANCE < 0.03
    assert len(warnings.of_images("joint", 2, plain)) == 1
    assert warnings.of_images("joint", 3, plain) == []
    assert len(warnings.of_images("reconstruction", 3, plain)) == 1


@pytest.mark.parametrize(
    ("phase", "rate"), [("joint", "joint.generator_lr"), ("reconstruction", "reconstruction.lr")]
)
def test_the_options_that_are_named_are_those_of_the_phase(phase: str, rate: str) -> None:
    for gan, other in (("gan", ", or set reconstruction.gan lsgan"), ("lsgan", "")):
        warnings = CollapseWarnings(gan)  # type: ignore[arg-type]
        lines = [warnings.of_losses(phase, s, {"discriminator": 0.0}) for s in range(WINDOW)]
        assert lines[-1][0].endswith(f"lower {rate} or {phase}.adversarial_weight{other}")
    (line,) = warnings.of_images(phase, 1, torch.zeros(1, 3, 2, 2))
    assert f"lower {rate} or {phase}.adversarial_weight and" in line
