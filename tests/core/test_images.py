from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.images import (
    as_float,
    as_tensor,
    from_pil,
    read_image,
    resize_square,
    save_image,
    target_images,
    to_pil,
)

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def four_pixels() -> Image.Image:
    """Red, green over blue, white."""
    image = Image.new("RGB", (2, 2))
    for place, colour in zip([(0, 0), (1, 0), (0, 1), (1, 1)], [RED, GREEN, BLUE, WHITE]):
        image.putpixel(place, colour)
    return image


def pixel(image: Tensor, x: int, y: int) -> tuple[int, ...]:
    return tuple(image[:, y, x].tolist())


def test_read_image_is_rgb_channels_first(tmp_path: Path) -> None:
    four_pixels().save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.dtype == torch.uint8
    assert image.shape == (3, 2, 2)
    assert pixel(image, 1, 0) == GREEN
    assert pixel(image, 0, 1) == BLUE


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (32, 16), WHITE)
    image.paste(RED, (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: to be shown turned by 90 degrees clockwise
    image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    upright = read_image(tmp_path / "turned.jpg")
    assert upright.shape == (3, 32, 16)
    assert upright[1, 4, 8] < 40  # the red half is on top
    assert upright[1, 28, 8] > 215
    assert from_pil(Image.open(tmp_path / "turned.jpg")).shape == (3, 16, 32)


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "expected"),
    [
        ("L", 90, "png", (90, 90, 90)),
        ("1", 1, "png", WHITE),
        ("P", 0, "gif", (0, 0, 0)),
        ("CMYK", (0, 255, 255, 0), "tif", RED),
        ("RGBA", (255, 0, 0, 0), "png", WHITE),
        ("RGBA", (0, 0, 0, 51), "png", (204, 204, 204)),
        ("LA", (0, 0), "png", WHITE),
        ("I;16", 257 * 100, "png", (100, 100, 100)),
        ("I;16", 65535, "tif", WHITE),
    ],
)
def test_every_mode_becomes_rgb(
    tmp_path: Path, mode: str, colour: int, suffix: str, expected: tuple[int, int, int]
) -> None:
    Image.new(mode, (3, 2), colour).save(tmp_path / f"a.{suffix}")
    image = read_image(tmp_path / f"a.{suffix}")
    assert image.shape == (3, 2, 3)
    assert pixel(image, 2, 1) == expected


def test_transparent_palette_is_on_white(tmp_path: Path) -> None:
    Image.new("P", (2, 2), 0).save(tmp_path / "a.gif", transparency=0)
    assert pixel(read_image(tmp_path / "a.gif"), 0, 0) == WHITE


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert pixel(read_image(tmp_path / "a.gif"), 0, 0) == RED


