"""Visual Genome's raw JSON as compact tables of the fields that sg2im's preprocessing uses.

Each file is read once, as a stream. Names become ids in order of appearance. Images are
referred to by their place in the caller's list; others are skipped.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoenc_sg.data.base.json_files import MALFORMED_ERRORS, malformed
from autoenc_sg.data.base.json_stream import Progress
from autoenc_sg.data.vg150.from_raw.names import read_lines
from autoenc_sg.data.vg150.from_raw.raw_json import stream_lists

Ints = NDArray[np.int64]

_LIMIT = 1 << 31


class NameIds:
    """Names by id, in order of appearance.

    Args:
        aliases: alias to canonical name.
    """

    def __init__(self, aliases: Mapping[str, str]) -> None:
        self.names: list[str] = []
        self._aliases = aliases
        self._ids: dict[str, int] = {}

    def id(self, name: str) -> int:
        """The id of a name, or of its canonical name."""
        if not isinstance(name, str):
            raise TypeError(f"a name {name!r}")
        name = self._aliases.get(name, name)
        name_id = self._ids.setdefault(name, len(self.names))
        if name_id == len(self.names):
            self.names.append(name)
        return name_id


@dataclass(frozen=True, eq=False)
class NamedEntries:
    """K entries of a file, in its order, each with zero or more names.

    Attributes:
        image: `[K]` place of the image.
        ids: `[K]` object ids.
        names: name ids of all entries, flat.
        counts: `[K]` how many of them.
        boxes: `[K, 4]` x, y, w, h.
    """

    image: Ints
    ids: Ints
    names: Ints
    counts: Ints
    boxes: Ints

    @property
    def owners(self) -> Ints:
        """The entry of each name."""
        return np.repeat(np.arange(len(self.ids)), self.counts)


@dataclass(frozen=True, eq=False)
class RawRelations:
    """R relationships, in the file's order.

    Attributes:
        image: `[R]` place of the image.
        ids: `[R]` relationship ids.
        ends: `[R, 2]` object ids of subject and object.
        predicates: `[R]` name ids, as typed.
    """

    image: Ints
    ids: Ints
    ends: Ints
    predicates: Ints


def read_objects(
    path: Path, places: Mapping[int, int], names: NameIds, progress: Progress | None = None
) -> NamedEntries:
    """`objects.json`.

    Args:
        path: the file, or a zip of it.
        places: image id to place.
        names: new names are added.
        progress: see `json_stream.stream_entries`.

    Raises:
        InputError: the file is missing or has another form.
    """
    rows, flat = array("q"), array("q")

    def add(place: int, entry: dict[str, Any]) -> None:
        name_ids = [names.id(name) for name in _names(entry)]
        box = [_whole(entry[key], key) for key in "xywh"]
        rows.extend((place, _id(entry, "object_id"), len(name_ids), *box))
        flat.extend(name_ids)

    _for_each_entry(path, "objects", places, add, progress)
    table = _table(rows, 7)
    return NamedEntries(table[:, 0], table[:, 1], _table(flat, 1)[:, 0], table[:, 2], table[:, 3:])


def read_attributes(
    path: Path, places: Mapping[int, int], names: NameIds, progress: Progress | None = None
) -> NamedEntries:
    """`attributes.json`: the names are the attributes', without boxes; else as `read_objects`."""
    rows, flat = array("q"), array("q")

    def add(place: int, entry: dict[str, Any]) -> None:
        name_ids = [names.id(name) for name in entry.get("attributes") or ()]
        rows.extend((place, _id(entry, "object_id"), len(name_ids)))
        flat.extend(name_ids)

    _for_each_entry(path, "attributes", places, add, progress)
    table = _table(rows, 3)
    none = np.zeros((len(table), 0), np.int64)
    return NamedEntries(table[:, 0], table[:, 1], _table(flat, 1)[:, 0], table[:, 2], none)


def read_relations(
    path: Path, places: Mapping[int, int], names: NameIds, progress: Progress | None = None
) -> RawRelations:
    """`relationships.json`; arguments and errors as `read_objects`."""
    rows = array("q")

    def add(place: int, entry: dict[str, Any]) -> None:
        ends = [_id(entry[end], "object_id") for end in ("subject", "object")]
        predicate = names.id(entry["predicate"])
        rows.extend((place, _id(entry, "relationship_id"), *ends, predicate))

    _for_each_entry(path, "relationships", places, add, progress)
    table = _table(rows, 5)
    return RawRelations(table[:, 0], table[:, 1], table[:, 2:4], table[:, 4])


def read_sg2im_aliases(path: Path) -> dict[str, str]:
    """An alias file as sg2im reads it: the first name of each line is the canonical one.

    A later line wins over an earlier one; the first name itself is not looked up again.

    Raises:
        InputError: the file cannot be read.
    """
    aliases: dict[str, str] = {}
    for line in read_lines(path):
        names = [name.strip() for name in line.split(",")]
        aliases.update(dict.fromkeys(names, names[0]))
    return aliases


def _for_each_entry(
    path: Path,
    key: str,
    places: Mapping[int, int],
    add: Callable[[int, dict[str, Any]], None],
    progress: Progress | None,
) -> None:
    for image_id, entries in stream_lists(path, key, progress):
        place = places.get(image_id)
        if place is None:
            continue
        try:
            for entry in entries:
                add(place, entry)
        except MALFORMED_ERRORS as error:
            expected = f"Visual Genome's {key} with ids, names and x, y, w, h"
            raise malformed(f"{path} image {image_id}", expected, error) from None


def _names(entry: dict[str, Any]) -> Iterator[str]:
    names = entry["names"] if "names" in entry else [entry["name"]]
    if not isinstance(names, list):
        raise TypeError(f"names {names!r}")
    return iter(names)


def _id(entry: dict[str, Any], key: str) -> int:
    return _whole(entry[key] if key in entry else entry["id"], key)


def _whole(value: Any, key: str) -> int:
    """A number within int32, truncated to a whole one."""
    number = int(value) if isinstance(value, (int, float)) else None
    if number is None or not -_LIMIT <= number < _LIMIT:
        raise ValueError(f"{key} {value!r}")
    return number


def _table(values: array[int], width: int) -> Ints:
    return (
        np.frombuffer(values, dtype=np.int64).reshape(-1, width)
        if values
        else np.zeros((0, width), np.int64)
    )
