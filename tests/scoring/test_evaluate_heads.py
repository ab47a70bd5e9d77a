"""What `evaluate` can change of a checkpoint's relation head: the effect, and rare predicates."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from autoenc_sg.cli.main import main
from autoenc_sg.data.open import open_dataset
from autoenc_sg.scoring.evaluate import evaluate_checkpoint
from autoenc_sg.scoring.options import EvaluationOptions
from autoenc_sg.training.start import Start, build_model
from autoenc_sg.weights.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from tests.support.tiny import tiny_config


@pytest.fixture(scope="module")
def checkpoint(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose new relation head has branches."""
    config = tiny_config(tiny_run, "--predictor.name=motifs", "--predictor.causal=sum")
    dataset = open_dataset(config.data, "train")
    torch.manual_seed(0)
    model = build_model(config, dataset, Start(read_checkpoint(tiny_run / "run")))
    path = tmp_path_factory.mktemp("causal") / "checkpoint.safetensors"
    write_checkpoint(path, Checkpoint(config, dataset.vocabulary, model.state_dict()))
    return path


def recalls(checkpoint: Path, **changes: object) -> dict[str, float]:
    options = EvaluationOptions(images=False, tasks=("PredCls",), **changes)  # type: ignore[arg-type]
    results = evaluate_checkpoint(checkpoint, options, quiet=True)
    return dict(results.recall["model"])


def test_the_effect_and_the_adjustment_change_the_ranking(checkpoint: Path) -> None:
    plain = recalls(checkpoint)
    assert recalls(checkpoint, effect="none") == pytest.approx(plain, nan_ok=True)
    assert recalls(checkpoint, logit_adjustment=0.0) == pytest.approx(plain, nan_ok=True)
    for changes in ({"effect": "tde"}, {"logit_adjustment": 20.0}):
        assert recalls(checkpoint, **changes) != pytest.approx(plain, nan_ok=True)


def test_an_effect_without_branches_is_one_line(
    tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(tiny_run / "run"), "--effect", "tde"]) == 2
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0
    assert "predictor.effect: expected none if predictor.causal is none, got 'tde'" in error
