"""Pickled files of other programs, read without running anything that they name.

Two readers: `read_array_pickle` for plain pickles of NumPy arrays (detectron2's published weights,
Neural Motifs' predictions), `read_torch_file` for what `torch.save` wrote. A pickle builds objects
by calling functions and classes by name; only the names in the tables below are looked up, and each
stands for something that cannot read, write, start or allocate anything beyond the file's own data.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from autoenc_sg.core.errors import InputError, bad_input

try:  # NumPy 2
    from numpy._core import multiarray, numeric
except ImportError:
    from numpy.core import multiarray, numeric  # type: ignore[no-redef]

_MOST_EXPANDED = 2**24  # numbers
Standins = Sequence[tuple[Callable[..., Any], str]]


class _NdarrayType:
    """Stands for the class `numpy.ndarray`, as an argument of `_reconstruct` alone."""


class _IgnoredValue:
    """Stands for a NumPy dtype whose value is not used."""

    def __init__(self, *_: object) -> None:
        return

    def __setstate__(self, _: object) -> None:
        return


def _empty_array(*_: object) -> Any:
    """An array without elements, which the pickle then gives its shape and its bytes."""
    return multiarray._reconstruct(np.ndarray, (0,), b"b")  # type: ignore[attr-defined]


def _latin1_bytes(text: str, encoding: str) -> bytes:
    """Bytes as Python 3 writes them for Python 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in {encoding}")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    """`bytes()`; other arguments, such as a size to allocate, are refused."""
    return b""


def _empty_dict(*_: object) -> dict[str, Any]:
    return {}


def _ignore(*_: object) -> None:
    return


# What a name in a pickle of arrays means, by the module's name in Python 3 and NumPy 1.
ALLOWED_NAMES: dict[str, Any] = {
    "numpy.core.multiarray._reconstruct": _empty_array,
    "numpy.core.multiarray.scalar": multiarray.scalar,  # type: ignore[attr-defined]
    "numpy.core.numeric._frombuffer": numeric._frombuffer,  # type: ignore[attr-defined]
    "numpy.ndarray": _NdarrayType(),
    "numpy.dtype": np.dtype,
    "_codecs.encode": _latin1_bytes,
    "builtins.bytes": _empty_bytes,
    "collections.OrderedDict": OrderedDict,
}

# What a `torch.save` file with a history of losses (sg2im's) names beside tensors: the history is
# passed over, so its containers are empty and its numbers None.
HISTORY_STANDINS: Standins = (
    (_empty_dict, "collections.defaultdict"),
    (list, "builtins.list"),
    (list, "__builtin__.list"),
    (_ignore, "numpy.core.multiarray.scalar"),
    (_ignore, "numpy._core.multiarray.scalar"),
    (_IgnoredValue, "numpy.dtype"),
)


class _ArrayUnpickler(pickle.Unpickler):
    """Builds lists, dicts, numbers, strings and NumPy arrays."""

    def find_class(self, module: str, name: str) -> Any:
        """The meaning of a name; `UnpicklingError` for one that is not in the table."""
        plain = module.replace("numpy._core", "numpy.core").replace("__builtin__", "builtins")
        if f"{plain}.{name}" not in ALLOWED_NAMES:
            raise pickle.UnpicklingError(f"one that would run {module}.{name}")
        return ALLOWED_NAMES[f"{plain}.{name}"]


def read_array_pickle(path: Path) -> Any:
    """The content of a pickle file of arrays and plain values.

    Raises:
        InputError: no such file, not a pickle, or it would have to run code to be read.
    """
    try:
        with path.open("rb") as file:
            return unpickle_arrays(file, path)
    except FileNotFoundError:
        raise bad_input(path, "a weights file", "no such file") from None
    except OSError as error:
        raise bad_input(path, "a weights file", error.strerror or error) from error


def unpickle_arrays(file: BinaryIO, where: object) -> Any:
    """As `read_array_pickle`, from an open file or pipe; `where` names it in messages."""
    try:
        return _ArrayUnpickler(file, encoding="latin1").load()
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to mean
        expected = "a pickle of arrays and plain values"
        refused = str(error).startswith("one that would run")
        raise bad_input(
            where, expected, error if refused else f"a damaged one ({error})"
        ) from error


def read_torch_file(path: Path, standins: Standins = ()) -> Any:
    """The content of a `torch.save` file of tensors and plain values.

    Args:
        path: the file.
        standins: pairs (callable, name): called instead of the function or class of that name.

    Raises:
        InputError: no such file, not readable, or it would have to run code to be read.
    """
    if not path.is_file():
        raise bad_input(path, "a checkpoint file", "a folder" if path.is_dir() else "no such file")
    try:
        with torch.serialization.safe_globals(list(standins)), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old and unusual files; they are read or refused
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises what pickle, zip and storage raise
        raise _refused(path, error) from error
    for value in _tensors_of(content):
        if not _is_plain(value):
            kind = f"{value.dtype}, {value.layout}, {value.device.type}, {list(value.shape)[:8]}"
            raise bad_input(path, "dense tensors whose numbers are all stored", kind)
    return content


def _tensors_of(content: Any) -> Iterator[Tensor]:
    """The tensors in nested dicts, lists and tuples."""
    waiting, visited = [content], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (dict, list, tuple)) and id(value) not in visited:
            visited.add(id(value))
            waiting += value.values() if isinstance(value, dict) else value


def _is_plain(value: Tensor) -> bool:
    """Dense, and not a few stored numbers that are expanded to more than `_MOST_EXPANDED`."""
    if value.layout != torch.strided or value.is_meta or value.is_quantized or value.is_nested:
        return False
    stored = value.untyped_storage().nbytes() // value.element_size()
    return value.numel() <= max(stored, _MOST_EXPANDED)


def _refused(path: Path, error: Exception) -> InputError:
    """What is wrong with a file, without torch's advice to load it unsafely."""
    name = re.search(r"GLOBAL (\S+)", str(error))
    if name is not None:
        got = f"one that would run {name[1]} to be read"
    elif isinstance(error, pickle.UnpicklingError):
        got = "a file of another kind, or one that would run code to be read"
    else:
        got = "a truncated or damaged file"
    return bad_input(path, "a checkpoint of tensors and plain values", got)
