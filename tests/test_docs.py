"""What the pages say of files is true: links, anchors and paths exist, and the table of floors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_import_order import MAY_IMPORT, ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^()\s]+)\)")
ANCHOR = re.compile(r"^#+ (.+)$", re.MULTILINE)
CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
PATH = re.compile(
    r"(?<![\w./:-])((?:[\w.-]+/)+[\w.-]+\.py|(?:configs|docs)/[\w./-]+\.(?:yaml|md))\b"
)
TEST = re.compile(r"\b(tests/[\w/]+\.py)::(\w+)")
FLOOR = re.compile(r"^\| `(\w+)(?:/|\.py)` \| .+ \| (.+) \|$", re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = ANCHOR.findall(CODE_BLOCK.sub("", text))
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def broken_links(page: Path) -> list[str]:
    """Relative links of a page to files or anchors that are not there."""
    broken = []
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        file = page.parent / name if name else page
        there = file.exists()
        if there and anchor:
            there = anchor in anchors(file.read_text(encoding="utf-8"))
        if not there:
            broken.append(target)
    return broken


def missing_paths(text: str, root: Path) -> list[str]:
    """Paths `folder/file.py`, `configs/….yaml` and `docs/….md` that are neither below `root` nor
    below its `autoenc_sg/`."""
    found = [path.removeprefix("../") for path in PATH.findall(text)]
    return [p for p in found if not ((root / p).is_file() or (root / "autoenc_sg" / p).is_file())]


def missing_tests(text: str, root: Path) -> list[str]:
    """Those of the tests named as `tests/….py::name` that are not in these files."""
    missing = []
    for path, name in TEST.findall(text):
        file = root / path
        source = file.read_text(encoding="utf-8") if file.is_file() else ""
        if f"\ndef {name}(" not in source:
            missing.append(f"{path}::{name}")
    return missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Path) -> None:
    assert missing_paths(page.read_text(encoding="utf-8"), ROOT) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_that_are_named_exist(page: Path) -> None:
    assert missing_tests(page.read_text(encoding="utf-8"), ROOT) == []


def test_what_is_not_there_is_found(tmp_path: Path) -> None:
    (tmp_path / "autoenc_sg" / "core").mkdir(parents=True)
    (tmp_path / "autoenc_sg" / "core" / "a.py").touch()
    text = "`core/a.py`, autoenc_sg/core/a.py, `core/b.py` and configs/c.yaml; plain b.py"
    assert missing_paths(text, tmp_path) == ["core/b.py", "configs/c.yaml"]
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text(
        "\ndef test_one(x):\n    pass\n", encoding="utf-8"
    )
    names = [f"tests/test_{name}" for name in ("a.py::test_one", "a.py::test_", "b.py::test_one")]
    assert missing_tests(" ".join(names), tmp_path) == names[1:]
    page = tmp_path / "page.md"
    page.write_text(
        "# One, *two*\n[a](autoenc_sg) [b](gone.md) [c](#one-two) [d](#three) [e](https://x.y/z)"
    )
    assert broken_links(page) == ["gone.md", "#three"]


def test_the_table_of_floors_is_that_of_the_import_test() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    text = page.split("\n## Folders\n")[1].split("\n## ")[0]
    table = {folder: set(re.findall(r"`(\w+)`", cell)) for folder, cell in FLOOR.findall(text)}
    folders = {folder: below - {folder, ""} for folder, below in MAY_IMPORT.items() if folder}
    assert table == folders


def test_the_structures_are_in_the_files_that_the_page_names() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.split("\n## Data\n")[1].split("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    assert len(rows) > 8
    for row in rows:
        files = [
            (ROOT / "docs" / link).read_text(encoding="utf-8") for link in LINK.findall(row[-1])
        ]
        for name in re.findall(r"`(\w+)`", row[0]):
            assert any(f"class {name}" in text for text in files), name
