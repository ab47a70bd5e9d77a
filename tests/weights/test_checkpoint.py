"""Checkpoints and weights files: what comes back, and what is refused in one line."""

from __future__ import annotations

import os
import pickle
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from autoenc_sg.config.phases import JointPhase
from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.detector import Detector, build_detector
from autoenc_sg.weights.checkpoint import (
    FORMAT,
    VERSION,
    Checkpoint,
    check_vocabulary,
    load_weights,
    read_checkpoint,
    read_weights,
    write_checkpoint,
)
from autoenc_sg.weights.detector import load_detector_weights
from autoenc_sg.weights.safe_pickle import read_torch_file
from tests.detector.test_faster_rcnn import TINY
from tests.support.tiny import same

NAMES = ("__background__", "cat", "dog", "mat")
CAT_ON_MAT = Vocabulary.from_names(["cat", "mat"], ["on"])


def some_checkpoint() -> Checkpoint:
    weights = nn.Linear(2, 3).state_dict()
    optimizer = {"state": {0: {"momentum_buffer": torch.randn(3)}}, "param_groups": [{"lr": 0.1}]}
    config = RunConfig(seed=4, joint=JointPhase(mode="detached"))
    training = {"optimizer_graph": optimizer, "rng_cpu": torch.get_rng_state()[None]}
    return Checkpoint(config, CAT_ON_MAT, weights, "joint", 7, training)


def refused(path: Path) -> str:
    """What is said of a file that is no checkpoint."""
    with pytest.raises(InputError) as error:
        read_checkpoint(path)
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(str(path))
    assert "expected" in text
    return text


def test_all_of_a_checkpoint_comes_back(tmp_path: Path) -> None:
    checkpoint = some_checkpoint()
    path = tmp_path / "new" / "c.pt"
    write_checkpoint(path, checkpoint)
    back = read_checkpoint(path)
    assert (back.config, back.vocabulary) == (checkpoint.config, checkpoint.vocabulary)
    assert (back.phase, back.step) == ("joint", 7)
    same(dict(back.model), dict(checkpoint.model))
    same(dict(back.training), dict(checkpoint.training))
    assert list(path.parent.iterdir()) == [path]


def test_a_checkpoint_without_training_state(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "c.pt", Checkpoint(RunConfig(), CAT_ON_MAT, {}))
    back = read_checkpoint(tmp_path / "c.pt")
    assert (back.phase, back.step, back.training, back.model) == ("", 0, {}, {})


