"""Which settings a folder's run was made with, so that none is taken for one of others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autoenc_sg.config.files import config_to_dict
from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.errors import InputError, bad_input

SETTINGS = "settings.json"


def plain_settings(config: RunConfig, sections: Sequence[str] = ()) -> dict[str, Any]:
    """What decides the outcome of a run, or some sections of it: neither folders nor machine."""
    plain = config_to_dict(config)
    for name in ("out", "runtime"):
        del plain[name]
    plain["joint"]["region_cache"] = ""
    for name in ("workers", "cache"):
        del plain["data"][name]
    return {name: plain[name] for name in sections} if sections else plain


def settings_digest(settings: Mapping[str, Any]) -> str:
    """BLAKE2b (16 hex digits) of settings."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def claim(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings into a folder that has none, or compare them with those it has.

    Raises:
        InputError: the folder was made with other settings; the message names one that differs.
    """
    path, plain = folder / SETTINGS, json.loads(json.dumps(settings, default=str))
    if not path.is_file():
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
        return
    stored = read_object(path)
    difference = _difference(stored, plain)
    if difference is not None:
        name, got, expected = difference
        advice = f"{got!r} in an earlier run there; choose another --out"
        raise bad_input(f"{folder}: {name}", repr(expected), advice)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file of one object.

    Raises:
        InputError: it is not one.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected a JSON object, got {error}") from None
    if not isinstance(content, dict):
        raise bad_input(path, "a JSON object", type(content).__name__)
    return content


def _difference(stored: Any, given: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """The first value that differs: its dotted name, the stored and the given value."""
    if isinstance(stored, dict) and isinstance(given, dict):
        for key in [*given, *(k for k in stored if k not in given)]:
            inner = _difference(stored.get(key), given.get(key), f"{name}.{key}" if name else key)
            if inner is not None:
                return inner
        return None
    return None if stored == given else (name, stored, given)
