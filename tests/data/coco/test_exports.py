"""COCO exports as Roboflow, CVAT and labelme2coco write them: only the root is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from autoenc_sg.config.data import DataConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.data.base.samples import Split
from autoenc_sg.data.inspect.verify import verify
from autoenc_sg.data.open import find_format, open_dataset
from tests.support.files.sg2im_data import save

ROOT = {"id": 0, "name": "cow", "supercategory": "none"}  # named as a true class
CLASSES = [
    {"id": 1, "name": "cow", "supercategory": "cow"},
    {"id": 2, "name": "dog", "supercategory": "cow"},
]


def export(path: Path, folder: str, names: list[str], categories: list[dict[str, Any]]) -> None:
    """Photos of 96 x 72 pixels, a cow and a dog on each, ids from 0."""
    images = [{"id": i, "file_name": n, "width": 96, "height": 72} for i, n in enumerate(names)]
    annotations = [
        {"id": 2 * i + k, "image_id": i, "category_id": k + 1, "iscrowd": 0, "bbox": box}
        for i in range(len(names))
        for k, box in enumerate(([5, 5, 40, 40], [50, 20, 30, 30]))
    ]
    save(path, {"images": images, "annotations": annotations, "categories": categories})
    for place, name in enumerate(names):
        photo = path.parent / folder / name.replace("\\", "/")
        photo.parent.mkdir(parents=True, exist_ok=True)
        number = sum(map(ord, str(path))) + place
        Image.new("RGB", (96, 72), (number % 256, 40, number % 7)).save(photo)


def roboflow(root: Path) -> None:
    for part, count in (("train", 4), ("valid", 2), ("test", 1)):
        names = [f"{part}{i}_jpg.rf.0a1b.jpg" for i in range(count)]
        export(root / part / "_annotations.coco.json", "", names, [ROOT, *CLASSES])


def cvat(root: Path) -> None:
    names = [f"set/{i}.jpg" for i in range(6)]
    export(root / "annotations" / "instances_default.json", "../images", names, CLASSES)


def labelme(root: Path) -> None:
    background = {"id": 0, "name": "_background_", "supercategory": None}
    names = [f"JPEGImages\\{i}.jpg" for i in range(6)]
    export(root / "annotations.json", "", names, [background, *CLASSES])


@pytest.mark.parametrize(
    ("write", "counts"), [(roboflow, (4, 2, 1)), (cvat, (5, 0, 1)), (labelme, (5, 0, 1))]
)
def test_an_export_is_read_by_its_root(
    tmp_path: Path, write: Any, counts: tuple[int, int, int]
) -> None:
    write(tmp_path)
    assert find_format(tmp_path) == "coco"
    config = DataConfig("coco", str(tmp_path), num_val=0)
    splits: tuple[Split, ...] = ("train", "val", "test")
    data = [open_dataset(config, split) for split in splits]
    assert tuple(map(len, data)) == counts
    assert all(part.vocabulary == data[0].vocabulary for part in data)
    assert data[0].vocabulary.objects[1:] == ("cow", "dog")
    assert data[0][0].graph.labels.tolist() == [1, 2]
    assert data[2][0].image.shape == (3, 72, 96)
    report = verify(config)
    assert report.ready
    rows = {row[0]: row[1] for row in report.counts.rows}
    assert tuple(rows[split] for split in splits) == counts


def test_a_class_of_one_split_is_a_class_of_all(tmp_path: Path) -> None:
    roboflow(tmp_path)
    cat = {"id": 3, "name": "cat", "supercategory": "cow"}
    for part, used in (("train", 1), ("valid", 3), ("test", 1)):
        path = tmp_path / part / "_annotations.coco.json"
        export(path, "", [f"{part}.jpg"], [ROOT, *CLASSES, cat])
        text = path.read_text().replace('"category_id": 1', f'"category_id": {used}')
        path.write_text(text)
    data = open_dataset(DataConfig("coco", str(tmp_path)), "train")
    assert data.vocabulary.objects[1:] == ("cow", "dog", "cat")


def test_relations_make_it_sgg_benchmarks(tmp_path: Path) -> None:
    roboflow(tmp_path)
    path = tmp_path / "train" / "_annotations.coco.json"
    path.write_text(path.read_text()[:-1] + ', "rel_annotations": [], "rel_categories": []}')
    assert find_format(tmp_path) == "coco_vg150"


def test_splits_have_caches_of_their_own(tmp_path: Path) -> None:
    roboflow(tmp_path)
    config = replace(DataConfig("coco", str(tmp_path)), cache="c", short_side=10)
    for split in ("train", "val", "test"):
        open_dataset(config, split)  # type: ignore[arg-type]
    assert {p.stem for p in (tmp_path / "c").glob("*.cache")} == {"train", "val", "test"}


def test_an_export_without_annotations_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "annotations.json", {"images": [], "annotations": [], "categories": [ROOT]})
    with pytest.raises(InputError, match="annotations of one category or more"):
        open_dataset(DataConfig("coco", str(tmp_path)), "train")
