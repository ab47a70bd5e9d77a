"""Which files a data set may read: those in its folder, unless the user allows others."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from autoenc_sg.core.errors import bad_input

_EXPECTED = "a file in the data set's folder (data.allow_outside, --allow-outside read others too)"


class ReadableFolders:
    """The folders that a data set's files have to lie in, links followed.

    Annotations come from elsewhere: `..`, absolute names and links in them would read any file.

    Args:
        folders: the data set's, and those that the user names; None: any file is read.
    """

    def __init__(self, folders: Iterable[Path | str] | None) -> None:
        self._folders = None if folders is None else tuple(map(os.path.realpath, folders))
        self._parents: dict[str, str] = {}

    def check(self, path: Path | str, where: object) -> None:
        """Nothing, for a path in these folders, whether there is a file or not.

        Raises:
            InputError: it is not in them.
        """
        if self._folders is None:
            return
        resolved = self._resolved(os.fspath(path))
        if not any(_is_within(resolved, folder) for folder in self._folders):
            raise bad_input(where, _EXPECTED, repr(os.fspath(path)))

    def image_files(self, folder: Path, names: Mapping[int, str], where: object) -> dict[int, str]:
        """The paths of the images that are there, by id.

        Args:
            folder: the names are relative to it.
            names: file names by image id; backslashes count as slashes, blanks around are left out.
            where: the annotation file, for messages.

        Raises:
            InputError: a name leads out of these folders.
        """
        paths = {}
        for image_id, name in names.items():
            path = image_path(folder, name)
            if "\0" in path:
                continue
            self.check(path, f"{where} image {image_id}")
            if os.path.isfile(path):  # noqa: PTH113 (100,000 times)
                paths[image_id] = path
        return paths

    def _resolved(self, path: str) -> str:
        """The path without links; those of its parent are looked up once."""
        try:
            parent, name = os.path.split(path)
            if parent not in self._parents:
                self._parents[parent] = os.path.realpath(parent)
            resolved = os.path.join(self._parents[parent], name)  # noqa: PTH118
            is_plain = name not in ("", ".", "..") and not os.path.islink(resolved)  # noqa: PTH114
            return resolved if is_plain else os.path.realpath(resolved)
        except ValueError:  # lone surrogates: no such file
            return os.path.normpath(path)


def image_path(folder: Path, name: str) -> str:
    """The path of an annotated image's name, written on any system."""
    plain = os.path.join(folder, name)  # noqa: PTH118
    if "\\" not in name and name == name.strip():
        return plain
    return plain if _is_file(plain) else os.path.join(folder, name.strip().replace("\\", "/"))  # noqa: PTH118


def _is_file(path: str) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 (false for names that no file can have)


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
