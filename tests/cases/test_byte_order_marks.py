"""JSON with a byte order mark (Windows editors write it) is read in every format."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoenc_sg.config.data import DataConfig
from autoenc_sg.data.base.json_files import read_json
from autoenc_sg.data.inspect.verify import verify
from autoenc_sg.data.open import open_dataset
from autoenc_sg.data.sg2im_vg.dataset import open_sg2im_vg
from autoenc_sg.data.vg150.from_jsonl import convert_lines
from tests.data.sg2im_vg.test_dataset import write as write_sg2im_vg
from tests.data.test_open import KINDS, config
from tests.data.vg150.test_from_jsonl import LINES, write_lines
from tests.support.files.sg2im_data import write_coco_stuff

MARK = b"\xef\xbb\xbf"


def mark(root: Path) -> int:
    """Put a mark before every JSON file under a folder; their number."""
    files = [*root.rglob("*.json"), *root.rglob("*.jsonl")]
    for path in files:
        path.write_bytes(MARK + path.read_bytes())
    return len(files)


@pytest.mark.parametrize("kind", KINDS)
def test_every_format(tmp_path: Path, kind: str) -> None:
    plain = config(tmp_path, kind)
    before = verify(plain, decode=False)
    graphs = len(open_dataset(plain, "train"))
    assert mark(tmp_path) > 0
    after = verify(plain, decode=False)
    assert after == before
    assert len(open_dataset(plain, "train")) == graphs > 0


def test_coco_stuff(tmp_path: Path) -> None:
    write_coco_stuff(tmp_path)
    plain = DataConfig("coco_stuff", str(tmp_path))
    graphs = len(open_dataset(plain, "train"))
    assert mark(tmp_path) == 4
    assert len(open_dataset(plain, "train")) == graphs > 0


def test_sg2im_vg(tmp_path: Path) -> None:
    write_sg2im_vg(tmp_path)
    assert mark(tmp_path) == 2
    assert open_sg2im_vg(tmp_path, "train").graph(0).image_size == (80, 100)


def test_own_lines(tmp_path: Path) -> None:
    path = write_lines(tmp_path, LINES)
    assert mark(tmp_path) == 1
    assert convert_lines(path, tmp_path / "out") == len(LINES)


def test_a_vocabulary_in_utf_8_keeps_its_letters(tmp_path: Path) -> None:
    path = tmp_path / "names.json"
    path.write_bytes(MARK + '{"a": "été"}'.encode())
    assert read_json(path) == {"a": "été"}
