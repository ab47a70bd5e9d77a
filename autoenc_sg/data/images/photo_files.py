"""Photos in a folder, whatever their names, each turned upright as it is read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from PIL import ExifTags, Image

from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.images import read_image
from autoenc_sg.data.images.decode import Pixels, shrunk, shrunk_size

logger = logging.getLogger(__name__)

_ON_THEIR_SIDE = (5, 6, 7, 8)  # EXIF orientations that swap height and width


def photo_files(folder: Path) -> list[Path]:
    """The image files in and below a folder, by their names; hidden ones are left out.

    Raises:
        InputError: there is none.
    """
    files = sorted(file for file in folder.rglob("*") if _is_image(file))
    if not files:
        raise bad_input(folder, "a folder with image files", "none in it")
    return files


def _is_image(file: Path) -> bool:
    hidden = file.name.startswith(".")
    return not hidden and file.suffix.lower() in Image.registered_extensions() and file.is_file()


class PhotoStore:
    """The photos of a folder by number, in the order of their names.

    A file whose header cannot be read is left out, which a warning says.

    Args:
        folder: photos lie in and below it.
        short_side: larger ones are shrunk to it, None: none are.

    Raises:
        InputError: no file in it is a readable image.
    """

    def __init__(self, folder: Path, short_side: int | None = None) -> None:
        files = photo_files(folder)
        sizes = [_upright_size(file) for file in files]
        readable = [(f, size) for f, size in zip(files, sizes) if size is not None]
        if not readable:
            got = f"{len(files)} files, none of them readable"
            raise bad_input(folder, "a folder with readable photos", got)
        _warn(folder, [file for file, size in zip(files, sizes) if size is None])
        self.files, self.sizes = zip(*readable)
        self.short_side = short_side

    def __len__(self) -> int:
        return len(self.files)

    def size(self, number: int) -> ImageSize:
        """Height and width, upright, before it is shrunk."""
        size: ImageSize = self.sizes[number]
        return size

    def read(self, number: int) -> Pixels:
        """The photo's pixels.

        Raises:
            InputError: it is missing or damaged.
        """
        image = read_image(self.files[number])
        full = (image.shape[1], image.shape[2])
        return Pixels(shrunk(image, shrunk_size(full, self.short_side)), full)


def _upright_size(file: Path) -> ImageSize | None:
    """(height, width), or None of a file that Pillow does not read."""
    try:
        with Image.open(file) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation) in _ON_THEIR_SIDE
            height, width = image.height, image.width
    except Exception:  # Pillow raises what it likes
        return None
    return (width, height) if turned else (height, width)


def _warn(folder: Path, unreadable: Sequence[Path]) -> None:
    if unreadable:
        examples = ", ".join(file.name for file in unreadable[:3])
        more = ", …" if len(unreadable) > 3 else ""
        message = "%s: %d files are no readable photos and are left out (%s%s)"
        logger.warning(message, folder, len(unreadable), examples, more)
