"""Dataclasses from values that already have the types of their fields.

jsonargparse looks for each key among all keys, 0.2 s of CPU time for a configuration; checkpoints
and most YAML files hold nothing that it would convert.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
_YAML_WORDS = ("", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n")


class NotTyped(Exception):
    """A value has another type than its field: to be converted, or refused."""


def build(kind: type[T], values: Mapping[str, Any]) -> T:
    """The dataclass `kind` of these fields, the others their defaults; sections are mappings.

    Raises:
        NotTyped: an unknown field, or a value that is not of its type.
        InputError: as the classes raise it, of values out of range.
    """
    hints = _hints(kind)  # type: ignore[arg-type]
    arguments = {}
    for name, value in values.items():
        if name not in hints:
            raise NotTyped(name)
        arguments[name] = _typed(hints[name], value)
    return kind(**arguments)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _typed(hint: Any, value: Any) -> Any:
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise NotTyped(hint)
        return build(hint, value)  # type: ignore[arg-type]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        if type(value) not in (list, tuple):
            raise NotTyped(hint)
        return tuple(_typed(arguments[0], item) for item in value)
    if origin is Literal and type(value) is str and value in arguments:
        return value
    if origin in (Union, UnionType):
        return _one_of(arguments, value)
    return _plain(hint, value)


def _plain(hint: Any, value: Any) -> Any:
    """A number, text or truth value of exactly this type; whole numbers are floats, too."""
    if hint is float and type(value) is int:
        return float(value)
    if hint not in (int, float, str, bool) or type(value) is not hint:
        raise NotTyped(hint)
    return value


def _one_of(kinds: tuple[Any, ...], value: Any) -> Any:
    """A value of one of two types; a text only where it can be read as nothing else."""
    if value is None and NoneType in kinds:
        return None
    if type(value) is str and (value.lower() in _YAML_WORDS or value[0] in "+-.0123456789"):
        raise NotTyped(kinds)
    kind = float if type(value) is int and int not in kinds else type(value)
    if kind not in kinds:
        raise NotTyped(kinds)
    return _plain(kind, value)
