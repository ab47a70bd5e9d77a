"""Checkpoints of version 1, `torch.save` files: still read, and never run."""

from __future__ import annotations

import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from autoenc_sg.core.errors import InputError
from autoenc_sg.weights.checkpoint import read_checkpoint, read_resumable, read_training_state
from autoenc_sg.weights.safe_pickle import read_torch_file
from autoenc_sg.weights.state_dict import read_weights
from tests.support.checkpoints import pickled, refused, some_checkpoint
from tests.support.tiny import same


@pytest.mark.parametrize("zipped", [True, False])
def test_model_and_training_state_are_read(tmp_path: Path, zipped: bool) -> None:
    checkpoint = some_checkpoint()
    path = tmp_path / "checkpoint.pt"
    torch.save(pickled(checkpoint), path, _use_new_zipfile_serialization=zipped)
    for place in (path, tmp_path):
        model = read_checkpoint(place)
        assert (model.config, model.vocabulary) == (checkpoint.config, checkpoint.vocabulary)
        assert (model.phase, model.step, model.training) == ("joint", 7, {})
        same(dict(model.model), dict(checkpoint.model))
        same(dict(read_training_state(place)), dict(checkpoint.training))
        same(dict(read_weights(place)), dict(checkpoint.model))
    same(dict(read_resumable(tmp_path).training), dict(checkpoint.training))


@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_a_truncated_file(tmp_path: Path, part: float) -> None:
    path = tmp_path / "c.pt"
    torch.save(pickled(some_checkpoint()), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    assert refused(path).endswith("got a truncated or damaged file")


def test_files_of_other_kinds(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.pt").endswith("a checkpoint file, got no such file")
    file = tmp_path / "f.pt"
    file.write_text("a shopping list")
    assert "expected a checkpoint of tensors and plain values" in refused(file)
    file.write_bytes(b"")
    assert "expected a checkpoint of tensors and plain values" in refused(file)
    torch.save({"weight": torch.zeros(2)}, file)
    assert refused(file).endswith("a checkpoint of autoenc-sg, got a file of another kind")
    torch.save(torch.zeros(2), file)
    assert refused(file).endswith("got a file of another kind")


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
    content = {**pickled(some_checkpoint()), "model": Bomb(folder)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    said = refused(path)
    assert "would run" in said
    assert "weights_only" not in said
    with pytest.raises(InputError, match="run"):
        read_weights(path)
    path.write_bytes(pickle.dumps(Bomb(folder)))
    refused(path)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "expected version 1 or older, got 2"),
        ({"version": "1"}, "expected version 1 or older, got 1"),
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
    torch.save(pickled(some_checkpoint()) | change, path)
    assert said in refused(path)


def test_damaged_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    torch.save(pickled(some_checkpoint()) | {"vocabulary": {"objects": ["cat"]}}, path)
    with pytest.raises(InputError, match="vocabulary predicates: expected a list of names"):
        read_checkpoint(path)


def test_missing_content(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    content = pickled(some_checkpoint())
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
