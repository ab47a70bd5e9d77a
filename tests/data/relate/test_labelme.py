"""A folder of labelme's files: boxes by hand, what is left out, and bad input."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from autoenc_sg.cli.main import main
from autoenc_sg.core.errors import InputError
from autoenc_sg.data.relate.labelme import labelme_files, read_labelme
from autoenc_sg.data.relate.sources import open_boxes
from autoenc_sg.data.vg150.files import read_annotations
from tests.data.relate.test_relate import prior_files


def shape(label: Any, points: Any, kind: str = "polygon", group: Any = None) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "group_id": group, "flags": {}}


PERSON = shape("person", [[30, 25], [10.5, 5]], "rectangle")  # from the lower right
HORSE = shape(" horse ", [[40, 10], [59, 30], [35, 20]])


def write(folder: Path, name: str = "a", **changes: Any) -> Path:
    """A photo of 60 x 40 pixels and its file."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (60, 40), "red").save(folder / f"{name}.jpg")
    content = {
        "version": "5.4.1",
        "flags": {},
        "shapes": [PERSON, HORSE],
        "imagePath": f"{name}.jpg",
        "imageData": None,
        "imageHeight": 40,
        "imageWidth": 60,
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**content, **changes}))
    return path


def test_boxes_by_hand(tmp_path: Path) -> None:
    write(tmp_path, "b", shapes=[], imageHeight=None)
    write(tmp_path, "a")
    first, second = read_labelme(labelme_files(tmp_path))
    assert first.labels == ["person", "horse"]
    assert first.boxes == [[10.5, 5, 30, 25], [35, 10, 59, 30]]
    assert (first.image, first.image_size) == (tmp_path / "a.jpg", (40, 60))
    assert (second.labels, second.boxes, second.image_size) == ([], [], None)


def test_shapes_of_one_label_and_group_are_one_object(tmp_path: Path) -> None:
    left, right = [[0, 0], [5, 0], [5, 9]], [[20, 3], [30, 3], [30, 20]]
    shapes = [
        shape("dog", left, group=1),
        shape("cat", left, group=1),
        shape("dog", right, group=1),
        shape("dog", right, group=2),
        shape("dog", right),
    ]
    (line,) = read_labelme([write(tmp_path, shapes=shapes)])
    assert line.labels == ["dog", "cat", "dog", "dog"]
    inside = [20, 3, 30, 20]
    assert line.boxes == [[0, 0, 30, 20], [0, 0, 5, 9], inside, inside]


def test_other_shapes_are_named_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = [shape("x", [[1, 1]], "point"), shape("x", [[1, 1], [2, 2]], "circle")]
    files = [
        write(tmp_path, "a", shapes=[PERSON, *other]),
        write(tmp_path, "b", shapes=[other[0]]),
    ]
    with caplog.at_level(logging.WARNING):
        lines = read_labelme(files)
    assert [line.labels for line in lines] == [["person"], []]
    assert caplog.messages == [
        f"{tmp_path}: left out, neither rectangle nor polygon: 1 circle, 2 point"
    ]


def test_the_command_relates_them(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / "photos", name)
    prior = prior_files(tmp_path / "prior")
    command = ["data", "relate", str(tmp_path / "photos"), "--prior", str(prior)]
    assert main([*command, "--out", str(tmp_path / "out"), "--least-probability", "0.1"]) == 0
    data = read_annotations(tmp_path / "out")
    assert data.vocabulary.objects[1:] == ("horse", "person")
    assert data.split.tolist() == [0, 0, 2]
    assert data.is_pseudo.any()
    scaled = data.raw_boxes[0] * 60 / 1024
    assert [round(float(v), 1) for v in scaled] == [10.5, 5, 30, 25]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shapes": None}, r"a\.json: expected a JSON file of labelme, with a list 'shapes', got"),
        ({"imagePath": 3}, r"a\.json imagePath: expected a path, got 3"),
        ({"imagePath": "a\0.jpg"}, r"a\.json imagePath: expected a path, got"),
        ({"shapes": [3]}, r"shapes\[0\]: expected an object with a text 'shape_type', got 3"),
        ({"shapes": [PERSON, shape(None, [])]}, r"shapes\[1\]: .* with a text 'label', got"),
        ({"shapes": [shape("x", [[1, 2]] * 2)]}, r"points: expected 3 points \[x, y\] or more"),
        ({"shapes": [shape("x", [[1, 2]], "rectangle")]}, "points: expected 2 points"),
        ({"shapes": [shape("x", [[1, "2"]] * 3)]}, "points: expected 3 points"),
        ({"shapes": [shape("x", [[1, float("nan")]] * 3)]}, "points: expected coordinates below"),
        ({"imageHeight": "40"}, r"imageHeight, imageWidth: expected pixels, got \['40', 60\]"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        read_labelme([write(tmp_path, **changes)])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"imagePath": "none.jpg"}, "none.jpg"),
        ({"imageHeight": 60, "imageWidth": 40}, r"image_size: expected \[40, 60\]"),
        ({"shapes": [shape("x", [[5, 5]] * 3)]}, "box 0: expected .* with some area"),
        ({"shapes": [shape("x", [[70, 5], [80, 9]], "rectangle")]}, "box 0: expected .* within 60"),
    ],
)
def test_photos_that_do_not_fit_are_one_line(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    write(tmp_path, **{"shapes": [PERSON], **changes})
    source = open_boxes(tmp_path)
    with pytest.raises(InputError, match=said) as error:
        source.graph(0, tmp_path / "out", link=False)
    assert "\n" not in str(error.value)


def test_a_folder_of_other_files_is_none_of_labelme(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("[1]")
    assert labelme_files(tmp_path) == []
    with pytest.raises(
        InputError, match=r"labelme's, or JSON Lines .*, got nothing of these there"
    ):
        open_boxes(tmp_path)
    write(tmp_path, "a")
    with pytest.raises(InputError, match=r"other\.json: expected a JSON file of labelme"):
        read_labelme(sorted(tmp_path.glob("*.json")))
