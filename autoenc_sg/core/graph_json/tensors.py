"""Scores, masks and codes of a graph as nested lists, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.graph_json.values import is_finite, is_list, kind, short
from autoenc_sg.core.structures import is_square


def plain(values: Tensor) -> Any:
    """Nested lists of the shortest decimals that read back as the same float32."""
    exact = values.detach().to("cpu", torch.float32).numpy()
    decimals = exact.astype(str).astype(np.float64)
    return np.where(
        decimals.astype(np.float32) == exact, decimals, exact.astype(np.float64)
    ).tolist()


def plain_scores(values: Tensor) -> list[float | None]:
    """As `plain`, with None for NaN: no score."""
    return [None if math.isnan(value) else value for value in plain(values)]


def masks(data: Mapping[str, Any], count: int, where: str) -> Tensor | None:
    """The masks `[count, S, S]`, numbers in [0, 1]."""
    if _none(data, "masks", count):
        return None
    side = _width(data["masks"])
    return _fractions(data, "masks", (count, side, side), where)


def appearance(data: Mapping[str, Any], count: int, where: str) -> Tensor | None:
    """The objects' codes `[count, A]`, zeros for those that are null or missing at the end."""
    if _none(data, "appearance", count):
        return None
    return _codes(_filled(data["appearance"], count), count, "appearance", where)


def background(data: Mapping[str, Any], where: str) -> Tensor | None:
    """The background's codes `[G G, A]`, zeros for null ones."""
    rows = data.get("background")
    if rows is None:
        return None
    count = len(rows) if is_list(rows) else 0
    if not is_square(count):
        got = f"a list of {count}" if is_list(rows) else kind(rows)
        raise bad_input(f"{where}, background", "a list of G x G codes: 1, 4, 9, ...", got)
    return _codes(rows, count, "background", where)


def _codes(rows: Any, count: int, key: str, where: str) -> Tensor | None:
    """Codes `[count, A]`, zeros for null ones; None if all are."""
    if is_list(rows) and any(row is None for row in rows):
        codes = [row for row in rows if row is not None]
        if not codes:
            return None
        zeros = [0.0] * _width(codes)
        rows = [zeros if row is None else row for row in rows]
    return floats({key: rows}, key, (count, _width(rows)), where)


def _filled(rows: Any, count: int) -> Any:
    """A list with null for what it lacks at its end; anything else as it is."""
    return [*rows, *[None] * (count - len(rows))] if is_list(rows) else rows


def _none(data: Mapping[str, Any], key: str, count: int) -> bool:
    return data.get(key) is None or (count == 0 and data[key] == [])


def _width(rows: Any) -> int:
    """The length of the first row, which the others must share; 1 where that is to fail a check."""
    return len(rows[0]) if is_list(rows) and rows and is_list(rows[0]) and rows[0] else 1


def scores(data: Mapping[str, Any], key: str, count: int, where: str) -> Tensor | None:
    """Scores `[count]` in [0, 1], NaN for those that are null or that the list lacks at its end."""
    rows = _filled(data.get(key), count)
    if not is_list(rows) or len(rows) > count:
        return _fractions(data, key, (count,), where)  # absent, or an error
    present = [i for i, value in enumerate(rows) if value is not None]
    if not present and count:
        return None
    for i in present:
        if not is_finite(rows[i]) or not 0 <= rows[i] <= 1:
            raise bad_input(f"{where}, {key}[{i}]", "a number in 0..1, or null", short(rows[i]))
    values = [math.nan if value is None else value for value in rows]
    return torch.tensor(values, dtype=torch.float32)


def _fractions(
    data: Mapping[str, Any], key: str, shape: tuple[int, ...], where: str
) -> Tensor | None:
    values = floats(data, key, shape, where)
    if values is not None and ((values < 0) | (values > 1)).any():
        got = f"{float(values.min()):g}..{float(values.max()):g}"
        raise bad_input(f"{where}, {key}", "numbers in 0..1", got)
    return values


def floats(data: Mapping[str, Any], key: str, shape: tuple[int, ...], where: str) -> Tensor | None:
    """Nested lists of finite numbers as float32 of this shape; None where there are none."""
    value = data.get(key)
    if value is None:
        return None
    _check_nested(value, shape, f"{where}, {key}")
    return torch.from_numpy(np.array(value, dtype=np.float32).reshape(shape))


def _check_nested(value: Any, shape: tuple[int, ...], where: str) -> None:
    if not shape:
        if not is_finite(value):
            raise bad_input(where, "a finite number", short(value))
        return
    if not is_list(value) or len(value) != shape[0]:
        got = f"a list of {len(value)}" if is_list(value) else kind(value)
        raise bad_input(where, f"a list of {shape[0]}", got)
    for i, item in enumerate(value):
        _check_nested(item, shape[1:], f"{where}[{i}]")
