"""Decoding a data set's image files, by torchvision where it can, else by Pillow."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.core.images import from_pil

MAX_FILE_BYTES = 1 << 29  # an image of the most pixels, four channels of 8 bits, has 358 million
_DRAFT = 4  # a JPEG that is to shrink by this is decoded at less than its size


class Pixels(NamedTuple):
    """An image `[3, H, W]` uint8 RGB, and (height, width) of the file before it was shrunk."""

    image: Tensor
    full_size: ImageSize


def read_pixels(path: Path, short_side: int | None = None) -> Pixels:
    """An image as stored: its EXIF orientation is ignored, as annotations do.

    Args:
        path: any file that Pillow reads; of an animation the first frame.
        short_side: larger images are shrunk to it (antialiased), None: none are.

    Raises:
        InputError: the file is missing, not a readable image, or has more pixels than
            `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise bad_input(path, f"an image file of at most {MAX_FILE_BYTES} bytes", size)
        data = path.read_bytes()
    except FileNotFoundError:
        raise bad_input(path, "a readable image file", "no such file") from None
    except OSError as error:
        raise bad_input(path, "a readable image file", error.strerror or error) from None
    return decode_pixels(data, path, short_side)


def decode_pixels(data: bytes, name: object, short_side: int | None = None) -> Pixels:
    """`read_pixels` of a file's content; `name` stands in error messages."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            full = (image.height, image.width)
            if full[0] * full[1] > (Image.MAX_IMAGE_PIXELS or math.inf):
                raise Image.DecompressionBombError  # Pillow's own comes at twice as many
            size = shrunk_size(full, short_side)
            is_plain = image.format == "JPEG" and image.mode in ("RGB", "L")
            if is_plain and min(full) >= _DRAFT * min(size):
                image.draft(image.mode, (size[1], size[0]))
                is_plain = False
            decoded = _decode_jpeg(data) if is_plain else None
            pixels = from_pil(image) if decoded is None else decoded
    except Image.DecompressionBombError:
        most = f"an image of at most {Image.MAX_IMAGE_PIXELS} pixels"
        raise bad_input(name, most, "a larger one") from None
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    except UnidentifiedImageError:
        raise bad_input(name, "a readable image file", "a file of another kind") from None
    except Exception as error:  # Pillow's decoders raise any exception on damaged files
        raise bad_input(name, "a readable image file", error or type(error).__name__) from error
    return Pixels(shrunk(pixels, size), full)


def image_file_size(data: Path | io.BytesIO) -> ImageSize:
    """Height and width by the file's header alone; raises what Pillow raises."""
    with Image.open(data) as image:
        return image.height, image.width


def shrunk_size(size: ImageSize, short_side: int | None) -> ImageSize:
    """`size` with its short side at most `short_side`; the other one keeps the aspect, rounded."""
    least = min(size)
    if short_side is None or least <= short_side:
        return size
    height, width = (max(1, round(side * short_side / least)) for side in size)
    return height, width


def shrunk(image: Tensor, size: ImageSize) -> Tensor:
    """`[3, H, W]` uint8 at another size, antialiased."""
    if image.shape[1:] == torch.Size(size):
        return image
    return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]


def _decode_jpeg(data: bytes) -> Tensor | None:
    """By torchvision, which needs no transposing; None if it fails (Pillow has better errors)."""
    decoder = _jpeg_decoder()
    if decoder is None:
        return None
    try:
        return decoder(torch.from_numpy(np.frombuffer(data, np.uint8).copy()))
    except RuntimeError:
        return None


@cache
def _jpeg_decoder() -> Callable[[Tensor], Tensor] | None:
    try:
        from torchvision.io import ImageReadMode, decode_jpeg
    except ImportError:  # deprecated in torchvision
        return None
    return lambda data: decode_jpeg(data, mode=ImageReadMode.RGB)
