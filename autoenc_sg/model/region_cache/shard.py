"""A file of cached regions: some images of a data set.

    bytes 0..8      b"AESGREG1"
    bytes 8..16     where the index starts, little-endian
    then            the entries' bytes, one after the other (`entry`)
    index           JSON: a list of a record for each entry: `digest` (of the image's pixels and
                    true boxes), `start`, and those of `entry.pack`
    end             SHA-256 (hex) of the index

It is written atomically, and each entry has a CRC-32 that is checked when it is read.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoenc_sg.config.phases import RegionPrecision
from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.errors import bad_input
from autoenc_sg.model.region_cache.entry import Entry, pack, unpack

_MAGIC = b"AESGREG1"
_HEAD = 16
_CHECK = 64
_ALIGNED = 8
_DAMAGED = "damaged bytes; remove the folder and it is made again"


class Shard:
    """A file, opened: its index is in memory, its entries are mapped.

    Raises:
        InputError: it is missing, damaged, or a file of another kind.
    """

    def __init__(self, path: Path, precision: RegionPrecision) -> None:
        self.path = path
        self.precision: RegionPrecision = precision
        self.records = _read_index(path)
        self._bytes: NDArray[np.uint8] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_bytes": None}

    def read(self, row: int) -> Entry:
        """An entry.

        Raises:
            InputError: its bytes are not those that were written.
        """
        record = self.records[row]
        if self._bytes is None:
            self._bytes = np.memmap(self.path, np.uint8, "r")
        start, length = record["start"], record["length"]
        data = np.array(self._bytes[start : start + length])
        if zlib.crc32(data.data) != record["crc"]:
            raise bad_input(f"{self.path}, entry {row}", "what was written", _DAMAGED)
        return unpack(data, record, self.precision)


def write_shard(
    path: Path, entries: Iterable[tuple[str, Entry]], precision: RegionPrecision
) -> None:
    """Write entries with the digests they are found by, atomically.

    Raises:
        InputError: as `entry.pack`, or the system refuses to write.
    """
    records = []
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(_MAGIC + bytes(8))
        for digest, entry in entries:
            data, record = pack(entry, precision)
            records.append({"digest": digest, "start": file.tell(), **record})
            file.write(data + bytes(-len(data) % _ALIGNED))
        start = file.tell()
        index = json.dumps(records).encode()
        file.write(index + hashlib.sha256(index).hexdigest().encode())
        file.seek(8)
        file.write(struct.pack("<Q", start))


def _read_index(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            if len(head) < _HEAD or head[:8] != _MAGIC:
                raise bad_input(path, "cached regions", "a file of another kind")
            file.seek(min(struct.unpack("<Q", head[8:])[0], path.stat().st_size))
            rest = file.read()
    except OSError as error:
        raise bad_input(path, "cached regions", error.strerror or error) from None
    index, check = rest[:-_CHECK], rest[-_CHECK:]
    if hashlib.sha256(index).hexdigest().encode() != check:
        raise bad_input(path, "whole cached regions", _DAMAGED)
    records: list[dict[str, Any]] = json.loads(index)
    return records
