"""Images side by side."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from autoenc_sg.core.errors import InputError
from autoenc_sg.visualization.composition import enlarged, side_by_side

RED, WHITE = (255, 0, 0), (255, 255, 255)


def four_pixels() -> Image.Image:
    """Red, black over black, white."""
    image = Image.new("RGB", (2, 2))
    image.putpixel((0, 0), RED)
    image.putpixel((1, 1), WHITE)
    return image


def test_side_by_side() -> None:
    row = side_by_side([Image.new("RGB", (200, 100), RED), torch.zeros(3, 200, 100)], gap=10)
    assert row.size == (400 + 100 + 30, 200 + 20)
    assert row.getpixel((30, 100)) == RED
    assert row.getpixel((450, 100)) == (0, 0, 0)
    assert row.getpixel((415, 100)) == WHITE
    titled = side_by_side([four_pixels(), four_pixels()], ["a photograph", "x" * 90], gap=4)
    assert titled.height > 128 + 8
    ink = np.asarray(titled.convert("L"))[4:14] < 128
    assert ink[:, : titled.width // 2].any()
    assert not ink[:, :4].any()


def test_side_by_side_refuses() -> None:
    with pytest.raises(InputError, match="expected one or more images, got none"):
        side_by_side([])
    with pytest.raises(InputError, match="titles: expected one for each of 1 images, got 2"):
        side_by_side([four_pixels()], ["a", "b"])


def test_whole_factors_repeat_pixels_and_others_blend() -> None:
    large = np.asarray(enlarged(four_pixels(), 3))
    assert large.shape == (6, 6, 3)
    assert (large[:3, :3] == RED).all()
    assert (large[3:, 3:] == WHITE).all()
    assert enlarged(four_pixels(), 2.5).size == (5, 5)
    assert enlarged(four_pixels(), 0.1).size == (1, 1)
