"""Configurations from YAML files, command-line overrides and checkpoints, checked key by key."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import jsonargparse
import yaml

from autoenc_sg.config.run import RunConfig
from autoenc_sg.config.typed_values import NotTyped, build
from autoenc_sg.core.errors import InputError, bad_input

_PARSER_ERRORS = (
    jsonargparse.ArgumentError,
    ValueError,
    TypeError,
    OverflowError,
    RecursionError,
)
LARGEST_INTEGER = 2**63 - 1
DEEPEST = 100  # brackets within brackets
_LONGEST_TEXT = 200  # characters of a value in a message


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """A YAML file with command-line overrides (`["--joint.steps", "10", ...]`) on top.

    Args:
        path: a file, or the name of a packaged configuration, such as `demo` or `scenes`.
        overrides: dotted keys and values; a section's name takes a file (`["--detector", FILE]`).

    Raises:
        InputError: no such file, not YAML, an unknown key, or a value of the wrong type or range.
    """
    where = f"config {path}"
    return _with_overrides(where, _mapping(where, _read(path)), overrides)


def changed_config(config: RunConfig, overrides: Sequence[str], where: str) -> RunConfig:
    """A configuration with overrides as those of `load_config`; `where` they are from, for errors.

    Raises:
        InputError: an unknown key, or a value of the wrong type or range.
    """
    return _with_overrides(where, config_to_dict(config), overrides)


def _with_overrides(where: str, values: Mapping[str, Any], overrides: Sequence[str]) -> RunConfig:
    _check_names(where, overrides)
    with_overrides = _overridden(where, values, overrides)
    if with_overrides is not None:
        config = _of_typed_values(where, with_overrides)
        if config is not None:
            return config
    parser = _parser()
    try:
        parsed = parser.parse_args(list(overrides), namespace=parser.parse_object(dict(values)))
    except _PARSER_ERRORS as error:
        raise _one_line(where, error) from error
    return _build(where, parser, parsed)


def config_from_dict(data: Mapping[str, Any], where: str = "config") -> RunConfig:
    """The inverse of `config_to_dict`; raises as `load_config`."""
    _check_keys(where, data)
    if (config := _of_typed_values(where, data)) is not None:
        return config
    parser = _parser()
    try:
        parsed = parser.parse_object(dict(data))
    except _PARSER_ERRORS as error:
        raise _one_line(where, error) from error
    return _build(where, parser, parsed)


def _overridden(
    where: str, values: Mapping[str, Any], overrides: Sequence[str]
) -> dict[str, Any] | None:
    """The values with the overrides in their place; None if one of these is not of a single value.

    Raises:
        InputError: an override is not of its type, or null where it may not be.
    """
    changed = copy.deepcopy(dict(values))
    names = {text[2:].partition("=")[0] for text in overrides if text.startswith("--")}
    hints = _value_hints()
    if not names:
        return None if overrides else changed
    if not names <= hints.keys():
        return None  # a section
    parser = jsonargparse.ArgumentParser(exit_on_error=False, prog="config")
    for name in sorted(names):
        parser.add_argument(f"--{name}", type=hints[name])
    try:
        parsed = parser.parse_args(list(overrides), defaults=False)
    except _PARSER_ERRORS as error:
        raise _one_line(where, error) from error
    for name in names:
        *sections, key = name.split(".")
        holder = changed
        for section in sections:
            holder = holder.setdefault(section, {})
        holder[key] = parsed[name]
    _check_keys(where, changed)
    return changed


@cache
def _value_hints() -> dict[str, Any]:
    """The type of each dotted name that is no section."""
    return dict(_values_of(RunConfig))


def _values_of(kind: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, hint in get_type_hints(kind).items():
        if is_dataclass(hint):
            yield from _values_of(hint, f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            yield f"{prefix}{name}", hint


def _of_typed_values(where: str, values: Mapping[str, Any]) -> RunConfig | None:
    """The configuration, None if a value has to be converted; raises as `_build`."""
    try:
        return build(RunConfig, values)
    except NotTyped:
        return None
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except (OverflowError, RecursionError) as error:
        raise bad_input(where, "numbers that fit a float", _reason(error)) from error


def config_to_dict(config: RunConfig) -> dict[str, Any]:
    """Plain dicts, lists and numbers, for checkpoints and YAML."""
    plain: dict[str, Any] = _plain(asdict(config))
    return plain


def dump_config(config: RunConfig) -> str:
    """YAML that `load_config` reads back to the same configuration."""
    return yaml.safe_dump(config_to_dict(config), sort_keys=False)


def packaged_configs() -> list[str]:
    """Names of the configurations that come with the package, such as `demo` or `vg150/joint`."""
    folder = resources.files("autoenc_sg.configs")
    inner = {f"{item.name}/": item for item in folder.iterdir() if item.is_dir()}
    names = [
        f"{prefix}{item.name[:-5]}"
        for prefix, place in {"": folder, **inner}.items()
        for item in place.iterdir()
        if item.name.endswith(".yaml")
    ]
    return sorted(names)


def _read(path: str | Path) -> str:
    file = Path(path)
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise bad_input(f"config {path}", "a YAML file", error) from error
    if str(path) in packaged_configs():
        return (resources.files("autoenc_sg.configs") / f"{path}.yaml").read_text(encoding="utf-8")
    names = ", ".join(packaged_configs())
    got = "a folder" if file.is_dir() else "no such file"
    raise bad_input(f"config {path}", f"a YAML file or one of: {names}", got)


def _mapping(where: str, text: str) -> dict[str, Any]:
    """The file's keys and values; an empty file is all defaults."""
    _check_nesting(where, text)
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, *_PARSER_ERRORS) as error:  # ValueError: a date such as 2026-99-99
        raise bad_input(where, "YAML", _reason(error)) from error
    values = {} if values is None else values
    _check_keys(where, values)
    return dict(values)


