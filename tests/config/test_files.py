"""Configurations: files, overrides and checkpoints, and what is said of bad ones."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from autoenc_sg.config.data import ScenesConfig
from autoenc_sg.config.files import (
    config_from_dict,
    config_to_dict,
    dump_config,
    load_config,
    packaged_configs,
)
from autoenc_sg.config.model import GeneratorConfig, RelpnConfig
from autoenc_sg.config.phases import JointPhase
from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.errors import InputError


def written(folder: Path, text: str) -> Path:
    file = folder / "c.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def message(error: pytest.ExceptionInfo[InputError]) -> str:
    """The one line."""
    text = str(error.value)
    assert "\n" not in text
    assert "expected" in text
    assert "got" in text
    return text


def test_a_file_changes_what_it_names_alone(tmp_path: Path) -> None:
    file = written(tmp_path, "seed: 3\njoint: {steps: 7, mode: detached}\n")
    config = load_config(file)
    assert config == RunConfig(seed=3, joint=JointPhase(steps=7, mode="detached"))
    assert load_config(written(tmp_path, "")) == RunConfig()
    assert load_config(written(tmp_path, "# nothing\n")) == RunConfig()


def test_overrides_win_and_come_in_all_kinds(tmp_path: Path) -> None:
    file = written(tmp_path, "joint: {steps: 7, lr: 0.5}\nrelpn: {pair_nms: 0.7}\n")
    overrides = [
        "--joint.steps=9",
        "--joint.image_loss_weight",
        "0",
        "--joint.freeze_backbone",
        "false",
        "--relpn.pair_nms",
        "null",
        "--generator.refinement_dims",
        "[64, 32]",
        "--detector.weights",
        "a.pt",
        "--runtime.devices",
        "2",
        "--data.scenes.num_train=5",
    ]
    config = load_config(file, overrides)
    assert config.joint == JointPhase(steps=9, lr=0.5, image_loss_weight=0.0, freeze_backbone=False)
    assert isinstance(config.joint.image_loss_weight, float)
    assert config.relpn == RelpnConfig(pair_nms=None)
    assert config.generator.refinement_dims == (64, 32)
    assert isinstance(config.generator.refinement_dims, tuple)
    assert config.detector.weights == "a.pt"
    assert config.runtime.devices == 2
    assert config.data.scenes == ScenesConfig(num_train=5)


def leaves(config: Any, prefix: str = "") -> dict[str, Any]:
    values = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            values |= leaves(value, f"{prefix}{field.name}.")
        else:
            values[f"{prefix}{field.name}"] = value
    return values


def test_every_packaged_configuration_loads_by_name_and_comes_back(tmp_path: Path) -> None:
    names = packaged_configs()
    assert {"demo", "scenes", "vg150/joint", "coco_photos", "sg2im"} <= set(names)
    for name in names:
        config = load_config(name)
        assert load_config(written(tmp_path, dump_config(config))) == config
        assert config_from_dict(config_to_dict(config)) == config
        assert config != RunConfig()


@pytest.mark.parametrize("name", packaged_configs())
def test_a_packaged_configuration_begins_with_its_command(name: str) -> None:
    file = Path(__file__).parents[2] / "configs" / f"{name}.yaml"
    first = file.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# autoenc-sg ")
    assert set(yaml.safe_load(file.read_text(encoding="utf-8"))) <= set(get_type_hints(RunConfig))


def test_plain_values_alone_are_written() -> None:
    def check(value: Any) -> None:
        if isinstance(value, dict):
            assert all(isinstance(key, str) for key in value)
            [check(item) for item in value.values()]
        elif isinstance(value, list):
            [check(item) for item in value]
        else:
            assert value is None or type(value) in (bool, int, float, str)

    plain = config_to_dict(RunConfig())
    check(plain)
    assert plain["generator"]["refinement_dims"] == [1024, 512, 256, 128, 64]
    assert yaml.safe_load(dump_config(RunConfig())) == plain


rate = st.floats(0, 10, allow_nan=False)
widths = st.lists(st.integers(1, 9), min_size=1, max_size=5).map(tuple)


@settings(max_examples=10, deadline=None)
@given(st.text(max_size=12), st.integers(0, 10**9), rate, widths, st.none() | st.floats(0, 1), rate)
def test_whatever_is_set_comes_back(
    out: str, seed: int, lr: float, dims: tuple[int, ...], overlap: float | None, weight: float
) -> None:
    config = RunConfig(
        out=out,
        seed=seed,
        generator=GeneratorConfig(refinement_dims=dims),
        relpn=RelpnConfig(pair_nms=overlap),
        joint=JointPhase(lr=lr, image_loss_weight=weight),
    )
    assert config_from_dict(config_to_dict(config)) == config
    assert config_from_dict(yaml.safe_load(dump_config(config))) == config


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("joint: {stepz: 3}", "joint.stepz: expected a known key such as joint.steps"),
        ("jiont: {steps: 3}", "jiont: expected a known key such as joint"),
        ("data: {scenes: {num_trian: 3}}", "data.scenes.num_trian: expected a known key"),
        ("joint: 3", "joint: expected a mapping of keys to values, got 3"),
        ("joint: null", "joint: expected a mapping of keys to values, got None"),
        ("- 1", "expected a mapping of keys to values, got [1]"),
        ("joint: {steps: many}", "joint.steps: expected int"),
        ("joint: {steps: 1.5}", "joint.steps: expected int"),
        ("joint: {mode: hard}", "joint.mode: expected"),
        ("joint: {steps: null}", "joint.steps: expected int, got null"),
        ("joint: {freeze_backbone: maybe}", "joint.freeze_backbone: expected bool"),
        ("generator: {refinement_dims: [a]}", "generator.refinement_dims: expected"),
        ("generator: {refinement_dims: 3}", "generator.refinement_dims: expected"),
        ("seed: {a: 1}", "seed: expected int"),
        ("joint: {steps: 1", "expected YAML"),
        ("joint: {batch_size: 0}", "joint.batch_size: expected >= 1, got 0"),
    ],
)
def test_bad_files_are_one_line_that_names_file_and_key(
    tmp_path: Path, text: str, said: str
) -> None:
    file = written(tmp_path, text)
    with pytest.raises(InputError) as error:
        load_config(file)
    assert message(error).startswith(f"config {file}: ")
    assert said in message(error)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["--joint.stpes", "3"], "joint.stpes: expected a known key such as joint.steps"),
        (["--joint.stpes=3"], "joint.stpes: expected a known key such as joint.steps"),
        (["--nonsense", "3"], "nonsense: expected a known key"),
        (["--joint.steps", "abc"], "joint.steps: expected"),
        (["--joint.steps"], "expected"),
        (["stray"], "stray"),
        (["--joint.lr", "-1"], "joint.lr: expected >= 0, got -1.0"),
        (["--generator.image_size", "65"], "generator.image_size: expected one of (32, 64,"),
    ],
)
def test_bad_overrides_are_one_line(tmp_path: Path, overrides: list[str], said: str) -> None:
    with pytest.raises(InputError) as error:
        load_config(written(tmp_path, "seed: 1"), overrides)
    assert said in message(error)


def test_what_is_no_file(tmp_path: Path) -> None:
    names = ", ".join(packaged_configs())
    for path, got in ((tmp_path / "none.yaml", "no such file"), (tmp_path, "a folder")):
        with pytest.raises(InputError) as error:
            load_config(path)
        expected = f"expected a YAML file or one of: {names}, got {got}"
        assert message(error) == f"config {path}: {expected}"
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match=r"b\.yaml: expected a YAML file"):
        load_config(binary)


def test_a_checkpoints_configuration_is_checked_alike() -> None:
    plain = config_to_dict(RunConfig())
    with pytest.raises(InputError, match=r"old\.pt: novel: expected a known key"):
        config_from_dict(plain | {"novel": 1}, "old.pt")
    with pytest.raises(InputError, match=r"old\.pt: seed: expected int, got 'x'"):
        config_from_dict(plain | {"seed": "x"}, "old.pt")
    with pytest.raises(InputError, match=r"old\.pt: joint\.steps: expected >= 0, got -1"):
        config_from_dict(plain | {"joint": plain["joint"] | {"steps": -1}}, "old.pt")
    assert config_from_dict({}) == RunConfig()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.scenes.num_train", 1),
        ("data.scenes.num_test", 0),
        ("data.scenes.image_size", 16),
        ("data.scenes.drop_relations", 1.5),
        ("data.num_val", -1),
        ("data.workers", -1),
        ("data.num_test", -1),
        ("detector.min_size", 0),
        ("detector.max_size", 10),
        ("detector.proposals", 0),
        ("detector.detections", 0),
        ("detector.feature_dim", 0),
        ("detector.anchor_sizes", ()),
        ("detector.anchor_ratios", (0.0,)),
        ("relpn.dim", 0),
        ("relpn.top_k", 0),
        ("relpn.samples_per_image", 0),
        ("relpn.pair_nms", 1.5),
        ("relpn.positive_fraction", 0.0),
        ("predictor.dim", 0),
        ("predictor.steps", -1),
        ("predictor.dropout", 1.0),
        ("generator.image_size", 48),
        ("generator.mask_size", 12),
        ("generator.mask_size", -4),
        ("generator.gconv_layers", -1),
        ("generator.gconv_dim", 0),
        ("generator.layout_noise_dim", -1),
        ("generator.refinement_dims", ()),
        ("generator.refinement_dims", (8, 0)),
        ("generator.discriminator_dims", ()),
        ("detector_training.batch_size", 0),
        ("detector_training.lr", float("nan")),
        ("detector_training.clip", 0.0),
        ("detector_training.validate_epochs", -1),
        ("reconstruction.batch_size", 0),
        ("reconstruction.steps", -1),
        ("reconstruction.pixel_weight", -1.0),
        ("reconstruction.ema_decay", 1.0),
        ("reconstruction.validation_images", 0),
        ("joint.batch_size", 0),
        ("joint.regions_per_image", 0),
        ("joint.predicate_weight", -0.5),
        ("joint.clip", -1.0),
        ("runtime.log_every", 0),
        ("runtime.num_nodes", 0),
        ("runtime.threads", -1),
    ],
)
def test_values_out_of_range_name_their_key(key: str, value: object) -> None:
    config: Any = RunConfig()
    assert key in leaves(config)
    *sections, name = key.split(".")
    for section in sections:
        config = getattr(config, section)
    with pytest.raises(InputError, match=r"expected .+, got ") as error:
        replace(config, **{name: value})
    assert name in str(error.value).partition(":")[0]


@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_refinement_modules_at_most_the_halvings_of_the_image(size: int) -> None:
    halvings = {32: 5, 64: 6, 128: 7, 256: 8}[size]
    assert GeneratorConfig(image_size=size, refinement_dims=(4,) * halvings)
    assert GeneratorConfig(image_size=size, refinement_dims=(4,))
    with pytest.raises(InputError) as error:
        GeneratorConfig(image_size=size, refinement_dims=(4,) * (halvings + 1))
    expected = f"generator.refinement_dims: expected 1..{halvings} modules for {size} px"
    assert message(error).startswith(expected)
