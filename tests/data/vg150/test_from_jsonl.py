"""Photos with their own annotation: any image right, and any mistake named with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.vg150.dataset import open_vg150
from autoenc_sg.data.vg150.files import read_annotations
from autoenc_sg.data.vg150.from_jsonl import convert_lines, read_lines

BOXES = [[2.0, 3, 30, 20], [0, 10, 60, 40]]
LINE: dict[str, Any] = {
    "image": "photos/a b ü.jpg",
    "labels": ["cat", "mat"],
    "boxes": BOXES,
    "triples": [[0, "on", 1], [1, "under", 0], [0, "near", 1]],
}
LINES = [LINE, {**LINE, "triples": []}, LINE]


def write_lines(folder: Path, lines: list[Any], save: Any = None) -> Path:
    """The lines and one photo of 60 x 40 pixels, red on its left half, blue on its right one."""
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    path = folder / "lines.jsonl"
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text(text + "\n", encoding="utf-8")
    (save or plain)(folder / "photos" / "a b ü.jpg")
    return path


def halves() -> Image.Image:
    image = Image.new("RGB", (60, 40), "red")
    image.paste("blue", (30, 0, 60, 40))
    return image


def plain(path: Path) -> None:
    halves().save(path, quality=95)


def test_lines_become_vg150_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert convert_lines(write_lines(tmp_path, LINES), out) == 3
    assert sorted(p.name for p in out.iterdir()) == [
        "VG-SGG-dicts.json", "VG-SGG.h5", "VG_100K", "image_data.json",
    ]  # fmt: skip
    train, test = open_vg150(out, "train", 0, False), open_vg150(out, "test", 0, False)
    assert train.image_ids == (1, 2)  # int(0.7 * 3)
    assert test.image_ids == (3,)
    assert train.vocabulary == Vocabulary.from_names(["cat", "mat"], ["near", "on", "under"])
    sample = test[0]
    assert sample.graph.labels.tolist() == [1, 2]
    assert sample.graph.triples.tolist() == [[0, 2, 1], [1, 3, 0], [0, 1, 1]]
    assert_close(sample.graph.boxes, torch.tensor(BOXES), atol=0.13, rtol=0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lines.jsonl", "out", "photos"]


def test_stated_splits_and_vocabulary(tmp_path: Path) -> None:
    lines = [{**LINE, "split": split} for split in ("test", "train", "test")]
    names = Vocabulary.from_names(["mat", "dog", "cat"], ["under", "on", "near"])
    convert_lines(write_lines(tmp_path, lines), tmp_path / "out", names)
    test = open_vg150(tmp_path / "out", "test")
    assert test.image_ids == (1, 3)
    assert test.vocabulary == names
    assert test.graph(0).labels.tolist() == [3, 1]


def test_photos_without_objects_or_boxes_of_a_line(tmp_path: Path) -> None:
    lines = [LINE, {"image": LINE["image"], "labels": []}, "", LINE]
    convert_lines(write_lines(tmp_path, lines), tmp_path / "out", train_fraction=0)
    assert open_vg150(tmp_path / "out", "test", 0, False).image_ids == (1, 3)


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side: to be turned by 90 degrees clockwise
    halves().transpose(Image.Transpose.ROTATE_90).save(path, quality=95, exif=exif)


def cmyk(path: Path) -> None:
    halves().convert("CMYK").save(path, quality=95)


def grey(path: Path) -> None:
    halves().convert("L").save(path, quality=95)


def sixteen(path: Path) -> None:
    grey16 = np.asarray(halves().convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey16).save(path, "PNG")


def animated(path: Path) -> None:
    halves().save(path, "GIF", save_all=True, append_images=[Image.new("RGB", (60, 40), "green")])


def palette(path: Path) -> None:
    halves().quantize(4).save(path, "PNG")


@pytest.mark.parametrize("save", [plain, turned, cmyk, grey, sixteen, animated, palette])
def test_photos_of_every_kind_lie_as_they_are_seen(tmp_path: Path, save: Any) -> None:
    path = write_lines(tmp_path, [{**LINE, "image_size": [40, 60]}], save)
    convert_lines(path, tmp_path / "out", train_fraction=0)
    image, graph, _ = open_vg150(tmp_path / "out", "test")[0]
    assert image.shape == (3, 40, 60)
    left, right = image[:, 20, 10].tolist(), image[:, 20, 50].tolist()
    if save in (grey, sixteen):
        assert left[0] == left[1] == left[2]
        assert abs(left[0] - 76) < 5  # the luma of red
        assert abs(right[0] - 29) < 5
    else:
        assert left[0] > 200 > 60 > left[2]
        assert right[2] > 200 > 60 > right[0]
    assert_close(graph.boxes, torch.tensor(BOXES), atol=0.13, rtol=0)


def test_linked_photos_of_links_are_files(tmp_path: Path) -> None:
    path = write_lines(tmp_path, [LINE, {**LINE, "image": "link.jpg"}])
    (tmp_path / "link.jpg").symlink_to(Path("photos") / "a b ü.jpg")
    convert_lines(path, tmp_path / "out", link=True)
    linked = tmp_path / "out" / "VG_100K" / "2.jpg"
    assert not linked.is_symlink()
    assert open_vg150(tmp_path / "out", "test", 0, False)[0].image.shape == (3, 40, 60)


def test_photos_outside_are_copied_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain(tmp_path / "b.jpg")
    names = ["../b.jpg", str(tmp_path / "b.jpg"), "photos/a b ü.jpg"]
    path = write_lines(tmp_path / "lines", [{**LINE, "image": name} for name in names])
    assert convert_lines(path, tmp_path / "out") == 3
    assert f"2 of 3 photos are outside of {path.parent} ({path.parent}/../b.jpg)" in caplog.text


def test_backslashes_and_blanks(tmp_path: Path) -> None:
    line = {**LINE, "image": "photos\\a b ü.jpg", "labels": [" cat", "mat\t"]}
    line["triples"] = [[0, "on ", 1]]
    convert_lines(write_lines(tmp_path, [LINE, line]), tmp_path / "out")
    test = open_vg150(tmp_path / "out", "test", 0, False)
    assert test.vocabulary == Vocabulary.from_names(["cat", "mat"], ["near", "on", "under"])
    assert test.graph(0).labels.tolist() == [1, 2]


def test_linked_photos_are_the_same_file(tmp_path: Path) -> None:
    path = write_lines(tmp_path, [LINE])
    convert_lines(path, tmp_path / "out", link=True)
    photo, linked = tmp_path / "photos" / "a b ü.jpg", tmp_path / "out" / "VG_100K" / "1.jpg"
    assert photo.samefile(linked)
    convert_lines(path, tmp_path / "copy")
    assert not photo.samefile(tmp_path / "copy" / "VG_100K" / "1.jpg")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("{", "expected a JSON object"),
        ("[1]", "expected an object with 'image', 'labels'"),
        ("[" * 100_000, "expected a JSON object"),
        ({"box": []}, r"only the keys .*got \['box'\]"),
        ({"image": 3}, "image: expected a path"),
        ({"image": "none.jpg"}, r"none\.jpg: expected an image file, got no file there"),
        ({"labels": "cat"}, "labels: expected a list of names"),
        ({"labels": ["cat", ""]}, r"labels\[1\]: expected a list of names"),
        ({"labels": ["cat"]}, "expected a box for each label, got 2 boxes, 1 labels"),
        ({"boxes": [[1, 2, 3]]}, r"boxes\[0\]: expected a list of \[x1, y1, x2, y2\]"),
        ({"boxes": [[1, 2, 3, True], [0, 0, 1, 1]]}, r"boxes\[0\]"),
        ({"boxes": [[1, 2, float("nan"), 4], [0, 0, 1, 1]]}, "box 0: expected x1, y1, x2, y2"),
        ({"boxes": [[9, 2, 3, 4], [0, 0, 1, 1]]}, "box 0: expected x1, y1, x2, y2 with some area"),
        ({"boxes": [[0, 0, 1, 1], [60, 2, 70, 9]]}, "box 1: .* within 60 x 40"),
        ({"triples": [[0, "on", 2]]}, "relation 0: expected two different ones of 2 objects"),
        ({"triples": [[0, "on", 0]]}, "relation 0: expected two different ones of 2 objects"),
        ({"triples": [[0, 1, 1]]}, r"triples\[0\]: expected a list of \[0, \"on\", 1\]"),
        ({"triples": [[-1, "on", 1]]}, r"triples\[0\]"),
        ({"image_size": [60, 40]}, r"image_size: expected \[40, 60\] as .* is seen"),
        ({"image_size": "big"}, r"image_size: expected \[height, width\]"),
        ({"split": "val"}, "split: expected 'train' or 'test', got 'val'"),
        ({"split": "test"}, "line 1: expected a 'split', as other lines have one, got none"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, change: Any, message: str) -> None:
    second = change if isinstance(change, str) else {**LINE, **change}
    path = write_lines(tmp_path, [LINE, second])
    with pytest.raises(InputError, match=message) as error:
        convert_lines(path, tmp_path / "out")
    assert "lines.jsonl line " in str(error.value)
    assert "\n" not in str(error.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lines.jsonl", "photos"]


def test_names_outside_of_the_given_vocabulary(tmp_path: Path) -> None:
    path = write_lines(tmp_path, [LINE])
    for objects, predicates, name in (
        (["cat"], ["on", "under", "near"], "object 'mat'"),
        (["cat", "mat"], ["on", "under", "nearby"], "predicate 'near'.*nearest: nearby"),
    ):
        with pytest.raises(InputError, match=f"lines.jsonl line 1: {name}"):
            convert_lines(path, tmp_path / "out", Vocabulary.from_names(objects, predicates))


def bomb(path: Path) -> None:
    Image.new("L", (90, 80)).save(path)


def text(path: Path) -> None:
    path.write_text("no image")


def cut(path: Path) -> None:
    plain(path)
    path.write_bytes(path.read_bytes()[:-300])


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (bomb, "expected an image of at most 3000 pixels"),
        (text, "expected an image file, got a file of another kind"),
        (cut, "expected a whole image file"),
    ],
)
def test_bad_photos_are_named(
    tmp_path: Path, save: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)
    path = write_lines(tmp_path, [LINE], save)
    with pytest.raises(InputError, match=rf"line 1: .*a b ü\.jpg: {message}"):
        convert_lines(path, tmp_path / "out")


def test_bad_files_and_folders(tmp_path: Path) -> None:
    path = write_lines(tmp_path, [LINE])
    with pytest.raises(InputError, match="expected a JSON Lines file in UTF-8"):
        read_lines(tmp_path / "none.jsonl")
    (tmp_path / "latin.jsonl").write_bytes("ü".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.jsonl: expected a JSON Lines file in UTF-8"):
        read_lines(tmp_path / "latin.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n \n")
    with pytest.raises(InputError, match="expected a photo in each line, got an empty file"):
        read_lines(tmp_path / "empty.jsonl")
    with pytest.raises(InputError, match="photos: expected a new or empty folder"):
        convert_lines(path, tmp_path / "photos")
    with pytest.raises(InputError, match="expected a path that can be written"):
        convert_lines(path, path / "out")
    with pytest.raises(InputError, match=r"train_fraction: expected 0\.\.1"):
        convert_lines(path, tmp_path / "out", train_fraction=2)
    bare = write_lines(tmp_path, [{"image": "photos/a b ü.jpg", "labels": []}])
    with pytest.raises(InputError, match="expected some labels and some triples"):
        convert_lines(bare, tmp_path / "out")


def test_pseudo_relations_and_captions(tmp_path: Path) -> None:
    line = {**LINE, "triple_scores": [None, 0.5, 1], "captions": ["a cat on a mat"]}
    path = write_lines(tmp_path, [line, LINE])
    assert read_lines(path)[0].captions == ["a cat on a mat"]
    convert_lines(path, tmp_path / "out")
    scores = read_annotations(tmp_path / "out").relation_scores
    nan = torch.nan
    assert_close(scores, torch.tensor([nan, 0.5, 1, nan, nan, nan]), equal_nan=True)


@pytest.mark.parametrize("scores", [[0.5], [None, 1.5, None], [None, None, "0.5"], 0.5])
def test_scores_that_are_none(tmp_path: Path, scores: Any) -> None:
    path = write_lines(tmp_path, [LINE, {**LINE, "triple_scores": scores}])
    with pytest.raises(InputError, match=r"line 2 triple_scores.*a probability in 0..1, or null"):
        read_lines(path)
