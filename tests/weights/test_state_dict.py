"""State dicts: from which files they are read, and what does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from autoenc_sg.core.errors import InputError
from autoenc_sg.detector import Detector, build_detector
from autoenc_sg.weights.checkpoint import write_checkpoint
from autoenc_sg.weights.detector import load_detector_weights
from autoenc_sg.weights.state_dict import load_weights, read_weights
from tests.detector.test_faster_rcnn import TINY
from tests.support.checkpoints import pickled, some_checkpoint
from tests.support.tiny import same

NAMES = ("__background__", "cat", "dog", "mat")


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
        (
            good | {"bias": torch.zeros(3, dtype=torch.int64)},
            r"numbers as torch.float32",
        ),
    ):
        with pytest.raises(InputError, match=said):
            load_weights(layer, {k: v + 1 for k, v in weights.items()}, "here")
        assert torch.equal(layer.weight, kept)


def other_detector() -> Detector:
    torch.manual_seed(1)
    return build_detector(TINY, 4)


@pytest.mark.parametrize("kind", ["pt", "safetensors", "checkpoint", "folder", "pickled"])
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
        checkpoint = replace(some_checkpoint(), model=whole)
        if kind == "pickled":
            torch.save(pickled(checkpoint), path)
        else:
            path = tmp_path / "checkpoint.safetensors"
            write_checkpoint(path, checkpoint)
            path = tmp_path if kind == "folder" else path
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
