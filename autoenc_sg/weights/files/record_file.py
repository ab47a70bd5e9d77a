"""Files of records that are read through a memory map: cached regions, patches of a bank.

    bytes 0..8      what kind of file it is, 8 ASCII characters
    bytes 8..16     where the index starts, little-endian
    then            the records' bytes, one after the other, each from a multiple of 8 on
    index           JSON: a list of an object for each record: `start`, `length`, `crc`, and what
                    else the writer wants to know of it
    end             SHA-256 (hex) of the index

A file is written atomically; each record has a CRC-32 that is checked when it is read.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.errors import bad_input

_HEAD = 16
_CHECK = 64
_ALIGNED = 8


@dataclass(frozen=True)
class RecordKind:
    """A kind of record files.

    Attributes:
        magic: the first 8 bytes.
        content: what the records are, for messages, such as `cached regions`.
        remedy: what to do about a damaged file.
    """

    magic: bytes
    content: str
    remedy: str


class RecordFile:
    """A file, opened: its index is in memory, its records are mapped.

    Attributes:
        path: the file.
        kind: which it must be.
        records: the index.
        checksum: SHA-256 (hex) of the index, and so, by its CRCs, of the records.

    Raises:
        InputError: it is missing, damaged, or a file of another kind.
    """

    def __init__(self, path: Path, kind: RecordKind) -> None:
        self.path = path
        self.kind = kind
        self.records, self.checksum = _read_index(path, kind)
        self._bytes: NDArray[np.uint8] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_bytes": None}

    def read(self, row: int) -> NDArray[np.uint8]:
        """A copy of a record's bytes.

        Raises:
            InputError: they are not those that were written.
        """
        data = np.array(self.mapped(row))
        if zlib.crc32(data.data) != self.records[row]["crc"]:
            raise self.damaged(f"entry {row}")
        return data

    def mapped(self, row: int) -> NDArray[np.uint8]:
        """A record's bytes in the file, read only and not checked."""
        if self._bytes is None:
            self._bytes = np.memmap(self.path, np.uint8, "r")
        start, length = self.records[row]["start"], self.records[row]["length"]
        return self._bytes[start : start + length]

    def damaged(self, what: str) -> Exception:
        """The error for a part whose bytes are not those that were written."""
        return bad_input(f"{self.path}, {what}", "what was written", _damaged(self.kind))


def write_records(
    path: Path, kind: RecordKind, records: Iterable[tuple[bytes, Mapping[str, Any]]]
) -> None:
    """Write records, each its bytes and what the index is to say of it, atomically.

    Raises:
        InputError: the system refuses to write.
    """
    index = []
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(kind.magic + bytes(8))
        for data, about in records:
            place = {"start": file.tell(), "length": len(data), "crc": zlib.crc32(data)}
            index.append({**about, **place})
            file.write(data + bytes(-len(data) % _ALIGNED))
        start = file.tell()
        text = json.dumps(index).encode()
        file.write(text + hashlib.sha256(text).hexdigest().encode())
        file.seek(8)
        file.write(struct.pack("<Q", start))


def _read_index(path: Path, kind: RecordKind) -> tuple[list[dict[str, Any]], str]:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            if len(head) < _HEAD or head[:8] != kind.magic:
                raise bad_input(path, kind.content, "a file of another kind")
            file.seek(min(struct.unpack("<Q", head[8:])[0], path.stat().st_size))
            rest = file.read()
    except OSError as error:
        raise bad_input(path, kind.content, error.strerror or error) from None
    index, check = rest[:-_CHECK], rest[-_CHECK:]
    if hashlib.sha256(index).hexdigest().encode() != check:
        raise bad_input(path, f"whole {kind.content}", _damaged(kind))
    return json.loads(index), check.decode()


def _damaged(kind: RecordKind) -> str:
    return f"damaged bytes; {kind.remedy}"
