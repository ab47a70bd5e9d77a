"""From dataclasses to the options of a command, and back.

jsonargparse's `add_class_arguments` writes options as Python names and Python values
(`--batch_size 8 --round_trip false --ks [20,50]`). Here they have the usual forms: `--batch-size
8`, `--no-round-trip`, `--ks 20 50`. jsonargparse checks the types and writes --help.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import docstring_parser
from jsonargparse import ActionYesNo, ArgumentParser

T = TypeVar("T")


@dataclass(frozen=True)
class Command(Generic[T]):
    """A command of the command line.

    Attributes:
        name: the word that calls it.
        help: what it does, in a line.
        options: a dataclass, whose docstring gives the help texts. A field is an option; without a
            default it is a positional argument, or a required option if it is `kw_only`. The fields
            of a dataclass in it are options, too. Metadata of a field: `const`, the value of an
            option whose value may be left out; `hidden`, it is no option; `without`, names of
            fields of a dataclass in it that are no options.
        run: does it; returns the exit status.
        epilog: text below the options in --help.
    """

    name: str
    help: str
    options: type[T]
    run: Callable[[T], int]
    epilog: str = ""


def add_options(parser: ArgumentParser, kind: type) -> None:
    """Add an option to the parser for each field of a dataclass, in a group for each dataclass."""
    hints, texts = get_type_hints(kind), _help_texts(kind)
    group = parser.add_argument_group("arguments and options")
    inner = []
    for member in fields(kind):
        hint = hints[member.name]
        if is_dataclass(hint):
            inner.append((member, hint))
        elif not member.metadata.get("hidden"):
            _add_field(group, member, hint, member.default, texts.get(member.name, ""))
    for member, hint in inner:
        assert isinstance(hint, type)
        _add_inner(parser, member, hint)


def _add_inner(parser: ArgumentParser, member: Field[Any], kind: type) -> None:
    hints, texts = get_type_hints(kind), _help_texts(kind)
    title = _docstring(kind).short_description or kind.__name__
    group = parser.add_argument_group(title.rstrip("."))
    for part in _option_fields(member, kind):
        default = getattr(member.default, part.name)
        _add_field(group, part, hints[part.name], default, texts.get(part.name, ""))


def _option_fields(member: Field[Any], kind: type) -> list[Field[Any]]:
    """The fields of a dataclass in a field of another that are options."""
    return [part for part in fields(kind) if part.name not in member.metadata.get("without", ())]


def build(kind: type[T], values: Mapping[str, Any]) -> T:
    """The dataclass of parsed values.

    Raises:
        InputError: a check of the dataclass, or of one in it.
    """
    hints = get_type_hints(kind)
    arguments: dict[str, Any] = {}
    for member in fields(kind):  # type: ignore[arg-type]
        hint = hints[member.name]
        if is_dataclass(hint):
            parts = _option_fields(member, hint)  # type: ignore[arg-type]
            changes = {part.name: _plain(values[part.name]) for part in parts}
            arguments[member.name] = replace(member.default, **changes)  # type: ignore[type-var]
        elif member.name in values:
            arguments[member.name] = _plain(values[member.name])
    return kind(**arguments)


def _add_field(
    group: argparse._ArgumentGroup, member: Field[Any], hint: Any, default: Any, text: str
) -> None:
    kind, count = _one_value(hint)
    flag = "--" + member.name.replace("_", "-")
    text += _default_text(default)
    if default is MISSING and not member.kw_only:
        group.add_argument(member.name, type=kind, nargs=count, help=text)
    elif kind is bool and default:
        switch: Any = ActionYesNo(yes_prefix="", no_prefix="no-")  # a factory of actions
        group.add_argument(flag, action=switch, default=True, help=text)
    elif kind is bool:
        group.add_argument(flag, action="store_true", help=text)
    else:
        group.add_argument(
            flag,
            type=kind,
            nargs="?" if "const" in member.metadata else count,
            const=member.metadata.get("const"),
            required=default is MISSING,
            default=None if default is MISSING else _as_list(default),
            help=text,
        )


def _one_value(hint: Any) -> tuple[Any, str | int | None]:
    """The type of a single value, and the number of values (argparse's `nargs`)."""
    if type(None) in get_args(hint):  # its default is None; no word stands for it
        (hint,) = (kind for kind in get_args(hint) if kind is not type(None))
    if get_origin(hint) is not tuple:
        return hint, None
    kinds = get_args(hint)
    return kinds[0], "+" if kinds[1] is Ellipsis else len(kinds)


def _default_text(default: Any) -> str:
    if default is MISSING or default is None or isinstance(default, bool) or default == "":
        return ""
    values = default if isinstance(default, tuple) else [default]
    return f" (default: {' '.join(map(str, values))})"


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _docstring(kind: type) -> docstring_parser.Docstring:
    return docstring_parser.parse(kind.__doc__ or "", docstring_parser.DocstringStyle.GOOGLE)


def _help_texts(kind: type) -> dict[str, str]:
    """Field name -> text under `Attributes` of the docstrings of a class and of its bases.

    `a, b: text` is the text of both fields.
    """
    texts: dict[str, str] = {}
    for entry in (entry for base in kind.__mro__[::-1] for entry in _docstring(base).params):
        text = " ".join((entry.description or "").split()).rstrip(".")
        text = text.replace("`", "").replace("%", "%%")
        texts |= {name.strip(): text for name in entry.arg_name.split(",")}
    return texts
