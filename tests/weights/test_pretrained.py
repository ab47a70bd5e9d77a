"""A model saved to hand on: exact weights, half precision, and every kind of damage."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from autoenc_sg.cli.main import main
from autoenc_sg.core.errors import InputError
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.weights import pretrained
from autoenc_sg.weights.checkpoint import (
    Checkpoint,
    read_checkpoint,
    read_training_state,
    write_checkpoint,
)
from autoenc_sg.weights.pretrained import read_pretrained, save_pretrained, shipped_models
from tests.support.checkpoints import some_checkpoint
from tests.support.tiny import same


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> AutoEncoder:
    return AutoEncoder.from_checkpoint(tiny_run / "run")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved model of one layer."""
    save_pretrained(tmp_path / "model", some_checkpoint(), about={"trained on": "nothing"})
    return tmp_path / "model"


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as error:
        read_pretrained(folder)
    text = str(error.value)
    assert text.startswith(str(folder))
    assert text.isprintable()
    return text


def test_float32_comes_back_bit_for_bit(model: AutoEncoder, tmp_path: Path) -> None:
    model.save(tmp_path / "a" / "b", about={"epochs": 3, "note": "ä"})
    back = AutoEncoder.from_pretrained(tmp_path / "a" / "b")
    same(dict(back.state_dict()), dict(model.state_dict()))
    assert (back.config, back.vocabulary) == (model.config, model.vocabulary)
    assert not back.training
    files = {path.name for path in (tmp_path / "a" / "b").iterdir()}
    assert files == {"model.safetensors", "model.json"}
    content = json.loads((tmp_path / "a" / "b" / "model.json").read_text())
    assert content["about"] == {"epochs": 3, "note": "ä"}
    weights = (tmp_path / "a" / "b" / "model.safetensors").read_bytes()
    assert content["sha256"]["weights"] == hashlib.sha256(weights).hexdigest()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_comes_back_to_half_precision(
    model: AutoEncoder, tmp_path: Path, dtype: torch.dtype
) -> None:
    model.save(tmp_path, dtype=dtype)
    back = AutoEncoder.from_pretrained(str(tmp_path)).state_dict()
    for name, value in model.state_dict().items():
        assert back[name].dtype == value.dtype, name
        expected = value.to(dtype).to(value.dtype) if value.is_floating_point() else value
        assert torch.equal(back[name], expected), name
    in_file = load_file(tmp_path / "model.safetensors")
    for name, value in in_file.items():
        assert value.dtype == (dtype if value.is_floating_point() else torch.int64), name


def test_a_decoder_alone(model: AutoEncoder, tmp_path: Path) -> None:
    decoder = AutoEncoder(model.config, model.vocabulary, download=False)
    weights = model.state_dict()
    decoder.load({n: v for n, v in weights.items() if n.startswith("generator.")}, "here")
    decoder.save(tmp_path)
    back = AutoEncoder.from_pretrained(tmp_path)
    assert not back.has_encoder
    same(dict(back.generator.state_dict()), dict(model.generator.state_dict()))


def test_such_a_folder_is_accepted_where_a_checkpoint_is(
    model: AutoEncoder, tiny_run: Path, tmp_path: Path
) -> None:
    model.save(tmp_path / "model")
    same(dict(read_checkpoint(tmp_path / "model").model), dict(model.state_dict()))
    assert read_training_state(tmp_path / "model") == {}
    graph = tmp_path / "graph.json"
    names = model.vocabulary.objects[1:3]
    graph.write_text(json.dumps({"objects": list(names), "relationships": []}))
    for place in (tmp_path / "model", tiny_run / "run"):
        out = tmp_path / place.name
        assert main(["generate", str(place), str(graph), "--out", str(out / "out")]) == 0
    drawn = [(tmp_path / name / "out" / "graph.png").read_bytes() for name in ("model", "run")]
    assert drawn[0] == drawn[1]
    # In a run's folder the run's checkpoint goes first.
    write_checkpoint(tmp_path / "model" / "checkpoint.safetensors", some_checkpoint(5))
    assert read_checkpoint(tmp_path / "model").step == 5


def test_saving_again_replaces(folder: Path) -> None:
    second = some_checkpoint()
    save_pretrained(folder, second)
    same(dict(read_pretrained(folder).model), dict(second.model))


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    checkpoint = some_checkpoint()
    large = {"weight": torch.tensor([1e5])}
    cases: list[tuple[dict[str, Any], dict[str, torch.Tensor], str]] = [
        ({"dtype": torch.int8}, {}, "dtype: expected torch.float32, torch.float16 or"),
        ({"dtype": torch.float16}, large, "weight: expected numbers that torch.float16 can hold"),
        ({"about": {"a": {1}}}, {}, "about: expected JSON values"),
    ]
    for options, weights, said in cases:
        with pytest.raises(InputError, match=said):
            save_pretrained(tmp_path, replace(checkpoint, model=weights), **options)
    assert list(tmp_path.iterdir()) == []


