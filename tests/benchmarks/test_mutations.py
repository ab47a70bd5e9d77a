"""The one-line changes follow the code: each text that they replace is there, and once."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.training.mutations import ROOT, Mutation, read_mutations

CHANGES = list(read_mutations(ROOT / "benchmarks" / "training" / "mutations.txt"))


def test_every_change_changes_its_file() -> None:
    assert len(CHANGES) > 100
    assert len({(change.file, change.what) for change in CHANGES}) == len(CHANGES)
    for change in CHANGES:
        text = (ROOT / change.file).read_text(encoding="utf-8")
        assert change.apply(text) != text, change


def test_form_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "changes.txt"
    file.write_text("# form\n\na.py: one\n-x = 1\n+x = 2\n\nb.py: (2) other\n-y\n-z\n+w\n")
    one, other = read_mutations(file)
    assert one == Mutation("a.py", "one", 0, (("x = 1", "x = 2"),))
    assert other == Mutation("b.py", "other", 2, (("y\nz", "w"),))
    assert other.apply("y\nz and y\nz") == "y\nz and w"
    for text in ("x = 0", "x = 1\nx = 1"):
        with pytest.raises(ValueError, match=r"a\.py, one: found"):
            one.apply(text)