def _check_nesting(where: str, text: str) -> None:
    """At most `DEEPEST` open brackets: YAML's reader takes seconds for thousands."""
    depth = 0
    for bracket in re.findall(r"[][{}]", text):
        depth = max(0, depth + (1 if bracket in "[{" else -1))
        if depth > DEEPEST:
            raise bad_input(where, "YAML", "brackets nested too deeply")


def _check_keys(where: str, values: Any, kind: type = RunConfig, prefix: str = "") -> None:
    """Every key is a field of `kind`, every section a mapping, nothing null that may not be."""
    section = f"{where}: {prefix[:-1]}" if prefix else where
    if not isinstance(values, Mapping):
        raise bad_input(section, "a mapping of keys to values", _short(repr(values)))
    hints = get_type_hints(kind)
    for key, value in values.items():
        _check_integers(f"{where}: {prefix}{key}", value)
        if key not in hints:
            raise _unknown(where, f"{prefix}{key}", [f"{prefix}{name}" for name in hints])
        hint = hints[key]
        if is_dataclass(hint):
            _check_keys(where, value, hint, f"{prefix}{key}.")  # type: ignore[arg-type]
        elif value is None and NoneType not in get_args(hint):
            raise bad_input(f"{where}: {prefix}{key}", _type_name(hint), "null")


def _check_integers(where: str, value: Any) -> None:
    """Whole numbers, also in a list, have at most 64 bits: others fit no tensor and no float."""
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, int) and abs(number) > LARGEST_INTEGER:
            got = f"one of {number.bit_length()} bits"
            raise bad_input(_short(where), "a whole number of at most 64 bits", got)


def _check_names(where: str, overrides: Sequence[str]) -> None:
    """Every override `--name` or `--name=value` is a known dotted name."""
    known_names = _dotted_names(RunConfig)
    for text in overrides:
        name = text[2:].partition("=")[0]
        if text.startswith("--") and name not in known_names:
            raise _unknown(where, name, known_names)


def _dotted_names(kind: type, prefix: str = "") -> list[str]:
    names = []
    for name, hint in get_type_hints(kind).items():
        names.append(f"{prefix}{name}")
        if is_dataclass(hint):
            names += _dotted_names(hint, f"{prefix}{name}.")  # type: ignore[arg-type]
    return names


def _unknown(where: str, name: str, known_names: Sequence[str]) -> InputError:
    name = _short(name)
    near = difflib.get_close_matches(name, known_names, n=3, cutoff=0.6) or _top(known_names)
    return bad_input(f"{where}: {name}", f"a known key such as {', '.join(near)}", "an unknown one")


def _top(names: Sequence[str]) -> list[str]:
    """The dotted names with the fewest dots."""
    least = min(name.count(".") for name in names)
    return [name for name in names if name.count(".") == least]


def _type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


@cache  # building it takes longer than parsing, which does not change it
def _parser() -> jsonargparse.ArgumentParser:
    parser = jsonargparse.ArgumentParser(exit_on_error=False, prog="config")
    parser.add_class_arguments(RunConfig)
    return parser


def _build(
    where: str, parser: jsonargparse.ArgumentParser, parsed: jsonargparse.Namespace
) -> RunConfig:
    parsed = parsed.clone(with_meta=False)  # a section from a file: --detector FILE
    _check_keys(where, parsed.as_dict())
    try:
        return RunConfig(**vars(parser.instantiate(parsed)))
    except InputError as error:  # a value out of range: the classes know the key, not the file
        raise InputError(f"{where}: {error}") from error
    except (OverflowError, RecursionError) as error:
        raise bad_input(where, "numbers that fit a float", _reason(error)) from error


def _one_line(where: str, error: Exception) -> InputError:
    """The parser's `Parser key "k": Expected a <class 't'>. Got value: v`, in our words."""
    text = _reason(error)
    match = re.match(r'Parser key "(.+?)": Expected an? (.+)\. Got value:(.*)', text)
    if match is None:
        return bad_input(where, "known keys and values", text)
    key, kind, got = (group.strip() for group in match.groups())
    kind = re.sub(r"<class '(\w+)'>", r"\1", kind).replace("typing.", "")
    kind = "a list in brackets such as [1, 2]" if kind == "tuple" else kind
    return bad_input(f"{where}: {key}", kind, _short(repr(got)))


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "brackets nested too deeply"
    if isinstance(error, OverflowError):
        return "a number that is too large"
    return _short(" ".join(str(error).split()), 3 * _LONGEST_TEXT)


def _short(text: str, longest: int = _LONGEST_TEXT) -> str:
    """The text without control characters, cut in its middle if it is long."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    if len(text) <= longest:
        return text
    return f"{text[: longest // 2]} … {text[-longest // 2 :]}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
