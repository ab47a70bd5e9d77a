"""Large JSON lists, one entry at a time, by `ijson`: memory does not grow with the file.

Fast only with ijson's C back end, which its wheels have; docs/results.md has the rates.
"""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any

import ijson

from autoenc_sg.core.errors import InputError, bad_input

Progress = Callable[[int], None]

_CHUNK = 1 << 12  # bytes; larger ones are not faster
_HEAD = 1 << 12
_DEEPEST = 1000  # levels of lists and objects: ijson's memory grows with their square
_LONGEST_ENTRY = 1 << 26  # bytes; the longest of Visual Genome has less than 2**20
_BOM = b"\xef\xbb\xbf"
_PARSE_ERRORS = (ijson.JSONError, ValueError, RecursionError)
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)


def stream_entries(path: Path, progress: Progress | None = None) -> Iterator[dict[str, Any]]:
    """The objects of a JSON list, one after the other.

    Args:
        path: a JSON file in UTF-8, or a zip of one.
        progress: called now and then with the bytes read from the disk since the last call.

    Raises:
        InputError: the file is missing, is no JSON list of objects (NaN, and whole numbers of more
            than 64 bits are no JSON here), ends too early, or has an entry of more than 64 MiB or
            1,000 levels.
    """
    with _open(path) as (file, tell):
        reader = _Reader(path, file, tell, progress)
        entries = ijson.items(reader, "item", use_float=True, buf_size=_CHUNK)
        for number in count(1):
            try:
                entry = next(entries)
            except StopIteration:
                return
            except InputError:
                raise
            except _PARSE_ERRORS as error:
                got = _first_line(error)
                raise bad_input(f"{path} entry {number}", "valid JSON", got) from None
            if not isinstance(entry, dict):
                got = f"{type(entry).__name__} {entry!r}"[:60]
                raise bad_input(f"{path} entry {number}", "a JSON object", got)
            reader.start_entry()
            yield entry


class _Reader:
    """Bytes of a JSON list for `ijson`, without a byte order mark."""

    def __init__(
        self, path: Path, file: IO[bytes], tell: Callable[[], int], progress: Progress | None
    ) -> None:
        self.start_entry()
        self._path, self._file, self._tell, self._progress = path, file, tell, progress
        self._position = 0
        self._ahead = file.read(_HEAD).removeprefix(_BOM)
        while self._ahead.isspace():
            self._ahead = file.read(_HEAD)
        start = self._ahead.lstrip()[:20]
        if not start.startswith(b"["):
            got = repr(start.decode("utf-8", "replace")) if start else "an empty file"
            raise bad_input(path, "a JSON list of objects", got)

    def start_entry(self) -> None:
        """Bytes and levels count from here."""
        self._bytes, self._levels = 0, 0

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`."""
        if size == 0:
            return b""  # ijson asks for the type
        data, self._ahead = self._ahead or self._file.read(size), b""
        self._bytes += len(data)
        self._levels += sum(map(data.count, (b"[", b"{"))) - sum(map(data.count, (b"]", b"}")))
        if self._bytes > _LONGEST_ENTRY or self._levels > _DEEPEST:
            limit = f"entries of at most {_LONGEST_ENTRY >> 20} MiB and {_DEEPEST} levels"
            raise bad_input(self._path, limit, "a larger one")
        if self._progress is not None:
            position = self._tell()
            self._progress(position - self._position)
            self._position = position
        return data


def _first_line(error: BaseException) -> str:
    """The first line of the parser's message; the others show the place."""
    text = str(error).removeprefix("b'").replace("\\n", "\n")
    return text.splitlines()[0].strip() if text.strip() else type(error).__name__


@contextmanager
def _open(path: Path) -> Iterator[tuple[IO[bytes], Callable[[], int]]]:
    """A JSON file or the one JSON file in a zip, and how many bytes of the disk were read."""
    try:
        with path.open("rb") as raw:
            if not zipfile.is_zipfile(raw):
                raw.seek(0)
                yield raw, raw.tell
                return
            with zipfile.ZipFile(raw) as archive:
                names = [n for n in archive.namelist() if n.endswith(".json")]
                if len(names) != 1:
                    raise bad_input(path, "a zip of one JSON file", names or "none")
                with archive.open(names[0]) as member:
                    yield member, raw.tell
    except OSError as error:
        raise bad_input(path, "a readable file", error.strerror or error) from None
    except _ZIP_ERRORS as error:
        raise bad_input(path, "a whole zip file", error) from None
