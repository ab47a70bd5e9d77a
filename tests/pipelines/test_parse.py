"""`parse`: files and folders of photos into one JSON Lines file, with given boxes and features."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.graph_json import read_graphs
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model import AutoEncoder
from autoenc_sg.pipelines.options import ParseOptions
from autoenc_sg.pipelines.parse import find_photos, parse_photos_to_file
from autoenc_sg.visualization.progress import Reporter
from tests.support.tiny import tiny_config

BOXES = [[2, 4, 30, 40], [20, 20, 60, 60], [0, 50, 64, 64]]


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> AutoEncoder:
    return AutoEncoder.from_checkpoint(tiny_run / "run" / "checkpoint.safetensors")


@pytest.fixture(scope="module")
def folder(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`a.png`, `b.jpg`, `below/c.png` and a text file."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "below").mkdir()
    dataset = open_dataset(tiny_config(tiny_run).data, "test")
    for i, name in enumerate(("a.png", "b.jpg", "below/c.png")):
        Image.fromarray(dataset[i].image.permute(1, 2, 0).numpy()).save(folder / name)
    (folder / "notes.txt").write_text("no photo")
    return folder


def reporter() -> Reporter:
    return Reporter([("parse", 1.0)])


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_files_and_folders_give_a_line_a_photo(
    model: AutoEncoder, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "graphs.jsonl"
    result = parse_photos_to_file(model, [folder], out, ParseOptions(batch_size=2), reporter())
    assert (result.done, result.failures) == (3, [])
    names = [folder / "a.png", folder / "b.jpg", folder / "below" / "c.png"]
    assert [row["image"] for row in lines(out)] == [str(name) for name in names]
    for name, graph in zip(names, read_graphs(out, model.vocabulary)):
        alone = model.parse(name)
        assert torch.equal(graph.labels, alone.labels)
        assert torch.equal(graph.triples, alone.triples)
        torch.testing.assert_close(graph.boxes, alone.boxes, atol=1e-3, rtol=1e-4)
    assert [path.name for path in out.parent.iterdir()] == ["graphs.jsonl"]


def test_an_unreadable_photo_does_not_stop_the_others(
    model: AutoEncoder, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    photos = [folder / "a.png", tmp_path / "broken.png", tmp_path / "none.jpg", folder / "b.jpg"]
    result = parse_photos_to_file(model, photos, tmp_path / "g.jsonl", ParseOptions(), reporter())
    assert result.done == 2
    assert [str(error).split(": ")[0] for error in result.failures] == [
        str(tmp_path / "broken.png"),
        str(tmp_path / "none.jpg"),
    ]
    assert len(lines(tmp_path / "g.jsonl")) == 2


def test_nothing_is_written_if_no_photo_can_be_read(model: AutoEncoder, tmp_path: Path) -> None:
    (tmp_path / "g.jsonl").write_text("before")
    with pytest.raises(InputError, match=r"none.jpg: expected an image file"):
        parse_photos_to_file(
            model, [tmp_path / "none.jpg"], tmp_path / "g.jsonl", ParseOptions(), reporter()
        )
    assert (tmp_path / "g.jsonl").read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 1


def test_given_boxes_and_classes(model: AutoEncoder, folder: Path, tmp_path: Path) -> None:
    names = [model.vocabulary.objects[i] for i in (2, 5, 7)]
    rows = [
        {"image": "b.jpg", "boxes": BOXES, "objects": names},
        {"image": str(folder / "a.png"), "boxes": BOXES[:2]},
        {"image": "c.png", "boxes": []},
    ]
    boxes = tmp_path / "boxes.jsonl"
    boxes.write_text("\n".join(map(json.dumps, rows)))
    options = ParseOptions(boxes=boxes, edge_threshold=0.0)
    result = parse_photos_to_file(model, [folder], tmp_path / "g.jsonl", options, reporter())
    assert result.failures == []
    a, b, c = lines(tmp_path / "g.jsonl")
    assert a["boxes"] == BOXES[:2]
    assert b["objects"] == names
    assert b["object_scores"] == [1.0, 1.0, 1.0]
    assert len(b["relationships"]) > 0
    assert c["objects"] == []

    again = ParseOptions(boxes=tmp_path / "g.jsonl", edge_threshold=0.0)
    parse_photos_to_file(model, [folder], tmp_path / "h.jsonl", again, reporter())
    assert [row["objects"] for row in lines(tmp_path / "h.jsonl")] == [
        row["objects"] for row in (a, b, c)
    ]


def test_one_photo_takes_a_graph_file(model: AutoEncoder, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "graph.json"
    file.write_text(json.dumps({"objects": [model.vocabulary.objects[3]], "boxes": BOXES[:1]}))
    options = ParseOptions(boxes=file)
    parse_photos_to_file(model, [folder / "a.png"], tmp_path / "g.jsonl", options, reporter())
    assert lines(tmp_path / "g.jsonl")[0]["objects"] == [model.vocabulary.objects[3]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "expected one entry for .*a.png, got 0"),
        ('[{"boxes": []}, {"boxes": []}]', "entry 1 of 2: expected an 'image', got None"),
        ('{"image": "b.jpg", "boxes": []}', "expected one entry for .*a.png, got 0"),
        ('{"image": "a.png"}', "entry 1 of 1, boxes: expected a list of boxes, got NoneType"),
        ('{"image": "a.png", "boxes": [], "objects": 3}', "objects: expected a list of names"),
        ('{"image": "a.png", "boxes": [[0, 0, 1]]}', r"a.png: boxes: expected shape \[n, 4\]"),
        ('{"image": "a.png", "boxes": [[0, 0, 9, 9]], "objects": ["dgo"]}', "'dgo'.*nearest"),
        ('{"image": "a.png", "boxes": [[0, 0, 9, 9]], "objects": []}', "labels: expected one for"),
        ("nonsense", "expected valid JSON in UTF-8"),
        ("[3]", "entry 1 of 1: expected an entry"),
    ],
)
def test_bad_files_of_boxes(
    model: AutoEncoder, folder: Path, tmp_path: Path, content: str, message: str
) -> None:
    file = tmp_path / "boxes.json"
    file.write_text(content)
    with pytest.raises(InputError, match=message):
        parse_photos_to_file(
            model,
            [folder / "a.png"],
            tmp_path / "g.jsonl",
            ParseOptions(boxes=file),
            reporter(),
        )
    assert not (tmp_path / "g.jsonl").exists()


def test_one_bad_entry_does_not_stop_the_others(
    model: AutoEncoder, folder: Path, tmp_path: Path
) -> None:
    rows = [
        {"image": "a.png", "boxes": BOXES},
        {"image": "b.jpg", "boxes": [[90, 90, 99, 99]]},
        {"image": "below/c.png", "boxes": BOXES[:1]},
    ]
    (tmp_path / "b.json").write_text(json.dumps(rows))
    options = ParseOptions(boxes=tmp_path / "b.json")
    result = parse_photos_to_file(model, [folder], tmp_path / "g.jsonl", options, reporter())
    assert result.done == 2
    assert "b.jpg: boxes[0]: expected finite" in str(result.failures[0])


def test_features_are_written_beside(model: AutoEncoder, folder: Path, tmp_path: Path) -> None:
    options = ParseOptions(features=tmp_path / "f.npz")
    parse_photos_to_file(model, [folder], tmp_path / "g.jsonl", options, reporter())
    with np.load(tmp_path / "f.npz", allow_pickle=False) as arrays:
        assert arrays["images"].tolist() == [row["image"] for row in lines(tmp_path / "g.jsonl")]
        counts = [len(row["objects"]) for row in lines(tmp_path / "g.jsonl")]
        assert np.bincount(arrays["object_photo"], minlength=3).tolist() == counts
        assert arrays["objects"].shape == (sum(counts), 16)
        expected = model.features(folder / "b.jpg").whole.numpy()
        np.testing.assert_allclose(arrays["whole"][1], expected, atol=1e-4)


def test_bad_options_and_places(model: AutoEncoder, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"features: expected a name that ends in .npz"):
        ParseOptions(features=Path("f.txt"))
    with pytest.raises(InputError, match="batch_size: expected 1 or more, got 0"):
        ParseOptions(batch_size=0)
    with pytest.raises(InputError, match="expected a file to write, got a folder"):
        parse_photos_to_file(model, [folder], tmp_path, ParseOptions(), reporter())
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: expected a folder with image files"):
        find_photos([tmp_path / "empty"])
    with pytest.raises(InputError, match="photos: expected one file or folder, or more"):
        find_photos([])


def test_a_photo_with_two_entries_of_its_name_is_refused(
    model: AutoEncoder, folder: Path, tmp_path: Path
) -> None:
    rows = [{"image": f"{place}/a.png", "boxes": BOXES} for place in ("x", "y")]
    (tmp_path / "b.json").write_text(json.dumps([*rows, {"image": "b.jpg", "boxes": BOXES}]))
    photos, options = [folder / "a.png", folder / "b.jpg"], ParseOptions(boxes=tmp_path / "b.json")
    result = parse_photos_to_file(model, photos, tmp_path / "g.jsonl", options, reporter())
    assert result.done == 1
    (failure,) = result.failures
    assert f"expected one entry for {folder / 'a.png'}, got 2" in str(failure)


def test_hidden_files_are_no_photos(folder: Path, tmp_path: Path) -> None:
    for name in ("a.png", "._a.png", ".hidden.jpg"):
        (tmp_path / name).write_bytes((folder / "a.png").read_bytes())
    assert find_photos([tmp_path]) == [tmp_path / "a.png"]


def test_a_name_that_is_not_utf8_is_written_and_found_again(
    model: AutoEncoder, folder: Path, tmp_path: Path
) -> None:
    photo = tmp_path / "odd\udcff.png"  # the byte 0xff, as Python names it
    try:
        photo.write_bytes((folder / "a.png").read_bytes())
    except (OSError, UnicodeError):
        pytest.skip("a file system of Unicode names")
    out = tmp_path / "g.jsonl"
    parse_photos_to_file(model, [photo], out, ParseOptions(), reporter())
    assert json.loads(out.read_text(encoding="utf-8"))["image"] == str(photo)
    options = ParseOptions(boxes=out)
    again = parse_photos_to_file(model, [photo], tmp_path / "h.jsonl", options, reporter())
    assert again.failures == []


def test_a_place_for_features_is_checked_first(
    model: AutoEncoder, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    options = ParseOptions(features=tmp_path / "file" / "f.npz")
    with pytest.raises(InputError, match="expected a path that can be written"):
        parse_photos_to_file(model, [folder], tmp_path / "g.jsonl", options, reporter())
    assert not (tmp_path / "g.jsonl").exists()