def test_flipped_bits_are_refused_or_change_no_model(folder: Path) -> None:
    chance, expected = random.Random(0), read_pretrained(folder)
    harmless = 0
    for name in ("model.safetensors", "model.json"):
        file = folder / name
        whole = file.read_bytes()
        for number in range(0, len(whole), 3):
            data = bytearray(whole)
            data[number] ^= 1 << chance.randrange(8)
            file.write_bytes(data)
            try:
                found = read_pretrained(folder)
            except InputError as error:
                assert str(error).isprintable()  # noqa: PT017 (both ends are allowed)
                continue
            assert name == "model.json"  # blanks, or the free description
            harmless += 1
            assert (found.config, found.vocabulary) == (expected.config, expected.vocabulary)
            same(dict(found.model), dict(expected.model))
        file.write_bytes(whole)
    assert harmless < len(whole) / 6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "other"}, "expected the description of a model of autoenc-sg"),
        ({"version": 2}, "expected version 1 or older, got 2"),
        ({"version": "1"}, "version: expected int, got str"),
        ({"config": []}, "config: expected dict, got list"),
        ({"about": None}, "about: expected dict, got NoneType"),
        ({"sha256": {}}, "expected the config and vocabulary that were saved"),
        ({"vocabulary": {"objects": []}}, "expected the config and vocabulary that were saved"),
        ({"extra": 1}, "expected the keys format, version, config, vocabulary, sha256, about, got"),
    ],
)
def test_other_descriptions(folder: Path, change: dict[str, Any], said: str) -> None:
    file = folder / "model.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | change))
    assert said in refused(folder)
    for name in change.keys() & content.keys() - {"format"}:
        file.write_text(json.dumps({k: v for k, v in content.items() if k != name}))
        assert f"{name}: expected" in refused(folder)


def test_missing_and_foreign_files(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    save_pretrained(other, some_checkpoint())
    shutil.copy(other / "model.safetensors", folder)
    assert "expected the weights that model.json belongs to, got others" in refused(folder)
    save_file({"weight": torch.zeros(2)}, folder / "model.safetensors")
    assert "expected the weights that model.json belongs to" in refused(folder)
    (folder / "model.safetensors").unlink()
    assert refused(folder).endswith("model.safetensors: expected a file, got no such file")
    for content in (b"", b"{", b"\xff", b"[" * 10**5, b"[]", b"3"):
        (folder / "model.json").write_bytes(content)
        assert "model.json: expected" in refused(folder)
    (folder / "model.json").unlink()
    assert "expected the description of a model, got No such file" in refused(folder)


def test_weights_that_do_not_fit_their_config(model: AutoEncoder, tmp_path: Path) -> None:
    good = model.state_dict()
    name = next(iter(good))
    for weights, said in (
        ({n: v for n, v in good.items() if n != name}, "1 missing"),
        ({**good, "more": torch.zeros(1)}, "1 unknown"),
        ({**good, name: torch.zeros(2, 2)}, "expected shape"),
        ({**good, name: good[name].long()}, "expected numbers as torch.float32, got torch.int64"),
    ):
        save_pretrained(tmp_path, Checkpoint(model.config, model.vocabulary, weights))
        with pytest.raises(InputError, match=said):
            AutoEncoder.from_pretrained(tmp_path)


def test_names_of_shipped_models(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: AutoEncoder
) -> None:
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path / "none")
    monkeypatch.chdir(tmp_path)
    assert shipped_models() == []
    with pytest.raises(InputError, match=r"model demo: expected a folder, .* or a name"):
        AutoEncoder.from_pretrained("demo")
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path / "shipped")
    for name in ("scenes", "demo"):
        model.save(tmp_path / "shipped" / name)
    same(dict(AutoEncoder.from_pretrained("demo").state_dict()), dict(model.state_dict()))
    for name in ("other", "../model/x", "?"):
        with pytest.raises(InputError, match=r"a folder, .* or one of: demo, scenes, got"):
            AutoEncoder.from_pretrained(name)


def test_a_repository_is_fetched_and_read_as_a_folder(
    model: AutoEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    model.save_pretrained(tmp_path / "snapshot", about={"knows": "drawn scenes"})
    calls = []

    def download(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        calls.append((repository, revision, sorted(allow_patterns)))
        return str(tmp_path / "snapshot")

    monkeypatch.setattr(hub, "snapshot_download", download)
    back = AutoEncoder.from_pretrained("some-one/scene.graphs_2", revision="v1")
    same(dict(back.state_dict()), dict(model.state_dict()))
    assert back.about == {"knows": "drawn scenes"}
    two_files = ["model.json", "model.safetensors"]
    assert calls == [("some-one/scene.graphs_2", "v1", two_files)]
    monkeypatch.chdir(tmp_path)
    model.save_pretrained("here/model")  # a folder goes before a repository of that name
    AutoEncoder.from_pretrained("here/model")
    for path in ("../other", "runs/a/b", "/tmp/nothing", "runs/", "./model"):
        with pytest.raises(InputError, match="got neither"):
            AutoEncoder.from_pretrained(path)
    assert len(calls) == 1
    AutoEncoder.from_pretrained("a/b")
    assert calls[1] == ("a/b", None, two_files)


def test_a_repository_that_cannot_be_fetched_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    errors = {
        OSError("no route to host\nmore"): "no route to host",
        hub.errors.HFValidationError("repo id"): "repo id",
        hub.errors.OfflineModeIsEnabled(): "OfflineModeIsEnabled",
    }
    for error, reason in errors.items():

        def download(*_: object, error: Exception = error, **__: object) -> str:
            raise error

        monkeypatch.setattr(hub, "snapshot_download", download)
        with pytest.raises(InputError) as raised:
            AutoEncoder.from_pretrained("runs/demo")
        expected = "expected a folder, or a repository that can be fetched, got none"
        assert str(raised.value) == f"model runs/demo: {expected} ({reason})"
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="got none, and huggingface_hub is not installed"):
        AutoEncoder.from_pretrained("runs/demo")
