"""Image files of every kind that people have."""

from __future__ import annotations

import io
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from autoenc_sg.core.images import read_image
from autoenc_sg.data.images.decode import read_pixels
from tests.support.mutations import mutated_binary

# Orientation 6: to be shown turned by 90 degrees.
EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
KINDS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("JPEG", "RGB", {}),
    ("JPEG", "RGB", {"progressive": True, "exif": EXIF}),
    ("JPEG", "L", {}),
    ("JPEG", "CMYK", {}),
    ("PNG", "RGB", {}),
    ("PNG", "RGBA", {}),
    ("PNG", "LA", {}),
    ("PNG", "P", {"transparency": 3}),
    ("PNG", "I;16", {}),
    ("PNG", "1", {}),
    ("PNG", "RGB", {"save_all": True}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"lossless": True}),
    ("WEBP", "RGB", {"save_all": True}),
    ("GIF", "P", {"save_all": True}),
    ("BMP", "RGB", {}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "I;16", {}),
    ("TIFF", "CMYK", {"compression": "jpeg"}),
    ("PPM", "RGB", {}),
    ("ICO", "RGBA", {}),
    ("JPEG2000", "RGB", {}),
    ("TGA", "RGB", {"compression": "tga_rle"}),
)  # fmt: skip
SIDES = (0, 1, 7, 40, 3000, 9000, 20_000, 65_535, 2**31 - 1)


class ImageFiles:
    """A small picture in each format, mode and compression, read as photo and as data set image."""

    def __init__(self, root: Path) -> None:
        self.path = root / "image"
        noise = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
        self.files = [_encoded(Image.fromarray(noise), *kind) for kind in KINDS]

    def turn(self, rng: random.Random) -> None:
        data = rng.choice(self.files)
        if data[:4] == b"\x89PNG" and rng.random() < 0.4:
            data = png_of_size(data, rng.choice(SIDES), rng.choice(SIDES))
        else:
            data = mutated_binary(data, rng)
        self.path.write_bytes(data)
        if rng.random() < 0.5:
            pixels = read_pixels(self.path, rng.choice((None, 16))).image
        else:
            pixels = read_image(self.path)
        assert pixels.shape[0] == 3
        assert 0 not in pixels.shape


def _encoded(picture: Image.Image, kind: str, mode: str, options: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    else:
        picture = picture.convert(mode)
    if options.get("save_all"):
        options = {**options, "append_images": [picture.transpose(Image.Transpose.ROTATE_180)]}
    picture.save(stream, kind, **options)
    return stream.getvalue()


def png_of_size(data: bytes, width: int, height: int) -> bytes:
    """A PNG whose header states another size, with the header's right checksum."""
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
