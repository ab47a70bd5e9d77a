"""docs/configuration.md, made from the configuration's own docstrings.

python -m tests.config.configuration_docs > docs/configuration.md
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from autoenc_sg.config.phases import DetectorPhase, ReconstructionPhase
from autoenc_sg.config.run import RunConfig

HEAD = """# Every value of the configuration

A configuration is a YAML file with these sections ([configs/](../configs) has some), and any value
can be given on the command line by its dotted name:
`autoenc-sg train scenes --joint.steps 1000 --detector.backbone resnet18`.
`autoenc-sg train CONFIG --print-config` shows the whole configuration that a run would have, and
every run writes it to `config.yaml`. Unknown names, wrong types and values out of range end in one
line.

This page is made from the docstrings of [config/](../autoenc_sg/config):
`python -m tests.config.configuration_docs > docs/configuration.md`.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_sections(RunConfig, "")])


def _sections(kind: type, prefix: str) -> Iterator[str]:
    hints = get_type_hints(kind)
    options = [f for f in fields(kind) if not is_dataclass(hints[f.name])]
    yield f"## {prefix[:-1] or 'The run'}\n"
    yield _summary(kind) + "\n"
    meanings = _resolved(kind)
    yield "| option | default | |\n|---|---|---|"
    for field in options:
        name, default = f"{prefix}{field.name}", _default(field)
        meaning = _meaning(meanings, field.name, hints[field.name])
        yield f"| `{name}` | `{default}` | {meaning} |"
    yield ""
    for field in fields(kind):
        if is_dataclass(hints[field.name]):
            yield from _sections(hints[field.name], f"{prefix}{field.name}.")  # type: ignore[arg-type]


def _summary(kind: type) -> str:
    text = (inspect.getdoc(kind) or "").partition("Attributes:")[0]
    return re.sub(r"\s*\n\s*", " ", text.strip())


def _resolved(kind: type) -> Mapping[str, str]:
    """Attribute texts; `as in X` is X's text."""
    others = {
        other.__name__: attribute_texts(other) for other in (DetectorPhase, ReconstructionPhase)
    }
    texts = {}
    for name, text in attribute_texts(kind).items():
        reference = re.match(r"as in `(\w+)`", text)
        texts[name] = others[reference[1]][name] if reference else text
    return texts


def attribute_texts(kind: type) -> Mapping[str, str]:
    """Text of each name in a docstring's `Attributes:`, where names may share one."""
    block = (inspect.getdoc(kind) or "").partition("Attributes:")[2]
    texts = {}
    for entry in re.split(r"\n    (?=\w[\w, ]*: )", block):
        names, _, text = entry.strip().partition(": ")
        for name in names.split(", "):
            texts[name] = re.sub(r"\s+", " ", text)
    return texts


def _meaning(texts: Mapping[str, str], name: str, hint: Any) -> str:
    text = texts.get(name, "")
    choices = [f"`{value}`" for value in get_args(hint)] if get_origin(hint) is Literal else []
    missing = [choice for choice in choices if choice not in text]
    if missing:
        text = f"{text} One of {', '.join(choices)}."
    return text.replace("None:", "null:").replace("|", "\\|").strip()


def _default(field: Field[Any]) -> str:
    value = field.default if field.default is not MISSING else field.default_factory()  # type: ignore[misc]
    if isinstance(value, tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    plain = {None: "null", True: "true", False: "false"}
    is_plain = value is None or isinstance(value, bool)
    return plain[value] if is_plain else str(value) or "''"


if __name__ == "__main__":
    print(page(), end="")
