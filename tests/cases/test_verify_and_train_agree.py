"""`data verify` says ready where training runs, and not ready where it stops."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from autoenc_sg.__main__ import main
from autoenc_sg.config.data import DataConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.data.inspect.findings import Finding
from autoenc_sg.data.inspect.verify import verify
from autoenc_sg.data.open import open_dataset
from tests.cases.test_coco_numbers import coco
from tests.data.inspect.test_verify import edit_json
from tests.data.test_open import config as small


def findings(config: DataConfig) -> dict[str, Finding]:
    return {finding.kind: finding for finding in verify(config).findings}


def test_coco_leaves_absent_images_out_as_verify_says(tmp_path: Path) -> None:
    config = coco(tmp_path)
    assert open_dataset(config, "train").image_ids == (2, 3, 4, 5)
    (tmp_path / "3.jpg").unlink()
    train = open_dataset(config, "train")
    assert train.image_ids == (2, 4, 5)
    assert [sample.image_id for sample in train] == [2, 4, 5]
    outcome = verify(config)
    assert outcome.ready
    assert findings(config)["absent images"].examples == ("train image 3",)


@pytest.mark.parametrize("kind", ["vg150", "coco", "coco_vg150", "vrd", "psg"])
def test_without_any_image_nothing_is_ready(tmp_path: Path, kind: str) -> None:
    config = small(tmp_path, kind)
    for suffix in ("*.jpg", "*.png"):
        for path in tmp_path.rglob(suffix):
            path.unlink()
    outcome = verify(config)
    assert findings(config)["no images at all"].severity == "error"
    assert not outcome.ready
    with pytest.raises(InputError, match="no images at all"):
        open_dataset(config, "train")[0]


def test_an_image_of_another_shape_stops_coco(tmp_path: Path) -> None:
    config = coco(tmp_path)
    edit_json(tmp_path, "instances.json", lambda d: d["images"][2].update(height=50))
    with pytest.raises(InputError, match=r"3\.jpg: expected an image of 96 x 50"):
        open_dataset(config, "train")[1]
    assert findings(config)["images of another shape"].severity == "error"
    assert not verify(config).ready


def test_filters_that_leave_no_image_are_not_ready(tmp_path: Path) -> None:
    config = small(tmp_path, "coco_vg150")

    def without_relations(data: dict[str, dict[str, list[object]]]) -> None:
        data["train"] = {key: [] for key in data["train"]}

    edit_json(tmp_path, "rel.json", without_relations)
    assert len(open_dataset(config, "train")) == 0
    assert not verify(config).ready


@pytest.mark.parametrize(("images", "test", "val"), [(2, 1, 0), (20, 2, 1), (60, 30, 3)])
def test_small_sets_have_a_test_split(tmp_path: Path, images: int, test: int, val: int) -> None:
    config = replace(coco(tmp_path), num_test=None)
    path = tmp_path / "instances.json"
    data = json.loads(path.read_text())
    data["images"] = [{**data["images"][0], "id": i} for i in range(1, images + 1)]
    data["annotations"] = [
        {**data["annotations"][0], "id": i, "image_id": i} for i in range(1, images + 1)
    ]
    path.write_text(json.dumps(data))
    lengths = [len(open_dataset(config, split)) for split in ("train", "val", "test")]
    assert lengths == [images - test - val, val, test]


def test_num_test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco(tmp_path)
    where = ["--format", "coco", "--root", str(tmp_path)]
    assert main(["data", "verify", *where]) == 0
    assert main(["data", "verify", *where, "--num-test", "6"]) == 2
    printed = capsys.readouterr().out
    assert "1 error" in printed  # once, not for each split
    out = str(tmp_path / "truth.jsonl")
    assert main(["truth", *where, "--num-test", "3", "--out", out]) == 0
    assert len(Path(out).read_text().splitlines()) == 3
    stats = str(tmp_path / "stats")
    assert main(["data", "stats", *where, "--num-test", "3", "--out", stats, "--samples", "0"]) == 0
    counts = json.loads((tmp_path / "stats" / "statistics.json").read_text())
    assert counts["test"]["images"] == 3


def test_blanks_around_names_are_left_out(tmp_path: Path) -> None:
    config = coco(tmp_path, lambda d: d["categories"][1].update(name=" cow "))
    assert open_dataset(config, "train").vocabulary.objects[1:] == ("cow",)


def test_names_that_look_alike(tmp_path: Path) -> None:
    config = coco(tmp_path, lambda d: d["categories"][1].update(name="Cow"))
    finding = findings(config)["names that differ only in blanks or case"]
    assert finding.severity == "warning"
    assert finding.examples == ("'cow' = 'Cow'",)
