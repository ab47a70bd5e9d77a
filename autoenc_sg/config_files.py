"""Configurations from YAML files, command-line overrides and checkpoints, checked key by key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import jsonargparse
import yaml

from autoenc_sg.config import RunConfig
from autoenc_sg.errors import InputError, bad_input


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """A YAML file with command-line overrides (`["--joint.steps", "10", ...]`) on top.

    Args:
        path: a file, or the name of a packaged configuration, such as `demo` or `scenes`.
        overrides: dotted keys and values.

    Raises:
        InputError: no such file, not YAML, an unknown key, or a value of the wrong type or range.
    """
    text = _read(path)
    parser = _parser()
    try:
        parsed = parser.parse_args(list(overrides), namespace=parser.parse_string(text))
    except (jsonargparse.ArgumentError, ValueError, TypeError, yaml.YAMLError) as error:
        raise _one_line(path, error) from error
    return _build(parser, parsed)


def config_from_dict(data: Mapping[str, Any], where: str = "config") -> RunConfig:
    """The inverse of `config_to_dict`; raises as `load_config`."""
    parser = _parser()
    try:
        parsed = parser.parse_object(dict(data))
    except (jsonargparse.ArgumentError, ValueError, TypeError) as error:
        raise _one_line(where, error) from error
    return _build(parser, parsed)


def config_to_dict(config: RunConfig) -> dict[str, Any]:
    """Plain dicts, lists and numbers, for checkpoints and YAML."""
    plain: dict[str, Any] = _plain(asdict(config))
    return plain


def dump_config(config: RunConfig) -> str:
    """YAML that `load_config` reads back to the same configuration."""
    return yaml.safe_dump(config_to_dict(config), sort_keys=False)


def packaged_configs() -> list[str]:
    """Names of the configurations that come with the package, without `.yaml`."""
    folder = resources.files("autoenc_sg.configs")
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".yaml"))


def _read(path: str | Path) -> str:
    file = Path(path)
    if file.is_file():
        return file.read_text(encoding="utf-8")
    if str(path) in packaged_configs():
        return (resources.files("autoenc_sg.configs") / f"{path}.yaml").read_text(encoding="utf-8")
    known = ", ".join(packaged_configs())
    raise bad_input(f"config {path}", f"a YAML file or one of: {known}", "no such file")


def _parser() -> jsonargparse.ArgumentParser:
    parser = jsonargparse.ArgumentParser(exit_on_error=False, prog="config")
    parser.add_class_arguments(RunConfig)
    return parser


def _build(parser: jsonargparse.ArgumentParser, parsed: jsonargparse.Namespace) -> RunConfig:
    values = parser.instantiate(parsed)
    return RunConfig(**vars(values))


def _one_line(where: object, error: Exception) -> InputError:
    text = " ".join(str(error).split())
    if text.startswith("unrecognized arguments"):
        text = f"expected known keys, got {text}"
    return InputError(f"config {where}: {text}")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
