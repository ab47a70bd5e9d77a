"""Validation of the joint phase by recall: when, what is measured, and the best weights."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from autoenc_sg.config.image_losses import ImageLossConfig
from autoenc_sg.config.phases import JOINT_METRICS
from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction, Regions
from autoenc_sg.data.base.from_pairs import PairsDataset
from autoenc_sg.data.open import open_dataset
from autoenc_sg.detector import FeatureMaps
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.training import validation
from autoenc_sg.training.loop import train
from autoenc_sg.training.run_log import VALIDATION, read_history
from autoenc_sg.training.start import Start, find_start
from autoenc_sg.training.validation import BEST_JOINT, criterion, joint_recall
from autoenc_sg.weights.checkpoint import read_checkpoint, read_resumable
from tests.support.tiny import same, tiny_config
from tests.training.test_loop import Killed, KillingReporter

# One of 16 images is the validation split, so an epoch of 6 images a step ends after 2 1/2 steps.
OPTIONS = ("--joint.validate_min_steps=2", "--joint.steps=6", "--joint.batch_size=6")
DUE = [3, 5, 6]


@pytest.fixture(scope="module")
def tiny(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny scenes and run."""
    folder = tmp_path_factory.mktemp("validated")
    shutil.copytree(tiny_run, folder, dirs_exist_ok=True)
    return folder


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny / "scenes", tmp_path / "scenes")
    return tmp_path


@pytest.fixture
def start(tiny: Path) -> Start:
    return Start(read_checkpoint(tiny / "run"))


def scripted(monkeypatch: pytest.MonkeyPatch, scores: list[dict[str, float]]) -> None:
    """The validations give these scores, one after the other."""
    rows = iter(scores)
    monkeypatch.setattr(validation, "joint_recall", lambda *_: next(rows))


def test_intervals_scores_and_best_weights(folder: Path, start: Start) -> None:
    config = tiny_config(folder, *OPTIONS)
    train(config, ("joint",), start)
    rows = read_history(folder / "run", VALIDATION)
    assert [(row["phase"], row["step"]) for row in rows] == [("joint", s) for s in DUE]
    assert all(set(row["scores"]) == set(JOINT_METRICS) for row in rows)
    assert all(0 <= value <= 1 for row in rows for value in row["scores"].values())
    best = max(row["scores"]["SGGen R@50"] for row in rows)
    assert (folder / "run" / BEST_JOINT).is_file()
    assert read_resumable(folder / "run").training["best"] == -best


