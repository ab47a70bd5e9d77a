"""Atomic writes: a temporary file beside the target, then `os.replace`."""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autoenc_sg.core.errors import bad_input


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """A temporary path beside `path` (same suffix), moved onto it if the block does not raise.

    Missing parent folders are created. If the block raises, the temporary file is removed and an
    existing file at `path` is not changed.

    Raises:
        InputError: the operating system refuses to write there.
    """
    path = Path(path)
    temporary = path.parent / f".{secrets.token_hex(6)}{path.suffix or '.tmp'}"
    try:
        if path.is_dir():
            raise bad_input(path, "a file to write", "a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()  # raises OSError for a bad path, where some writers raise other errors
        yield temporary
        os.replace(temporary, path)  # noqa: PTH105 (the documented atomic one)
    except OSError as error:
        raise bad_input(path, "a path that can be written", error.strerror or error) from error
    finally:
        _remove(temporary)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, moved onto it if the block does not raise.

    Raises:
        InputError: `path` exists and is not an empty folder, or the system refuses to write there.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise bad_input(path, "a new or empty folder", "something there already")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as temporary:
            folder = Path(temporary) / "new"
            folder.mkdir()
            yield folder
            folder.replace(path)
    except OSError as error:
        raise bad_input(path, "a path that can be written", error.strerror or error) from error


def remove_temporaries(folder: Path, suffix: str) -> None:
    """Remove what a program that was killed inside `replacing` left in a folder, by suffix."""
    for path in folder.glob(f".*{suffix}"):
        if re.fullmatch(r"\.[0-9a-f]{12}" + re.escape(suffix), path.name):
            _remove(path)


def make_folder(path: Path) -> None:
    """Create the folder and its missing parents.

    Raises:
        InputError: something else is there, or the system refuses.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise bad_input(path, "a folder to write to", error.strerror or error) from error


def check_place(path: Path) -> None:
    """Check before a long run that `path` can be written; nothing is created.

    Raises:
        InputError: `path` is a folder, or its nearest existing parent is not a writable folder.
    """
    if path.is_dir():
        raise bad_input(path, "a file to write", "a folder")
    place = next(folder for folder in path.absolute().parents if folder.exists())
    if not place.is_dir():
        raise bad_input(path, "a path that can be written", f"{place}, which is no folder")
    if not os.access(place, os.W_OK):
        raise bad_input(path, "a path that can be written", f"{place}: Permission denied")


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # the folder is not writable: then there is no file either
        return
