"""Visual Genome's raw JSON, an image at a time: `objects.json` and `relationships.json`.

Both files are one list of hundreds of megabytes. Here an entry is decoded when it is reached and
forgotten when the caller is done, so memory does not grow with the file.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from autoenc_sg.core.errors import bad_input

Progress = Callable[[int], None]

_CHUNK = 1 << 22  # characters
_LONGEST_ENTRY = 1 << 26  # characters; the longest of Visual Genome has less than 2**20
_BLANKS = " \t\n\r"


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
    """The images of both files, each as soon as both files have told of it.

    Where the files have different orders, entries wait, compressed, for their other half; at the
    end an image of one file alone comes without what the other would say.

    Args:
        objects: `objects.json`, or a zip of it.
        relationships: `relationships.json`, or a zip of it.
        progress: called now and then with the bytes that were read since the last call.

    Raises:
        InputError: see `stream_entries`; or an image comes twice in a file.
    """
    halves = [
        stream_lists(path, key, progress)
        for path, key in ((objects, "objects"), (relationships, "relationships"))
    ]
    waiting: tuple[dict[int, bytes], dict[int, bytes]] = ({}, {})
    for items in zip_longest(*halves):
        if None not in items and items[0][0] == items[1][0]:
            yield RawImage(items[0][0], items[0][1], items[1][1])
            continue
        for side, item in enumerate(items):
            if item is None:
                continue
            image_id, entries = item
            other = waiting[1 - side].pop(image_id, None)
            if other is None:
                waiting[side][image_id] = zlib.compress(json.dumps(entries).encode(), 1)
            else:
                pair = (entries, json.loads(zlib.decompress(other)))
                yield RawImage(image_id, pair[side], pair[1 - side])
    for side in (0, 1):
        for image_id, packed in waiting[side].items():
            entries = json.loads(zlib.decompress(packed))
            yield RawImage(image_id, [] if side else entries, entries if side else [])


def stream_entries(path: Path, progress: Progress | None = None) -> Iterator[dict[str, Any]]:
    """The objects of a JSON list, one after the other.

    Raises:
        InputError: the file is no JSON list of objects, or ends in the middle.
    """
    with _open_text(path) as (text, tell):
        window, count = _Window(path, text, tell, progress), 0
        window.expect("[", "a JSON list of images")
        while window.peek() != "]":
            if count:
                window.expect(",", f"',' after entry {count}")
            yield window.entry()
            count += 1


class _Window:
    """The part of a text that was read and not yet used."""

    def __init__(
        self, path: Path, text: IO[str], tell: Callable[[], int], progress: Progress | None
    ) -> None:
        self._path, self._text, self._tell, self._progress = path, text, tell, progress
        self._buffer, self._at, self._told, self._entries = "", 0, 0, 0
        self._decoder = json.JSONDecoder()

    def peek(self) -> str:
        """The next character that is not blank."""
        while True:
            while self._at < len(self._buffer):
                if self._buffer[self._at] not in _BLANKS:
                    return self._buffer[self._at]
                self._at += 1
            self._refill()

    def expect(self, character: str, meaning: str) -> None:
        """Go past this character, or raise."""
        if self.peek() != character:
            got = repr(self._buffer[self._at : self._at + 20])
            raise bad_input(self._path, meaning, got)
        self._at += 1

    def entry(self) -> dict[str, Any]:
        """The object that starts here."""
        start = self.peek()
        while start == "{" and len(self._buffer) - self._at <= _LONGEST_ENTRY:
            try:
                entry, end = self._decoder.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError:  # not whole yet, or never
                self._refill()
                continue
            except RecursionError:
                break
            self._at, self._entries = end, self._entries + 1
            return cast("dict[str, Any]", entry)
        got = repr(self._buffer[self._at : self._at + 40])
        raise bad_input(f"{self._path} entry {self._entries + 1}", "a JSON object", got)

    def _refill(self) -> None:
        try:
            chunk = self._text.read(_CHUNK)
        except (UnicodeDecodeError, zlib.error, zipfile.BadZipFile, EOFError) as error:
            raise bad_input(self._path, "JSON in UTF-8", error) from None
        if not chunk:
            got = f"one that ends in entry {self._entries + 1}"
            raise bad_input(self._path, "a whole JSON list", got)
        self._buffer, self._at = self._buffer[self._at :] + chunk, 0
        if self._progress is not None:
            now = self._tell()
            self._progress(now - self._told)
            self._told = now


def stream_size(path: Path) -> int:
    """Bytes that `stream_entries` will have told of at the end: those of the file on the disk."""
    return path.stat().st_size


def stream_lists(
    path: Path, key: str, progress: Progress | None = None
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """The images of one file: each one's id and its list `key` of objects.

    Raises:
        InputError: see `stream_entries`; or an entry has no id or no such list, or an image comes
            twice.
    """
    seen: set[int] = set()
    for place, entry in enumerate(stream_entries(path, progress), start=1):
        image_id = entry.get("image_id", entry.get("id"))
        items = entry.get(key)
        if not isinstance(image_id, int):
            got = f"the keys {sorted(entry)}"
            raise bad_input(f"{path} entry {place}", "a number 'image_id' (or 'id')", got)
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            got = f"the keys {sorted(entry)}" if items is None else type(items).__name__
            raise bad_input(f"{path} image {image_id}", f"a list of objects {key!r}", got)
        if image_id in seen:
            raise bad_input(path, "each image once", f"image {image_id} twice")
        seen.add(image_id)
        yield image_id, items


@contextmanager
def _open_text(path: Path) -> Iterator[tuple[IO[str], Callable[[], int]]]:
    """The text of a JSON file or of the one JSON file in a zip, and how far the disk was read."""
    try:
        with path.open("rb") as raw:
            if not zipfile.is_zipfile(raw):
                raw.seek(0, os.SEEK_SET)
                yield io.TextIOWrapper(raw, encoding="utf-8-sig"), raw.tell
                return
            with zipfile.ZipFile(raw) as archive:
                names = [n for n in archive.namelist() if n.endswith(".json")]
                if len(names) != 1:
                    raise bad_input(path, "a zip of one JSON file", names or "none")
                with archive.open(names[0]) as member:
                    yield io.TextIOWrapper(member, encoding="utf-8-sig"), raw.tell
    except FileNotFoundError:
        raise bad_input(path, "Visual Genome's raw file", "no such file") from None
    except zipfile.BadZipFile as error:
        raise bad_input(path, "a whole zip file", error) from None
