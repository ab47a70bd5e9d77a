"""Files appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autoenc_sg.errors import bad_input


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """A temporary path beside `path` (same suffix), moved onto it when the block ends well.

    Missing folders are made. If the block raises, nothing is left behind and an older file at
    `path` stays as it was.

    Raises:
        InputError: the operating system refuses to write there.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(6)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)  # noqa: PTH105 (the documented atomic one)
    except OSError as error:
        raise bad_input(path, "a path that can be written", error.strerror or error) from error
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # its folder is not one, or not ours: then nothing was written either
        return
