"""Values of the right types give what jsonargparse makes of them; others are left to it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from autoenc_sg.config import files
from autoenc_sg.config.files import (
    config_from_dict,
    config_to_dict,
    load_config,
    packaged_configs,
)
from autoenc_sg.config.run import RunConfig
from autoenc_sg.config.typed_values import NotTyped, build
from autoenc_sg.core.errors import InputError
from tests.support.mutations import mutated_value
from tests.support.tiny import TINY


def outcome(read: Callable[[], RunConfig]) -> str:
    """The configuration with its types, or the error."""
    try:
        return repr(read())
    except InputError as error:
        return f"refused: {error}"


@pytest.fixture
def by_jsonargparse(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], RunConfig]], str]:
    def read(reader: Callable[[], RunConfig]) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(files, "_of_typed_values", lambda *_: None)
            patch.setattr(files, "_overridden", lambda *_: None)
            return outcome(reader)

    return read


def test_packaged_configurations_need_no_conversion(by_jsonargparse: Any) -> None:
    for name in packaged_configs():
        config = load_config(name)
        assert repr(build(RunConfig, config_to_dict(config))) == repr(config)
    for name in ("demo", "vg150/joint"):
        assert by_jsonargparse(lambda name=name: load_config(name)) == repr(load_config(name))


def test_damaged_values_give_the_same(by_jsonargparse: Any) -> None:
    rng = random.Random("typed values")
    for _ in range(12):
        value = mutated_value({"joint": yaml.safe_load(TINY)["joint"], "seed": 3}, rng)
        if isinstance(value, dict):
            direct = outcome(lambda value=value: config_from_dict(value))
            assert direct == by_jsonargparse(lambda value=value: config_from_dict(value)), value


@pytest.mark.parametrize(
    "overrides",
    [
        ["--joint.steps", "7", "--joint.lr=1"],
        ["--joint.steps", "1e2"],
        ["--detector.anchor_sizes", "[1, 2.5]", "--detector.weights", "null"],
        ["--runtime.devices", "2", "--data.mask_size", "16"],
        ["--out", "3", "--data.flip", "true"],
        ["--joint.lr", "-1"],
        ["--joint.steps", "null"],
        ["--joint.steps"],
        ["--predictor.name", "no"],
    ],
)
def test_overrides_give_the_same(by_jsonargparse: Any, overrides: list[str]) -> None:
    direct = outcome(lambda: load_config("demo", overrides))
    assert direct == by_jsonargparse(lambda: load_config("demo", overrides))


@pytest.mark.parametrize(
    "values",
    [
        {"seed": True},
        {"seed": 1.0},
        {"seed": "1"},
        {"out": 3},
        {"nothing": 3},
        {"joint": 3},
        {"joint": {"lr": "1e-3"}},
        {"joint": {"freeze_backbone": 1}},
        {"detector": {"anchor_sizes": 3}},
        {"detector": {"anchor_sizes": [True]}},
        {"detector": {"weights": "null"}},
        {"detector": {"conventions": "other"}},
        {"runtime": {"devices": "2"}},
    ],
)
def test_what_is_to_be_converted_is_left(values: dict[str, Any]) -> None:
    with pytest.raises(NotTyped):
        build(RunConfig, values)


def test_whole_numbers_are_floats_where_those_are_wanted() -> None:
    config = build(RunConfig, {"joint": {"lr": 1}, "detector": {"anchor_sizes": [8, 16.5]}})
    assert repr(config.joint.lr) == "1.0"
    assert repr(config.detector.anchor_sizes) == "(8.0, 16.5)"
    assert config.joint.steps == RunConfig().joint.steps


def test_deep_brackets_are_refused_before_they_are_read(tmp_path: Any) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("seed: " + "[" * 101 + "]" * 101)
    with pytest.raises(InputError, match="expected YAML, got brackets nested too deeply"):
        load_config(file)
    file.write_text("seed: 3  # " + "[]" * 500)
    assert load_config(file).seed == 3
