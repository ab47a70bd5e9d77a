"""The blocks of docs/python.md, and docs/walkthrough.py, run as they stand."""

from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture
def demo_folder(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as after `autoenc-sg demo`, with the tiny run in the place of the demo's."""
    shutil.copytree(tiny_run / "run", tmp_path / "runs" / "demo")
    shutil.copy(next((tiny_run / "scenes" / "VG_100K").glob("*.jpg")), tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks() -> list[str]:
    text = (DOCS / "python.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)


def test_every_block_of_the_page_runs(demo_folder: Path) -> None:
    names: dict[str, object] = {}
    assert len(blocks()) >= 14
    for number, block in enumerate(blocks(), 1):
        exec(compile(block, f"docs/python.md, block {number}", "exec"), names)
    assert (demo_folder / "reconstruction.png").is_file()
    assert (demo_folder / "my_model" / "model.safetensors").is_file()


def test_the_walkthrough_runs(demo_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(DOCS / "walkthrough.py"))
    printed = capsys.readouterr().out
    assert "true relations" in printed
    assert printed.count("joint ") == 3
    assert (demo_folder / "walkthrough" / "with_a_tree.png").is_file()
