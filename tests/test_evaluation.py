"""The pass over a data set: scores of known answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from autoenc_sg.evaluation import (
    EvaluationOptions,
    EvaluationResults,
    evaluate_checkpoint,
    mean_image,
    open_splits,
)
from autoenc_sg.loading import batches
from autoenc_sg.objectives import target_images
from tests.tiny import tiny_config


def test_batch_size_does_not_change_the_scores(tiny_run: Path) -> None:
    path = tiny_run / "run" / "checkpoint.pt"
    one, four = (evaluate_checkpoint(path, EvaluationOptions(batch_size=b)) for b in (1, 4))
    assert one.images == four.images == 6
    for name, value in one.to_dict().items():
        assert value == pytest.approx(four.to_dict()[name], abs=1e-4), name


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
