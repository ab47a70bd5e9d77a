"""Tables beside the paper's, the plot, the files."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from autoenc_sg.core.errors import InputError
from autoenc_sg.scoring.options import EvaluationOptions
from autoenc_sg.scoring.report import (
    PUBLISHED,
    comparison_table,
    image_table,
    predicate_bars,
    recall_table,
    write_files,
)
from autoenc_sg.scoring.results import EvaluationResults

NAN = float("nan")
RECALL = {f"{t} {m}@{k}": 0.5 for t in ("SGGen", "PhrDet") for m in ("R", "mR") for k in (20, 50)}
RESULTS = EvaluationResults(
    12,
    {"model": RECALL | {"SGGen zR@20": NAN, "PredCls R@20": 0.25}, "frequency prior": RECALL},
    {"AP50": 0.25},
    {"predicted graph": {"L1": 0.1, "FID": 30.0}, "mean image": {"L1": 0.2}},
    {"real picture object accuracy": 0.9},
    {row: {"SGGen": {"on": 0.5, "near": NAN}} for row in ("model", "frequency prior")},
    {"on": 7, "near": 90},
    {"predicted graph": {"R@20": 0.75}},
    {"FID": "Inception"},
    40,
    {"dog": 0.75},
)


def test_published_rows_are_as_printed() -> None:
    rows = dict(PUBLISHED)
    assert rows["Tan 2019"] == (24.1, 30.5, 33.1, 23.8, 28.2, 32.6)
    assert rows["Graph R-CNN"] == (None, None, None, 19.4, 25.5, 28.5)
    assert all(len(values) == 6 for values in rows.values())


def test_comparison_is_in_percent_below_the_published_rows() -> None:
    table = comparison_table(replace(RESULTS, visual_genome=True), "drawn scenes (test)")
    assert table.rows[4][0] == "Tan 2019 (published)"
    assert table.rows[5] == ["this checkpoint", 50.0, 50.0, None, 50.0, 50.0, None]
    assert table.rows[6][0] == "frequency prior"
    assert "12 images of drawn scenes (test)" in table.note


def test_other_data_have_no_published_rows() -> None:
    table = comparison_table(RESULTS, "drawn scenes (test)")
    assert [row[0] for row in table.rows] == ["this checkpoint", "frequency prior"]
    assert "published" not in (table.title + table.note + str(table.rows)).lower()


def test_intervals_stand_behind_the_numbers(tmp_path: Path) -> None:
    results = replace(RESULTS, intervals={"model": {"SGGen R@20": [0.25, 0.75]}})
    table = recall_table(results, (20, 50))
    assert table.rows[0] == ["R@20", 0.25, None, "0.5000 [0.2500, 0.7500]", 0.5, 0.5, 0.5]
    results.write_csv(tmp_path / "x.csv")
    assert '"95 % interval, low",model,SGGen,R@20,0.25' in (tmp_path / "x.csv").read_text()
    results.write_json(tmp_path / "x.json")
    got = json.loads((tmp_path / "x.json").read_text())
    assert got["intervals"] == {"model": {"SGGen R@20": [0.25, 0.75]}}


def test_recall_stands_beside_the_priors_and_empty_rows_are_left_out() -> None:
    table = recall_table(RESULTS, (20, 50))
    heads = ["", "PredCls", "PredCls, prior", "SGGen", "SGGen, prior", "PhrDet", "PhrDet, prior"]
    assert table.columns == heads
    assert [row[0] for row in table.rows] == ["R@20", "R@50", "mR@20", "mR@50"]
    assert table.rows[0] == ["R@20", 0.25, None, 0.5, 0.5, 0.5, 0.5]
    assert "AP50 0.2500" in table.note


def test_pictures_have_what_was_measured() -> None:
    table = image_table(RESULTS, (20,))
    assert table.columns == ["drawn from", "L1", "FID", "round trip R@20"]
    assert table.rows[0] == ["predicted graph", 0.1, 30.0, 0.75]
    assert table.rows[1] == ["mean image", 0.2, None, None]
    assert table.note == "FID: Inception"


def test_bars_grow_with_the_predicates() -> None:
    picture = predicate_bars(RESULTS, 20)
    many = {f"p{i}": 1.0 for i in range(50)}
    wide = EvaluationResults(
        1,
        {},
        {},
        {},
        {},
        {row: {"SGGen": many} for row in RESULTS.predicates},
        dict.fromkeys(many, 1),
    )
    assert isinstance(picture, Image.Image)
    assert predicate_bars(wide, 20).height > 3 * picture.height


def test_files(tmp_path: Path) -> None:
    written = write_files(RESULTS, tmp_path / "out" / "r.json", 20, tmp_path / "logs")
    assert [p.name for p in written] == ["r.json", "r.csv", "r_predicates.png"]
    content = json.loads(written[0].read_text())
    assert content["per predicate"]["model"]["SGGen"] == {"on": 0.5, "near": None}
    assert content["AP50 of each class"] == {"dog": 0.75}
    assert content["networks"] == {"FID": "Inception"}
    assert content["round trip of predicted graph R@20"] == 0.75
    with written[1].open(newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["kind", "row", "task", "name", "value"]
    assert ["recall", "model", "SGGen", "R@20", "0.5"] in lines
    assert ["recall of predicate", "model", "SGGen", "near", ""] in lines
    assert ["AP50 of class", "model", "", "dog", "0.75"] in lines
    assert ["round trip", "predicted graph", "SGGen", "R@20", "0.75"] in lines
    assert ["other", "", "", "real picture object accuracy", "0.9"] in lines
    assert ["other", "", "", "images", "12"] in lines
    assert Image.open(written[2]).width > 300
    assert len(list((tmp_path / "logs").glob("events*"))) == 1


def test_bars_are_of_another_task_where_sggen_was_not_asked_for(tmp_path: Path) -> None:
    predicates = {row: {"PredCls": of["SGGen"]} for row, of in RESULTS.predicates.items()}
    results = replace(RESULTS, predicates=predicates)
    written = write_files(results, tmp_path / "r.json", 20, tmp_path / "logs")
    assert written[-1].name == "r_predicates.png"


@pytest.mark.parametrize(
    "options", [{"limit": 0}, {"batch_size": 0}, {"processes": 0}, {"tasks": ()}]
)
def test_bad_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match="expected"):
        EvaluationOptions(**options)
