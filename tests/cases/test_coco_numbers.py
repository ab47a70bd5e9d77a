"""COCO's numbers: whole floats are taken, text is refused in one line, by every reader."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from autoenc_sg.config.data import DataConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.data.inspect.verify import verify
from autoenc_sg.data.open import open_dataset
from tests.support.files.sg2im_data import save, write_coco_stuff

TRIANGLE = [[5, 5, 40, 5, 40, 40]]


def coco(root: Path, change: Callable[[dict[str, Any]], object] = lambda data: None) -> DataConfig:
    """Six photos of 96 x 72 pixels, a cow and a dog on each; the configuration with masks."""
    data: dict[str, Any] = {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": 96, "height": 72} for i in range(1, 7)
        ],
        "categories": [{"id": 1, "name": "cow"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": 2 * i + k, "image_id": i, "category_id": k + 1, "bbox": box}
            for i in range(1, 7)
            for k, box in enumerate(([5, 5, 40, 40], [50, 20, 30, 30]))
        ],
    }
    for annotation in data["annotations"]:
        annotation["segmentation"] = TRIANGLE
    change(data)
    save(root / "instances.json", data)
    for i in range(1, 7):
        Image.new("RGB", (96, 72), (40 * i, 0, 0)).save(root / f"{i}.jpg")
    return DataConfig("coco", str(root), num_test=1, mask_size=8)


def every(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda data: [annotation.update(fields) for annotation in data["annotations"]] and None


def first(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda data: data["annotations"][0].update(fields)


def floats(data: dict[str, Any]) -> None:
    for image in data["images"]:
        image.update(width=96.0, height=72.0, id=float(image["id"]))
    for annotation in data["annotations"]:
        annotation.update(image_id=float(annotation["image_id"]), iscrowd=0.0)


def test_whole_floats_are_sizes_and_ids(tmp_path: Path) -> None:
    plain, other = coco(tmp_path / "a"), coco(tmp_path / "b", floats)
    assert verify(other).ready
    for split in ("train", "val", "test"):
        one, two = open_dataset(plain, split), open_dataset(other, split)
        assert one.image_ids == two.image_ids
        masks = (one.graph(0).masks, two.graph(0).masks)
        assert masks[0] is not None
        assert masks[1] is not None
        assert masks[0].equal(masks[1])
        assert two[0].graph.image_size == (72, 96)


REFUSED = [
    (every(bbox=["5", "5", "40", "40"]), r"annotation 2 'bbox': expected four numbers"),
    (first(bbox=[True, 0, 5, 5]), r"annotation 2 'bbox': expected four numbers"),
    (first(bbox=[0, 0, float("inf"), 5]), r"annotation 2 'bbox': expected x, y, width, height"),
    (first(bbox=[0, 0, 1e300, 5]), r"annotation 2 'bbox': expected x, y, width, height"),
    (every(iscrowd="0"), r"annotation 2 'iscrowd': expected 0 or 1, got '0'"),
    (first(iscrowd=2), r"annotation 2 'iscrowd': expected 0 or 1, got 2"),
    (first(segmentation=[[5, float("nan"), 9, 9, 9, 5]]), r"annotation 2 'segmentation': exp"),
    (
        first(segmentation=[[5, 5, 9, 9]]),
        r"annotation 2 'segmentation': expected polygons of three",
    ),
    (
        first(id="2"),
        r"'annotations' entry 0: expected a field 'id' .*, got the text '2'",
    ),
    (
        first(image_id="1"),
        r"'annotations' entry 0: expected a field 'image_id' \(a whole number\), got the text '1'",
    ),
    (first(id=2.5), r"'annotations' entry 0: expected a field 'id'"),
    (lambda d: d["images"][0].update(width="96"), r"'images' entry 0: expected a field 'width'"),
    (lambda d: d["images"][0].update(width=96.5), r"'images' entry 0: expected a field 'width'"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_one_line_names_file_and_annotation(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    config = coco(tmp_path, change)
    with pytest.raises(InputError, match=rf"instances\.json {message}"):
        open_dataset(config, "train")
    outcome = verify(config)
    assert not outcome.ready
    assert "instances.json" in outcome.findings[0].examples[0]


def test_huge_polygons_are_cut(tmp_path: Path) -> None:
    train = open_dataset(coco(tmp_path, every(segmentation=[[0, 0, 1e9, 0, 0, 1e9]])), "train")
    masks = train.graph(0).masks
    assert masks is not None
    assert masks.min() == 1


@pytest.mark.parametrize("field", ["bbox", "segmentation"])
def test_stuff_as_text(tmp_path: Path, field: str) -> None:
    root = write_coco_stuff(tmp_path)
    path = root / "annotations" / "stuff_train2017.json"
    data = json.loads(path.read_text())
    data["annotations"][3][field] = {"bbox": ["0", "0", "9", "9"], "segmentation": [["1"] * 6]}[
        field
    ]
    save(path, data)
    with pytest.raises(InputError, match=rf"stuff_train2017\.json annotation 1\d+ '{field}'"):
        open_dataset(DataConfig("coco_stuff", str(root)), "train")
    assert not verify(DataConfig("coco_stuff", str(root))).ready
