"""A small number of the killed runs of `benchmarks/training/kills.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_killed_runs_end_as_the_uninterrupted_one() -> None:
    root = Path(__file__).parents[2]
    counts = ("--kills", "3", "--terms", "3", "--writes", "2", "--seed", "1")
    result = subprocess.run(
        [sys.executable, str(root / "benchmarks" / "training" / "kills.py"), *counts],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert [line.split("|")[2].strip() for line in result.stdout.splitlines()[2:]] == [
        "3 of 3",
        "3 of 3",
        "2 of 2",
    ]
