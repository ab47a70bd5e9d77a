"""JSON values as arrays, without conversions that NumPy makes silently."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
ANY = -1  # a matrix with any number of columns
_INT64_MAX = np.iinfo(np.int64).max


def may_hold_booleans(content: object) -> bool:
    """False only if there is none: a fast test of the bytes, as booleans are rare."""
    return not isinstance(content, bytes) or b"true" in content or b"false" in content


def is_list(value: object) -> bool:
    """Whether a value is a list or an array with a length."""
    return isinstance(value, list) or (isinstance(value, np.ndarray) and value.ndim > 0)


def as_array(value: Any, may_hold_booleans: bool) -> Array | None:
    """None for lists of different lengths and for booleans, which NumPy takes for 0 and 1."""
    if may_hold_booleans and _holds_booleans(value, 2):
        return None
    try:
        return np.asarray(value)
    except (ValueError, OverflowError):
        return None


def _holds_booleans(value: object, depth: int) -> bool:
    if isinstance(value, list):
        return depth > 0 and any(_holds_booleans(item, depth - 1) for item in value)
    return isinstance(value, bool)


def fits(
    array: Array, rows: Sequence[Any] | Array, width: int | None, kinds: str, skip: int
) -> bool:
    """Whether an array has the shape of a row after its first `skip` axes, and the NumPy kind."""
    if width is None:
        shape: tuple[int, ...] = ()
    else:
        first = len(rows[0]) if is_list(rows[0]) else 0
        shape = (first if width == ANY else width,)
    if array.dtype.kind == "u" and "f" not in kinds and array.max(initial=0) > _INT64_MAX:
        return False  # int64 would make it negative
    return array.dtype.kind in kinds and array.shape[skip:] == shape


def first_wrong_row(rows: Sequence[Any] | Array, width: int | None, kinds: str) -> int:
    """The index of the first row of another shape or kind."""
    for i, row in enumerate(rows):
        array = as_array(row, True)
        if array is None or not fits(array, rows, width, kinds, 0):
            return i
    return 0


def short(value: object) -> str:
    """The value as JSON in 60 characters or fewer, for messages."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
