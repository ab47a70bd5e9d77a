"""The detector phase: when it is validated, what that keeps, and mixed precision."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from autoenc_sg.config.phases import DetectorPhase, JointPhase
from autoenc_sg.core.errors import InputError
from autoenc_sg.data.base.samples import collate_samples
from autoenc_sg.data.open import open_dataset
from autoenc_sg.detector import build_detector
from autoenc_sg.detector.backbone_memory import BackboneMemory
from autoenc_sg.eval import DetectionPrecision
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.training.loop import train
from autoenc_sg.training.run_log import VALIDATION, read_history
from autoenc_sg.training.start import find_start
from autoenc_sg.training.validation import BEST_DETECTOR, detector_precision, is_due
from autoenc_sg.visualization.progress import Reporter
from autoenc_sg.weights.checkpoint import read_checkpoint, read_resumable
from tests.support.tiny import same, tiny_config

EPOCHS = (
    "--detector_training.validate_epochs=1",
    "--detector_training.validate_min_steps=1",
    "--detector_training.steps=12",
)


class Killed(Exception):
    pass


class KillingReporter(Reporter):
    """Dies after so many steps."""

    def __init__(self, steps: int) -> None:
        super().__init__([])
        self.steps_left = steps

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.steps_left -= steps
        if self.steps_left < 0:
            raise Killed


@pytest.fixture(scope="module")
def trained(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve steps of 3 of 14 images: epochs end in steps 5 and 10, the phase in step 12."""
    folder = tmp_path_factory.mktemp("detector")
    shutil.copytree(tiny_run / "scenes", folder / "scenes")
    train(tiny_config(folder, *EPOCHS), ("detector",))
    return folder


def test_validated_after_epochs_and_at_the_end(trained: Path) -> None:
    rows = read_history(trained / "run", VALIDATION)
    assert [(row["phase"], row["step"]) for row in rows] == [("detector", s) for s in (5, 10, 12)]
    assert all(set(row["scores"]) == {"AP", "AP50", "AP75", "AR", "micro AP50"} for row in rows)
    best = max(rows, key=lambda row: row["scores"]["AP50"])
    best_checkpoint = read_checkpoint(trained / "run" / BEST_DETECTOR)
    assert (best_checkpoint.phase, best_checkpoint.step) == ("detector", best["step"])
    last = read_resumable(trained / "run")
    assert_close(last.training["best"], -best["scores"]["AP50"])


def test_killed_and_resumed_equals_unbroken_with_validation(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "scenes", tmp_path / "scenes")
    config = tiny_config(tmp_path, *EPOCHS)
    with pytest.raises(Killed):
        train(config, ("detector",), reporter=KillingReporter(7))
    train(config, ("detector",), find_start(config, "detector", resume=True))
    unbroken, resumed = (read_resumable(f / "run") for f in (trained, tmp_path))
    assert unbroken.training
    same(dict(unbroken.model), dict(resumed.model))
    same(dict(unbroken.training), dict(resumed.training))
    rows = [read_history(f / "run", VALIDATION) for f in (trained, tmp_path)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("size", "batch", "epochs", "least", "steps", "due"),
    [
        (10, 2, 1, 1, 12, [5, 10, 12]),
        (10, 3, 1, 1, 8, [4, 7, 8]),
        (10, 2, 2, 1, 12, [10, 12]),
        (3, 6, 1, 1, 3, [1, 2, 3]),
        (3, 6, 1, 5, 12, [5, 10, 12]),  # an epoch is half a step
        (10, 3, 1, 6, 14, [6, 12, 14]),  # an epoch is 3 1/3 steps
        (10, 2, 1, 5, 12, [5, 10, 12]),  # an epoch is the least number of steps
        (100, 4, 1, 1, 5, [5]),
    ],
)
def test_ends_of_epochs_by_hand(
    size: int, batch: int, epochs: int, least: int, steps: int, due: list[int]
) -> None:
    for name, kind in (("detector", DetectorPhase), ("joint", JointPhase)):
        settings = kind(
            steps=steps, batch_size=batch, validate_epochs=epochs, validate_min_steps=least
        )
        phase = SimpleNamespace(name=name, settings=settings, batch_size=batch, steps=steps)
        got = [step for step in range(1, steps + 1) if is_due(phase, step, size)]  # type: ignore[arg-type]
        assert got == due


def test_an_epoch_of_three_steps_is_not_validated_each_time() -> None:
    settings = DetectorPhase(steps=107, batch_size=4)
    phase = SimpleNamespace(name="detector", settings=settings, batch_size=4, steps=107)
    assert [s for s in range(1, 108) if is_due(phase, s, 12)] == [107]  # type: ignore[arg-type]