def test_bad_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("not an image")
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "PNG")
    (tmp_path / "cut.png").write_bytes(stream.getvalue()[:2000])
    Image.new("F", (2, 2)).save(tmp_path / "float.tif")
    for name, message in (
        ("none.jpg", "expected an image file, got no file there"),
        (".", "expected an image file, got a folder"),
        ("empty.jpg", "expected an image file, got an empty file"),
        ("text.jpg", "expected an image file, got a file of another kind"),
        ("cut.png", "expected a whole image file, got one that cannot be decoded"),
        ("float.tif", "image: expected 8 or 16 bits a channel, got floating-point pixels"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            read_image(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for side in (11, 20):  # Pillow warns of the first and refuses the second
        Image.new("RGB", (side, side)).save(tmp_path / "bomb.png")
        with pytest.raises(InputError, match="an image of at most 100 pixels, got a larger one"):
            read_image(tmp_path / "bomb.png")


@given(st.binary(max_size=200))
@settings(max_examples=40, deadline=None)
def test_any_bytes_are_an_image_or_bad_input(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    with pytest.raises(InputError):
        read_image(path)


def test_to_pil_clamps_and_rounds() -> None:
    image = torch.tensor([-1.0, 0.5, 2.0]).reshape(3, 1, 1)
    assert to_pil(image).getpixel((0, 0)) == (0, 128, 255)
    assert_close(from_pil(to_pil(image)), torch.tensor([0, 128, 255]).byte().reshape(3, 1, 1))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(1, 3, 4, 4), r"expected shape \[3, H, W\], got \[1, 3, 4, 4\]"),
        (torch.zeros(3, 0, 4), r"expected shape \[3, H, W\], got \[3, 0, 4\]"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "expected uint8 or float, got torch.int64"),
        (torch.full((3, 1, 1), float("nan")), "expected finite pixels, got NaN"),
    ],
)
def test_to_pil_refuses(image: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        to_pil(image)


def test_as_tensor_agrees_for_all_kinds() -> None:
    picture = four_pixels()
    array = np.asarray(picture)
    expected = as_tensor(picture)
    assert expected.dtype == torch.float32
    assert expected[:, 0, 1].tolist() == [0.0, 1.0, 0.0]
    for image in (
        array,
        array.astype(np.float64) / 255,
        np.ascontiguousarray(array[:, ::-1])[:, ::-1],  # a negative stride
        from_pil(picture),
        from_pil(picture).double() / 255,
        expected + 1e-5,
    ):
        assert_close(as_tensor(image), expected, rtol=0, atol=2e-5)
    assert as_tensor(expected + 1e-5).max() <= 1


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (3, "expected a path, a PIL image, an array or a tensor, got int"),
        ("photo.jpg", "photo.jpg: expected an image file, got no file there"),
        (np.zeros((4, 4), np.uint8), r"expected shape \[H, W, 3\], got \[4, 4\]"),
        (np.zeros((3, 4, 4), np.uint8), r"expected shape \[H, W, 3\], got \[3, 4, 4\]"),
        (np.zeros((4, 4, 3), np.int64), "expected uint8 or float, got int64"),
        (np.full((4, 4, 3), 200.0), r"expected values in \[0, 1\], got 200..200"),
        (np.full((4, 4, 3), np.nan), r"expected values in \[0, 1\], got nan..nan"),
        (np.zeros((0, 4, 3), np.uint8), r"expected shape \[3, H, W\], got \[3, 0, 4\]"),
        (torch.zeros(4, 4, 3), r"expected shape \[3, H, W\], got \[4, 4, 3\]"),
        (torch.full((3, 1, 1), -0.5), r"expected values in \[0, 1\], got -0.5..-0.5"),
        (torch.zeros(3, 1, 1, dtype=torch.bool), "expected uint8 or float, got torch.bool"),
    ],
)
def test_as_tensor_refuses(image: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_tensor(image)  # type: ignore[arg-type]


def test_save_image_is_atomic_and_checks_the_suffix(tmp_path: Path) -> None:
    save_image(tmp_path / "new" / "a.png", as_tensor(four_pixels()))
    assert_close(read_image(tmp_path / "new" / "a.png"), from_pil(four_pixels()))
    for name in ("a.doc", "a"):
        with pytest.raises(InputError, match=r"expected a name that ends in \.png"):
            save_image(tmp_path / name, four_pixels())
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["a.png"]


def test_save_image_puts_transparency_on_white(tmp_path: Path) -> None:
    save_image(tmp_path / "a.jpg", Image.new("RGBA", (8, 8), (0, 0, 0, 0)))
    assert pixel(read_image(tmp_path / "a.jpg"), 4, 4) == WHITE


def test_resize_square_ignores_the_aspect() -> None:
    image = torch.zeros(3, 4, 8)
    image[:, :, 4:] = 1  # the right half is white, before and after
    small = resize_square(image, 2)
    assert small.shape == (3, 2, 2)
    # A triangle 4 pixels wide to each side: weights .625 .875 .875 .625 | .375 .125, sum 3.5.
    assert_close(small, torch.tensor([1 / 7, 6 / 7]).expand(3, 2, 2))


def test_resize_square_equals_pillows_bilinear() -> None:
    image = torch.rand(3, 40, 60, generator=torch.Generator().manual_seed(0))
    picture = to_pil(image)
    expected = as_tensor(picture.resize((16, 16), Image.Resampling.BILINEAR))
    assert_close(resize_square(as_tensor(picture), 16), expected, rtol=0, atol=1.5 / 255)


def test_resize_square_batched_equals_one_by_one_and_passes_gradient() -> None:
    images = torch.rand(2, 3, 3, 10, 6, generator=torch.Generator().manual_seed(0))
    images.requires_grad_()
    small = resize_square(images, 5)
    assert_close(small[1, 2], resize_square(images[1, 2], 5))
    small.sum().backward()
    assert images.grad is not None
    assert_close(images.grad.sum(), torch.tensor(2 * 3 * 3 * 25.0))
    assert resize_square(torch.zeros(0, 3, 7, 9), 4).shape == (0, 3, 4, 4)
    assert resize_square(images, 5).shape == (2, 3, 3, 5, 5)


def test_target_images_are_square_floats() -> None:
    grey = torch.full((3, 20, 10), 51, dtype=torch.uint8)
    target = target_images([grey, torch.full((3, 16, 16), 0.5)], 8)
    assert_close(target, torch.tensor([0.2, 0.5])[:, None, None, None].expand(2, 3, 8, 8))


def test_as_float_scales_bytes_and_leaves_floats() -> None:
    whole = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(3, 1, 1)
    assert_close(as_float(whole).flatten(), torch.tensor([0.0, 0.2, 1.0]))
    image = whole / 255
    assert as_float(image) is image


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16"])
def test_rows_are_converted_as_the_whole_image(mode: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 3, 4), dtype=np.uint8)
    if mode == "I;16":
        image = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
        expected = np.repeat(noise[..., :1], 3, 2)
    else:
        image = Image.fromarray(noise).convert(mode)
        front = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255))
        expected = np.array(Image.alpha_composite(white, front).convert("RGB"))
    assert_close(from_pil(image), torch.from_numpy(expected).permute(2, 0, 1).contiguous())
