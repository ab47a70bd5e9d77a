"""Warnings of a collapsed adversarial training: once, in one line, and not before."""

from __future__ import annotations

import logging

import pytest
import torch

from autoenc_sg.training.guards.collapse import NO_VARIANCE, WINDOW, CollapseWarnings


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
