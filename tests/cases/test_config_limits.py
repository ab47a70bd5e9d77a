"""Configurations that no machine can hold, or no reader: one short line."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoenc_sg.cli.main import main
from autoenc_sg.config.files import config_from_dict, config_to_dict, load_config
from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.errors import InputError

HUGE = "1" + "0" * 400
CASES = [
    (
        f"reconstruction: {{mask_weight: {HUGE}}}",
        r"mask_weight: expected a whole number of at most",
    ),
    (f"seed: {HUGE}", "seed: expected a whole number of at most 64 bits, got one of 1329 bits"),
    (f"detector: {{anchor_sizes: [1, {HUGE}]}}", "anchor_sizes: expected a whole number"),
    ("out: " + "[" * 3000 + "]" * 3000, "expected YAML, got brackets nested too deeply"),
    ("seed: " + "9" * 5000, "expected YAML, got Exceeds the limit"),
    ("out: 2026-99-99", "expected YAML, got month must be in 1..12"),
    ('"a\\e[31mb": 1', "expected a known key"),
    ("k" * 900 + ": 1", "expected a known key"),
    ("x" * 5000, "expected a mapping of keys to values"),
    ("seed: " + "x" * 5000, "seed: expected "),
    ("generator: {gconv_layers: 100000000}", "generator.gconv_layers: expected <= 100"),
    ("predictor: {steps: 100000000}", "predictor.steps: expected <= 100"),
    ("detector: {feature_dim: 100000000}", "detector.feature_dim: expected <= 16384"),
    (
        "detector_training: {best_metric: AP5}",
        "detector_training.best_metric: expected one of AP, AP50, AP75, AR, micro AP50, got 'AP5'",
    ),
    ("joint: {pixel_weight: .inf}", "joint.pixel_weight: expected a finite number, got inf"),
    ("reconstruction: {box_weight: .inf}", "reconstruction.box_weight: expected a finite number"),
    (
        "joint: {image_losses: {feature_weight: .inf}}",
        "joint.image_losses.feature_weight: expected a finite number, got inf",
    ),
    (
        "reconstruction: {image_losses: {feature_weight: .nan}}",
        "reconstruction.image_losses.feature_weight: expected >= 0, got nan",
    ),
    ("generator: {mask_size: 1073741824}", "mask_size: expected 0 or a power of two up to 256"),
]


@pytest.mark.parametrize(("text", "message"), CASES)
def test_one_short_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text, encoding="utf-8")
    assert main(["train", str(file), "--print-config"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error) < 1000
    assert error.rstrip("\n").isprintable()


@pytest.mark.parametrize("value", [HUGE, "[" * 3000, "x" * 5000])
def test_overrides_are_no_different(value: str) -> None:
    with pytest.raises(InputError) as caught:
        load_config("demo", ["--joint.lr", value])
    assert len(str(caught.value)) < 1000
    assert "\n" not in str(caught.value)


def test_an_override_without_a_value() -> None:
    with pytest.raises(InputError, match=r"demo: joint\.lr: expected float, got ''$"):
        load_config("demo", ["--joint.lr="])


def test_the_largest_seed_is_read_and_a_larger_one_of_a_checkpoint_refused() -> None:
    plain = config_to_dict(RunConfig())
    assert config_from_dict({**plain, "seed": 2**63 - 1}).seed == 2**63 - 1
    with pytest.raises(InputError, match="seed: expected a whole number of at most 64 bits"):
        config_from_dict({**plain, "seed": 2**63})
