"""Pickles of NumPy arrays, such as detectron2's published weights, read without running them."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from autoenc_sg.core.errors import bad_input

try:  # NumPy 2
    from numpy._core import multiarray
except ImportError:
    from numpy.core import multiarray  # type: ignore[no-redef]


def read_array_pickle(path: Path) -> Any:
    """What a pickle of arrays and plain values holds.

    Raises:
        InputError: no such file, not a pickle, or it would have to run code to be read.
    """
    try:
        with path.open("rb") as file:
            return _Arrays(file, encoding="latin1").load()
    except FileNotFoundError:
        raise bad_input(path, "a weights file", "no such file") from None
    except Exception as error:  # pickle raises what the bytes happen to mean
        raise bad_input(path, "a pickle of arrays and plain values", error) from error


class _Arrays(pickle.Unpickler):
    """An unpickler that knows the few names that arrays are made of."""

    def find_class(self, module: str, name: str) -> Any:
        """One of these names; all others are refused."""
        if module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            known = {
                "_reconstruct": multiarray._reconstruct,  # type: ignore[attr-defined]
                "scalar": multiarray.scalar,  # type: ignore[attr-defined]
            }
        else:
            known = {
                "numpy.ndarray": np.ndarray,
                "numpy.dtype": np.dtype,
                "_codecs.encode": _latin1,
                "collections.OrderedDict": OrderedDict,
            }
            name = f"{module}.{name}"
        if name not in known:
            raise pickle.UnpicklingError(f"one that would run {module}.{name.split('.')[-1]}")
        return known[name]


def _latin1(text: str, encoding: str) -> bytes:
    """Bytes as Python 3 writes them for Python 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in {encoding}")
    return text.encode("latin1")