def test_precision_is_that_of_the_detections_one_image_at_a_time(trained: Path) -> None:
    config = tiny_config(trained)
    model = AutoEncoder.from_checkpoint(trained / "run" / "checkpoint.safetensors")
    held_out = open_dataset(config.data, "test")
    before = torch.get_rng_state()
    model.train()
    got = detector_precision(model, held_out, DetectorPhase(batch_size=4, validation_images=5))
    assert model.training
    assert torch.equal(before, torch.get_rng_state())
    metric = DetectionPrecision()
    model.eval()
    for i in range(5):
        image, graph, _ = held_out[i]
        detections = model.detector.detect(model.detector.encode([image]))
        metric.update([(detections.boxes, detections.labels, detections.scores)], [graph])
    for name, value in metric.compute().items():
        assert_close(got[name], float(value), atol=0.02, rtol=0)
        assert not math.isnan(got[name])


def test_an_empty_validation_split_is_named_before_training(trained: Path) -> None:
    class Empty:
        def __len__(self) -> int:
            return 0

    from autoenc_sg.training import splits

    opened = splits.open_dataset
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splits, "open_dataset", lambda *a: Empty() if a[1] == "val" else opened(*a))
        with pytest.raises(InputError, match=r"validation split: expected one image or more"):
            train(tiny_config(trained, "--out", str(trained / "other")), ("detector",))
    assert not (trained / "other" / "checkpoint.safetensors").exists()


def test_no_validation_where_none_is_asked(trained: Path, tmp_path: Path) -> None:
    options = ("--out", str(tmp_path), "--detector_training.validate_epochs", "0")
    train(tiny_config(trained, *options), ("detector",))
    assert read_history(tmp_path, VALIDATION) == []
    assert not (tmp_path / BEST_DETECTOR).exists()


# Mixed precision --------------------------------------------------------------------------------


def test_the_phase_runs_in_bfloat16(trained: Path, tmp_path: Path) -> None:
    options = ("--runtime.precision", "bf16-mixed", "--detector_training.validate_epochs", "1")
    train(tiny_config(trained, "--out", str(tmp_path), *options), ("detector",))
    weights = read_checkpoint(tmp_path / "checkpoint.safetensors").model
    assert all(w.dtype == torch.float32 for w in weights.values() if w.is_floating_point())
    (row,) = read_history(tmp_path, VALIDATION)
    assert row["step"] == 4


def test_boxes_keep_their_digits_in_bfloat16(tmp_path: Path) -> None:
    """Where nothing moves a box, the proposals are the anchors to the last digit."""
    config = replace(
        tiny_config(tmp_path).detector,
        min_size=96,
        max_size=400,
        proposals=400,
        anchor_sizes=(33.0, 61.0),
    )
    torch.manual_seed(0)
    detector = build_detector(config, 5).eval()
    for parameter in detector.rpn.head.bbox_pred.parameters():  # type: ignore[union-attr]
        torch.nn.init.zeros_(parameter)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        maps = detector.encode([torch.rand(3, 96, 400)])
        assert maps.maps[0].dtype == torch.bfloat16
        proposals, _ = detector._propose(maps)  # type: ignore[operator]
        detections = detector.detect(maps)
    assert proposals.dtype == detections.boxes.dtype == torch.float32
    anchors = detector.rpn.anchor_generator.cell_anchors[0]  # type: ignore[union-attr,index]
    sides = (proposals[:, None, 2:] - proposals[:, None, :2]) - (anchors[:, 2:] - anchors[:, :2])
    unclipped = (proposals[:, :2] > 0).all(1) & (proposals[:, 2:] < torch.tensor([400, 96])).all(1)
    assert (unclipped & (proposals[:, 0] > 256)).sum() > 5
    assert bool((sides[unclipped] == 0).all(2).any(1).all())


def test_losses_in_bfloat16_are_near_those_in_float32(trained: Path) -> None:
    model = AutoEncoder.from_checkpoint(trained / "run" / "checkpoint.safetensors").train()
    dataset = open_dataset(tiny_config(trained).data, "test")
    batch = collate_samples([dataset[i] for i in range(2)])
    means = []
    for enabled in (False, True):
        total: dict[str, torch.Tensor] = {}
        for seed in range(12):  # slightly other proposals are other samples of them
            torch.manual_seed(seed)
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                losses = model.detector.losses(batch.images, batch.graphs)
            total = {
                name: total.get(name, 0) + value.float() / 12 for name, value in losses.items()
            }
        means.append(total)
    assert means[0].keys() == means[1].keys()
    for name, value in means[0].items():
        assert_close(means[1][name], value, atol=0.05, rtol=0.2, msg=name)


def test_frozen_layers_see_each_image_once(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_run / "scenes", tmp_path / "scenes")
    memories: list[BackboneMemory] = []
    plain = BackboneMemory.maps

    def recording(self: BackboneMemory, *arguments: Any) -> Any:
        memories.append(self)
        return plain(self, *arguments)

    monkeypatch.setattr(BackboneMemory, "maps", recording)
    options = ("--runtime.backbone_memory=10", "--data.flip=false", "--joint.steps=8")
    train(tiny_config(tmp_path, *options), ("joint",))
    (memory,) = set(memories)
    assert len(memories) >= 8
    assert 3 <= len(memory) <= 14 + 2  # images of the train and validation splits
