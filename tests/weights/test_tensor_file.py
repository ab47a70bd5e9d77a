"""Safetensors files: every dtype and shape, other programs' files, and hostile headers."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from autoenc_sg.core.errors import InputError
from autoenc_sg.weights.files.tensor_file import DTYPES, read_metadata, read_tensors, write_tensors
from tests.support.tiny import same

TENSORS = {
    "scalar": torch.tensor(3.5),
    "empty": torch.zeros(0, 4),
    "strided": torch.arange(12.0).reshape(3, 4).T,
    "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "large": torch.randn(700, 500),  # more than one chunk
    "ä.0": torch.tensor([True, False]),
    **{f"of {name}": torch.tensor([1, 0, 1]).to(dtype) for name, dtype in DTYPES.items()},
}


@pytest.mark.parametrize("seal", [True, False])
def test_written_and_read_by_us_and_by_safetensors(tmp_path: Path, seal: bool) -> None:
    path = tmp_path / "f.safetensors"
    digest = write_tensors(path, TENSORS, {"a": "b\n"}, sealed=seal)
    contents = read_tensors(path)
    same(dict(sorted(contents.tensors.items())), dict(sorted(TENSORS.items())))
    same(load_file(path), dict(contents.tensors))
    assert (contents.sealed, contents.sha256) == (seal, digest)
    assert read_metadata(path) == contents.metadata
    assert contents.metadata["a"] == "b\n"


def test_the_checksums_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    digest = write_tensors(path, TENSORS, {}, sealed=False)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    digest = write_tensors(path, TENSORS, {})
    zeros = path.read_bytes().replace(digest.encode(), b"0" * 64)
    assert digest == hashlib.sha256(zeros).hexdigest()


def test_files_of_safetensors_are_read(tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    plain = {name: value.contiguous() for name, value in TENSORS.items()}
    save_file(plain, path)
    contents = read_tensors(path)
    same(dict(sorted(contents.tensors.items())), dict(sorted(plain.items())))
    assert (contents.sealed, contents.metadata) == (False, {})


def test_dtypes_that_the_format_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"a: no tensor of torch\.complex64"):
        write_tensors(tmp_path / "f", {"a": torch.zeros(1, dtype=torch.complex64)}, {})


def crafted(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


FOUR = b"\0" * 4


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        crafted({}, length=1 << 62),
        crafted({}, length=1 << 20),
        crafted(b"[" * 10**5),
        crafted(b"[]"),
        crafted(b"{\xff}"),
        crafted(b"9" * 10**5),
        crafted({"__metadata__": []}),
        crafted({"__metadata__": {"a": 1}}),
        crafted({"a": []}),
        crafted({"a": {}}),
        crafted({"a": entry(dtype="F33")}, FOUR),
        crafted({"a": entry(dtype=["F32"])}, FOUR),
        crafted({"a": entry(shape="1")}, FOUR),
        crafted({"a": entry(shape=[True])}, FOUR),
        crafted({"a": entry(shape=[1.0])}, FOUR),
        crafted({"a": entry(shape=[-1])}, FOUR),
        crafted({"a": entry(shape=[1] * 100)}, FOUR),
        crafted({"a": entry(shape=[10**30])}, FOUR),
        crafted({"a": entry(shape=[0, 1 << 47, 1 << 47], offsets=[0, 0])}),
        crafted({"a": entry(offsets=[0, 1 << 60], shape=[1 << 58])}, FOUR),
        crafted({"a": entry(offsets=[4, 8])}, FOUR + FOUR),
        crafted({"a": entry(offsets=[4, 0])}, FOUR),
        crafted({"a": entry(), "b": entry()}, FOUR + FOUR),
        crafted({"a": entry()}, FOUR + b"\0"),
        crafted({"a": entry()}, b"\0" * 3),
        crafted({"a\n" * 1000: entry(shape=[2])}, FOUR),
    ],
)
def test_hostile_files_end_in_one_line_and_allocate_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "f.safetensors"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(InputError) as error:
        read_tensors(path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    text = str(error.value)
    assert text.startswith(f"{path}: expected a safetensors file, got a damaged or truncated one: ")
    assert len(text) < len(str(path)) + 300
    assert text.isprintable()
