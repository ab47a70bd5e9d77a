"""Shrunk images in one memory-mapped file, so that training does not decode them each epoch.

    bytes 0..8      b"AESGIMG1"
    bytes 8..16     where the index starts, little-endian
    then            images, uint8 [3, H, W], one after the other
    index           int64 [N, 7]: image id, start, H, W, height and width of the source, CRC-32
    end             SHA-256 (hex) of the images' names, sizes and times; of the index

Files are written atomically; a process that needs a file waits for the process that writes it. The
file is written again if the images (their names, sizes or times of change) or the short side differ
from those it was made of.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.data.images.decode import Pixels
from autoenc_sg.data.images.store import ImageStore
from autoenc_sg.visualization.progress import Reporter

_MAGIC = b"AESGIMG1"
_COLUMNS = 7
_DIGEST = 64
_HEAD = 16


class ImageCache:
    """A cache file, opened; see `open_cache`."""

    def __init__(self, path: Path) -> None:
        """Map the file and read its index.

        Raises:
            InputError: it is not such a file, or damaged.
        """
        self.path = path
        self.source, self._index = _read_index(path)
        self._rows = {image_id: row for row, image_id in enumerate(self._index[:, 0].tolist())}
        self._bytes: NDArray[np.uint8] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_bytes": None}

    def __len__(self) -> int:
        return len(self._index)

    def read(self, image_id: int) -> Pixels | None:
        """The image, or None if it could not be read when the cache was made.

        Raises:
            InputError: its bytes are not those that were written.
        """
        row = self._rows.get(image_id)
        if row is None:
            return None
        _, start, height, width, full_height, full_width, checksum = self._index[row].tolist()
        if self._bytes is None:
            self._bytes = np.memmap(self.path, np.uint8, "r")
        data = np.array(self._bytes[start : start + 3 * height * width])
        if zlib.crc32(data.data) != checksum:
            got = "damaged bytes; remove the file and it is made again"
            raise bad_input(f"{self.path} image {image_id}", "what was written", got)
        image = torch.from_numpy(data).reshape(3, height, width)
        return Pixels(image, (full_height, full_width))


def open_cache(path: Path, store: ImageStore, reporter: Reporter | None = None) -> ImageCache:
    """The cache of all images of the store; written if it is missing or outdated.

    Args:
        path: the file; a `.lock` file is made beside it.
        store: where the images are, and how small they are to be.
        reporter: gets the images done, as the stage "cache images".

    Raises:
        InputError: the file cannot be written.
    """
    source = _digest_of_images(store)
    if _is_current(path, source):
        return ImageCache(path)
    with _locked(path):
        if not _is_current(path, source):  # else another process wrote it
            _write(path, store, source, reporter or Reporter([("cache images", 1.0)]))
    return ImageCache(path)


def _digest_of_images(store: ImageStore) -> str:
    digest = hashlib.sha256(repr(("1", store.short_side)).encode())
    for image_id in sorted(store.places):
        digest.update(repr(store.stamp(image_id)).encode())
    return digest.hexdigest()


def _is_current(path: Path, source: str) -> bool:
    try:
        return _read_index(path)[0] == source
    except InputError:
        return False


def _read_index(path: Path) -> tuple[str, NDArray[np.int64]]:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            if len(head) < _HEAD or head[:8] != _MAGIC:
                raise bad_input(path, "a cache of images", "a file of another kind")
            start = struct.unpack("<Q", head[8:])[0]
            file.seek(min(start, path.stat().st_size))
            rest = file.read()
    except OSError as error:
        raise bad_input(path, "a cache of images", error.strerror or error) from None
    index, source, check = rest[: -2 * _DIGEST], rest[-2 * _DIGEST : -_DIGEST], rest[-_DIGEST:]
    whole = hashlib.sha256(index).hexdigest().encode() == check
    if not whole or len(index) % (8 * _COLUMNS):
        raise bad_input(path, "a whole cache of images", "a damaged one; remove it")
    return source.decode("ascii", "replace"), np.frombuffer(index, "<i8").reshape(-1, _COLUMNS)


def _write(path: Path, store: ImageStore, source: str, reporter: Reporter) -> None:
    rows = []
    with (
        replacing(path) as temporary,
        temporary.open("wb") as file,
        reporter.stage("cache images", len(store)),
    ):
        file.write(_MAGIC + bytes(8))
        for image_id, pixels in _decoded(store):
            reporter.advance()
            if pixels is None:  # the error is raised when the image is read
                continue
            data = pixels.image.contiguous().numpy().tobytes()
            size = (*pixels.image.shape[1:], *pixels.full_size)
            rows.append((image_id, file.tell(), *size, zlib.crc32(data)))
            file.write(data)
        start = file.tell()
        index = np.array(rows, dtype="<i8").reshape(-1, _COLUMNS).tobytes()
        file.write(index + source.encode() + hashlib.sha256(index).hexdigest().encode())
        file.seek(8)
        file.write(struct.pack("<Q", start))


def _decoded(store: ImageStore) -> Iterator[tuple[int, Pixels | None]]:
    """All images in order of their ids, by threads: decoders release the interpreter."""

    def decode(image_id: int) -> Pixels | None:
        try:
            return store.decode(image_id)
        except InputError:
            return None

    ids = iter(sorted(store.places))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while chunk := list(islice(ids, 64)):
            yield from zip(chunk, pool.map(decode, chunk))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the system frees the lock of one that dies.

    Without such locks (Windows) two processes may write the file; renaming keeps it whole.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    lock = path.with_name(f"{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    except OSError as error:
        raise bad_input(path, "a path that can be written", error.strerror or error) from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
