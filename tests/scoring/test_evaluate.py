"""Evaluation of a data set: scores of predictions whose scores are known."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torchvision.models import squeezenet1_1

from autoenc_sg.cli.main import main
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.images import target_images
from autoenc_sg.core.structures import Regions
from autoenc_sg.data.loading import batches
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.model.region_reader import DetectorRegions, graph_of_true_boxes
from autoenc_sg.scoring.evaluate import (
    EvaluationResults,
    evaluate_checkpoint,
    mean_image,
    open_splits,
)
from autoenc_sg.scoring.files.score_files import score_files
from autoenc_sg.scoring.options import ALL_TASKS, EvaluationOptions, ScoreOptions
from tests.scoring.files.test_score_files import as_record, as_truth, lines
from tests.support.tiny import tiny_config


def test_batch_size_does_not_change_the_scores(tiny_run: Path) -> None:
    path = tiny_run / "run" / "checkpoint.safetensors"
    one, four = (evaluate_checkpoint(path, EvaluationOptions(batch_size=b)) for b in (1, 4))
    assert one.images == four.images == 6
    for name, value in one.to_dict().items():
        assert value == pytest.approx(four.to_dict()[name], abs=1e-4, nan_ok=True), name


def test_all_tasks_in_one_pass(tiny_run: Path) -> None:
    path = tiny_run / "run" / "checkpoint.safetensors"
    quick = evaluate_checkpoint(path, EvaluationOptions(batch_size=3))
    full = evaluate_checkpoint(
        path, EvaluationOptions(batch_size=4, tasks=ALL_TASKS, round_trip=True)
    )
    assert set(full.recall) == {"model", "frequency prior"}
    for task in ALL_TASKS:
        for name in ("R@20", "mR@50", "ngR@100", "ng-mR@20", "zR@50", "F1@50", "tail mR@100"):
            assert f"{task} {name}" in full.recall["model"]
        assert set(full.predicates["model"][task]) == set(full.training_counts)
    for name, value in quick.to_dict().items():  # more tasks do not change the others
        assert full.to_dict()[name] == pytest.approx(value, abs=1e-4, nan_ok=True), name
    assert full.recall["model"]["PredCls pair R@100"] > 0.5
    assert set(full.round_trip) == {"predicted graph", "true graph"}
    assert 0 <= full.round_trip["true graph"]["R@50"] <= 1
    assert full.step == 4


def test_given_boxes_and_classes_reach_the_graph(tiny_run: Path) -> None:
    model = AutoEncoder.from_checkpoint(tiny_run / "run" / "checkpoint.safetensors")
    _, test = open_splits(tiny_config(tiny_run).data, "test", 0)
    batch = next(batches(test, 3))
    seen = DetectorRegions(model.detector).read(batch.images, batch.graphs)
    regions: list[Regions] = []
    model.relpn.register_forward_hook(lambda module, inputs, output: regions.append(inputs[0]))
    for labels in (None, batch.graphs.labels):
        logits = graph_of_true_boxes(model, seen, labels)
        torch.testing.assert_close(regions[-1].boxes, batch.graphs.boxes)
        assert [len(p.labels) for p in logits.predictions()] == [
            len(g) for g in batch.graphs.split()
        ]
    torch.testing.assert_close(
        regions[-1].class_logits.softmax(1)[
            torch.arange(len(batch.graphs.labels)), batch.graphs.labels
        ],
        torch.ones(len(batch.graphs.labels)),
    )


def test_recall_is_that_of_the_same_predictions_scored_from_files(
    tiny_run: Path, tmp_path: Path
) -> None:
    path = tiny_run / "run" / "checkpoint.safetensors"
    model = AutoEncoder.from_checkpoint(path)
    _, test = open_splits(tiny_config(tiny_run).data, "test", 0)
    batch = next(batches(test, len(test)))
    predictions = model.graph_logits(list(batch.images)).predictions()
    truths = batch.graphs.split()
    lines(tmp_path / "t.jsonl", *(as_truth(i, t) for i, t in enumerate(truths)))
    lines(tmp_path / "p.jsonl", *(as_record(i, p) for i, p in enumerate(predictions)))
    scores = score_files(tmp_path / "p.jsonl", tmp_path / "t.jsonl", ScoreOptions())
    evaluated = evaluate_checkpoint(path, EvaluationOptions(batch_size=len(test)))
    labels = batch.graphs.labels.unique().tolist()
    assert set(evaluated.classes) == {model.vocabulary.objects[label] for label in labels}
    mean = sum(evaluated.classes.values()) / len(labels)
    assert mean == pytest.approx(evaluated.detection["AP50"])
    for task, values in scores.tasks.items():
        for name, value in values.items():
            assert evaluated.recall["model"][f"{task} {name}"] == pytest.approx(value, abs=1e-9), (
                name
            )


def test_pictures_of_one_graph_with_other_noise_differ(tiny_run: Path, tmp_path: Path) -> None:
    path = tiny_run / "run" / "checkpoint.safetensors"
    torch.save(squeezenet1_1(weights=None).state_dict(), tmp_path / "net.pth")
    results = evaluate_checkpoint(path, EvaluationOptions(limit=2, lpips=tmp_path / "net.pth"))
    assert results.networks == {"LPIPS diversity": "LPIPS of SqueezeNet 1.1, net.pth"}
    assert results.image_scores["true graph"]["LPIPS diversity"] > 0
    with pytest.raises(InputError, match=r"safetensors: expected weights of an Inception v3"):
        evaluate_checkpoint(path, EvaluationOptions(limit=2, inception=path))


def test_what_cannot_be_read_or_written_is_refused_before_any_work(
    tiny_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tiny_run / "run" / "checkpoint.safetensors"
    monkeypatch.setattr("autoenc_sg.scoring.image_scores.mean_image", None)
    with pytest.raises(InputError, match=r"safetensors: expected weights of torchvision's Alex"):
        evaluate_checkpoint(path, EvaluationOptions(lpips=path))
    for place, message in (
        (tmp_path, "expected a file to write, got a folder"),
        (tmp_path / "scores.csv", "--json: expected a name that does not end in .csv"),
    ):
        assert main(["evaluate", str(path), "--json", str(place)]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_processes_share_the_images(tiny_run: Path) -> None:
    path = tiny_run / "run" / "checkpoint.safetensors"
    options = EvaluationOptions(batch_size=2, tasks=ALL_TASKS, round_trip=True)
    one = evaluate_checkpoint(path, options).to_dict()
    four = evaluate_checkpoint(path, replace(options, processes=4)).to_dict()
    assert set(one) == set(four)
    for name, value in one.items():
        assert four[name] == pytest.approx(value, abs=1e-4, nan_ok=True), name
    with pytest.raises(InputError, match="the folder of the data set, got no such folder"):
        evaluate_checkpoint(path, replace(options, processes=2, data=tiny_run / "none"))


def test_mean_image_is_the_mean(tiny_run: Path) -> None:
    train, _ = open_splits(tiny_config(tiny_run).data, "test", 0)
    images = [image for batch in batches(train, 5) for image in batch.images]
    torch.testing.assert_close(mean_image(train, 32), target_images(images, 32).mean(0))


def test_results_have_plain_names_and_null_for_nothing(tmp_path: Path) -> None:
    results = EvaluationResults(
        2,
        {
            "model": {f"{t} R@{k}": 0.5 for t in ("SGGen", "PhrDet") for k in (20, 50, 100)},
            "frequency prior": {
                f"{t} R@{k}": float("nan") for t in ("SGGen", "PhrDet") for k in (20, 50, 100)
            },
        },
        {"AP50": 0.25},
        {"mean image": {"L1": 0.1, "PSNR": 12.0, "SSIM": 0.3}},
    )
    results.write_json(tmp_path / "r.json")
    read = json.loads((tmp_path / "r.json").read_text())
    assert read["SGGen R@50"] == 0.5
    assert read["frequency prior SGGen R@50"] is None
    assert read["detection AP50"] == 0.25
    assert read["mean image PSNR"] == 12.0
    assert "AP50 0.250" in results.tables()[0].note


def test_pseudo_relations_alone_are_nothing_to_score_against(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_run / "scenes", tmp_path / "scenes")
    with h5py.File(tmp_path / "scenes" / "VG-SGG.h5", "a") as file:
        count = len(file["predicates"])
        file["relation_is_pseudo"] = np.ones(count, np.uint8)
        file["relation_scores"] = np.full(count, 0.5, np.float32)
    checkpoint = str(tiny_run / "run" / "checkpoint.safetensors")
    assert main(["evaluate", checkpoint, "--data", str(tmp_path / "scenes")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "expected relations of humans, which alone are scored against" in error
