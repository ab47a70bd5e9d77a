"""Images at the public API: files, PIL and NumPy images, and tensors.

Inside, an image is a float tensor `[3, H, W]` (batches `[B, 3, H, W]`), RGB in [0, 1].
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from torch import Tensor
from torch.nn import functional as F

from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.errors import InputError, bad_input

ImageLike = Image.Image | NDArray[Any] | Tensor
ImageSource = ImageLike | Path | str

# Mean and standard deviation of ImageNet's pixels, RGB in [0, 1].
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_ROUNDING = 1e-3  # tolerance for rounding errors of resampling; a wrong scale exceeds it by far
_WHITE = (255, 255, 255)
_TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")
_ROWS = 256  # converted at once, so that the largest images take no more than 1 GB


def read_image(path: Path | str) -> Tensor:
    """An image file as `[3, H, W]` uint8 RGB: EXIF orientation applied, on white, first frame.

    Raises:
        InputError: the file is missing, a folder, empty, truncated, not an image, has more pixels
            than `PIL.Image.MAX_IMAGE_PIXELS`, or holds floating-point pixels.
    """
    path = Path(path)
    if not path.is_file():
        got = "a folder" if path.is_dir() else "no file there"
        raise bad_input(path, "an image file", got)
    if path.stat().st_size == 0:
        raise bad_input(path, "an image file", "an empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                ImageOps.exif_transpose(image, in_place=True)
                return from_pil(image)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = f"an image of at most {Image.MAX_IMAGE_PIXELS} pixels"
        raise bad_input(path, limit, "a larger one") from error
    except UnidentifiedImageError as error:
        raise bad_input(path, "an image file", "a file of another kind") from error
    except Exception as error:  # Pillow's decoders raise what they like on broken files
        got = f"one that cannot be decoded ({error or type(error).__name__})"
        raise bad_input(path, "a whole image file", got) from error


def from_pil(image: Image.Image) -> Tensor:
    """A PIL image of any mode as `[3, H, W]` uint8 RGB; transparent pixels on white.

    EXIF orientation is not applied here, but in `read_image`.

    Raises:
        InputError: the image has floating-point pixels, whose range is unknown.
    """
    return torch.from_numpy(np.array(_rgb(image))).permute(2, 0, 1).contiguous()


def to_pil(image: Tensor) -> Image.Image:
    """`[3, H, W]` uint8, or float that is clamped to [0, 1], as an RGB PIL image.

    Raises:
        InputError: another shape or type, or a pixel that is not a number.
    """
    _check_tensor(image)
    pixels = image.detach()
    if pixels.is_floating_point():
        if not pixels.isfinite().all():
            raise bad_input("image", "finite pixels", "NaN or infinity")
        pixels = (pixels.float().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())


def as_tensor(image: ImageSource) -> Tensor:
    """An image of any supported type as float32 `[3, H, W]` in [0, 1]; a tensor keeps its device.

    Args:
        image: a path, read as by `read_image`; a PIL image, turned upright by its EXIF orientation
            as a file is; an array `[H, W, 3]` or a tensor `[3, H, W]`, RGB, uint8 in 0..255 or
            float in [0, 1].

    Raises:
        InputError: another kind, shape, type or range, or a file that cannot be read.
    """
    if isinstance(image, (str, Path)):
        image = read_image(image)
    elif isinstance(image, Image.Image):
        image = _upright(image)
    elif isinstance(image, np.ndarray):
        image = _from_array(image)
    elif not isinstance(image, Tensor):
        raise bad_input("image", "a path, a PIL image, an array or a tensor", type(image).__name__)
    _check_tensor(image)
    if not image.is_floating_point():
        return as_float(image)
    low, high = float(image.min()), float(image.max())
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
        raise bad_input("float image", "values in [0, 1]", f"{low:g}..{high:g}")
    return image.float().clamp(0, 1)


def save_image(
    path: Path | str, image: Image.Image | Tensor, text: Mapping[str, str] | None = None
) -> None:
    """Write an image as RGB in the format of the file name's suffix, atomically.

    Args:
        path: where to.
        image: a PIL image, or a tensor as in `to_pil`.
        text: metadata in ASCII, written to PNG files only.

    Raises:
        InputError: the suffix is not that of an image format, or the path cannot be written.
    """
    rgb = to_pil(image) if isinstance(image, Tensor) else _rgb(image)
    suffix = Path(path).suffix.lower()
    if Image.registered_extensions().get(suffix) not in Image.SAVE:
        raise bad_input(path, "a name that ends in .png, .jpg or the like", repr(suffix))
    with replacing(path) as temporary:
        rgb.save(temporary, pnginfo=_png_text(text or {}))


def _png_text(text: Mapping[str, str]) -> PngInfo:
    info = PngInfo()
    for key, value in text.items():
        info.add_text(key, value)
    return info


def as_float(image: Tensor) -> Tensor:
    """An image `[3, H, W]`, uint8 or float in [0, 1], as float in [0, 1]."""
    return image.float() / 255 if image.dtype == torch.uint8 else image


def target_images(images: Sequence[Tensor], size: int) -> Tensor:
    """The generator's training targets: `[B, 3, size, size]` in [0, 1].

    `images` are `[3, H, W]` of any sizes, uint8 or float in [0, 1].
    """
    return torch.stack([resize_square(as_float(image), size) for image in images])


def resize_square(images: Tensor, size: int) -> Tensor:
    """Resize `[..., 3, H, W]` float images to `[..., 3, size, size]`, ignoring their aspect ratio.

    Antialiased bilinear, as sg2im's data sets do through PIL; differentiable.
    """
    lead, last = images.shape[:-3], images.shape[-3:]
    if images.shape[-2:] == (size, size):
        return images
    if 0 in lead:
        return images.new_empty(*lead, last[0], size, size)
    flat = images.reshape(-1, *last)
    small = F.interpolate(flat, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return small.reshape(*lead, last[0], size, size)


def _rgb(image: Image.Image) -> Image.Image:
    """RGB on white, converted by rows; the image itself if it is RGB."""
    if image.mode == "F":
        raise bad_input("image", "8 or 16 bits a channel", "floating-point pixels")
    is_transparent = image.mode in _TRANSPARENT or "transparency" in image.info
    if image.mode == "RGB" and not is_transparent:
        return image
    if not is_transparent and not image.mode.startswith("I"):
        return image.convert("RGB")
    convert = _on_white if is_transparent and not image.mode.startswith("I") else _eight_bits
    rgb = Image.new("RGB", image.size)
    for top in range(0, image.height, _ROWS):
        box = (0, top, image.width, min(image.height, top + _ROWS))
        rgb.paste(convert(image.crop(box)), box)
    return rgb


def _on_white(image: Image.Image) -> Image.Image:
    front = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), front).convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Of 16 bits, rounded; Pillow's own conversion would clip them at 255."""
    wide = np.asarray(image).clip(0, 65535).astype(np.uint32)
    wide += 128
    wide //= 257
    return Image.fromarray(wide.astype(np.uint8)).convert("RGB")


def _upright(image: Image.Image) -> Tensor:
    """A user's PIL image, which may read its file only now."""
    try:
        return from_pil(ImageOps.exif_transpose(image))
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise what they like on broken files
        got = f"one that cannot be decoded ({error or type(error).__name__})"
        raise bad_input("image", "a whole PIL image", got) from error


def _from_array(array: NDArray[Any]) -> Tensor:
    if array.ndim != 3 or array.shape[2] != 3:
        raise bad_input("image array", "shape [H, W, 3]", list(array.shape))
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise bad_input("image array", "uint8 or float", array.dtype)
    plain = array if array.dtype == np.uint8 else array.astype(np.float32)
    return torch.from_numpy(np.array(plain)).permute(2, 0, 1)


def _check_tensor(image: Tensor) -> None:
    if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise bad_input("image tensor", "shape [3, H, W]", list(image.shape))
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise bad_input("image tensor", "uint8 or float", image.dtype)
