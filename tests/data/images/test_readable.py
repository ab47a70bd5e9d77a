"""Nothing is read outside of a data set's folder, unless the user allows it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from autoenc_sg.__main__ import main
from autoenc_sg.config.data import DataConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.data.images.readable import ReadableFolders, image_path
from autoenc_sg.data.inspect.verify import verify
from autoenc_sg.data.open import open_dataset
from tests.cases.test_coco_numbers import coco
from tests.data.inspect.test_verify import edit_json
from tests.data.test_open import SPLITS
from tests.data.test_open import config as small

EXPECTED = "expected a file in the data set's folder"


def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside.jpg"
    Image.new("RGB", (96, 72), (1, 2, 3)).save(path)
    return path


@pytest.mark.parametrize("way", ["dots", "absolute", "link", "linked folder"])
def test_coco(tmp_path: Path, way: str) -> None:
    root, photo = tmp_path / "root", outside(tmp_path)
    config = coco(root)
    name = {
        "dots": "../outside.jpg",
        "absolute": str(photo),
        "link": "link.jpg",
        "linked folder": "folder/outside.jpg",
    }[way]
    (root / "link.jpg").symlink_to(photo)
    (root / "folder").symlink_to(tmp_path)
    edit_json(root, "instances.json", lambda d: d["images"][2].update(file_name=name))
    with pytest.raises(InputError, match=rf"instances\.json image 3: {EXPECTED}"):
        open_dataset(config, "train")
    outcome = verify(config)
    assert not outcome.ready
    assert EXPECTED in outcome.findings[0].examples[0]
    assert main(["data", "verify", "--root", str(root)]) == 2
    assert main(["data", "verify", "--root", str(root), "--allow-outside"]) == 0
    allowed = open_dataset(replace(config, allow_outside=True), "train")
    assert allowed[1].image[:, 30, 40].tolist() == pytest.approx([1, 2, 3], abs=3)


def test_paths_and_links_within_the_folder_are_read(tmp_path: Path) -> None:
    config = coco(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.jpg").symlink_to(tmp_path / "3.jpg")
    names = {0: "sub/../1.jpg", 1: str(tmp_path / "2.jpg"), 2: "link.jpg"}

    def rename(data: dict[str, list[dict[str, object]]]) -> None:
        for row, name in names.items():
            data["images"][row]["file_name"] = name

    edit_json(tmp_path, "instances.json", rename)
    assert len(open_dataset(config, "train")) == 4
    assert verify(config).ready


def test_folders_that_the_user_names_are_read(tmp_path: Path) -> None:
    config = coco(tmp_path / "photos")
    (tmp_path / "root").mkdir()
    (tmp_path / "photos/instances.json").rename(tmp_path / "root/instances.json")
    named = replace(config, root=str(tmp_path / "root"), images="../photos")
    assert len(open_dataset(named, "train")) == 4


@pytest.mark.parametrize("kind", ["coco_vg150", "vrd", "psg", "vg150"])
def test_links_in_other_formats(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    config = small(root, kind)
    photo = next(path for path in sorted(root.rglob("*.[jp][pn]g")))
    photo.rename(tmp_path / photo.name)
    photo.symlink_to(tmp_path / photo.name)
    with pytest.raises(InputError, match=EXPECTED):
        _ = [open_dataset(config, split) for split in SPLITS]
    assert not verify(config).ready
    assert verify(replace(config, allow_outside=True)).ready == verify_before(photo, config)


def verify_before(photo: Path, config: DataConfig) -> bool:
    """Whether the data set is ready with the photo itself in the link's place."""
    photo.resolve().replace(photo)
    return verify(config).ready


@pytest.mark.parametrize("kind", ["coco", "psg", "vg150"])
def test_annotation_files_that_are_links(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    config = small(root, kind)
    name = {"coco": "instances.json", "psg": "psg.json", "vg150": "image_data.json"}[kind]
    (root / name).rename(tmp_path / name)
    (root / name).symlink_to(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}: {EXPECTED}"):
        open_dataset(config, "train")
    assert not verify(config).ready
    assert len(open_dataset(replace(config, allow_outside=True), "train"))


def test_names_of_other_systems(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("a/1.jpg", "a\\2.jpg", " 3.jpg"):
        (tmp_path / name).write_text("")
    assert image_path(tmp_path, "a\\1.jpg") == str(tmp_path / "a/1.jpg")
    assert image_path(tmp_path, "a\\2.jpg") == str(tmp_path / "a\\2.jpg")  # is called so
    assert image_path(tmp_path, " 3.jpg") == str(tmp_path / " 3.jpg")
    assert image_path(tmp_path, " a/1.jpg\n") == str(tmp_path / "a/1.jpg")
    names = {1: "a\\1.jpg", 2: "\0", 3: "\ud800.jpg", 4: "x" * 5000, 5: "", 6: "."}
    readable = ReadableFolders([tmp_path])
    assert readable.image_files(tmp_path, names, "here") == {1: str(tmp_path / "a/1.jpg")}
    for name in ("..\\1.jpg", "/etc/passwd", "../" * 40 + "etc/passwd", "..", "a/../../x"):
        with pytest.raises(InputError, match=rf"here image 7: {EXPECTED}"):
            readable.image_files(tmp_path, {7: name}, "here")
    neighbour = tmp_path.with_name(tmp_path.name + "-2")
    with pytest.raises(InputError, match=EXPECTED):
        readable.check(neighbour / "1.jpg", "here")  # begins with the folder's name


def test_coco_with_backslashes(tmp_path: Path) -> None:
    config = coco(tmp_path)
    (tmp_path / "pics").mkdir()
    for i in range(1, 7):
        (tmp_path / f"{i}.jpg").rename(tmp_path / f"pics/{i}.jpg")

    def windows(data: dict[str, list[dict[str, object]]]) -> None:
        for image in data["images"]:
            image["file_name"] = f"pics\\{image['file_name']}"

    edit_json(tmp_path, "instances.json", windows)
    assert verify(config).ready
    assert open_dataset(config, "test")[0].image_id == 6
