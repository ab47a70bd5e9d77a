"""Every format opens by its configuration, with and without the cache of images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from autoenc_sg.config.data import DataConfig, ScenesConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.data.base.samples import Split
from autoenc_sg.data.loading import BatchPlan, training_loader
from autoenc_sg.data.open import open_dataset
from tests.data.base.test_in_memory import BOXES, coco, photo, psg, reltr, save, vrd

SCENES = ScenesConfig(12, 3, 64)
SPLITS: tuple[Split, ...] = ("train", "val", "test")


def config(root: Path, kind: str) -> DataConfig:
    """A small data set of the format, written to `root`."""
    plain = DataConfig(kind, str(root), num_val=0)  # type: ignore[arg-type]
    if kind in ("scenes", "vg150"):
        drawn = replace(plain, format="scenes", scenes=SCENES)
        open_dataset(drawn, "train")
        return drawn if kind == "scenes" else plain
    if kind == "coco":
        save(root / "instances.json", coco(BOXES))
        photo(root / "photos" / "3.jpg")
        photo(root / "photos" / "4.jpg")
        return replace(plain, images="photos", num_test=1)
    {"coco_vg150": reltr, "vrd": vrd, "psg": psg}[kind](root)
    return plain


KINDS = ("scenes", "vg150", "coco", "coco_vg150", "vrd", "psg")


@pytest.mark.parametrize("kind", KINDS)
def test_a_format_trains_with_and_without_a_cache(tmp_path: Path, kind: str) -> None:
    plain = replace(config(tmp_path, kind), short_side=10, flip=False)
    cached = replace(plain, cache="shrunk")
    for split in ("train", "test"):
        one, other = open_dataset(plain, split), open_dataset(cached, split)
        assert len(one) == len(other) > 0
        assert min(one[0].image.shape[1:]) == 10
        assert one[0].graph.image_size == tuple(one[0].image.shape[1:])
        for i in range(len(one)):
            assert_close(other[i].image, one[i].image)
            assert_close(other[i].graph.boxes, one[i].graph.boxes)
    assert list((tmp_path / "shrunk").glob("*.cache"))
    train = open_dataset(cached, "train")
    (batch,) = training_loader(train, BatchPlan(len(train), 1, 1, 0), workers=1)
    assert batch.images[0].dtype == torch.uint8


@pytest.mark.parametrize("kind", KINDS)
def test_annotated_graphs_have_every_relation(tmp_path: Path, kind: str) -> None:
    train = open_dataset(config(tmp_path, kind), "train")
    for i in range(len(train)):
        every, some = train.annotated(i), train.graph(i)
        assert_close(every.boxes, some.boxes)
        assert set(map(tuple, some.triples.tolist())) <= set(map(tuple, every.triples.tolist()))
        pairs = {(s, o) for s, _, o in every.triples.tolist()}
        assert len(some.triples) == len(pairs)


def test_splits_share_a_cache_where_they_share_images(tmp_path: Path) -> None:
    for kind, wanted in (
        ("scenes", {"images"}),
        ("vrd", {"train", "test"}),
        ("coco_vg150", {"train", "val", "test"}),
    ):
        cached = replace(config(tmp_path / kind, kind), cache="c")
        for split in SPLITS:
            open_dataset(cached, split)
        assert {p.stem for p in (tmp_path / kind / "c").glob("*.cache")} == wanted


def test_a_cache_follows_its_images(tmp_path: Path) -> None:
    cached = replace(config(tmp_path, "psg"), cache="c", short_side=10, flip=False)
    assert int(open_dataset(cached, "test")[0].image[0].float().mean()) > 200  # red
    photo(tmp_path / "val2017" / "7.jpg", 80, 40)
    assert open_dataset(cached, "test")[0].image.shape == (3, 10, 20)
    path = tmp_path / "c" / "test.cache"
    path.write_bytes(b"damaged")
    assert open_dataset(cached, "test")[0].image.shape == (3, 10, 20)


def test_images_elsewhere(tmp_path: Path) -> None:
    plain = config(tmp_path / "a", "vg150")
    (tmp_path / "a" / "VG_100K").rename(tmp_path / "Fotos ü")
    assert len(open_dataset(plain, "test")) == 3  # graphs alone
    with pytest.raises(InputError, match="got no images at all"):
        open_dataset(plain, "test")[0]
    moved = replace(plain, images=str(tmp_path / "Fotos ü"))
    assert open_dataset(moved, "test")[0].image.shape == (3, 64, 64)
    with pytest.raises(InputError, match="nowhere: expected a folder, zip or h5 of images"):
        open_dataset(replace(plain, images="nowhere"), "test")
