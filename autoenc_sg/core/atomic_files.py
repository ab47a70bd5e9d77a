"""Atomic writes: a temporary file beside the target, then `os.replace`; locks of folders."""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autoenc_sg.core.errors import bad_input

try:
    import fcntl
except ImportError:  # Windows: no lock
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


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


@contextmanager
def folder_lock(folder: Path, expected: str) -> Iterator[None]:
    """Hold the lock of a folder, which is created if it is missing.

    A POSIX record lock on the file `.lock`, which stays. Loader processes do not inherit it, so it
    ends with this process, even if that is killed. Where the file system has no locks, there is
    none. Not for use twice at a time in one process.

    Args:
        folder: what is locked.
        expected: the rule, for the message, such as `no other training run in this folder`.

    Raises:
        InputError: another process holds it, or the system refuses to write there.
    """
    is_new = not folder.exists()
    make_folder(folder)
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise bad_input(folder, "a folder to write to", error.strerror or error) from error
    try:
        _lock(descriptor, folder, expected)
        yield
    finally:
        os.close(descriptor)
        if is_new:
            _remove_unused(folder)


def _lock(descriptor: int, folder: Path, expected: str) -> None:
    if fcntl is None:
        return
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # held by another process
        process = os.read(descriptor, 20).decode("ascii", "replace").strip()
        raise bad_input(folder, expected, f"one, of process {process}") from None
    except OSError:  # a file system without locks
        return
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())


def _remove_unused(folder: Path) -> None:
    """Remove the folder if it holds the lock's file alone."""
    try:
        if [path.name for path in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
            folder.rmdir()
    except OSError:
        return
