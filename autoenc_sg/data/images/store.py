"""A data set's images by id: in folders, in zip files (read in place) or in `imdb_1024.h5`."""

from __future__ import annotations

import io
import logging
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import h5py
import numpy as np
import torch

from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.errors import bad_input
from autoenc_sg.data.h5_files import H5_ERRORS, missing_names, read_arrays
from autoenc_sg.data.images.decode import (
    MAX_FILE_BYTES,
    Pixels,
    decode_pixels,
    image_file_size,
    read_pixels,
    shrunk,
    shrunk_size,
)
from autoenc_sg.data.images.readable import ReadableFolders

logger = logging.getLogger(__name__)

FOLDERS = ("VG_100K", "VG_100K_2", "images", "")
_TABLES = {  # of an h5 of images
    "images": np.uint8,
    "image_ids": np.integer,
    "image_heights": np.integer,
    "image_widths": np.integer,
}
_ZIP_ERRORS = (  # what zipfile raises where an archive is damaged, encrypted, or of a newer kind
    LookupError,
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
_IMAGE_NAME = re.compile(r"(?:^|[/\\])(\d{1,18})\.(?:jpg|jpeg|png)$", re.IGNORECASE)


class Place(NamedTuple):
    """Where an image is: a path; or a container (zip or h5) and a name or row in it."""

    member: str
    container: str | None = None

    def __str__(self) -> str:
        return self.member if self.container is None else f"{self.container}:{self.member}"


class PixelCache(Protocol):
    """Shrunk images that were decoded before; see `cache`."""

    def read(self, image_id: int) -> Pixels | None:
        """The image, or None if it is not in the cache."""


class ImageStore:
    """Images by id; safe to send to loader processes, each of which opens containers itself.

    Args:
        places: where each image is.
        short_side: larger images are shrunk to it, None: none are.
        cache: read first, or None.

    Attributes:
        missing_ids: annotated images without a file, as far as `available` has checked.
    """

    def __init__(
        self,
        places: Mapping[int, Place],
        short_side: int | None = None,
        cache: PixelCache | None = None,
    ) -> None:
        self.places = places
        self.short_side = short_side
        self.cache = cache
        self.missing_ids: set[int] = set()
        self._open: dict[tuple[int, str], Any] = {}  # by process: forks must not share handles

    def __contains__(self, image_id: object) -> bool:
        return image_id in self.places

    def __len__(self) -> int:
        return len(self.places)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def name(self, image_id: int) -> str:
        """The image's place, for messages."""
        place = self.places.get(image_id)
        return f"image {image_id}" if place is None else str(place)

    def read(self, image_id: int) -> Pixels:
        """The image's pixels.

        Raises:
            InputError: the image is missing or unreadable.
        """
        cached = None if self.cache is None else self.cache.read(image_id)
        return self.decode(image_id) if cached is None else cached

    def decode(self, image_id: int) -> Pixels:
        """`read` past the cache."""
        place = self._place(image_id)
        if place.container is None:
            return read_pixels(Path(place.member), self.short_side)
        if place.container.endswith(".h5"):
            return self._from_h5(place)
        return decode_pixels(self._zip_bytes(place), place, self.short_side)

    def size(self, image_id: int) -> ImageSize:
        """Height and width of the stored image; no pixels are decoded.

        Raises:
            InputError: the image is missing or unreadable.
        """
        place = self._place(image_id)
        if place.container is not None and place.container.endswith(".h5"):
            return self._h5_size(place)
        try:
            path = Path(place.member)
            return image_file_size(
                path if place.container is None else io.BytesIO(self._zip_bytes(place))
            )
        except FileNotFoundError:
            raise bad_input(place, "a readable image file", "no such file") from None
        except Exception as error:  # Pillow raises what it likes
            raise bad_input(place, "a readable image file", error or type(error)) from None

    def stamp(self, image_id: int) -> tuple[int, str, int, int]:
        """Id, place, size in bytes and time of change in ns; they change with the image."""
        place = self.places[image_id]
        try:
            state = os.stat(place.container or place.member)  # noqa: PTH116 (100,000 times)
        except OSError:
            return image_id, str(place), -1, -1
        return image_id, str(place), state.st_size, state.st_mtime_ns

    def _place(self, image_id: int) -> Place:
        place = self.places.get(image_id)
        if place is None:
            got = "no such file" if self.places else "no images at all"
            raise bad_input(f"image {image_id}", "an image file in the data set", got)
        return place

    def _container(self, path: str) -> Any:
        key = (os.getpid(), path)
        if key not in self._open:
            self._open[key] = _open_container(Path(path))
        return self._open[key]

    def _zip_bytes(self, place: Place) -> bytes:
        container = self._container(str(place.container))
        try:
            size = container.getinfo(place.member).file_size
            if size > MAX_FILE_BYTES:
                raise bad_input(place, f"an image file of at most {MAX_FILE_BYTES} bytes", size)
            data: bytes = container.read(place.member)
        except _ZIP_ERRORS as error:
            raise bad_input(place, "a readable image file", error) from None
        return data

    def _h5_size(self, place: Place) -> ImageSize:
        file, row = self._container(str(place.container)), int(place.member)
        largest = file["images"].shape[2:]
        try:
            size = int(file["image_heights"][row]), int(file["image_widths"][row])
        except H5_ERRORS as error:
            raise bad_input(place, "a readable image", error) from None
        if not all(1 <= side <= limit for side, limit in zip(size, largest)):
            raise bad_input(
                place, f"an image within {largest[1]} x {largest[0]} pixels", size[::-1]
            )
        return size

    def _from_h5(self, place: Place) -> Pixels:
        height, width = self._h5_size(place)
        try:
            planes = self._container(str(place.container))["images"][
                int(place.member), :, :height, :width
            ]
        except H5_ERRORS as error:
            raise bad_input(place, "a readable image", error) from None
        image = torch.from_numpy(np.ascontiguousarray(planes[::-1]))  # stored BGR
        size = shrunk_size((height, width), self.short_side)
        return Pixels(shrunk(image, size), (height, width))


def places_of(files: Mapping[int, str]) -> dict[int, Place]:
    """The places of image files, by id."""
    return {image_id: Place(path) for image_id, path in files.items()}


def find_images(
    root: Path, images: Path | None = None, readable: ReadableFolders | None = None
) -> dict[int, Place]:
    """Images named by their ids (`2343729.jpg`).

    Looked for in the folders `VG_100K`, `VG_100K_2`, `images` and `root` itself, then in the zip
    files of `root`, then in its `imdb_*.h5`; the first place of an id counts.

    Args:
        root: folder of the data set.
        images: look only in this folder, zip or h5.
        readable: the folders to read images from; None: `root` and `images`.

    Raises:
        InputError: `images` does not exist, a container is damaged, or a link leads out of the
            readable folders.
    """
    readable = readable or ReadableFolders([root, *([images] if images else [])])
    if images is not None and not images.exists():
        raise bad_input(images, "a folder, zip or h5 of images", "nothing there")
    places: dict[int, Place] = {}
    for part in _parts(root) if images is None else [images]:
        readable.check(part, part)
        for image_id, place in _list_images(part, readable):
            places.setdefault(image_id, place)
    return places


def available(ids: Iterable[int], store: ImageStore, what: object) -> list[bool]:
    """Which images the store has; all are taken if it is empty (a data set of graphs alone).

    Missing ones are logged and added to `store.missing_ids`.
    """
    image_ids = list(ids)
    if not len(store):
        return [True] * len(image_ids)
    present = [image_id in store for image_id in image_ids]
    missing = [image_id for image_id, is_present in zip(image_ids, present) if not is_present]
    store.missing_ids.update(missing)
    if missing:
        examples = ", ".join(map(str, missing[:5])) + (", …" if len(missing) > 5 else "")
        logger.warning(
            "%s: %d of %d images are missing and left out (%s)",
            what, len(missing), len(image_ids), examples,
        )  # fmt: skip
    return present


def _parts(root: Path) -> list[Path]:
    folders = [root / name for name in FOLDERS if (root / name).is_dir()]
    return [*folders, *sorted(root.glob("*.zip")), *sorted(root.glob("imdb_*.h5"))]


def _list_images(part: Path, readable: ReadableFolders) -> Iterator[tuple[int, Place]]:
    if part.is_dir():
        with os.scandir(part) as entries:
            members = [(entry.name, entry.path, entry.is_symlink()) for entry in entries]
        for name, path, is_link in members:
            if is_link and _IMAGE_NAME.search(name):
                readable.check(path, path)
        yield from _with_ids((name, Place(path)) for name, path, _ in sorted(members))
    elif part.suffix == ".h5":
        _open_container(part).close()  # its form is checked
        ids = read_arrays(part, ["image_ids"], "an h5 of images")["image_ids"]
        yield from ((i, Place(str(row), str(part))) for row, i in enumerate(ids.tolist()))
    else:
        with _open_container(part) as archive:
            names = archive.namelist()
        yield from _with_ids((name, Place(name, str(part))) for name in names)


def _with_ids(members: Iterable[tuple[str, Place]]) -> Iterator[tuple[int, Place]]:
    for name, place in members:
        match = _IMAGE_NAME.search(name)
        if match:
            yield int(match[1]), place


def _open_container(path: Path) -> Any:
    """A zip, or an h5 whose tables have the right form."""
    try:
        if path.suffix != ".h5":
            return zipfile.ZipFile(path)
        file = h5py.File(path, "r")
        missing = missing_names(file, list(_TABLES))
        names = sorted(map(str, file))
    except (zipfile.BadZipFile, *H5_ERRORS) as error:
        raise bad_input(path, "a whole h5 or zip of images", error) from None
    if missing:
        raise bad_input(path, f"a data set {missing[0]!r}", f"only {names}")
    _check_tables(path, file)
    return file


def _check_tables(path: Path, file: h5py.File) -> None:
    """Check that an h5 of images has `images [N, 3, H, W]`, and `[N]` numbers in the others."""
    shape = file["images"].shape
    for name, kind in _TABLES.items():
        table = file[name]
        if name == "images":
            good, expected_shape = len(shape) == 4 and shape[1] == 3, "[images, 3, height, width]"
        else:
            good, expected_shape = table.shape == shape[:1], str(list(shape[:1]))
        if not good or not np.issubdtype(table.dtype, kind):
            expected, got = (
                f"{kind.__name__} of shape {expected_shape}",
                f"{table.dtype} {list(table.shape)}",
            )
            raise bad_input(f"{path} {name!r}", expected, got)
