"""Files appear whole or not at all."""

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
    """A temporary path beside `path` (same suffix), moved onto it when the block ends well.

    Missing folders are made. If the block raises, nothing is left behind and an older file at
    `path` stays as it was.

    Raises:
        InputError: the operating system refuses to write there.
    """
    path = Path(path)
    temporary = path.parent / f".{secrets.token_hex(6)}{path.suffix or '.tmp'}"
    try:
        if path.is_dir():
            raise bad_input(path, "a file to write", "a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()  # some writers refuse a path in other ways than the system does
        yield temporary
        os.replace(temporary, path)  # noqa: PTH105 (the documented atomic one)
    except OSError as error:
        raise bad_input(path, "a path that can be written", error.strerror or error) from error
    finally:
        _remove(temporary)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, moved onto it when the block ends well.

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
    """The folder and those above it, where they are missing.

    Raises:
        InputError: something else is there, or the system refuses.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise bad_input(path, "a folder to write to", error.strerror or error) from error


def check_place(path: Path) -> None:
    """Refuse now what could not be written after a long run; nothing is made.

    Raises:
        InputError: `path` is a folder, or where it would lie is none that can be written to.
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
    except OSError:  # its folder is not one, or not ours: then nothing was written either
        return
