"""Options of the heads, and a head that changes between two runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from autoenc_sg.cli.main import main
from autoenc_sg.config.files import config_from_dict, load_config
from autoenc_sg.config.predictor import (
    FrequencyConfig,
    GraphRcnnConfig,
    MotifsConfig,
    PredictorConfig,
    TransformerConfig,
)
from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.predictors.build import build_predictor
from autoenc_sg.training.start import Start, build_model, with_new_head
from autoenc_sg.weights.checkpoint import Checkpoint, read_checkpoint
from tests.support.graphs import C, D, P, random_pairs, random_regions, seeded
from tests.support.tiny import tiny_config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--predictor.name=vtranse"], "predictor.name"),
        (
            ["--predictor.frequency.overlap=true"],
            "predictor.frequency: expected no options of that head (predictor.name is gcn)",
        ),
    ],
)
def test_bad_options_in_one_line(options: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_config("demo", options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_of_another_head_end_with_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--predictor.name=imp", "--predictor.motifs.order=size", f"--out={tmp_path}/run"]
    assert main(["train", "demo", *options]) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    expected = "predictor.motifs: expected no options of that head (predictor.name is imp)"
    assert expected in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "config",
    [
        PredictorConfig("motifs", 8, motifs=MotifsConfig(edge_layers=0)),
        PredictorConfig("motifs", 8, motifs=MotifsConfig(object_layers=0)),
        PredictorConfig("motifs", 8, motifs=MotifsConfig(vision=False)),
        PredictorConfig("imp", 8, steps=1),
        PredictorConfig("gcn", 8, steps=0),
        PredictorConfig("transformer", 8, steps=0, transformer=TransformerConfig(0)),
        PredictorConfig("graph_rcnn", 8, steps=0, graph_rcnn=GraphRcnnConfig(0)),
        PredictorConfig("graph_rcnn", 8, graph_rcnn=GraphRcnnConfig(attention=False)),
        PredictorConfig("factorizable", 8, steps=0),
    ],
    ids=lambda config: f"{config.name}-{config.steps}",
)
def test_no_weight_is_without_effect(config: PredictorConfig) -> None:
    """Fewer rounds and layers leave out their weights."""
    torch.manual_seed(0)
    net = build_predictor(replace(config, dropout=0.0), D, 3, C, P).train()
    regions = random_regions([4, 5])
    pairs = random_pairs(regions, 8)
    logits = net(regions, pairs, torch.randn(len(pairs), D, 3, 3, generator=seeded(7)))
    outputs = (logits.predicate_logits, logits.object_logits, logits.boxes)
    sum(value.square().sum() for value in outputs).backward()  # type: ignore[union-attr]
    dead = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


def test_imp_without_messages_is_refused() -> None:
    with pytest.raises(InputError, match=r"predictor\.steps: expected 1 or more .* got 0"):
        PredictorConfig("imp", steps=0)


def test_the_shared_options_of_another_head() -> None:
    config = PredictorConfig("frequency", 12, frequency=FrequencyConfig(overlap=True))
    assert config.of_head("frequency") is config
    assert config.of_head("vanilla") == PredictorConfig("vanilla", 12)


def test_a_configuration_of_before_is_of_gcn() -> None:
    old = config_from_dict({"predictor": {"dim": 16, "steps": 1, "dropout": 0.1}})
    assert old.predictor == PredictorConfig("gcn", 16, 1, 0.1)


def started(run: Path, *options: str) -> tuple[Checkpoint, AutoEncoder, RunConfig]:
    config = tiny_config(run, *options)
    checkpoint = read_checkpoint(run / "run")
    dataset = open_dataset(config.data, "train")
    return checkpoint, build_model(config, dataset, Start(checkpoint)), config


def test_another_head_begins_anew_on_the_same_detector(tiny_run: Path) -> None:
    checkpoint, model, config = started(
        tiny_run, "--predictor.name=vanilla", "--predictor.frequency_bias=true"
    )
    weights = model.state_dict()
    for name, value in checkpoint.model.items():
        if not name.startswith("predictor."):
            assert torch.equal(weights[name], value), name
    assert model.predictor.frequency_bias is not None
    table = model.predictor.frequency_bias.table.weight
    assert (table < 0).any(1).all()
    assert (
        replace(config.predictor, name="gcn", frequency_bias=False) == checkpoint.config.predictor
    )


def test_a_frequency_bias_joins_a_trained_head(tiny_run: Path) -> None:
    checkpoint, model, _ = started(tiny_run, "--predictor.frequency_bias=true")
    weights = model.state_dict()
    for name, value in checkpoint.model.items():
        assert torch.equal(weights[name], value), name
    assert model.predictor.frequency_bias is not None
    assert (model.predictor.frequency_bias.table.weight < 0).any(1).all()


def test_a_classifier_starts_at_the_prior_once(tiny_run: Path) -> None:
    options = ("--predictor.frequency_bias=true", "--predictor.start_at_prior=true")
    checkpoint, model, config = started(tiny_run, *options)
    weights, zeros = model.state_dict(), []
    for name, value in checkpoint.model.items():
        if name.startswith("predictor.relation_classifier."):
            zeros += [name] if not weights[name].any() else []
        else:
            assert torch.equal(weights[name], value), name
    assert len(zeros) == 2  # weight and bias of the last layer
    trained = {n: torch.ones_like(v) for n, v in weights.items()}
    again = with_new_head(model, replace(checkpoint, config=config, model=trained), trained)
    assert all(again[name].all() for name in zeros)


@pytest.mark.parametrize(
    "options",
    [{}, {"frequency_bias": True, "name": "motifs", "causal": "sum"}],
)
def test_no_prior_to_start_at(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"predictor.start_at_prior: expected false"):
        PredictorConfig(start_at_prior=True, **options)
