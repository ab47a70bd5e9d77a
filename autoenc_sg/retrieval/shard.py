"""A file of a bank: the patches of some images, column by column.

Its records (`weights.files.record_file`), with n objects of b images and, with whole photos,
m = n + b patches, else m = n; objects come first, both in the order of the images:

    labels        int64    [m]            class, 0: a whole photo
    image_ids     int64    [m]
    boxes         float32  [m, 4]         xyxy as fractions of the image
    image_sizes   int32    [m, 2]         (height, width) in pixels
    features      float16  [m, D]
    graph         float16  [m, G]         vectors after the graph convolutions; G = 0 without
    crops         uint8    [n, 3, S, S]   objects, RGB
    canvases      uint8    [m - n, 3, K, K]
    pixel_crcs    uint32   [m]            CRC-32 of each crop or canvas, checked when it is read
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoenc_sg.core.errors import bad_input
from autoenc_sg.weights.files.record_file import RecordFile, RecordKind, write_records

KIND = RecordKind(b"AESGPAT1", "patches of a bank", "run autoenc-sg bank build again")


@dataclass(frozen=True, eq=False)
class Patches:
    """The columns of patches, as in the module's docstring, without `pixel_crcs`."""

    labels: NDArray[np.int64]
    image_ids: NDArray[np.int64]
    boxes: NDArray[np.float32]
    image_sizes: NDArray[np.int32]
    features: NDArray[np.float16]
    graph: NDArray[np.float16]
    crops: NDArray[np.uint8]
    canvases: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.labels)


def shard_path(folder: Path, number: int) -> Path:
    """The file of a shard."""
    return folder / f"{number:05}.patches"


def write_shard(path: Path, patches: Patches) -> None:
    """Write a file, atomically.

    Raises:
        InputError: a vector is not finite in float16, or the system refuses to write.
    """
    if not (np.isfinite(patches.features).all() and np.isfinite(patches.graph).all()):
        raise bad_input("patch bank", "finite features that float16 can hold", "others")
    columns = {field.name: getattr(patches, field.name) for field in fields(patches)}
    pixels = [*patches.crops, *patches.canvases]
    columns["pixel_crcs"] = np.array([zlib.crc32(p.tobytes()) for p in pixels], dtype=np.uint32)
    write_records(
        path,
        KIND,
        (
            (np.ascontiguousarray(values).tobytes(), _about(name, values))
            for name, values in columns.items()
        ),
    )


def _about(name: str, values: NDArray[Any]) -> Mapping[str, Any]:
    return {"column": name, "dtype": values.dtype.name, "shape": list(values.shape)}


class Shard:
    """A file, opened; a `RecordFile` by columns.

    Raises:
        InputError: it is missing, damaged, or a file of another kind.
    """

    def __init__(self, path: Path) -> None:
        self.file = RecordFile(path, KIND)
        self._rows = {record["column"]: row for row, record in enumerate(self.file.records)}
        self._checked: set[str] = {"crops", "canvases"}  # these by their pixel_crcs

    def __len__(self) -> int:
        return self.shape("labels")[0]

    def shape(self, column: str) -> tuple[int, ...]:
        """The shape of a column."""
        return tuple(self.file.records[self._rows[column]]["shape"])

    def column(self, name: str) -> NDArray[Any]:
        """A column, mapped; compared with its checksum when it is first asked for.

        Raises:
            InputError: its bytes are not those that were written.
        """
        row = self._rows[name]
        if name not in self._checked:
            self.file.read(row)
            self._checked.add(name)
        values: NDArray[Any] = self.file.mapped(row).view(self.file.records[row]["dtype"])
        return values.reshape(self.shape(name))

    def pixels(self, row: int) -> NDArray[np.uint8]:
        """A copy of the crop or whole photo of a patch: `[3, S, S]` or `[3, K, K]`.

        Raises:
            InputError: its bytes are not those that were written.
        """
        objects = self.shape("crops")[0]
        name, place = ("crops", row) if row < objects else ("canvases", row - objects)
        pixels = np.array(self.column(name)[place])
        if zlib.crc32(pixels.tobytes()) != int(self.column("pixel_crcs")[row]):
            raise self.file.damaged(f"patch {row}")
        return pixels

    def check(self) -> None:
        """Read everything.

        Raises:
            InputError: its bytes are not those that were written.
        """
        for row in range(len(self.file.records)):
            self.file.read(row)
