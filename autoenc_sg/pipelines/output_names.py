"""Names of output files or folders, one an input file: unique, and inside the output folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def output_names(files: Sequence[Path]) -> list[str]:
    """A name for what comes of each file: its stem, or its stem with a number.

    No two are equal, also where upper case does not count; a number is never one that makes the
    stem of another file. A stem that is no name (`..`) becomes `file`.

    Example:
        >>> output_names([Path("a/cat.jpg"), Path("b/cat.jpg"), Path("cat-2.jpg")])
        ['cat', 'cat-3', 'cat-2']
    """
    stems = [_stem(file) for file in files]
    reserved = {stem.lower() for stem in stems}
    taken: set[str] = set()
    names = []
    for stem in stems:
        name, number = stem, 1
        while name.lower() in taken or (number > 1 and name.lower() in reserved):
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.lower())
        names.append(name)
    return names


def _stem(file: Path) -> str:
    return file.stem if file.stem.strip(". ") else "file"
