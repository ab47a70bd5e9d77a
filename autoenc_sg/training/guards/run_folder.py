"""A run's folder while it trains: one run at a time, and the system's refusals in one line."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from lightning.fabric.utilities import rank_zero_only

from autoenc_sg.core.atomic_files import make_folder, remove_temporaries
from autoenc_sg.core.errors import InputError, bad_input

try:
    import fcntl
except ImportError:  # Windows: no lock
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
TEMPORARY = (".safetensors", ".jsonl", ".json", ".yaml", ".npz")  # of files written atomically


@contextmanager
def run_folder(folder: Path) -> Iterator[None]:
    """Hold the lock of a run's folder; an OSError inside becomes an InputError.

    The first process locks for all, before it starts the others.

    Raises:
        InputError: another run trains in this folder, or the system refuses to read or write.
    """
    is_first = rank_zero_only.rank == 0  # type: ignore[attr-defined]
    with run_lock(folder) if is_first else nullcontext(), _quiet_threads():
        if is_first:
            for suffix in TEMPORARY:  # of a run that was killed while writing
                remove_temporaries(folder, suffix)
        try:
            yield
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            reason = " ".join(str(error.strerror or error).split())
            raise InputError(
                f"training stopped: {where}{reason}; a checkpoint written before is kept"
            ) from error


@contextmanager
def _quiet_threads() -> Iterator[None]:
    """No tracebacks of threads for an OSError: TensorBoard's is raised in the main thread, too."""
    before = threading.excepthook

    def report(arguments: threading.ExceptHookArgs) -> None:
        if not issubclass(arguments.exc_type, OSError):
            before(arguments)

    threading.excepthook = report
    try:
        yield
    finally:
        threading.excepthook = before


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which is created if it is missing.

    A POSIX record lock on the file `.lock`, which stays. Loader processes do not inherit it, so it
    ends with this process, even if that is killed. Where the file system has no locks, there is
    none. Not for use twice at a time in one process.

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
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)
        if is_new:
            _remove_unused(folder)


def _lock(descriptor: int, folder: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # held by another process
        process = os.read(descriptor, 20).decode("ascii", "replace").strip()
        got = f"one, of process {process}"
        raise bad_input(folder, "no other training run in this folder", got) from None
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
