"""Images put side by side with titles, and the font that all figures share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.images import to_pil

_WHITE = (255, 255, 255)


def side_by_side(
    images: Sequence[Image.Image | Tensor], titles: Sequence[str] = (), gap: int = 12
) -> Image.Image:
    """Images in a row on white, each at the height of the tallest, with a title above each.

    Args:
        images: one or more; tensors as in `to_pil`.
        titles: none, or one for each image; made smaller where they are wider than their image.
        gap: pixels between the images and around them.

    Raises:
        InputError: no image, or another number of titles than of images.
    """
    if not images:
        raise bad_input("side_by_side", "one or more images", "none")
    if titles and len(titles) != len(images):
        raise bad_input("titles", f"one for each of {len(images)} images", len(titles))
    pictures = [to_pil(image) if isinstance(image, Tensor) else image for image in images]
    height = max(128, *(picture.height for picture in pictures))
    pictures = [enlarged(picture, height / picture.height) for picture in pictures]
    line = round(0.09 * height) if titles else 0
    row = Image.new(
        "RGB",
        (sum(p.width for p in pictures) + gap * (len(pictures) + 1), height + line + 2 * gap),
        _WHITE,
    )
    left = gap
    for i, picture in enumerate(pictures):
        if titles:
            middle = (left + picture.width / 2, gap + line / 2)
            _write_centred(row, titles[i], middle, picture.width, line)
        row.paste(picture, (left, gap + line))
        left += picture.width + gap
    return row


def enlarged(image: Image.Image, factor: float) -> Image.Image:
    """The image scaled by `factor`, RGB; whole factors repeat the pixels, so they stay sharp."""
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    method = Image.Resampling.NEAREST if float(factor).is_integer() else Image.Resampling.BICUBIC
    return image.convert("RGB").resize(size, method)


@lru_cache(maxsize=64)
def text_font(pixels: int) -> ImageFont.FreeTypeFont:
    """The font of all figures, DejaVu Sans, which comes with matplotlib."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), pixels)


def _write_centred(
    picture: Image.Image, text: str, middle: tuple[float, float], width: float, line: int
) -> None:
    """Write one line of text around `middle`, as large as fits in `width` and the line's height."""
    size = max(6, round(0.7 * line))
    while size > 6 and text_font(size).getlength(text) > width:
        size -= 1
    draw = ImageDraw.Draw(picture)
    draw.text(middle, text, font=text_font(size), fill=(32, 32, 32), anchor="mm")
