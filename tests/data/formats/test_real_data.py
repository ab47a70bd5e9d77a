"""The data commands on real photographs and annotations, where there are any."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from autoenc_sg.config.data import DataConfig
from autoenc_sg.data.coco.dataset import CocoRules, open_coco
from autoenc_sg.data.images.store import find_images
from autoenc_sg.data.inspect.report import write_data_report
from autoenc_sg.data.inspect.verify import verify
from autoenc_sg.data.open import open_dataset
from autoenc_sg.data.vg150.counts import count_images
from autoenc_sg.data.vg150.dataset import open_vg150
from autoenc_sg.data.vg150.files import read_annotations
from autoenc_sg.data.vg150.from_jsonl import convert_lines
from tests.support.files.foreign_files import annotated, write_jsonl
from tests.support.real_data import ANNOTATIONS, PHOTOS, needs_annotations, needs_photos

COCO = DataConfig("coco", str(PHOTOS), images="images", num_val=12)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 of the photographs through JSON Lines, as VG150 files; every fourth of another kind."""
    folder = tmp_path_factory.mktemp("own ü")
    data = open_coco(PHOTOS / "instances.json", PHOTOS / "images", "train", CocoRules(0))
    graphs = annotated(data, 24)
    paths = {}
    for number, image_id in enumerate(graphs):
        source = Path(data.store.name(image_id))
        paths[image_id] = Path(f"photo {number} é{source.suffix}")
        _save_as(source, folder / paths[image_id], number)
    train = dict(list(graphs.items())[:16])
    rest = {i: g for i, g in graphs.items() if i not in train}
    write_jsonl(
        folder / "lines.jsonl", {"train": train, "test": rest}, data.vocabulary, paths.__getitem__
    )
    convert_lines(folder / "lines.jsonl", folder / "vg150", data.vocabulary)
    return folder / "vg150"


def _save_as(source: Path, target: Path, number: int) -> None:
    image = Image.open(source)
    if number % 4 == 1:  # on its side, with the EXIF datum that turns it upright
        exif = Image.Exif()
        exif[0x0112] = 8
        image.transpose(Image.Transpose.ROTATE_270).save(target, exif=exif, quality=95)
    elif number % 4 == 2:
        image.convert("CMYK").save(target, quality=95)
    elif number % 4 == 3:
        image.convert("L").save(target, quality=95)
    else:
        shutil.copyfile(source, target)


@needs_photos
def test_own_photos_keep_their_boxes_and_pixels(converted: Path) -> None:
    coco = open_coco(PHOTOS / "instances.json", PHOTOS / "images", "train", CocoRules(0))
    parts = [open_vg150(converted, split, 0, False) for split in ("train", "test")]  # type: ignore[arg-type]
    samples = {s.image_id: s for part in parts for s in (part[i] for i in range(len(part)))}
    assert sorted(samples) == list(range(1, 25))
    for number in range(24):
        mine, theirs = samples[number + 1], coco.annotated(number)
        photo = coco[number].image.float()
        assert mine.image.shape == photo.shape
        assert mine.graph.labels.tolist() == theirs.labels.tolist()
        assert_close(mine.graph.boxes, theirs.boxes, atol=3.1 * max(photo.shape) / 1024, rtol=0)
        grey = photo.mean(0), mine.image.float().mean(0)
        limit = 30 if number % 4 == 3 else 4  # luma is not the mean
        assert (grey[0] - grey[1]).abs().mean() < limit


@needs_photos
def test_verify_and_stats_of_own_photos(converted: Path, tmp_path: Path) -> None:
    config = DataConfig("vg150", str(converted), num_val=0)
    outcome = verify(config)
    assert outcome.ready
    assert {f.kind for f in outcome.findings} <= {
        "rows of no image", "relations twice", "boxes twice",
        "classes without a train example", "predicates without a train example",
    }  # fmt: skip
    report = write_data_report(config, tmp_path, samples=2)
    assert len(report.figures) == 4
    with zipfile.ZipFile(converted.parent / "zipped.zip", "w") as archive:
        for path in (converted / "VG_100K").iterdir():
            archive.write(path, f"VG_100K/{path.name}")
    zipped = open_vg150(converted, "test", 0)
    assert len(find_images(converted, converted.parent / "zipped.zip")) == 24
    from_zip = open_dataset(
        DataConfig("vg150", str(converted), images=str(converted.parent / "zipped.zip"), num_val=0),
        "test",
    )
    for index in range(len(zipped)):
        assert torch.equal(from_zip[index].image, zipped[index].image)


@needs_photos
def test_coco_photos(tmp_path: Path) -> None:
    outcome = verify(COCO)
    assert outcome.ready
    assert outcome.findings == []
    assert sum(int(row[1] or 0) for row in outcome.counts.rows) == 150
    report = write_data_report(COCO, tmp_path, samples=2)
    assert "150 images with" in report.summary[0]
    cached = DataConfig(
        "coco", str(PHOTOS), images="images", short_side=64, cache=str(tmp_path / "cache")
    )
    plain = DataConfig("coco", str(PHOTOS), images="images", short_side=64)
    one, other = open_dataset(cached, "test"), open_dataset(plain, "test")
    for index in range(5):
        assert torch.equal(one[index].image, other[index].image)
        assert min(one[index].image.shape[1:]) == 64


@needs_annotations
def test_real_annotations(tmp_path: Path) -> None:
    data = read_annotations(ANNOTATIONS)
    rows = {row[0]: row[1:] for row in count_images(data, ()).rows}
    assert rows["all"] == [4408, 0, None]  # other names than VG150's
    assert len(data.labels) == 50_155
    assert len(data.predicates) == 41_318
    config = DataConfig("vg150", str(ANNOTATIONS))
    outcome = verify(config)
    errors = [finding.kind for finding in outcome.findings if finding.severity == "error"]
    assert errors == ["no images at all"]  # the annotations alone are right
    assert {f.kind for f in outcome.findings} == {
        "no images at all", "vocabulary out of order", "relations twice",
    }  # fmt: skip
    report = write_data_report(config, tmp_path, samples=1)
    numbers = json.loads((tmp_path / "statistics.json").read_text())
    labels = np.bincount(data.labels.numpy(), minlength=151)
    for number, name in enumerate(data.vocabulary.objects[1:], start=1):
        assert sum(numbers[s]["objects"][name] for s in numbers) == labels[number]
    assert sum(sum(numbers[s]["predicates"].values()) for s in numbers) == 41_318
    assert "no photo" in report.figures[-1].caption