def test_resumed_with_another_metric_the_best_begins_anew(
    folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a recall would be compared with a mean recall, and hardly a step be the best."""
    scripted(monkeypatch, [{"SGGen R@50": 0.5, "SGGen mR@20": 0.2}] * 20)
    for metric, best in (("SGGen R@50", 0.5), ("SGGen mR@20", 0.2), ("SGGen mR@20", 0.2)):
        is_first = metric == "SGGen R@50"
        steps = 4 if is_first else 6
        config = tiny_config(
            folder, *OPTIONS, f"--joint.best_metric={metric}", f"--joint.steps={steps}"
        )
        train(config, ("joint",), start if is_first else find_start(config, "joint", True))
        assert read_resumable(folder / "run").training["best"] == -best


def test_what_chooses_the_best_weights() -> None:
    plain = RunConfig()
    losses = replace(plain.reconstruction, image_losses=ImageLossConfig(feature_weight=1.0))
    other = replace(plain, reconstruction=losses)
    assert criterion(plain, "reconstruction") != criterion(other, "reconstruction")
    assert criterion(plain, "reconstruction") == criterion(RunConfig(), "reconstruction")
    for name in ("detector", "joint"):
        assert criterion(plain, name) == criterion(other, name)
    micro = replace(plain.detector_training, best_metric="micro AP50")
    assert criterion(replace(plain, detector_training=micro), "detector") == ("micro AP50",)


@pytest.mark.parametrize(("metric", "step"), [("SGGen R@50", 5), ("SGGen mR@20", 3)])
def test_the_named_metric_decides(
    folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch, metric: str, step: int
) -> None:
    recall = ((0.1, 0.3), (0.4, 0.2), (0.2, 0.1))
    scripted(monkeypatch, [{"SGGen R@50": r, "SGGen mR@20": m} for r, m in recall])
    config = tiny_config(folder, *OPTIONS, f"--joint.best_metric={metric}")
    weights: dict[int, dict[str, torch.Tensor]] = {}
    keep = validation.validate_phase

    def recording(phase: Any, model: AutoEncoder, *arguments: Any) -> Any:
        weights[arguments[-1]] = {n: v.clone() for n, v in model.state_dict().items()}
        return keep(phase, model, *arguments)

    monkeypatch.setattr("autoenc_sg.training.loop.validate_phase", recording)
    train(config, ("joint",), start)
    best = read_checkpoint(folder / "run" / BEST_JOINT)
    assert (best.phase, best.step) == ("joint", step)
    same(dict(best.model), weights[step])


def certain_prediction(graph: SceneGraph, num_predicates: int) -> GraphPrediction:
    """The true objects and, if there are any, the true relations, with scores of 1."""
    scores = torch.zeros(len(graph.triples), num_predicates - 1)
    scores[torch.arange(len(graph.triples)), graph.triples[:, 1] - 1] = 1
    ones = torch.ones(len(graph)), torch.ones(len(graph.triples))
    pairs = graph.triples[:, [0, 2]]
    return GraphPrediction(graph.boxes, graph.labels, ones[0], pairs, scores, ones[1])


@pytest.mark.parametrize(("limit", "expected"), [(100, 3 / 6), (4, 3 / 4), (3, 1.0)])
def test_recall_by_hand(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, limit: int, expected: float
) -> None:
    """The first three of six images are parsed rightly, the others have no prediction."""
    config = tiny_config(tiny)
    dataset, model = open_dataset(config.data, "test"), AutoEncoder.from_checkpoint(tiny / "run")
    graphs = [dataset[i].graph for i in range(6)]
    assert all(len(graph.triples) > 0 for graph in graphs)
    parsed = iter([*graphs[:3], *(SceneGraph.empty(g.image_size) for g in graphs[3:])])

    def graph(model: AutoEncoder, regions: Regions, maps: FeatureMaps) -> SimpleNamespace:
        assert not any(part.training for part in model.modules())
        predictions = [
            certain_prediction(next(parsed), model.vocabulary.num_predicates)
            for _ in regions.image_sizes
        ]
        return SimpleNamespace(predictions=lambda: predictions)

    monkeypatch.setattr(validation, "graph_of_detections", graph)
    model.train()
    settings = replace(config.joint, validation_images=limit, batch_size=4)
    scores = joint_recall(model, dataset, settings)
    assert model.training
    assert set(scores) == set(JOINT_METRICS)
    assert scores["SGGen R@50"] == pytest.approx(expected)


def test_images_without_relations_leave_no_score_and_no_best(folder: Path, start: Start) -> None:
    config = tiny_config(folder)
    images = open_dataset(config.data, "train")
    pairs = [(images[i].image, images[i].graph) for i in range(3)]
    empty = [(image, SceneGraph.empty(graph.image_size)) for image, graph in pairs]
    datasets = [PairsDataset(p, images.vocabulary) for p in (pairs, empty)]
    train(config, ("joint",), start, dataset=datasets[0], val_dataset=datasets[1])
    rows = read_history(folder / "run", VALIDATION)
    assert not [n for n in rows[-1]["scores"] if n in ("SGGen R@50", "SGGen ngR@50")]
    assert not any(math.isnan(value) for value in rows[-1]["scores"].values())
    assert not (folder / "run" / BEST_JOINT).exists()


def test_training_is_the_same_without_it(folder: Path, start: Start) -> None:
    for epochs in (0, 1):
        out = ("--out", str(folder / str(epochs)), f"--joint.validate_epochs={epochs}")
        train(tiny_config(folder, *OPTIONS, *out), ("joint",), start)
    without, validated = (read_resumable(folder / name) for name in ("0", "1"))
    same(dict(without.model), dict(validated.model))
    assert "best" not in without.training
    same(dict(without.training), {n: v for n, v in validated.training.items() if n != "best"})
    assert not (folder / "0" / BEST_JOINT).exists()
    assert read_history(folder / "0", VALIDATION) == []


def test_an_empty_split_is_no_error_for_the_joint_phase(folder: Path, start: Start) -> None:
    images = open_dataset(tiny_config(folder).data, "train")
    pairs = PairsDataset([(images[i].image, images[i].graph) for i in range(3)], images.vocabulary)
    config, empty = tiny_config(folder), PairsDataset([], images.vocabulary)
    train(config, ("joint",), start, dataset=pairs, val_dataset=empty)
    assert read_history(folder / "run", VALIDATION) == []
    with pytest.raises(InputError, match="validation split: expected one image or more"):
        train(config, ("detector",), start, dataset=pairs, val_dataset=empty)


def test_killed_and_resumed_keeps_the_best(
    folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, [{"SGGen R@50": r} for r in (0.5, 0.3, 0.2)])
    config = tiny_config(folder, *OPTIONS)
    with pytest.raises(Killed):
        train(config, ("joint",), start, KillingReporter(4))
    train(config, ("joint",), find_start(config, None, resume=True))
    assert read_checkpoint(folder / "run" / BEST_JOINT).step == 3
    assert read_resumable(folder / "run").training["best"] == -0.5


def test_an_unknown_metric_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match=r"joint.best_metric: expected .*, got 'SGGen R@5'$"):
        tiny_config(folder, "--joint.best_metric=SGGen R@5")
