"""`score --intervals` and `score --against`: numbers of the metrics, tables, and refused files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from autoenc_sg.cli.main import main
from autoenc_sg.eval import RecallSuite, Resampling
from autoenc_sg.scoring.files.score_files import score_files
from autoenc_sg.scoring.options import ScoreOptions
from tests.scoring.files.test_score_files import PREDICTION, TRUTH, as_record, lines
from tests.support.eval_graphs import P, random_batch

OPTIONS = ScoreOptions(tasks=("SGGen",), intervals=True, samples=50, seed=3)


def write(folder: Path) -> tuple[Path, Path, Path, list[list], list]:
    first, truths, _ = random_batch(3, images=12)
    second = [replace(p, boxes=p.boxes + 50) for p in first]
    records = [
        {"image_id": i, "boxes": t.boxes, "labels": t.labels, "triples": t.triples}
        for i, t in enumerate(truths)
    ]
    for record in records:
        record |= {k: v.tolist() for k, v in record.items() if k != "image_id"}
    paths = [lines(folder / "t.jsonl", *records)]
    for name, predictions in (("p.jsonl", first), ("q.jsonl", second)):
        paths.append(lines(folder / name, *(as_record(i, p) for i, p in enumerate(predictions))))
    return (*paths, [first, second], truths)


def suite(predictions: list, truths: list) -> RecallSuite:
    made = RecallSuite(P, ["SGGen"], keep_images=True)
    order = [i for i, p in enumerate(predictions) if len(p.pairs)]
    order += [i for i, p in enumerate(predictions) if not len(p.pairs)]  # `score` counts them last
    made.update([predictions[i] for i in order], [truths[i] for i in order])
    return made


def test_intervals_and_comparison_are_the_metrics_own(tmp_path: Path) -> None:
    truth, first, second, predictions, truths = write(tmp_path)
    scores = score_files(first, truth, OPTIONS, against=second)
    ours, theirs = (suite(p, truths) for p in predictions)
    resampling = Resampling(50, 3)
    expected = ours.intervals(resampling)["SGGen"]
    assert set(expected) == set(scores.tasks["SGGen"])
    for name, ends in expected.items():
        assert scores.intervals["SGGen"][name] == pytest.approx(ends, nan_ok=True, abs=1e-12)
    expected = ours.compare(theirs, resampling)["SGGen"]
    assert any(values[0] != 0 for values in expected.values())
    for name, values in expected.items():
        assert scores.comparison["SGGen"][name] == pytest.approx(values, nan_ok=True, abs=1e-12)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, first, second, *_ = write(tmp_path)
    out = tmp_path / "scores.json"
    files = ["--predictions", str(first), "--truth", str(truth), "--against", str(second)]
    assert main(["score", *files, "--intervals", "--samples", "20", "--json", str(out)]) == 0
    got = json.loads(out.read_text())
    assert set(got) == {"SGGen", "PhrDet", "intervals", "comparison"}
    low, high = got["intervals"]["SGGen"]["R@20"]
    assert low <= got["SGGen"]["R@20"] <= high
    assert set(got["comparison"]["PhrDet"]["mR@50"]) == {"difference", "low", "high", "p"}
    said = capsys.readouterr().out
    assert f"{got['SGGen']['R@20']:.4f} [{low:.4f}, {high:.4f}]" in said
    assert "Difference to the other predictions" in said


@pytest.mark.parametrize(
    ("other", "got"),
    [
        ([7], "1 images, 1 missing and 0 others (image 8 is missing)"),
        ([7, 8, 9], "3 images, 0 missing and 1 others (also has 9)"),
    ],
)
def test_files_of_different_images_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], other: list[int], got: str
) -> None:
    lines(tmp_path / "t.jsonl", *(TRUTH | {"image_id": i} for i in (7, 8, 9)))
    lines(tmp_path / "p.jsonl", *(PREDICTION | {"image_id": i} for i in (7, 8)))
    lines(tmp_path / "q.jsonl", *(PREDICTION | {"image_id": i} for i in other))
    names = [str(tmp_path / name) for name in ("p.jsonl", "t.jsonl", "q.jsonl")]
    arguments = ["--predictions", names[0], "--truth", names[1], "--against", names[2]]
    assert main(["score", *arguments]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    expected = f"expected predictions of the 2 images of {names[0]}, got {got}"
    assert said.endswith(f"{names[2]}: {expected}")


def test_bad_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, first, *_ = write(tmp_path)
    files = ["--predictions", str(first), "--truth", str(truth)]
    assert main(["score", *files, "--samples", "0"]) == 2
    assert "samples: expected >= 1, got 0" in capsys.readouterr().err
