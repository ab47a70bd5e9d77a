import errno
import multiprocessing
import pickle
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.data.images import cache as image_cache
from autoenc_sg.data.images.cache import ImageCache, open_cache
from autoenc_sg.data.images.store import ImageStore, find_images


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for image_id, (height, width) in {3: (40, 60), 1: (70, 50), 2: (9, 8)}.items():
        pixels = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{image_id}.jpg")
    (tmp_path / "photos" / "4.jpg").write_text("no image")
    return ImageStore(find_images(tmp_path / "photos"), short_side=20)


def test_the_cache_gives_what_decoding_gives(tmp_path: Path, store: ImageStore) -> None:
    cache = open_cache(tmp_path / "cache.bin", store)
    assert len(cache) == 3
    cached = ImageStore(store.places, store.short_side, cache)
    for one in (cached, pickle.loads(pickle.dumps(cached))):
        for image_id in (1, 2, 3):
            assert_close(one.read(image_id).image, store.read(image_id).image)
            assert one.read(image_id).full_size == store.size(image_id)
    assert cache.read(4) is None
    with pytest.raises(InputError, match=r"4\.jpg: expected a readable image"):
        cached.read(4)
    image = cached.read(1).image
    image.zero_()  # a copy: the file cannot be written through it
    assert cached.read(1).image.any()


def test_it_is_made_once_and_again_when_the_source_changes(
    tmp_path: Path, store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, writes = tmp_path / "cache.bin", []
    make = image_cache._write
    monkeypatch.setattr(image_cache, "_write", lambda *a: (writes.append(1), make(*a)))
    open_cache(path, store)
    open_cache(path, store)
    assert len(writes) == 1
    Image.new("RGB", (30, 30), "red").save(tmp_path / "photos" / "2.jpg")
    assert open_cache(path, store).read(2).image.shape == (3, 20, 20)  # type: ignore[union-attr]
    open_cache(path, ImageStore(store.places, 10))
    more = {**store.places, 9: store.places[1]}
    assert open_cache(path, ImageStore(more, 10)).read(9) is not None
    assert len(writes) == 4
    path.write_bytes(path.read_bytes()[:-7])  # cut off
    open_cache(path, ImageStore(more, 10))
    assert len(writes) == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache.bin", "cache.bin.lock", "photos"]


def test_several_at_once_make_it_once(
    tmp_path: Path, store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = []
    make = image_cache._write
    monkeypatch.setattr(image_cache, "_write", lambda *a: (writes.append(1), make(*a)))
    caches: list[ImageCache] = []
    threads = [
        threading.Thread(target=lambda: caches.append(open_cache(tmp_path / "c", store)))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(caches) == 5
    assert len(writes) == 1


def _open_and_read(folder: str, path: str) -> tuple[int, float]:
    store = ImageStore(find_images(Path(folder)), short_side=20)
    cache = open_cache(Path(path), store)
    pixels = cache.read(1)
    assert pixels is not None
    return Path(path).stat().st_ino, float(pixels.image.float().mean())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_several_processes_share_one_file(tmp_path: Path, store: ImageStore, method: str) -> None:
    path, wanted = tmp_path / "cache.bin", float(store.read(1).image.float().mean())
    arguments = [(str(tmp_path / "photos"), str(path))] * 3
    with multiprocessing.get_context(method).Pool(3) as pool:
        files_and_sums = pool.starmap(_open_and_read, arguments)
    assert files_and_sums == [(path.stat().st_ino, wanted)] * 3  # one file, made once
    assert not list(tmp_path.glob(".*"))


def test_images_of_a_zip_are_cached_and_the_zip_is_watched(tmp_path: Path) -> None:
    for colour in ("red", "blue"):
        Image.new("RGB", (30, 20), colour).save(tmp_path / "1.png")
        with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
            archive.write(tmp_path / "1.png", "1.png")
            archive.comment = colour.encode()  # so that its size changes
        store = ImageStore(find_images(tmp_path, tmp_path / "images.zip"))
        pixels = open_cache(tmp_path / "cache.bin", store).read(1)
        assert pixels is not None
        assert pixels.image[:, 0, 0].tolist() == ([255, 0, 0] if colour == "red" else [0, 0, 255])


def test_damaged_bytes_are_found(tmp_path: Path, store: ImageStore) -> None:
    path = tmp_path / "cache.bin"
    open_cache(path, store)
    data = bytearray(path.read_bytes())
    data[40] ^= 255
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"cache.bin image 1: expected what was written, got dam"):
        ImageCache(path).read(1)
    path.write_text("something else")
    with pytest.raises(InputError, match=r"cache.bin: expected a cache of images, got a file of"):
        ImageCache(path)
    with pytest.raises(InputError, match="a path that can be written"):
        open_cache(path / "inside", store)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:12],
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:8] + b"\xff" * 8 + data[16:],  # the index beyond all files
        lambda data: data[:8] + bytes(8) + data[16:],
        lambda data: data[:-128] + b"\xff" * 64 + data[-64:],  # of no source
    ],
)
def test_a_damaged_cache_is_made_again(tmp_path: Path, store: ImageStore, damage: Any) -> None:
    path = tmp_path / "cache.bin"
    open_cache(path, store)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert len(open_cache(path, store)) == 3
    assert path.read_bytes() == whole


def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(image_cache.zlib, "crc32", full)  # between two writes
    with pytest.raises(InputError, match=r"cache\.bin: expected a path .* got No space left on"):
        open_cache(tmp_path / "cache.bin", store)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache.bin.lock", "photos"]


def test_names_longer_than_any_id_are_no_images(tmp_path: Path) -> None:
    for name in ("7.jpg", f"{10**20}.jpg"):
        Image.new("RGB", (3, 3)).save(tmp_path / name)
    assert list(find_images(tmp_path)) == [7]
