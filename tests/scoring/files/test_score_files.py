"""Scoring files of predictions: numbers by hand and of the metrics, notes, and every bad input."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from autoenc_sg.cli.main import main
from autoenc_sg.config.data import DataConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction
from autoenc_sg.data.open import open_dataset
from autoenc_sg.eval import RecallConventions, RecallSuite, frequency_groups, seen_triplets
from autoenc_sg.scoring.files.json_lines import read_truths
from autoenc_sg.scoring.files.score_files import score_files
from autoenc_sg.scoring.options import ScoreOptions
from tests.support.eval_graphs import TASKS, P, random_batch

BOXES = [[0, 0, 9, 9], [20, 20, 29, 29], [40, 40, 49, 49]]
TRUTH = {"image_id": 7, "boxes": BOXES, "labels": [1, 2, 3], "triples": [[0, 1, 1], [1, 2, 2]]}
PREDICTION = {
    "image_id": 7,
    "boxes": BOXES,
    "labels": [1, 2, 3],
    "scores": [1, 0.5, 1],
    "pairs": [[0, 1], [1, 2]],
    "predicate_scores": [[0.6, 0.9, 0], [0, 0.3, 0.1]],
}


def lines(path: Path, *records: object) -> Path:
    texts = [r if isinstance(r, str) else json.dumps(r) for r in records]
    path.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    return path


def run(folder: Path, *arguments: str) -> tuple[int, dict[str, dict[str, float]]]:
    out = folder / "scores.json"
    out.unlink(missing_ok=True)
    files = ["--predictions", str(folder / "p.jsonl"), "--truth", str(folder / "t.jsonl")]
    status = main(["score", *files, "--json", str(out), *arguments])
    return status, json.loads(out.read_text()) if out.exists() else {}


def test_by_hand(tmp_path: Path) -> None:
    # Constrained: (0,2,1) .45, (1,2,2) .15 (true). Free: (0,2,1) .45, (0,1,1) .3 (true), (1,2,2).
    lines(tmp_path / "t.jsonl", TRUTH)
    lines(tmp_path / "p.jsonl", PREDICTION)
    status, got = run(tmp_path, "--ks", "1", "2", "20")
    assert status == 0
    assert set(got) == {"SGGen", "PhrDet"}
    assert [got["SGGen"][f"R@{k}"] for k in (1, 2, 20)] == [0, 0.5, 0.5]
    assert [got["SGGen"][f"ngR@{k}"] for k in (1, 2, 20)] == [0, 0.5, 1]
    assert got["SGGen"]["mR@20"] == pytest.approx(1 / 3)
    assert got["SGGen"]["ng-mR@20"] == pytest.approx(2 / 3)
    assert got["SGGen"]["pair R@1"] == 0.5


def as_record(image_id: int, p: GraphPrediction) -> dict[str, Any]:
    record = {"image_id": image_id, "boxes": p.boxes, "labels": p.labels, "scores": p.scores}
    record |= {"pairs": p.pairs, "predicate_scores": p.predicate_scores}
    if p.relatedness is not None:
        record["relatedness"] = p.relatedness
    return {k: v.tolist() if isinstance(v, torch.Tensor) else v for k, v in record.items()}


def as_truth(image_id: int, t: SceneGraph) -> dict[str, Any]:
    values = {"boxes": t.boxes, "labels": t.labels, "triples": t.triples}
    return {"image_id": image_id} | {name: value.tolist() for name, value in values.items()}


@pytest.mark.parametrize("task", TASKS)
def test_equals_the_metrics(tmp_path: Path, task: str) -> None:
    predictions, truths, _ = random_batch(5, images=40)
    lines(tmp_path / "t.jsonl", *(as_truth(i, t) for i, t in enumerate(truths)))
    records = [as_record(i, p) for i, p in enumerate(predictions)]
    for record in records:  # what the task gives may be left out
        for key in {"PredCls": ("boxes", "labels", "scores"), "SGCls": ("boxes",)}.get(task, ()):
            del record[key]
    lines(tmp_path / "p.jsonl", *records[::-1])
    training_triplets = seen_triplets(truths[:20])
    lines(tmp_path / "train.jsonl", *(as_truth(i, t) for i, t in enumerate(truths[:20])))
    counts = torch.cat([t.triples[:, 1] for t in truths[:20]]).bincount(minlength=P)
    suite = RecallSuite(
        P, [task], RecallConventions(), training_triplets, frequency_groups(counts), True
    )
    suite.update(predictions, truths)
    options = ("--task", task, "--training", str(tmp_path / "train.jsonl"), "--per-predicate")
    _, got = run(tmp_path, *options)
    wanted = suite.compute()[task]
    assert set(got[task]) == set(wanted)
    for name, value in wanted.items():
        number = (
            [float("nan") if v is None else v for v in got[task].get(name)]
            if isinstance(value, list)
            else got[task][name]
        )
        assert number == pytest.approx(value, abs=1e-12, nan_ok=True), name


def test_conventions_are_options(tmp_path: Path) -> None:
    half = PREDICTION | {"boxes": [[0, 0, 4, 9], *BOXES[1:]]}
    lines(tmp_path / "t.jsonl", TRUTH)
    lines(tmp_path / "p.jsonl", half)
    free = {name: run(tmp_path, *more)[1]["SGGen"] for name, more in {
        "motifs": (),
        "coco": ("--no-plus-one",),
        "strict": ("--iou-threshold", "0.51"),
        "limited": ("--ng-per-image-limit", "1"),
        "unlimited": ("--ng-per-image-limit", "0"),
        "both": ("--averages", "micro", "macro"),
        "skip": ("--absent-predicates", "skip", "--task", "sgdet"),
    }.items()}  # fmt: skip
    assert free["motifs"]["ngR@20"] == free["unlimited"]["ngR@20"] == 1
    assert free["coco"]["ngR@20"] == free["strict"]["ngR@20"] == 0.5
    assert free["limited"]["ngR@20"] == 0
    assert "R@20/macro" in free["both"]
    assert free["skip"]["ng-mR@20"] == 1


def test_missing_lines_and_missing_pairs_score_zero_with_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines(tmp_path / "t.jsonl", TRUTH, TRUTH | {"image_id": "b"}, TRUTH | {"image_id": 9}, "")
    lines(tmp_path / "p.jsonl", PREDICTION | {"image_id": "b", "pairs": [], "predicate_scores": []},
          PREDICTION)  # fmt: skip
    _, got = run(tmp_path)
    assert got["SGGen"]["R@20"] == pytest.approx(0.5 / 3)
    said = capsys.readouterr().out
    assert "note: 1 of 3 images have no valid prediction line; they score 0" in said
    assert "note: 1 predictions have no pair; they score 0" in said
    _, got = run(tmp_path, "--images-without-predictions", "skip")
    assert got["SGGen"]["R@20"] == 0.5
    assert "left out" in capsys.readouterr().out
    lines(tmp_path / "p.jsonl")
    assert run(tmp_path, "--task", "predcls", "sgcls", "phrdet")[1]["PhrDet"]["R@100"] == 0


def change(**values: object) -> dict[str, object]:
    return {k: v for k, v in (PREDICTION | values).items() if v is not None}


BAD = [
    (change(pairs=[[0, 1], [1, 3]]), "pairs 1: expected object rows below 3, got [1, 3]"),
    (change(pairs=[[0, 1], [-1, 2]]), "pairs 1: expected object rows below 3, got [-1, 2]"),
    (change(pairs=[[0, 1], [1, 0.5]]), "pairs 1: expected 2 whole numbers, got [1, 0.5]"),
    (change(pairs=[[0, 1, 2]]), "pairs 0: expected 2 whole numbers, got [0, 1, 2]"),
    (change(pairs=[[0, 1]]), "predicate_scores: expected 1, one for each pair, got 2"),
    (change(labels=[1, 0, 2]), "labels 1: expected an id in 1..2097151, got 0"),
    (change(labels=[1, "2", 2]), 'labels 1: expected a whole number, got "2"'),
    (change(labels=[1, True, 2]), "labels 1: expected a whole number, got true"),
    (change(labels=[1, 2**63, 2]), "labels 1: expected a whole number, got 9223372036854775808"),
    (change(labels=[1, 2]), "labels: expected 3, one for each box, got 2"),
    (change(labels=None), "labels: expected this key, got none; keys: image_id, boxes, scores"),
    (change(scores=[1, float("nan"), 1]), "scores 1: expected finite numbers of at most"),
    (change(scores=[1, 1e200, 1]), "at most 3.4e+38, got 1e+200"),
    (change(scores=[1, 0.5, False]), "scores 2: expected a number, got false"),
    (change(scores=[1, -0.5, 1]), "scores 1: expected a number >= 0, got -0.5"),
    (change(scores=[1, None, 1]), "scores 1: expected a number, got null"),
    (change(scores=0.5), "scores: expected a list, got 0.5"),
    (change(scores=[1]), "scores: expected 3, one for each box, got 1"),
    (change(predicate_scores=[[0.1, 0, 0], [0, float("inf"), 0]]),
     "predicate_scores 1: expected finite numbers of at most 3.4e+38, got inf"),
    (change(predicate_scores=[[0.1, 0, 0], [0, True, 0]]),
     "predicate_scores 1: expected numbers, as many as in the first row, got [0, true, 0]"),
    (change(predicate_scores=[[0.1, 0, 0], [0, 0.1]]),
     "predicate_scores 1: expected numbers, as many as in the first row, got [0, 0.1]"),
    (change(predicate_scores=[[], []]), "predicate_scores 0: expected a score of each predicate"),
    (change(predicate_scores=[[0.1], [0.2]]),
     "predicate_scores: expected 2 columns or more (the truth has predicate 2), got 1"),
    (change(boxes=[[0, 0, 9, 9], [29, 20, 20, 29], [0, 0, 1, 1]]),
     "boxes 1: expected (x1, y1, x2, y2), x1 <= x2 and y1 <= y2, got [29.0, 20.0, 20.0, 29.0]"),
    (change(boxes=[[0, 0, 9], [20, 20, 29, 29], [0, 0, 1, 1]]),
     "boxes 0: expected (x1, y1, x2, y2), got [0, 0, 9]"),
    (change(image_id=8), "image_id: expected an id of one of the truth's 2 images, got 8"),
    (change(image_id=1.5), "image_id: expected a whole number or a text, got 1.5"),
    (change(image_id=None), "image_id: expected this key, got none"),
    (change(relatedness=[1]), "relatedness: expected 2, one for each pair, got 1"),
    ('{"image_id": 7, "boxes": [[', "expected a JSON object, got"),
    ('{"image_id": ' + "1" * 5000 + "}", "expected a JSON object, got"),
    ("[1, 2]", "expected a JSON object, got [1, 2]"),
]  # fmt: skip


@pytest.mark.parametrize(("record", "message"), BAD)
def test_bad_predictions_are_named_or_counted(
    record: object, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines(tmp_path / "t.jsonl", TRUTH | {"image_id": "first"}, TRUTH)
    good = change(image_id="first")
    narrow = "columns or more" in message  # the first prediction decides the number of columns
    lines(tmp_path / "p.jsonl", *([record] if narrow else [good, record]))
    status, got = run(tmp_path)
    text = capsys.readouterr().err.splitlines()[-1]
    assert status == 2
    assert got == {}
    assert f"p.jsonl line {1 if narrow else 2}" in text
    assert message in text
    status, got = run(tmp_path, "--skip-invalid")
    assert status == 0
    assert got["SGGen"]["R@20"] == (0 if narrow else 0.25)
    said = capsys.readouterr().out
    assert "note: 1 invalid predictions were skipped; the first: " in said
    assert message in said


def test_duplicates_and_other_widths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines(tmp_path / "t.jsonl", TRUTH, TRUTH | {"image_id": 8})
    lines(tmp_path / "p.jsonl", PREDICTION, "", PREDICTION)
    assert run(tmp_path)[0] == 2
    said = capsys.readouterr().err
    assert "p.jsonl line 3: image_id: expected each image once, got 7 as on " in said
    assert said.splitlines()[-1].endswith("p.jsonl line 1")
    wide = change(image_id=8, predicate_scores=[[0.5] * 4] * 2)
    lines(tmp_path / "p.jsonl", PREDICTION, wide)
    assert run(tmp_path)[0] == 2
    assert (
        "line 2: predicate_scores: expected 3 columns as before, got 4" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("change_", "message"),
    [
        ({"triples": [[0, 1, 3]]}, "triples 0: expected object rows below 3, got [0, 1, 3]"),
        (
            {"triples": [[0, 0, 1]]},
            "triples 0: expected a predicate id in 1..2097151, got [0, 0, 1]",
        ),
        ({"labels": [1, 2]}, "labels: expected 3, one for each box, got 2"),
        ({"boxes": [[5, 0, 0, 9]] * 3}, "boxes 0: expected (x1, y1, x2, y2), x1 <= x2"),
        ({"image_id": 7}, "image_id: expected each image once, got 7 as on"),
        ({"image_size": [0, 5]}, "image_size: expected [height, width] in pixels, got [0, 5]"),
    ],
)
def test_bad_truths_are_refused_always(
    change_: dict[str, object], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines(tmp_path / "t.jsonl", TRUTH, TRUTH | {"image_id": 8} | change_)
    lines(tmp_path / "p.jsonl", PREDICTION)
    assert run(tmp_path, "--skip-invalid")[0] == 2
    text = capsys.readouterr().err
    assert "t.jsonl line 2: " in text
    assert message in text


def test_objects_must_be_the_truths_where_the_task_says_so(tmp_path: Path) -> None:
    lines(tmp_path / "t.jsonl", TRUTH)
    lines(tmp_path / "p.jsonl", change(boxes=BOXES[:2], labels=[1, 2], scores=[1, 1],
                                       pairs=[[0, 1]], predicate_scores=[[1, 0, 0]]))  # fmt: skip
    files = (tmp_path / "p.jsonl", tmp_path / "t.jsonl")
    assert score_files(*files, ScoreOptions()).tasks["SGGen"]["R@20"] == 0.5
    with pytest.raises(InputError, match=r"boxes: expected 3 objects, .* \(SGCls\), got 2"):
        score_files(*files, ScoreOptions(("SGCls",)))


def test_files_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines(tmp_path / "p.jsonl", PREDICTION)
    assert run(tmp_path)[0] == 2
    assert "t.jsonl: expected a file of JSON Lines, got No such file" in capsys.readouterr().err
    lines(tmp_path / "t.jsonl")
    assert run(tmp_path)[0] == 2
    assert "t.jsonl: expected one true graph or more, got no line" in capsys.readouterr().err
    lines(tmp_path / "t.jsonl", TRUTH)
    (tmp_path / "p.jsonl").unlink()
    assert run(tmp_path)[0] == 2
    assert "p.jsonl: expected a file of predictions" in capsys.readouterr().err


def test_training_graphs_must_be_there_and_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines(tmp_path / "t.jsonl", TRUTH)
    lines(tmp_path / "p.jsonl", PREDICTION)
    training = lines(tmp_path / "training.jsonl")
    assert run(tmp_path, "--training", str(training))[0] == 2
    assert "training.jsonl: expected one training graph or more" in capsys.readouterr().err
    lines(training, TRUTH | {"triples": [[0, 9, 1]]})
    assert run(tmp_path, "--training", str(training))[0] == 2
    assert "training triples: expected predicates up to 3, got 9" in capsys.readouterr().err


def test_a_truth_without_relations_is_refused_by_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines(tmp_path / "t.jsonl", TRUTH, TRUTH | {"image_id": 8, "triples": []})
    lines(tmp_path / "p.jsonl", PREDICTION)
    assert run(tmp_path, "--images-without-relations", "refuse")[0] == 2
    assert "t.jsonl line 2: triples: expected one or more" in capsys.readouterr().err


def test_the_table_has_all_that_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines(tmp_path / "t.jsonl", TRUTH)
    lines(tmp_path / "p.jsonl", PREDICTION)
    more = ("--training", str(tmp_path / "t.jsonl"), "--averages", "macro", "micro")
    _, got = run(tmp_path, "--task", "predcls", "--ks", "5", "--per-predicate", *more)
    shown = {line.split("  ")[1] for line in capsys.readouterr().out.splitlines() if "@" in line}
    assert shown == {name for name in got["PredCls"] if "per predicate" not in name}


def test_files_may_be_pipes(tmp_path: Path) -> None:
    lines(tmp_path / "t.jsonl", TRUTH)
    lines(tmp_path / "p.jsonl", PREDICTION)
    wanted = run(tmp_path)
    pipes = [tmp_path / "p.pipe", tmp_path / "t.pipe"]
    for pipe in pipes:
        os.mkfifo(pipe)
        content = pipe.with_suffix(".jsonl").read_bytes()
        threading.Thread(target=pipe.write_bytes, args=(content,), daemon=True).start()
    scores = score_files(*pipes, ScoreOptions())
    assert scores.notes == []
    assert {task: dict(values) for task, values in scores.tasks.items()} == wanted[1]


def test_a_place_that_cannot_be_written_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines(tmp_path / "t.jsonl", TRUTH)
    files = ["--predictions", str(tmp_path / "p.jsonl"), "--truth", str(tmp_path / "t.jsonl")]
    for place, message in (
        (tmp_path, "expected a file to write, got a folder"),
        (tmp_path / "t.jsonl" / "scores.json", "t.jsonl, which is no folder"),
    ):
        assert main(["score", *files, "--json", str(place)]) == 2
        assert message in capsys.readouterr().err


def test_true_graphs_of_a_data_set(tiny_run: Path, tmp_path: Path) -> None:
    root, out = str(tiny_run / "scenes"), tmp_path / "t.jsonl"
    assert main(["truth", "--root", root, "--format", "vg150", "--out", str(out)]) == 0
    truths = read_truths(out)
    test = open_dataset(DataConfig("vg150", root), "test")
    assert list(truths) == list(test.image_ids)
    for i, truth in enumerate(truths.values()):
        assert truth.sized
        torch.testing.assert_close(truth.graph.boxes.float(), test.graph(i).boxes)
        torch.testing.assert_close(truth.graph.triples, test.graph(i).triples)
    large = ["--long-side", "1024", "--out", str(out)]
    assert main(["truth", "--root", root, "--format", "vg150", *large]) == 0
    graph = next(iter(read_truths(out).values())).graph
    assert graph.image_size == (1024, 1024)
    scaled = test.graph(0).boxes.double() * (1024 / 64)
    torch.testing.assert_close(graph.boxes, scaled, rtol=1e-6, atol=1e-4)
    assert main(["truth", "--root", root, "--long-side", "0", "--out", str(out)]) == 2


def test_ids_of_another_kind_are_named(tmp_path: Path) -> None:
    truth = lines(tmp_path / "t.jsonl", TRUTH)
    predictions = lines(tmp_path / "p.jsonl", {**PREDICTION, "image_id": "7"})
    with pytest.raises(InputError, match=r"a number, 7, as in .*t\.jsonl line 1, got a text, '7'"):
        score_files(predictions, truth, ScoreOptions())
