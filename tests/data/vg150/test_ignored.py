"""Ignored regions in the VG150 files: written, read, and absent from old files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.data.relate.relate import relate
from autoenc_sg.data.vg150.dataset import open_vg150
from autoenc_sg.data.vg150.files import read_annotations
from tests.data.relate.test_relate import LIKELY, PRIOR, photo
from tests.data.vg150.test_pseudo import HUMAN, write

REGIONS = torch.tensor([[2.0, 0, 0, 32, 16], [1, 40, 8, 64, 32]])  # 16 units a pixel
CROWDED = replace(HUMAN, ignored=REGIONS)


def test_regions_survive_writing_and_reading(tmp_path: Path) -> None:
    write(tmp_path, [HUMAN, CROWDED, CROWDED], [0, 0, 2])
    with h5py.File(tmp_path / "VG-SGG.h5") as file:
        stored = file["ignored_regions"][()].tolist()
    assert stored[:2] == [[1, 2, 256, 128, 512, 256], [1, 1, 832, 320, 384, 384]]
    train, test = (open_vg150(tmp_path, split, 0) for split in ("train", "test"))
    assert train.graph(0).ignored is None
    assert_close(train.graph(1).ignored, REGIONS)
    assert_close(test.graph(0).ignored, REGIONS)
    assert_close(test.annotated(0).ignored, REGIONS)


def test_files_without_regions_are_as_before(tmp_path: Path) -> None:
    data = read_annotations(write(tmp_path, [HUMAN, HUMAN], [0, 2]))
    assert data.ignored is None
    with h5py.File(tmp_path / "VG-SGG.h5") as file:
        assert "ignored_regions" not in file


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([[0.5] * 6], r"'ignored_regions': expected integers of shape \[K, 6\], got float64"),
        ([[1, 2, 3]], r"'ignored_regions': expected integers of shape \[K, 6\], got int64 \[1, 3"),
        ([[2, 1, 5, 5, 2, 2]], r"'ignored_regions' row 0: expected image 0\.\.1, class 1\.\.2"),
        ([[0, 1, 5, 5, 2, 2], [0, 3, 5, 5, 2, 2]], "'ignored_regions' row 1: expected image"),
        ([[0, 1, 5, 5, 0, 2]], "'ignored_regions' row 0: expected image"),
    ],
)
def test_other_regions_are_refused(tmp_path: Path, rows: list[Any], said: str) -> None:
    write(tmp_path, [HUMAN, HUMAN], [0, 2])
    with h5py.File(tmp_path / "VG-SGG.h5", "a") as file:
        file["ignored_regions"] = rows
    with pytest.raises(InputError, match=said):
        read_annotations(tmp_path)


def test_relate_keeps_the_crowds_of_coco(tmp_path: Path) -> None:
    photo(tmp_path / "boxes" / "images" / "1.jpg")
    boxes = [[0, 0, 20, 20], [20, 0, 20, 20], [15, 10, 30, 30]]
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 60, "height": 40}],
        "categories": [{"id": 3, "name": "person"}, {"id": 5, "name": "horse"}],
        "annotations": [
            {
                "id": i,
                "image_id": 1,
                "category_id": 5 if i == 1 else 3,
                "bbox": box,
                "iscrowd": i // 2,
            }
            for i, box in enumerate(boxes)
        ],
    }
    (tmp_path / "boxes" / "instances.json").write_text(json.dumps(content))
    relate(tmp_path / "boxes", PRIOR, tmp_path / "out", LIKELY, train_fraction=1.0)
    graph = open_vg150(tmp_path / "out", "train", 0).graph(0)
    assert graph.objects == ("person", "horse")
    assert_close(graph.ignored, torch.tensor([[1.0, 15, 10, 45, 40]]), atol=0.03, rtol=0)
