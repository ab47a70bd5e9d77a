"""Safetensors files with a checksum: written in one pass, read in one pass and verified.

Layout (safetensors): the header's length, 8 bytes, little-endian; the header, JSON
`{"__metadata__": {name: text}, tensor name: {"dtype", "shape", "data_offsets"}, ...}`; the tensors'
bytes.

A sealed file begins its metadata with `sha256`: the SHA-256 of the whole file with these 64 digits
written as zeros. Any other program that reads safetensors can read a sealed file.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import torch
from torch import Tensor

from autoenc_sg.core.errors import InputError, bad_input

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
MAX_HEADER_BYTES = 1 << 23
MAX_DIMENSIONS = 16
CHUNK_BYTES = 1 << 20
METADATA = "__metadata__"
SEAL = b'{"__metadata__":{"sha256":"'  # how the header of a sealed file begins
NO_DIGEST = b"0" * 64


@dataclass(frozen=True, eq=False)
class TensorFile:
    """The content of a safetensors file.

    Attributes:
        metadata: texts by name.
        tensors: tensors by name, on the CPU.
        sha256: of a sealed file with its own digits as zeros, of any other file as it is.
        sealed: the file holds its checksum, and it was right.
    """

    metadata: Mapping[str, str]
    tensors: Mapping[str, Tensor]
    sha256: str
    sealed: bool


@dataclass(frozen=True)
class _Header:
    """A checked header: its bytes, the metadata, and name -> (dtype, shape) in the data's order."""

    data: bytes
    metadata: Mapping[str, str]
    tensors: Mapping[str, tuple[torch.dtype, list[int]]]

    @property
    def sealed(self) -> bool:
        return self.data[8:].startswith(SEAL)

    def hashed(self) -> Any:
        """A SHA-256 under way that has taken in the header."""
        start = 8 + len(SEAL)
        blank = NO_DIGEST + self.data[start + 64 :] if self.sealed else self.data[start:]
        return hashlib.sha256(self.data[:start] + blank)


# Writing ------------------------------------------------------------------------------------------


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], sealed: bool = True
) -> str:
    """Write a safetensors file through to the disk; returns its SHA-256 (see `TensorFile`).

    Raises:
        OSError: the system refuses.
        TypeError: a tensor of a dtype that the format does not have.
    """
    ordered = dict(sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])))
    header = _build_header(ordered, metadata, sealed)
    digest = hashlib.sha256(header)
    with path.open("wb") as file:
        file.write(header)
        for tensor in ordered.values():
            for chunk in _chunks(tensor.detach().cpu().contiguous()):
                digest.update(chunk)
                file.write(chunk)
        if sealed:
            file.seek(8 + len(SEAL))
            file.write(digest.hexdigest().encode())
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _build_header(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], sealed: bool
) -> bytes:
    seal = {"sha256": NO_DIGEST.decode()} if sealed else {}
    header: dict[str, Any] = {METADATA: {**seal, **metadata}}
    end = 0
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPE_NAMES or name == METADATA:
            raise TypeError(f"{name}: no tensor of {tensor.dtype} in a safetensors file")
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    if len(text) > MAX_HEADER_BYTES:
        raise TypeError(f"a header of {len(text)} bytes in a safetensors file")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _chunks(tensor: Tensor) -> Iterator[memoryview]:
    """The memory of a contiguous tensor, piece by piece."""
    if tensor.numel() > 0:
        memory = memoryview(tensor.reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]
        for start in range(0, len(memory), CHUNK_BYTES):
            yield memory[start : start + CHUNK_BYTES]


# Reading ------------------------------------------------------------------------------------------


def read_metadata(path: Path) -> Mapping[str, str]:
    """The metadata of a safetensors file, not verified; raises as `read_tensors`."""
    with _opened(path) as file:
        return _read_header(file, path).metadata


def read_tensors(path: Path) -> TensorFile:
    """Read a safetensors file and verify a sealed one.

    Nothing is allocated beyond what the file's size and header agree on.

    Raises:
        InputError: no such file, of another format, damaged, truncated, or the checksum differs.
    """
    try:
        with _opened(path) as file:
            header = _read_header(file, path)
            digest = header.hashed()
            tensors = {
                name: _read_tensor(file, path, digest, dtype, shape)
                for name, (dtype, shape) in header.tensors.items()
            }
    except OSError as error:
        raise bad_input(path, "a readable file", error.strerror or error) from error
    contents = TensorFile(header.metadata, tensors, digest.hexdigest(), header.sealed)
    if header.sealed and contents.sha256 != contents.metadata["sha256"]:
        raise _damaged(path, "its checksum differs")
    return contents


def _opened(path: Path) -> BinaryIO:
    if not path.is_file():
        raise bad_input(path, "a file", "a folder" if path.is_dir() else "no such file")
    try:
        return path.open("rb")
    except OSError as error:
        raise bad_input(path, "a readable file", error.strerror or error) from error


def _damaged(path: Path, reason: str) -> InputError:
    return bad_input(path, "a safetensors file", f"a damaged or truncated one: {reason}")


def _read_header(file: BinaryIO, path: Path) -> _Header:
    total = os.fstat(file.fileno()).st_size
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or length > min(total - 8, MAX_HEADER_BYTES):
        raise _damaged(path, f"a header of {length} bytes in a file of {total}")
    data = prefix + file.read(length)
    try:
        header = json.loads(data[8:])
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "its header is not JSON") from error
    metadata = header.pop(METADATA, {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _damaged(path, "its header is not that of such a file")
    return _Header(data, metadata, _checked_entries(path, header, total - 8 - length))


def _checked_entries(
    path: Path, entries: Mapping[str, Any], size: int
) -> dict[str, tuple[torch.dtype, list[int]]]:
    """Dtype and shape by name, ordered by offset; together they fill the `size` bytes of data."""
    ordered = sorted((*_offsets(path, name, entry), name) for name, entry in entries.items())
    tensors, place = {}, 0
    for start, end, name in ordered:
        dtype, shape = DTYPES.get(entries[name].get("dtype")), entries[name].get("shape")
        if dtype is None or not _is_shape(shape):
            raise _damaged(path, f"dtype or shape of {name[:80]!r}")
        if start != place or end - start != math.prod(shape) * dtype.itemsize:
            raise _damaged(path, f"size or offset of {name[:80]!r}")
        tensors[name], place = (dtype, shape), end
    if place != size:
        raise _damaged(path, f"{size} bytes of data where its header says {place}")
    return tensors


def _offsets(path: Path, name: str, entry: Any) -> tuple[int, int]:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not _is_shape(offsets) or len(offsets) != 2 or not isinstance(entry.get("dtype"), str):
        raise _damaged(path, f"the entry of {name[:80]!r}")
    return offsets[0], offsets[1]


def _is_shape(value: Any) -> TypeGuard[list[int]]:
    return (
        isinstance(value, list)
        and len(value) <= MAX_DIMENSIONS
        and all(type(n) is int and 0 <= n < 1 << 48 for n in value)
    )


def _read_tensor(
    file: BinaryIO, path: Path, digest: Any, dtype: torch.dtype, shape: list[int]
) -> Tensor:
    try:
        tensor = torch.empty(shape, dtype=dtype)
    except RuntimeError as error:  # such as [0, 2**40, 2**40], whose strides overflow
        raise _damaged(path, f"a shape of {shape}") from error
    for chunk in _chunks(tensor):
        if file.readinto(chunk) != len(chunk):  # type: ignore[attr-defined]
            raise _damaged(path, "it ends early")
        digest.update(chunk)
    return tensor
