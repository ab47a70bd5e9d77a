"""What kind of value a decoded JSON value is, and how an error shows it."""

from __future__ import annotations

import reprlib
from typing import Any

import torch


def is_list(value: Any) -> bool:
    """A list or tuple."""
    return isinstance(value, (list, tuple))


def is_int(value: Any) -> bool:
    """A whole number, and not true or false."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """A number that float32 can hold."""
    number = is_int(value) or isinstance(value, float)
    return number and abs(value) <= torch.finfo(torch.float32).max


def kind(value: Any) -> str:
    """Its type and itself, for an error."""
    return "null" if value is None else f"{type(value).__name__} {short(value)}"


def short(value: Any) -> str:
    """The value in at most 60 characters, for an error."""
    text = reprlib.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
