"""JSON files of annotations: reading, checking, writing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.errors import InputError, bad_input

# What reading an entry raises if it has another form than expected.
MALFORMED_ERRORS = (
    KeyError,
    TypeError,
    ValueError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
)


def read_json(path: Path) -> Any:
    """A JSON file's content; a byte order mark is skipped.

    Raises:
        InputError: the file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise bad_input(path, "a JSON file", "no such file") from None
    except (OSError, ValueError, RecursionError) as error:  # ValueErrors: UTF-8, JSON, long numbers
        raise bad_input(path, "a JSON file", error) from None


def write_json(path: Path, value: Any, indent: int | None = None) -> None:
    """Write a JSON file atomically.

    Raises:
        InputError: the path cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=indent), encoding="utf-8")


def malformed(where: object, expected: str, error: Exception) -> InputError:
    """The error to raise for an entry whose reading raised one of `MALFORMED_ERRORS`."""
    return bad_input(where, expected, f"{type(error).__name__} {error}")


def name_list(data: Mapping[str, Any], key: str, where: object) -> list[str]:
    """A list of names of a JSON object.

    Raises:
        InputError: there is none, or it is empty or holds something else.
    """
    names = data.get(key)
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise bad_input(f"{where} {key!r}", "a list of names", type(names).__name__)
    return names
