"""Reading HDF5 files that may be damaged or of another layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from autoenc_sg.core.errors import InputError, bad_input

MAX_BYTES = 1 << 28  # of a data set that is read whole; the longest of Visual Genome has 60 MB

# What h5py raises on damaged files: it has no exceptions of its own.
H5_ERRORS = (OSError, RuntimeError, LookupError, TypeError, ValueError, MemoryError)


def read_arrays(path: Path, names: Sequence[str], what: str) -> dict[str, NDArray[Any]]:
    """Data sets of a file; neither their types nor their shapes are checked.

    Args:
        path: the file.
        names: which ones; all are needed.
        what: what the file is, for messages.

    Raises:
        InputError: the file is missing or damaged, lacks a data set, or has
            one of more than 256 MiB.
    """
    if not path.is_file():
        raise bad_input(path, what, "no such file")
    try:
        with h5py.File(path, "r") as file:
            missing = missing_names(file, names)
            present = sorted(map(str, file))
            for name in [] if missing else names:
                _check_size(path, name, file[name])
            arrays = {} if missing else {name: np.asarray(file[name][()]) for name in names}
    except InputError:
        raise
    except H5_ERRORS as error:
        raise bad_input(path, "a complete HDF5 file", error) from None
    if missing:
        raise bad_input(path, f"a data set {missing[0]!r}", f"only {present}")
    return arrays


def present_arrays(path: Path, names: Sequence[str]) -> list[str]:
    """Which of these data sets a file has.

    Raises:
        InputError: the file is damaged.
    """
    try:
        with h5py.File(path, "r") as file:
            return [name for name in names if name in file]
    except H5_ERRORS as error:
        raise bad_input(path, "a complete HDF5 file", error) from None


def missing_names(file: h5py.File, names: Sequence[str]) -> list[str]:
    """The names that are not data sets of an open file, held in that file itself."""
    return [name for name in names if not _is_held(file, file.get(name))]


def _check_size(path: Path, name: str, data: h5py.Dataset) -> None:
    """Refuse a data set that states more than it can be: damaged or hostile files are small."""
    size = int(data.size or 0) * max(data.dtype.itemsize, 8)
    if size > MAX_BYTES:
        raise bad_input(f"{path} {name!r}", f"at most {MAX_BYTES} bytes", f"{size}, {data.shape}")


def _is_held(file: h5py.File, data: object) -> bool:
    """Whether it is a data set that no link, virtual or raw storage takes from another file."""
    if not isinstance(data, h5py.Dataset) or data.file.filename != file.filename:
        return False
    return not data.external and not data.is_virtual
