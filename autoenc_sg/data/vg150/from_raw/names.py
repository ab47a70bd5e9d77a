"""Names as Visual Genome's annotators typed them, to names as a vocabulary has them."""

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
        aliases: normalized name to the name that stands for it.
    """

    def __init__(self, aliases: Mapping[str, str]) -> None:
        self.names: list[str] = [""]
        self._aliases = aliases
        self._canonical: dict[str, int] = {"": 0}
        self._raw: dict[str, int] = {}

    def id(self, phrase: str) -> int:
        """The id of a phrase as typed."""
        found = self._raw.get(phrase)
        if found is None:
            found = self._raw[phrase] = self._new(phrase)
        return found

    def _new(self, phrase: str) -> int:
        name = normalized(phrase)
        name = self._aliases.get(name, name)
        found = self._canonical.setdefault(name, len(self.names))
        if found == len(self.names):
            self.names.append(name)
        return found


def read_aliases(path: Path) -> dict[str, str]:
    """An alias file: in each line names with commas between; the first stands for all.

    A first name that an earlier line explained stands for what it does there.

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
