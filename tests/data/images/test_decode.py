import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.images import from_pil
from autoenc_sg.data.images import decode as pixels
from autoenc_sg.data.images.decode import decode_pixels, read_pixels, shrunk_size
from autoenc_sg.data.images.store import ImageStore, Place, available, find_images


def picture(width: int = 60, height: int = 40) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    planes = [x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)]
    return Image.fromarray(np.stack(planes, -1).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_pixels_are_rgb(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2), (10, 20, 30)).save(tmp_path / "a ü.png")
    image, size = read_pixels(tmp_path / "a ü.png")
    assert image.dtype == torch.uint8
    assert size == (2, 3)
    assert image[:, 1, 2].tolist() == [10, 20, 30]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpegs_decode_as_pillow_does_by_either_decoder(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(picture().convert(mode), "JPEG", quality=90)
    wanted = from_pil(Image.open(io.BytesIO(data)))
    assert_close(decode_pixels(data, "x").image, wanted)
    monkeypatch.setattr(pixels, "_jpeg_decoder", lambda: None)
    assert_close(decode_pixels(data, "x").image, wanted)


def test_exif_turns_are_not_made_and_animations_give_their_first_frame() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    assert decode_pixels(encoded(picture(), "JPEG", exif=exif), "x").full_size == (40, 60)
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode_pixels(data, "x").image[:, 0, 0].tolist() == [255, 0, 0]
    sixteen = Image.fromarray(np.full((4, 5), 65535, np.uint16))
    assert decode_pixels(encoded(sixteen, "PNG"), "x").image.unique().tolist() == [255]


@pytest.mark.parametrize(
    ("size", "short", "wanted"),
    [((40, 60), None, (40, 60)), ((40, 60), 40, (40, 60)), ((40, 60), 50, (40, 60)),
     ((40, 60), 20, (20, 30)), ((101, 50), 10, (20, 10)), ((1, 1000), 1, (1, 1000))],
)  # fmt: skip
def test_shrunk_sizes(size: tuple[int, int], short: int | None, wanted: tuple[int, int]) -> None:
    assert shrunk_size(size, short) == wanted


@pytest.mark.parametrize("short", [30, 8])  # resized; decoded at less than its size, then resized
def test_shrinking_keeps_the_picture(short: int) -> None:
    big = picture(180, 120)
    small, full = decode_pixels(encoded(big, "JPEG", quality=98), "x", short)
    assert full == (120, 180)
    assert small.shape == (3, short, short * 3 // 2)
    wanted = from_pil(big.resize((short * 3 // 2, short), Image.Resampling.BILINEAR))
    assert (small.int() - wanted.int()).abs().max() < 12


def test_a_missing_or_broken_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        InputError, match=r"none\.jpg: expected a readable image file, got no such file"
    ):
        read_pixels(tmp_path / "none.jpg")
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(
        InputError, match=r"text\.jpg: expected a readable image file, got .+"
    ) as error:
        read_pixels(tmp_path / "text.jpg")
    assert "\n" not in str(error.value)
    data = encoded(Image.new("RGB", (90, 80)), "JPEG")
    (tmp_path / "half.jpg").write_bytes(data[:-200])
    with pytest.raises(
        InputError, match=r"half\.jpg: expected a readable image file, got .*[Tt]runcated"
    ):
        read_pixels(tmp_path / "half.jpg")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(InputError, match=r"empty\.jpg: expected a readable image"):
        read_pixels(tmp_path / "empty.jpg")
    with pytest.raises(InputError, match="expected a readable image file"):
        read_pixels(tmp_path)
    for most in (100, 5000):  # of 7200: Pillow refuses one, and only warns of the other
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        with pytest.raises(
            InputError, match=rf"bomb\.jpg: expected an image of at most {most} pixels"
        ):
            decode_pixels(data, "bomb.jpg")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder, image_id in (("VG_100K", 1), ("VG_100K_2", 2), ("", 3), ("", 1)):
        (tmp_path / folder).mkdir(exist_ok=True)
        image = Image.new("RGB", (8, 6), (image_id * 10, len(folder), 0))
        image.save(tmp_path / folder / f"{image_id}.png")
    with zipfile.ZipFile(tmp_path / "images ü.zip", "w") as archive:
        archive.writestr("VG_100K/4.jpg", encoded(Image.new("RGB", (8, 6), (40, 0, 0)), "JPEG"))
        archive.writestr("VG_100K/readme.txt", "4.jpg")
    with h5py.File(tmp_path / "imdb_1024.h5", "w") as file:
        images = np.zeros((2, 3, 10, 10), np.uint8)
        images[1, :, :4, :7] = np.array([1, 2, 50])[:, None, None]  # BGR, zero-padded
        file["images"], file["image_ids"] = images, np.array([3, 5])
        file["image_heights"], file["image_widths"] = [4, 4], [7, 7]
    return tmp_path


def test_images_are_found_in_folders_zips_and_imdb(root: Path) -> None:
    store = ImageStore(find_images(root))
    assert sorted(store.places) == [1, 2, 3, 4, 5]
    for image_id in (1, 2, 3, 4, 5):
        image, size = store.read(image_id)
        assert abs(int(image[0, 0, 0]) - 10 * image_id) < 3
        assert size == store.size(image_id) == tuple(image.shape[1:])
    assert store.read(1).image[1, 0, 0] == len("VG_100K")  # the first place counts
    assert store.read(5).image.shape == (3, 4, 7)
    assert store.read(5).image[:, 0, 0].tolist() == [50, 2, 1]
    assert sorted(find_images(root, root / "images ü.zip")) == [4]
    assert sorted(find_images(root, root / "imdb_1024.h5")) == [3, 5]
    assert sorted(find_images(root, root / "VG_100K_2")) == [2]
    with pytest.raises(InputError, match=r"none: expected a folder, zip or h5 of images"):
        find_images(root, root / "none")


def test_shrinking_and_missing_images(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = ImageStore(find_images(root), short_side=2)
    for image_id in (1, 4, 5):
        image, size = store.read(image_id)
        assert min(image.shape[1:]) == 2
        assert min(size) in (4, 6)
    assert available([2, 9, 1], store, "here") == [True, False, True]
    assert "here: 1 of 3 images are missing and left out (9)" in caplog.text
    assert available([2, 9], ImageStore({}), "here") == [True, True]
    with pytest.raises(InputError, match="image 9: expected an image file in the data set"):
        store.read(9)
    with pytest.raises(InputError, match="got no images at all"):
        ImageStore({}).size(9)


def test_containers_are_opened_by_each_process_itself(root: Path) -> None:
    store = ImageStore(find_images(root))
    ids = [4, 5, 4, 5, 1]
    wanted = [store.read(i).image for i in ids]
    copy = pickle.loads(pickle.dumps(store))
    loader = torch.utils.data.DataLoader(_Images(store, ids), batch_size=None, num_workers=2)
    for image_id, one, other in zip(ids, wanted, loader):
        assert_close(one, other)
        assert_close(one, copy.read(image_id).image)


class _Images(torch.utils.data.Dataset[torch.Tensor]):
    def __init__(self, store: ImageStore, ids: list[int]) -> None:
        self.store, self.ids = store, ids

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.store.read(self.ids[index]).image

    def __len__(self) -> int:
        return len(self.ids)


@pytest.mark.parametrize("name", ["x.zip", "imdb_1.h5"])
def test_damaged_containers_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(InputError, match=f"{name}: expected a whole h5 or zip"):
        find_images(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("images", np.zeros((2, 10, 10), np.uint8), r"'images': expected uint8 of shape \[images"),
        ("images", np.zeros((2, 3, 9, 9)), r"'images': expected uint8 .* got float64 \[2, 3, 9"),
        ("image_ids", np.array(3), r"'image_ids': expected integer of shape \[2\], got int64 \[\]"),
        ("image_ids", np.array([b"3", b"5"]), r"'image_ids': expected integer .* got \|S1 \[2\]"),
        ("image_widths", np.array([7]), r"'image_widths': expected integer of shape \[2\]"),
    ],
)
def test_tables_of_another_form(root: Path, name: str, value: Any, message: str) -> None:
    with h5py.File(root / "imdb_1024.h5", "r+") as file:
        del file[name]
        file[name] = value
    with pytest.raises(InputError, match=message):
        find_images(root)


@pytest.mark.parametrize("height", [0, -1, 11])
def test_no_image_is_larger_than_its_container(root: Path, height: int) -> None:
    with h5py.File(root / "imdb_1024.h5", "r+") as file:
        file["image_heights"][1] = height
    store = ImageStore(find_images(root))
    for read in (store.size, store.read):
        with pytest.raises(InputError, match=rf"h5:1: expected .* 10 x 10 pixels, .*\(7, {height}"):
            read(5)


@pytest.mark.parametrize(
    ("byte", "value", "message"), [(6, 1, "encrypted"), (8, 99, "compression method")]
)
def test_zips_that_cannot_be_unpacked(root: Path, byte: int, value: int, message: str) -> None:
    path = root / "images ü.zip"
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x03\x04") + byte] = value  # flags, or method, of the first member
    data[data.index(b"PK\x01\x02") + byte + 2] = value
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"4.jpg: expected a readable image file, .*{message}"):
        ImageStore(find_images(root)).read(4)


def test_damage_inside_of_containers(root: Path) -> None:
    with h5py.File(root / "imdb_1024.h5", "r+") as file:
        del file["image_heights"]
    with pytest.raises(InputError, match=r"imdb_1024.h5: expected a data set 'image_heights'"):
        find_images(root)
    store = ImageStore({7: Place("none.jpg", str(root / "images ü.zip")), 8: Place("no.jpg")})
    with pytest.raises(InputError, match=r"images ü.zip:none.jpg: expected a readable image"):
        store.read(7)
    with pytest.raises(InputError, match=r"no.jpg: expected a readable image file"):
        store.size(8)
