"""Files of boxes, or boxes and classes, for photos: `--boxes FILE` of `parse` and `reconstruct`.

    {"image": "cat.jpg", "boxes": [[x1, y1, x2, y2], ...], "objects": ["cat", ...]}

A file holds one such entry, a list of them, or one a line (JSON Lines). `boxes` are xyxy in pixels
of the upright photo; `objects`, names one a box, may be absent (then classes are predicted). A file
for one photo needs no `image`. So graph files and what `autoenc-sg parse` writes are such files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.core.graph_json import read_json_entries


@dataclass(frozen=True)
class GivenEntry:
    """One photo's boxes `[[x1, y1, x2, y2], ...]` and the names of their classes, or None."""

    boxes: list[Any]
    objects: list[Any] | None


def read_given(file: Path, photos: Sequence[Path]) -> list[GivenEntry | InputError]:
    """The entry of each photo, found by its path or else by its file name.

    A photo without an entry, or with several by its name, has an error instead, so that the others
    can be done.

    Raises:
        InputError: the file cannot be read, or an entry is not as in the module's docstring.
    """
    rows = read_json_entries(file)
    entries = [_entry(row, f"{file}, entry {i} of {len(rows)}") for i, row in enumerate(rows, 1)]
    names = [row.get("image") for row in rows]
    if len(photos) == len(rows) == 1 and names[0] is None:
        return [entries[0]]
    for i, name in enumerate(names, 1):
        if not isinstance(name, str):
            raise bad_input(f"{file}, entry {i} of {len(rows)}", "an 'image'", repr(name))
    return [_find(photo, [str(name) for name in names], entries, file) for photo in photos]


def _entry(row: Any, where: str) -> GivenEntry:
    if not isinstance(row, Mapping):
        raise bad_input(where, "an entry: an object with 'boxes'", repr(row)[:60])
    boxes, objects = row.get("boxes"), row.get("objects")
    if not isinstance(boxes, list):
        raise bad_input(f"{where}, boxes", "a list of boxes", type(boxes).__name__)
    if objects is not None and not isinstance(objects, list):
        raise bad_input(f"{where}, objects", "a list of names", type(objects).__name__)
    return GivenEntry(boxes, objects)


def _find(
    photo: Path, names: Sequence[str], entries: Sequence[GivenEntry], file: Path
) -> GivenEntry | InputError:
    rows = [i for i, name in enumerate(names) if Path(name) == photo]
    rows = rows or [i for i, name in enumerate(names) if Path(name).name == photo.name]
    if len(rows) != 1:
        return bad_input(f"{file}", f"one entry for {photo}", len(rows))
    return entries[rows[0]]