def test_a_write_that_breaks_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.pt"
    write_checkpoint(path, some_checkpoint())
    before = path.read_bytes()

    def full(content: object, file: Path) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match=r"c\.pt: expected a path that can be written, got No sp"):
        write_checkpoint(path, some_checkpoint())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_of_other_kinds(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.pt").endswith("a checkpoint file, got no such file")
    assert refused(tmp_path).endswith("got a folder")
    file = tmp_path / "f.pt"
    file.write_text("a shopping list")
    assert "expected a checkpoint of tensors and plain values" in refused(file)
    file.write_bytes(b"")
    assert "expected a checkpoint of tensors and plain values" in refused(file)
    torch.save({"weight": torch.zeros(2)}, file)
    assert refused(file).endswith("a checkpoint of autoenc-sg, got a file of another kind")
    torch.save(torch.zeros(2), file)
    assert refused(file).endswith("got a file of another kind")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_a_truncated_file(tmp_path: Path, part: float) -> None:
    path = tmp_path / "c.pt"
    write_checkpoint(path, some_checkpoint())
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    assert refused(path).endswith("got a truncated or damaged file")


class Bomb:
    """Unpickled carelessly, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [True, False])
def test_no_code_is_run_from_a_file(tmp_path: Path, zipped: bool) -> None:
    path, folder = tmp_path / "bomb.pt", tmp_path / "exploded"
    content = {"format": FORMAT, "version": VERSION, "model": Bomb(folder)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    said = refused(path)
    assert "would run" in said
    assert "weights_only" not in said
    with pytest.raises(InputError, match="run"):
        read_weights(path)
    path.write_bytes(pickle.dumps(Bomb(folder)))
    refused(path)
    assert not folder.exists()


def content_of(path: Path) -> dict[str, Any]:
    write_checkpoint(path, some_checkpoint())
    content = torch.load(path, weights_only=True)
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": VERSION + 1}, f"expected version {VERSION} or older, got {VERSION + 1}"),
        ({"version": "1"}, f"expected version {VERSION} or older, got 1"),
        ({"format": "other"}, "got a file of another kind"),
        ({"step": 1.5}, "step: expected int, got float"),
        ({"model": [1]}, "model: expected dict, got list"),
        ({"model": {"weight": 3}}, "model: expected tensors alone, got other values"),
        ({"training": None}, "training: expected dict, got NoneType"),
        ({"config": {"nonsense": 1}}, "nonsense: expected a known key"),
    ],
)
def test_damaged_content(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "c.pt"
    torch.save(content_of(path) | change, path)
    assert said in refused(path)


def test_damaged_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    torch.save(content_of(path) | {"vocabulary": {"objects": ["cat"]}}, path)
    with pytest.raises(InputError, match="vocabulary predicates: expected a list of names"):
        read_checkpoint(path)


def test_missing_content(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    content = content_of(path)
    del content["vocabulary"]
    torch.save(content, path)
    assert "vocabulary: expected dict, got NoneType" in refused(path)


class Maker:
    """Unpickled carelessly, it makes a folder in another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return tempfile.mkdtemp, ("", "made", str(self.folder))


def test_stand_ins_are_called_instead(tmp_path: Path) -> None:
    path, folder = tmp_path / "f.pt", tmp_path / "empty"
    folder.mkdir()
    torch.save({"a": Maker(folder), "b": torch.ones(2)}, path)
    with pytest.raises(InputError, match=r"one that would run tempfile\.mkdtemp to be read"):
        read_torch_file(path)

    def joined(*words: str) -> str:
        return "+".join(words)

    content = read_torch_file(path, [(joined, "tempfile.mkdtemp")])
    assert content["a"] == f"+made+{folder}"
    assert list(folder.iterdir()) == []


# Weights ----------------------------------------------------------------------------------------


def test_weights_fit_by_name_and_shape() -> None:
    layer, other = nn.Linear(2, 3), nn.Linear(2, 3)
    load_weights(layer, other.state_dict(), "here")
    same(dict(layer.state_dict()), dict(other.state_dict()))
    good, kept = layer.state_dict(), layer.weight.clone()
    for weights, said in (
        (
            {"weight": good["weight"]},
            r"here: expected weights with 2 known names, got 1 missing \['bias'\]",
        ),
        (good | {"c": good["bias"]}, r"0 missing \[\], 1 unknown \['c'\]"),
        (good | {"bias": torch.zeros(4)}, r"here: bias: expected shape \[3\], got \[4\]"),
    ):
        with pytest.raises(InputError, match=said):
            load_weights(layer, {k: v + 1 for k, v in weights.items()}, "here")
        assert torch.equal(layer.weight, kept)


def other_detector() -> Detector:
    torch.manual_seed(1)
    return build_detector(TINY, 4)


@pytest.mark.parametrize("kind", ["pt", "safetensors", "checkpoint"])
def test_detector_weights_of_each_kind(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    weights = build_detector(TINY, 4).state_dict()
    path = tmp_path / f"w.{'safetensors' if kind == 'safetensors' else 'pt'}"
    if kind == "safetensors":
        save_file(weights, path)
    elif kind == "pt":
        torch.save(weights, path)
    else:
        whole = {f"detector.{name}": value for name, value in weights.items()}
        whole["generator.weight"] = torch.zeros(3)
        write_checkpoint(path, replace(some_checkpoint(), model=whole))
    detector = other_detector()
    load_detector_weights(detector, str(path), NAMES)
    same(dict(detector.state_dict()), dict(weights))


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_weights_of_another_detector(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w.{suffix}"
    wide = build_detector(TINY, 9).state_dict()
    save_file(wide, path) if suffix == "safetensors" else torch.save(wide, path)
    detector = other_detector()
    before = {k: v.clone() for k, v in detector.state_dict().items()}
    with pytest.raises(InputError) as error:
        load_detector_weights(detector, str(path), NAMES)
    assert str(error.value).startswith(f"{path}: ")
    assert "shape [4, 12], got [9, 12]" in str(error.value)
    assert "\n" not in str(error.value)
    same(dict(detector.state_dict()), before)


def test_weights_files_of_other_kinds(tmp_path: Path) -> None:
    safe, plain = tmp_path / "w.safetensors", tmp_path / "w.pt"
    with pytest.raises(InputError, match=r"w\.safetensors: expected a weights file, got no such"):
        read_weights(safe)
    safe.write_bytes(b"not safe at all")
    with pytest.raises(InputError, match=r"w\.safetensors: expected a safetensors file"):
        read_weights(safe)
    save_file({"a": torch.zeros(100)}, safe)
    safe.write_bytes(safe.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"w\.safetensors: expected a safetensors file"):
        read_weights(safe)
    with pytest.raises(InputError, match=r"w\.pt: expected a checkpoint file, got no such file"):
        read_weights(plain)
    torch.save([torch.zeros(2)], plain)
    with pytest.raises(InputError, match="expected a mapping of names to tensors, got list"):
        read_weights(plain)
    torch.save({"a": torch.zeros(2), "b": "text"}, plain)
    with pytest.raises(InputError, match="expected a mapping of names to tensors, got dict"):
        read_weights(plain)


# Vocabulary -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objects", "predicates", "expected", "got"),
    [
        (["cat", "dog"], ["on"], "2 objects, number 2 is 'dog'", "2 objects, number 2 is 'mat'"),
        (["cat"], ["on"], "1 objects, number 2 is none", "2 objects, number 2 is 'mat'"),
        (
            ["cat", "mat"],
            ["on", "by"],
            "2 predicates, number 2 is 'by'",
            "1 predicates, number 2 is none",
        ),
    ],
)
def test_another_vocabulary_is_named_by_its_first_difference(
    objects: list[str], predicates: list[str], expected: str, got: str
) -> None:
    checkpoint = some_checkpoint()
    check_vocabulary(checkpoint, CAT_ON_MAT, "c.pt")
    with pytest.raises(InputError) as error:
        check_vocabulary(checkpoint, Vocabulary.from_names(objects, predicates), "c.pt")
    wanted = f"c.pt: expected the data's vocabulary ({expected}), got another ({got})"
    assert str(error.value) == wanted
