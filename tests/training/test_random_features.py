"""The warning of a detector with random weights, whose maps a phase reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from autoenc_sg.config.phases import PHASES, PhaseName
from autoenc_sg.training.guards.random_features import warn_of_random_features
from autoenc_sg.training.loop import train
from autoenc_sg.training.start import find_start
from autoenc_sg.weights.checkpoint import Checkpoint, read_checkpoint
from tests.support.tiny import tiny_config

FEATURES = "--reconstruction.image_losses.relation_feature_weight=1"
ALONE: tuple[PhaseName, ...] = ("reconstruction",)


@pytest.mark.parametrize(
    ("options", "phases", "names"),
    [
        ((FEATURES,), ALONE, "reconstruction.image_losses.relation_feature_weight"),
        (
            ("--reconstruction.image_losses.feature_weight=1", "--generator.appearance_dim=4"),
            ALONE,
            "reconstruction.image_losses.feature_weight, generator.appearance_dim",
        ),
        (
            (FEATURES, "--detector_training.steps=0"),
            PHASES,
            "reconstruction.image_losses.relation_feature_weight",
        ),
        ((FEATURES,), PHASES, ""),
        ((), ALONE, ""),
        ((FEATURES,), ("joint",), ""),
        ((FEATURES, "--reconstruction.steps=0"), ALONE, ""),
        ((FEATURES, "--detector.weights=w.pt"), ALONE, ""),
        ((FEATURES, "--detector.backbone=resnet18", "--detector.pretrained=true"), ALONE, ""),
    ],
)
def test_when_it_comes(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    options: Sequence[str],
    phases: Sequence[PhaseName],
    names: str,
) -> None:
    warn_of_random_features(tiny_config(tmp_path, *options), phases, None)
    assert [r.getMessage().partition(": ")[0] for r in caplog.records] == [names] * bool(names)


def test_weights_of_a_model_are_taken_for_trained_and_those_of_a_decoder_are_none(
    tiny_run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny_config(tiny_run, FEATURES)
    checkpoint = read_checkpoint(tiny_run / "run")
    warn_of_random_features(config, ALONE, checkpoint)
    assert not caplog.records
    weights = {n: v for n, v in checkpoint.model.items() if n.startswith("generator.")}
    decoder = Checkpoint(config, checkpoint.vocabulary, weights, "", 0)
    warn_of_random_features(config, ALONE, decoder)
    assert len(caplog.records) == 1


def test_training_says_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = tiny_config(tmp_path, FEATURES, "--reconstruction.steps=1")
    train(config, ALONE, find_start(config, "reconstruction", False))
    assert "the detector has random weights" in caplog.text
