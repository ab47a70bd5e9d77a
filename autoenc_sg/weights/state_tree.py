"""Nested states (of optimizers, discriminators, random numbers) as flat tensors and JSON.

    {"optimizer": {"state": {0: {"momentum": T}}, "betas": (0.9, 0.99)}}
    <-> {"optimizer.state.0.momentum": T}
        {"dict": [["optimizer", {"dict": [["state", ...], ["betas", {"tuple": [0.9, 0.99]}]]}]]}

In the JSON a list stands for itself, and an object has one key: `dict` (pairs, since keys may be
numbers), `tuple`, or `tensor` (a name among the flat tensors).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from autoenc_sg.core.errors import bad_input

PLAIN = (str, int, float, bool, type(None))


def flatten_state(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], Any]:
    """Tensors by dotted path, and the structure as JSON values.

    Raises:
        TypeError: a value that is no tensor, dict, list, tuple, text, number, bool or None.
    """
    tensors: dict[str, Tensor] = {}
    return tensors, _encode(dict(state), "", tensors)


def _encode(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = path
        while name in tensors:  # {"a.b": …} beside {"a": {"b": …}}
            name += "'"
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, dict):
        pairs = value.items()
        return {"dict": [[_plain(k, path), _encode(v, _join(path, k), tensors)] for k, v in pairs]}
    if isinstance(value, (list, tuple)):
        items = [_encode(item, _join(path, i), tensors) for i, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    return _plain(value, path)


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _plain(value: Any, path: str) -> Any:
    if not isinstance(value, PLAIN):
        raise TypeError(f"{path}: no {type(value).__name__} in a saved state")
    return value


def unflatten_state(tensors: Mapping[str, Tensor], structure: Any, where: object) -> dict[str, Any]:
    """The inverse of `flatten_state`.

    Raises:
        InputError: the structure is not one of `flatten_state`, or names a tensor that is missing.
    """
    try:
        state = _decode(structure, tensors)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise bad_input(where, "a saved state", "another structure") from error
    if not isinstance(state, dict):
        raise bad_input(where, "a saved state", type(state).__name__)
    return state


def _decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _decode(item, tensors) for key, item in content}
    if kind == "tuple":
        return tuple(_decode(item, tensors) for item in content)
    raise ValueError(kind)
