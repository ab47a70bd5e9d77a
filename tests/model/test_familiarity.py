"""The limit of scores of photos that a model knows, and the hint below it."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autoenc_sg.cli.main import main
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.model import AutoEncoder
from autoenc_sg.model.familiarity import (
    is_unfamiliar,
    least_mean_score,
    mean_best_score,
    weights_for_photographs,
)
from autoenc_sg.weights import pretrained


def graph_with(*scores: float) -> SceneGraph:
    count = len(scores)
    return SceneGraph(
        torch.ones(count, dtype=torch.long),
        torch.tensor([[0.0, 0, 8, 8]]).repeat(count, 1),
        torch.zeros(0, 3, dtype=torch.long),
        (16, 16),
        object_scores=torch.tensor(scores),
    )


@pytest.fixture
def model(tiny_run: Path) -> AutoEncoder:
    return AutoEncoder.from_checkpoint(tiny_run / "run")


def with_threshold(model: AutoEncoder, threshold: float) -> None:
    decode = replace(model.config.decode, object_threshold=threshold)
    model.config = replace(model.config, decode=decode)


@pytest.mark.parametrize(
    ("scores", "threshold", "expected"),
    [
        ((0.5, 0.9, 0.75, 0.25), 0.0, (0.9 + 0.75 + 0.5) / 3),
        ((0.5, 0.9, 0.75, 0.25), 0.6, (0.9 + 0.75) / 3),
        ((0.75,), 0.0, 0.25),
        ((math.nan, 0.75), 0.0, 0.25),
        ((), 0.0, 0.0),
    ],
)
def test_mean_of_the_three_best(
    scores: tuple[float, ...], threshold: float, expected: float
) -> None:
    assert mean_best_score(graph_with(*scores), threshold) == pytest.approx(expected)


def test_a_graph_without_scores_has_zero() -> None:
    assert mean_best_score(replace(graph_with(0.5), object_scores=None)) == 0.0


def test_the_limit_is_the_five_percent_quantile(
    model: AutoEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """21 images with means 0, 0.04, ... 0.8: a twentieth of the way up is the second one."""
    graphs = [graph_with(*[0.04 * i] * 3) for i in reversed(range(21))]
    monkeypatch.setattr(model, "parse", lambda images: [graphs[i] for i in images])
    assert least_mean_score(model, list(range(21))) == pytest.approx(0.04)
    assert least_mean_score(model, [0, 20]) == pytest.approx(0.05 * 0.8)  # between two
    assert least_mean_score(model, [0]) == pytest.approx(0.8)
    with pytest.raises(InputError, match="images: expected one or more, got none"):
        least_mean_score(model, [])


def test_the_limit_is_that_of_what_parse_detects(model: AutoEncoder) -> None:
    images = [torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(i)) for i in (0, 1)]
    low, high = sorted(mean_best_score(graph) for graph in model.parse(images))
    assert least_mean_score(model, images) == pytest.approx(low + 0.05 * (high - low))


def test_below_the_limit_is_unfamiliar(model: AutoEncoder) -> None:
    graph = graph_with(0.6, 0.6, 0.6, 0.1)
    assert not is_unfamiliar(model, graph)  # a run's checkpoint says nothing
    for limit, expected in ((0.61, True), (0.59, False), ("0.9", False), (None, False)):
        model.about = {"least_mean_score": limit}
        assert is_unfamiliar(model, graph) == expected
    model.about = {"least_mean_score": 0.5}
    with_threshold(model, 0.3)
    assert is_unfamiliar(model, graph_with(0.9, 0.29, 0.29))  # as if those were not detected
    assert not is_unfamiliar(model, graph_with(0.9, 0.31, 0.31))


@pytest.fixture
def shipped(model: AutoEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights `scenes`, to which every photo is unfamiliar, and `photos`, that know photographs."""
    folder = tmp_path / "shipped"
    monkeypatch.setattr(pretrained, "SHIPPED", folder)
    model.save(folder / "scenes", about={"knows": "drawn scenes", "least_mean_score": 1.0})
    model.save(folder / "photos", about={"knows": "photographs", "least_mean_score": 1.0})
    return folder


def test_which_weights_know_photographs(shipped: Path, model: AutoEncoder) -> None:
    assert AutoEncoder.from_pretrained("scenes").about["knows"] == "drawn scenes"
    assert weights_for_photographs(model) == ["photos"]
    assert weights_for_photographs(AutoEncoder.from_pretrained("scenes")) == ["photos"]
    assert weights_for_photographs(AutoEncoder.from_pretrained("photos")) == []


def test_the_commands_print_one_line(
    shipped: Path, tiny_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos = sorted(map(str, (tiny_run / "scenes" / "VG_100K").glob("*.jpg")))[:2]
    out = ["--out", str(tmp_path / "out")]
    graphs = ["--out", str(tmp_path / "graphs.jsonl")]

    def lines(command: str, *arguments: str) -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert main([command, *arguments]) == 0
        return [record.getMessage() for record in caplog.records]

    hint = "its objects have low scores; weights that know photographs: photos"
    assert lines("reconstruct", "scenes", photos[0], *out) == [f"{photos[0]}: {hint}"]
    assert lines("parse", "scenes", *photos, *graphs) == [
        "in 2 of 2 photos the objects have low scores; weights that know photographs: photos"
    ]
    threshold = ["--object-threshold", "0.01"]  # above the configuration's: not comparable
    assert lines("parse", "scenes", *photos, *graphs, *threshold) == []
    assert lines("parse", "photos", *photos, *graphs) == []  # no better ones to name
    assert lines("parse", str(tiny_run / "run"), *photos, *graphs) == []  # no limit is known
