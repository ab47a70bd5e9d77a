"""Damaged inputs of each format: read, or refused in one short printable line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.formats import FORMATS
from tests.fuzz.fuzzing import run_in_workers, run_turns

NUMBER = 200


@pytest.mark.parametrize("name", FORMATS)
def test_some_files(tmp_path: Path, name: str) -> None:
    outcomes = run_turns(FORMATS[name], tmp_path, range(NUMBER))
    assert outcomes.faults == []
    assert outcomes.accepted + outcomes.refused == NUMBER
    assert NUMBER / 5 < outcomes.refused < NUMBER


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_5000_files(name: str) -> None:
    outcomes = run_in_workers(FORMATS[name], range(5000))
    assert outcomes.faults == []
    assert outcomes.accepted + outcomes.refused == 5000
    assert 1000 < outcomes.refused < 5000
