"""Photos as the backbone reads them: decoded, normalized, resized, padded."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from autoenc_sg.core.errors import bad_input
from autoenc_sg.onnx_runtime.description import Pixels

Array = NDArray[Any]
Photo = str | Path | Image.Image | Array


def read_photo(photo: Photo) -> Array:
    """A photo as `[H, W, 3]` uint8, or the float array that was passed in.

    Args:
        photo: a path or a PIL image (8 bits a channel, EXIF orientation applied, transparency on
            white), or an array `[H, W, 3]`, RGB, uint8 or float in [0, 1].

    Raises:
        InputError: another kind or shape, or a file that cannot be read.
    """
    if isinstance(photo, (str, Path)):
        try:
            with Image.open(photo) as image:
                return _pixels(image)
        except Exception as error:  # Pillow's decoders raise what they like on broken files
            raise bad_input(photo, "an image file", error or type(error).__name__) from error
    if isinstance(photo, Image.Image):
        return _pixels(photo)
    shape: tuple[int, ...] = getattr(photo, "shape", ())
    if len(shape) != 3 or shape[2] != 3 or 0 in shape:
        got = list(shape) or type(photo).__name__
        raise bad_input("photo", "a path, a PIL image or an array [H, W, 3]", got)
    return photo


def network_input(photo: Array, pixels: Pixels) -> tuple[Array, tuple[int, int]]:
    """A photo `[H, W, 3]` as `[1, 3, H', W']` float32, and the (height, width) without padding."""
    image = as_float(photo)
    mean, std = (np.array(values, np.float32) for values in (pixels.mean, pixels.std))
    image = ((image - mean) / std).transpose(2, 0, 1)
    sides = image.shape[1:]
    scale = min(pixels.min_size / min(sides), pixels.max_size / max(sides))
    height, width = (math.floor(side * scale) for side in sides)
    image = _resized(_resized(image, height, 1), width, 2)
    padded = [math.ceil(side / pixels.divisor) * pixels.divisor for side in (height, width)]
    batch = np.zeros((1, 3, *padded), np.float32)
    batch[0, :, :height, :width] = image
    return batch, (height, width)


def as_float(photo: Array) -> Array:
    """A photo, uint8 or float in [0, 1], as float32 in [0, 1]."""
    values = photo.astype(np.float32)
    return values / np.float32(255) if photo.dtype == np.uint8 else values


def mean_colors(photo: Array, parts: int) -> Array:
    """Mean RGB of G x G parts of a photo `[H, W, 3]`: `[1, 3, G, G]`, in [-1, 1]."""
    means = _means(_means(as_float(photo), parts, 0), parts, 1)
    return (means * 2 - 1).transpose(2, 0, 1)[None].astype(np.float32)


def _means(image: Array, parts: int, axis: int) -> Array:
    """Means of parts along one axis, which overlap by a pixel where they do not divide it."""
    side = image.shape[axis]
    edges = [(i * side // parts, -(-(i + 1) * side // parts)) for i in range(parts)]
    means = [image.take(range(low, high), axis).mean(axis) for low, high in edges]
    return np.stack(means, axis)


def _resized(image: Array, size: int, axis: int) -> Array:
    """Bilinear along one axis, without antialiasing, as the detector's transform resizes."""
    old = image.shape[axis]
    if old == size:
        return image
    place = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(old / size)
    place = np.maximum(place - np.float32(0.5), 0)
    first = np.minimum(place.astype(np.int64), old - 1)
    second = np.minimum(first + 1, old - 1)
    shape = [1, 1, 1]
    shape[axis] = size
    share = (place - first).astype(np.float32).reshape(shape)
    mixed: Array = image.take(first, axis) * (1 - share) + image.take(second, axis) * share
    return mixed


def _pixels(image: Image.Image) -> Array:
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "F" or upright.mode.startswith("I"):
        raise bad_input("photo", "8 bits a channel", f"mode {upright.mode}")
    if upright.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in upright.info:
        white = Image.new("RGBA", upright.size, (255, 255, 255))
        upright = Image.alpha_composite(white, upright.convert("RGBA"))
    return np.array(upright.convert("RGB"))
