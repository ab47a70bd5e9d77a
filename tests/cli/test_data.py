"""`autoenc-sg data …` as users meet it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autoenc_sg.cli.main import main
from autoenc_sg.data.vg150.files import read_annotations
from tests.cli.test_main import one_line
from tests.data.vg150.from_raw.test_build import raw_files
from tests.data.vg150.test_dataset import make, root  # noqa: F401


def test_vg150_counts_and_lists_what_is_missing(
    root: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (root / "VG_100K/104.jpg").unlink()
    assert main(["data", "vg150", "--root", str(root)]) == 0
    printed = capsys.readouterr().out
    assert "missing images, which are left out: 104 " in printed
    rows = {
        line.split("  ")[1]: line.split()[-3:] for line in printed.splitlines() if "split" in line
    }
    assert rows["train split"] == ["4", "4", "–"]
    assert rows["test split"] == ["4", "3", "–"]
    missing = tmp_path / "missing ü.txt"
    assert main(["data", "vg150", "--root", str(root), "--missing", str(missing)]) == 0
    assert missing.read_text() == "104\n"


def test_vg150_builds_from_raw_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = raw_files(tmp_path / "raw ü")
    out = tmp_path / "out"
    command = ["data", "vg150", "--root", str(out), "--raw", str(raw), "--objects", "4"]
    assert main([*command, "--predicates", "1", "--train-fraction", "0.4"]) == 0
    assert "merged objects" in capsys.readouterr().out
    data = read_annotations(out)
    assert data.vocabulary.predicates[1:] == ("on",)
    assert data.split.tolist() == [0, 2, 2]
    assert main(["data", "vg150", "--root", str(raw)]) == 0  # raw files alone: built beside them
    assert read_annotations(raw).vocabulary.num_predicates == 5


def test_vg150_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = one_line(capsys, "data", "vg150", "--root", str(tmp_path))
    assert "VG-SGG.h5: expected the annotations of VG150, got no such file" in error
    error = one_line(capsys, "data", "vg150", "--root", str(tmp_path), "--raw", str(tmp_path))
    assert "image_data.json: expected a JSON file, got no such file" in error
    assert "the following arguments are required" in one_line(capsys, "data", "vg150")
    assert "required" in one_line(capsys, "data")


def test_from_jsonl(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.data.vg150.test_from_jsonl import LINES, write_lines

    path = write_lines(tmp_path / "mine", LINES)
    assert main(["data", "from-jsonl", str(path), "--out", str(tmp_path / "out")]) == 0
    assert "3 photos" in capsys.readouterr().out
    dicts = tmp_path / "out" / "VG-SGG-dicts.json"
    assert json.loads(dicts.read_text())["label_to_idx"] == {"cat": 1, "mat": 2}
    again = ["data", "from-jsonl", str(path), "--out", str(tmp_path / "b")]
    assert main([*again, "--vocabulary", str(dicts), "--link"]) == 0
    error = one_line(capsys, *again)
    assert "b: expected a new or empty folder" in error


def test_verify(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    findings = tmp_path / "findings.json"
    assert main(["data", "verify", "--root", str(root), "--json", str(findings)]) == 0
    assert ": ready: " in capsys.readouterr().out
    (root / "VG_100K/104.jpg").write_text("no image")
    assert main(["data", "verify", "--root", str(root), "--json", str(findings), "--quick"]) == 2
    printed = capsys.readouterr().out
    assert "unreadable images: get the files again, or remove them" in printed
    assert "not ready: 1 error" in printed
    content = json.loads(findings.read_text())
    assert content["ready"] is False
    assert content["findings"][0]["kind"] == "unreadable images"
    assert content["counts"][1] == {
        "split": "train split", "annotated": 4, "with a file": 4, "published": None,
    }  # fmt: skip


def test_which_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = one_line(capsys, "data", "verify", "--root", str(tmp_path))
    assert "expected the files of a data set (one of VG-SGG.h5, " in error
    error = one_line(capsys, "data", "verify", "--root", str(tmp_path / "none"))
    assert "none: expected the folder of a data set, got no such folder" in error
    error = one_line(capsys, "data", "verify", "--root", str(tmp_path), "--format", "vg")
    assert "--format: expected auto, scenes, vg150" in error
