import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.testing import assert_close

from autoenc_sg import image_cache
from autoenc_sg.errors import InputError
from autoenc_sg.image_cache import ImageCache, open_cache
from autoenc_sg.image_store import ImageStore, find_images


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
    path, made = tmp_path / "cache.bin", []
    make = image_cache._make
    monkeypatch.setattr(image_cache, "_make", lambda *a: (made.append(1), make(*a)))
    open_cache(path, store)
    open_cache(path, store)
    assert len(made) == 1
    Image.new("RGB", (30, 30), "red").save(tmp_path / "photos" / "2.jpg")
    assert open_cache(path, store).read(2).image.shape == (3, 20, 20)  # type: ignore[union-attr]
    open_cache(path, ImageStore(store.places, 10))
    more = {**store.places, 9: store.places[1]}
    assert open_cache(path, ImageStore(more, 10)).read(9) is not None
    assert len(made) == 4
    path.write_bytes(path.read_bytes()[:-7])  # cut off
    open_cache(path, ImageStore(more, 10))
    assert len(made) == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache.bin", "cache.bin.lock", "photos"]


def test_several_at_once_make_it_once(
    tmp_path: Path, store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    make = image_cache._make
    monkeypatch.setattr(image_cache, "_make", lambda *a: (made.append(1), make(*a)))
    found: list[ImageCache] = []
    threads = [
        threading.Thread(target=lambda: found.append(open_cache(tmp_path / "c", store)))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 5
    assert len(made) == 1


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
