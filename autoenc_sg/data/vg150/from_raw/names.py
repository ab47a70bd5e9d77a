"""Normalizing the names that Visual Genome's annotators typed, and replacing aliases."""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import Path

from autoenc_sg.core.errors import bad_input

# vg_to_roidb.py, sentence_preprocess
_REPLACED = {
    "½": "half", "—": "-", "™": "", "¢": "cent", "ç": "c", "û": "u", "é": "e", "°": " degree",
    "è": "e", "…": "",
}  # fmt: skip
_TRANSLATION = str.maketrans({**dict.fromkeys(string.punctuation, ""), **_REPLACED, "—": ""})


def normalized(phrase: str) -> str:
    """Lower case, without outer blanks and ASCII punctuation, as vg_to_roidb.py does."""
    return phrase.strip(" ").lower().translate(_TRANSLATION)


class NameTable:
    """Ids of canonical names in order of appearance; id 0 is the empty name.

    Args:
        aliases: normalized alias to canonical name.
    """

    def __init__(self, aliases: Mapping[str, str]) -> None:
        self.names: list[str] = [""]
        self._aliases = aliases
        self._canonical: dict[str, int] = {"": 0}
        self._raw: dict[str, int] = {}

    def id(self, phrase: str) -> int:
        """The id of a phrase as typed."""
        name_id = self._raw.get(phrase)
        if name_id is None:
            name_id = self._raw[phrase] = self._new(phrase)
        return name_id

    def _new(self, phrase: str) -> int:
        name = normalized(phrase)
        name = self._aliases.get(name, name)
        name_id = self._canonical.setdefault(name, len(self.names))
        if name_id == len(self.names):
            self.names.append(name)
        return name_id


def read_aliases(path: Path) -> dict[str, str]:
    """An alias file: each line has comma-separated names, the first is their canonical name.

    A first name that is an alias in an earlier line is replaced as there.

    Raises:
        InputError: the file cannot be read.
    """
    aliases: dict[str, str] = {}
    for line in read_lines(path):
        names = [name.strip() for name in line.split(",")]
        target = aliases.get(names[0], names[0])
        aliases.update(dict.fromkeys(names, target))
    return aliases


def read_names(path: Path) -> tuple[str, ...]:
    """A list of names, one in each line (`object_list.txt`, `predicate_list.txt`).

    Raises:
        InputError: the file cannot be read, or is empty.
    """
    names = tuple(dict.fromkeys(line.strip() for line in read_lines(path)))
    if not names:
        raise bad_input(path, "a name in each line", "an empty file")
    return names


def read_lines(path: Path) -> list[str]:
    """The lines of a text file in UTF-8 that are not blank.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise bad_input(path, "a text file of names", error) from None
    return [line for line in text.splitlines() if line.strip()]
