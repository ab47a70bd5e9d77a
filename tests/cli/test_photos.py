"""`parse` and `reconstruct --boxes` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from autoenc_sg.cli.main import main
from autoenc_sg.model import AutoEncoder


@pytest.fixture(scope="module")
def checkpoint(tiny_run: Path) -> str:
    return str(tiny_run / "run" / "checkpoint.safetensors")


@pytest.fixture(scope="module")
def photos(tiny_run: Path) -> list[Path]:
    return sorted((tiny_run / "scenes" / "VG_100K").glob("*.jpg"))[:3]


def test_parse_writes_lines_and_features(
    checkpoint: str, photos: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, features = tmp_path / "g.jsonl", tmp_path / "f.npz"
    command = ["parse", checkpoint, *map(str, photos), "--out", str(out), "--batch-size", "2"]
    assert main([*command, "--features", str(features), "--edge-threshold", "0.2"]) == 0
    assert f"3 of 3 photos -> {out}" in capsys.readouterr().out
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["image"] for row in rows] == [str(photo) for photo in photos]
    expected = AutoEncoder.from_checkpoint(checkpoint).parse(photos[1], edge_threshold=0.2)
    assert rows[1]["objects"] == list(expected.objects)
    assert rows[1]["relationships"] == [list(relation) for relation in expected.relations]
    with np.load(features) as arrays:
        assert len(arrays["images"]) == 3


def test_parse_of_some_unreadable_photos_ends_with_2(
    checkpoint: str, photos: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["parse", checkpoint, "none.jpg", str(photos[0]), "--out", str(tmp_path / "g.jsonl")]
    assert main(command) == 2
    printed = capsys.readouterr()
    assert "1 of 2 photos" in printed.out
    assert "autoenc-sg: none.jpg: expected an image file" in printed.err
    assert len((tmp_path / "g.jsonl").read_text().splitlines()) == 1


def test_reconstruct_with_given_boxes(
    checkpoint: str, photos: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = tmp_path / "boxes.json"
    entry = {"boxes": [[2, 4, 30, 40], [20, 20, 60, 60]], "objects": ["person", "dog"]}
    boxes.write_text(json.dumps([{"image": photos[0].name, **entry}]))
    command = ["reconstruct", checkpoint, str(photos[0]), str(photos[1])]
    assert main([*command, "--out", str(tmp_path / "out"), "--boxes", str(boxes)]) == 2
    assert f"one entry for {photos[1]}, got 0" in capsys.readouterr().err
    graph = json.loads((tmp_path / "out" / photos[0].stem / "graph.json").read_text())
    assert graph["objects"] == ["person", "dog"]
    assert graph["boxes"] == [[2, 4, 30, 40], [20, 20, 60, 60]]
    assert not (tmp_path / "out" / photos[1].stem).exists()


def test_photos_of_one_name_have_folders_of_their_own(
    checkpoint: str, photos: list[Path], tmp_path: Path
) -> None:
    names = ["a/cat.jpg", "b/cat.jpg", "cat-2.jpg", "...jpg"]
    for i, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(photos[i % 3].read_bytes())
    command = ["reconstruct", checkpoint, *(str(tmp_path / name) for name in names)]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    written = sorted(path.parent.name for path in (tmp_path / "out").glob("*/graph.json"))
    assert written == ["cat", "cat-2", "cat-3", "file"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--object-threshold", "2"], "object_threshold: expected a number in 0..1, got 2"),
        (["--boxes", "none.json"], "none.json: expected a graph JSON file"),
        (["--batch-size", "0"], "batch_size: expected 1 or more"),
        (["--features", "f.csv"], "features: expected a name that ends in .npz"),
    ],
)
def test_bad_options_are_one_line(
    checkpoint: str,
    photos: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    command = ["parse", checkpoint, str(photos[0]), "--out", str(tmp_path / "g.jsonl"), *options]
    assert main(command) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error
    assert not (tmp_path / "g.jsonl").exists()
