"""Visual Genome's raw JSON, an image at a time: `objects.json` and `relationships.json`.

Both files are one list of hundreds of megabytes. An entry is decoded when it is reached and
freed when the caller is done, so memory does not grow with the file.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from autoenc_sg.core.errors import bad_input
from autoenc_sg.data.base.json_stream import Progress, stream_entries
from autoenc_sg.visualization.progress import Reporter

STAGE = "read Visual Genome"
_MEGABYTE = 1 << 20


class RawImage(NamedTuple):
    """An image's raw annotations, as decoded: `objects` and `relationships` are lists of dicts."""

    image_id: int
    objects: list[dict[str, Any]]
    relationships: list[dict[str, Any]]


def find_raw(folder: Path, name: str) -> Path:
    """`name` in the folder, or `name.zip` as it is downloaded.

    Raises:
        InputError: neither is there.
    """
    for path in (folder / name, folder / f"{name}.zip"):
        if path.is_file():
            return path
    raise bad_input(folder / name, "Visual Genome's raw file (or the .zip of it)", "no such file")


def stream_images(
    objects: Path, relationships: Path, progress: Progress | None = None
) -> Iterator[RawImage]:
    """The images of both files, each as soon as both of its entries are read.

    Where the files have different orders, entries wait, compressed, for their counterpart. Images
    that only one file has come last, with an empty list for the other one.

    Args:
        objects: `objects.json`, or a zip of it.
        relationships: `relationships.json`, or a zip of it.
        progress: see `stream_entries`.

    Raises:
        InputError: see `stream_lists`.
    """
    entries_of_files = [
        stream_lists(path, key, progress)
        for path, key in ((objects, "objects"), (relationships, "relationships"))
    ]
    waiting: tuple[dict[int, bytes], dict[int, bytes]] = ({}, {})
    for items in zip_longest(*entries_of_files):
        if None not in items and items[0][0] == items[1][0]:
            yield RawImage(items[0][0], items[0][1], items[1][1])
            continue
        for side, item in enumerate(items):
            if item is None:
                continue
            image_id, entries = item
            counterpart = waiting[1 - side].pop(image_id, None)
            if counterpart is None:
                waiting[side][image_id] = _pack(image_id, entries)
            else:
                pair = (entries, _unpack(counterpart))
                yield RawImage(image_id, pair[side], pair[1 - side])
    for image_id, packed in waiting[0].items():
        yield RawImage(image_id, _unpack(packed), [])
    for image_id, packed in waiting[1].items():
        yield RawImage(image_id, [], _unpack(packed))


def _pack(image_id: int, entries: list[dict[str, Any]]) -> bytes:
    try:
        return zlib.compress(json.dumps(entries).encode(), 1)
    except RecursionError as error:
        raise bad_input(f"image {image_id}", "entries of few levels", error) from None


def _unpack(packed: bytes) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(zlib.decompress(packed))
    return entries


@contextmanager
def report_megabytes(paths: Sequence[Path], reporter: Reporter | None) -> Iterator[Progress]:
    """A `Progress` callback that reports the megabytes read of some files as the stage `STAGE`."""
    reporter = reporter or Reporter([(STAGE, 1.0)])
    total = sum(path.stat().st_size for path in paths)
    done = 0

    def progress(step: int) -> None:
        nonlocal done
        reporter.advance((done + step) // _MEGABYTE - done // _MEGABYTE, "MB")
        done += step

    with reporter.stage(STAGE, total // _MEGABYTE):
        yield progress


def stream_lists(
    path: Path, key: str, progress: Progress | None = None
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """The images of one file: each one's id and its list `key` of objects.

    Raises:
        InputError: see `stream_entries`; or an entry has no id or no such list, or an image has
            two entries.
    """
    read_ids: set[int] = set()
    for place, entry in enumerate(stream_entries(path, progress), start=1):
        image_id = entry.get("image_id", entry.get("id"))
        items = entry.get(key)
        if not isinstance(image_id, int):
            got = f"the keys {sorted(entry)}"
            raise bad_input(f"{path} entry {place}", "a number 'image_id' (or 'id')", got)
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            got = f"the keys {sorted(entry)}" if items is None else type(items).__name__
            raise bad_input(f"{path} image {image_id}", f"a list of objects {key!r}", got)
        if image_id in read_ids:
            raise bad_input(path, "each image once", f"image {image_id} twice")
        read_ids.add(image_id)
        yield image_id, items
