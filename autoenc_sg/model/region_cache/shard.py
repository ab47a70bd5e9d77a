"""A file of cached regions: some images of a data set, as records of a `weights.files.record_file`.

Each record is an entry's bytes (`entry`). The index says of it `digest` (of the image's pixels and
true boxes), and what `entry.pack` returns.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from autoenc_sg.config.phases import RegionPrecision
from autoenc_sg.model.region_cache.entry import Entry, pack, unpack
from autoenc_sg.weights.files.record_file import RecordFile, RecordKind, write_records

KIND = RecordKind(b"AESGREG1", "cached regions", "remove the folder and it is made again")


class Shard:
    """A file, opened: its index is in memory, its entries are mapped.

    Raises:
        InputError: it is missing, damaged, or a file of another kind.
    """

    def __init__(self, path: Path, precision: RegionPrecision) -> None:
        self.precision: RegionPrecision = precision
        self.file = RecordFile(path, KIND)

    @property
    def records(self) -> list[dict[str, Any]]:
        """What the index says of each entry."""
        return self.file.records

    def read(self, row: int) -> Entry:
        """An entry.

        Raises:
            InputError: its bytes are not those that were written.
        """
        return unpack(self.file.read(row), self.records[row], self.precision)


def write_shard(
    path: Path, entries: Iterable[tuple[str, Entry]], precision: RegionPrecision
) -> None:
    """Write entries with the digests they are found by, atomically.

    Raises:
        InputError: as `entry.pack`, or the system refuses to write.
    """
    packed = ((digest, *pack(entry, precision)) for digest, entry in entries)
    records = ((data, {"digest": digest, **record}) for digest, data, record in packed)
    write_records(path, KIND, records)
