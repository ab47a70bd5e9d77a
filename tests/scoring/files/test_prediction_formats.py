"""Other programs' dumps score as our own lines do; pickles are refused, and never run."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from autoenc_sg.cli.main import main
from autoenc_sg.core.errors import InputError
from autoenc_sg.scoring.files.prediction_formats import open_predictions, resized_size
from autoenc_sg.scoring.files.score_files import score_files
from autoenc_sg.scoring.options import ScoreOptions
from tests.scoring.files.test_score_files import TRUTH, as_record, as_truth, lines
from tests.support.eval_graphs import random_batch


def files(folder: Path) -> tuple[Path, Path, list[dict[str, object]]]:
    predictions, truths, _ = random_batch(3, images=30)
    records = [as_record(i, p) for i, p in enumerate(predictions)]
    for record in records:
        record.pop("relatedness", None)
    lines(folder / "t.jsonl", *(as_truth(i, t) for i, t in enumerate(truths)))
    lines(folder / "p.jsonl", *records)
    return folder / "p.jsonl", folder / "t.jsonl", records


SGB = {"boxes": "bbox", "labels": "bbox_labels", "scores": "bbox_scores", "pairs": "rel_pairs"}
MOTIFS = {
    "boxes": "pred_boxes",
    "labels": "pred_classes",
    "scores": "obj_scores",
    "pairs": "pred_rel_inds",
}


def sgb(record: dict[str, object]) -> dict[str, object]:
    rows = [[0.5, *row] for row in record["predicate_scores"]]
    best = {"rel_labels": [1] * len(rows), "rel_scores": [1.0] * len(rows)}
    return {SGB[k]: record[k] for k in SGB} | best | {"rel_all_scores": rows}


def motifs(record: dict[str, object]) -> dict[str, np.ndarray]:
    widths = {"boxes": (-1, 4), "pairs": (-1, 2)}
    entry = {MOTIFS[k]: np.array(record[k]).reshape(widths.get(k, -1)) for k in MOTIFS}
    for name in ("pred_classes", "pred_rel_inds"):
        entry[name] = entry[name].astype(np.int64)
    rows = np.array(record["predicate_scores"]).reshape(len(record["pairs"]), 3)
    return entry | {"rel_scores": np.column_stack([np.full(len(rows), 0.5), rows])}


def test_a_dump_of_scene_graph_benchmark(tmp_path: Path) -> None:
    jsonl, truth, records = files(tmp_path)
    dump, info = tmp_path / "custom_prediction.json", tmp_path / "custom_data_info.json"
    dump.write_text(json.dumps({str(i): sgb(r) for i, r in enumerate(records)}))
    jsonl_scores = score_files(jsonl, truth, ScoreOptions())
    assert score_files(dump, truth, ScoreOptions()) == jsonl_scores
    # The same images in another order, by the names of their files.
    order = [str(i) for i in reversed(range(len(records)))]
    info.write_text(json.dumps({"idx_to_files": [f"/photos/{i}.jpg" for i in order]}))
    dump.write_text(json.dumps({str(k): sgb(records[int(i)]) for k, i in enumerate(order)}))
    got = score_files(dump, truth, ScoreOptions(data_info=info))
    for task, values in jsonl_scores.tasks.items():
        assert got.tasks[task] == pytest.approx(values)


def test_boxes_of_the_resized_image(tmp_path: Path) -> None:
    # 300 x 400 (h, w) becomes 600 x 800: predictions are twice as large.
    lines(tmp_path / "t.jsonl", TRUTH | {"image_size": [300, 400]})
    boxes = [[2 * v for v in box] for box in TRUTH["boxes"]]
    image = sgb({"boxes": boxes, "labels": [1, 2, 3], "scores": [1, 1, 1], "pairs": [[0, 1]],
                 "predicate_scores": [[0.9, 0]]})  # fmt: skip
    (tmp_path / "p.json").write_text(json.dumps({"7": image}))
    both = (tmp_path / "p.json", tmp_path / "t.jsonl")
    assert score_files(*both, ScoreOptions()).tasks["SGGen"]["R@20"] == 0
    resized = ScoreOptions(resized=(600, 1000))
    assert score_files(*both, resized).tasks["SGGen"]["R@20"] == 0.5
    lines(tmp_path / "t.jsonl", TRUTH)
    with pytest.raises(InputError, match=r"t.jsonl line 1: image_size: expected this key"):
        score_files(*both, resized)


def test_resized_sizes() -> None:
    assert resized_size((300, 400), 600, 1000) == (600, 800)
    assert resized_size((400, 300), 600, 1000) == (800, 600)
    assert resized_size((200, 800), 600, 1000) == (250, 1000)  # the longer side decides
    assert resized_size((600, 600), 600, 1000) == (600, 600)


def test_a_dump_of_neural_motifs_needs_permission(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jsonl, truth, records = files(tmp_path)
    dump = tmp_path / "cache.pkl"
    dump.write_bytes(pickle.dumps([motifs(r) for r in records]))
    command = ["score", "--predictions", str(dump), "--truth", str(truth)]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "cache.pkl: expected --allow-pickle for a pickle file" in said
    assert "run what its author put there" in said
    assert main([*command, "--allow-pickle"]) == 0
    jsonl_scores = score_files(jsonl, truth, ScoreOptions())
    assert score_files(dump, truth, ScoreOptions(allow_pickle=True)) == jsonl_scores
    dump.write_bytes(pickle.dumps([motifs(r) for r in records[1:]], protocol=2))
    with pytest.raises(InputError, match="expected 30 entries, one for each image of the truth"):
        score_files(dump, truth, ScoreOptions(allow_pickle=True))


class Harmful:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.file,)


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    _, truth, _ = files(tmp_path)
    for content, message in (
        (pickle.dumps([Harmful(tmp_path / "ran")]), "would run pathlib"),
        (pickle.dumps([{}])[:-3], "a damaged one"),
        (pickle.dumps({}), "expected a list with an entry for each image, got dict"),
    ):
        (tmp_path / "p.pkl").write_bytes(content)
        with pytest.raises(InputError, match=message):
            score_files(tmp_path / "p.pkl", truth, ScoreOptions(allow_pickle=True))
    assert not (tmp_path / "ran").exists()


def test_entries_that_are_none_are_skipped_on_demand(tmp_path: Path) -> None:
    _, truth, records = files(tmp_path)
    entries: list[object] = [motifs(r) for r in records]
    entries[4:6] = [None, motifs(records[5]) | {"pred_rel_inds": np.array(3)}]
    dump, info = tmp_path / "p.pkl", tmp_path / "info.json"
    dump.write_bytes(pickle.dumps(entries))
    with pytest.raises(InputError, match="entry 4: expected an object, got NoneType"):
        score_files(dump, truth, ScoreOptions(allow_pickle=True))
    scores = score_files(dump, truth, ScoreOptions(allow_pickle=True, skip_invalid=True))
    assert "2 invalid predictions were skipped; the first: " in scores.notes[-1]
    dump = tmp_path / "custom_prediction.json"
    dump.write_text(json.dumps({"0": sgb(records[0]), "1": [], "99": sgb(records[1]), "²": {}}))
    info.write_text(json.dumps({"idx_to_files": ["0.jpg", "1.jpg"]}))
    options = ScoreOptions(skip_invalid=True, data_info=info)
    assert (
        "3 invalid predictions were skipped; the first: "
        in score_files(dump, truth, options).notes[-1]
    )
    with pytest.raises(InputError, match="expected predictions of sgb beside --data-info"):
        score_files(tmp_path / "p.jsonl", truth, options)


def test_faults_bear_the_names_of_the_dump(tmp_path: Path) -> None:
    _, truth, records = files(tmp_path)
    image = sgb(max(records, key=lambda r: len(r["labels"])))
    path = tmp_path / "custom_prediction.json"
    for odd, message in (
        ({"bbox_scores": [float("nan")] * len(image["bbox"])}, "bbox_scores 0: expected finite"),
        ({"rel_all_scores": [0.5]}, "rel_all_scores 0: expected numbers"),
        ({"rel_pairs": 5}, "rel_pairs: expected a list, got 5"),
    ):
        path.write_text(json.dumps({"3": image | odd}))
        with pytest.raises(InputError, match="custom_prediction.json image '3': " + message):
            score_files(path, truth, ScoreOptions())
    path.write_text('{"3": 5}')
    with pytest.raises(InputError, match="image '3': expected an object, got int"):
        score_files(path, truth, ScoreOptions())
    path.write_text('{"3": ')
    with pytest.raises(InputError, match="expected a JSON file"):
        score_files(path, truth, ScoreOptions())
    path.write_text("[]")
    with pytest.raises(InputError, match="expected an object of images by index, got list"):
        list(open_predictions(path, "sgb", []))
    (tmp_path / "info.json").write_text('{"idx_to_files": ["a.jpg"]}')
    path.write_text(json.dumps({"3": image}))
    with pytest.raises(InputError, match="expected an index below 1"):
        score_files(path, truth, ScoreOptions(data_info=tmp_path / "info.json"))
