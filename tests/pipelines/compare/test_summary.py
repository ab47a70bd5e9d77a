"""Tables, CSV and plot of a comparison whose scores are known."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image

from autoenc_sg.config.recall import RecallConventions
from autoenc_sg.config.run import RunConfig
from autoenc_sg.pipelines.compare import Cell, Comparison, Grid
from autoenc_sg.pipelines.compare.cells import CellResult
from autoenc_sg.pipelines.compare.published import PUBLISHED, WARNING, published_table
from autoenc_sg.pipelines.compare.summary import comparison_tables, write_comparison
from autoenc_sg.scoring.options import EvaluationOptions


def scores(first: float | None, second: float) -> dict[str, float | None]:
    return {"PredCls R@20": first, "PredCls mR@20": second, "PredCls ngR@20": None}


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    options = EvaluationOptions(tasks=("PredCls",), conventions=RecallConventions((20,)))
    grid = Grid(RunConfig(out=str(tmp_path)), ("motifs", "frequency"), (True,), 2, options)
    one, two, three, four = grid.cells()
    prior = {"PredCls R@20": 0.4, "PredCls mR@20": 0.1}
    results = (
        CellResult(one, scores(0.5, 0.25), prior, {}),
        CellResult(two, scores(None, 0.125), prior, {}),
        CellResult(three, scores(0.7, 0.25), {**prior, "PredCls R@20": 0.6}, {}),
    )
    return Comparison(grid, results, {four: "RuntimeError: no memory"})


def test_means_and_spreads_by_hand(comparison: Comparison) -> None:
    first, second, published = comparison_tables(comparison, {"R@20": 0.9})
    assert list(first.columns) == ["head", "image loss", "R@20", "mR@20"]
    assert [list(row) for row in first.rows] == [
        ["motifs", "on", "60.0 ± 14.1", "25.0 ± 0.0"],
        ["frequency", "on", None, "12.5"],
        ["frequency prior", "", "46.7 ± 11.5", "10.0 ± 0.0"],
        ["ceiling", "", "90.0", None],
    ]
    assert [row[2:] for row in second.rows] == [[None, None]] * 3
    assert "1 of 4 cells failed" in second.note
    assert "Motifs" in str(published.rows)
    assert "ceiling" not in str(comparison_tables(comparison, {})[0].rows)


def test_files(comparison: Comparison) -> None:
    paths = write_comparison(comparison, {"R@20": 0.9})
    assert [path.name for path in paths] == ["comparison.md", "comparison.csv", "comparison.png"]
    text = paths[0].read_text(encoding="utf-8")
    assert "| motifs | on | 60.0 ± 14.1 | 25.0 ± 0.0 |" in text
    assert "| frequency | on | – | 12.5 |" in text
    assert WARNING in text
    with paths[1].open(encoding="utf-8", newline="") as file:
        rows = [tuple(row.values()) for row in csv.DictReader(file)]
    assert ("motifs", "on", "1", "PredCls", "R@20", "0.7") in rows
    assert ("frequency prior of motifs", "on", "1", "PredCls", "R@20", "0.6") in rows
    assert ("frequency", "on", "0", "PredCls", "R@20", "") in rows
    assert ("motifs", "on", "mean", "PredCls", "R@20", "0.6") in rows
    assert ("ceiling", "", "", "", "R@20", "0.9") in rows
    assert Image.open(paths[2]).width > 1000


def test_without_a_result(comparison: Comparison) -> None:
    empty = Comparison(comparison.grid, (), {Cell("motifs", True, 0): "gone"})
    first, *_ = comparison_tables(empty, {})
    assert [row[2:] for row in first.rows] == [[None, None]] * 3
    write_comparison(empty, {})


def test_published_rows_are_those_read_at_their_source() -> None:
    """Neither the paper's Table 1 nor figures that were only found quoted elsewhere."""
    table = published_table(("motifs", "frequency", "gcn"))
    assert table is not None
    assert [row[0] for row in table.rows] == ["frequency", "motifs"]
    assert "not comparable" in table.note
    assert {p.source.split()[0] for p in PUBLISHED} == {
        "jwyang/graph-rcnn.pytorch",
        "KaihuaTang/Scene-Graph-Benchmark.pytorch",
        "SHTUPLUS/PySGG",
    }
    (prior,) = (p for p in PUBLISHED if p.head == "frequency")
    assert prior.sggen == (19.4, 25.0, 28.5)
    assert published_table(("gcn",)) is None
