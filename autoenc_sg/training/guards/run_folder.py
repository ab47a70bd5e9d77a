"""A run's folder while it trains: one run at a time, and the system's refusals in one line."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from lightning.fabric.utilities import rank_zero_only

from autoenc_sg.core.atomic_files import folder_lock, remove_temporaries
from autoenc_sg.core.errors import InputError

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
    """The lock of a training run's folder, see `core.atomic_files.folder_lock`."""
    with folder_lock(folder, "no other training run in this folder"):
        yield
