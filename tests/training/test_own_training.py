"""Training from Python: own loops over the objectives, own images without files, `on_step`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.from_pairs import PairsDataset
from autoenc_sg.data.base.samples import collate_samples
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.training.loop import StepReport, train
from autoenc_sg.training.objectives import JointObjective
from autoenc_sg.training.phases import decayed
from autoenc_sg.training.run_log import VALIDATION, read_history
from autoenc_sg.training.start import find_start
from autoenc_sg.weights.checkpoint import CHECKPOINT, read_checkpoint
from tests.support.tiny import same, tiny_config

VOCABULARY = Vocabulary.from_names(["ball", "box"], ["on", "left of"])


def pairs(count: int) -> list[tuple[torch.Tensor, SceneGraph]]:
    """Images of a bright box on a dark one, with their graphs; nothing is on disk."""
    stream = torch.Generator().manual_seed(0)
    drawn = []
    for i in range(count):
        x = 8 + 2 * (i % 8)
        image = torch.rand(3, 64, 64, generator=stream) * 0.1
        image[:, 12:32, x : x + 20] = 0.9
        image[:, 32:56, x - 4 : x + 24] = 0.5
        boxes = torch.tensor([[x, 12, x + 20, 32], [x - 4, 32, x + 24, 56]]).float()
        graph = SceneGraph(torch.tensor([1, 2]), boxes, torch.tensor([[0, 1, 1]]), (64, 64))
        drawn.append((image, graph))
    return drawn


def config_without_data(folder: Path, *overrides: str) -> RunConfig:
    return tiny_config(folder, "--data.root", str(folder / "none"), *overrides)


# Own loops ----------------------------------------------------------------------------------------


def test_joint_objective_in_a_plain_pytorch_loop(tmp_path: Path) -> None:
    config = config_without_data(tmp_path, "--predictor.dropout=0")
    torch.manual_seed(0)
    model = AutoEncoder(config, VOCABULARY)
    images = PairsDataset(pairs(6), VOCABULARY)
    loader = torch.utils.data.DataLoader(images, batch_size=3, collate_fn=collate_samples)  # type: ignore[arg-type]
    objective = JointObjective(model, config.joint).train()
    optimizer = torch.optim.Adam((p for p in objective.parameters() if p.requires_grad), lr=3e-3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    totals = []
    for _ in range(8):
        for batch in loader:
            optimizer.zero_grad()
            total = objective(batch).total
            total.backward()
            optimizer.step()
            totals.append(float(total.detach()))
    assert sum(totals[-4:]) < 0.9 * sum(totals[:4])
    moved = {n for n, value in model.state_dict().items() if not torch.equal(value, before[n])}
    assert not [n for n in moved if n.startswith(("detector.backbone", "detector.rpn"))]
    trained = ("detector.roi_heads.box_head", "detector.union_head", "relpn", "predictor")
    for part in (*trained, "generator.refinement_net"):
        assert any(n.startswith(part) for n in moved), part


def test_named_losses_and_their_total(tmp_path: Path) -> None:
    config = config_without_data(tmp_path)
    images = PairsDataset(pairs(2), VOCABULARY)
    outcome = JointObjective(AutoEncoder(config, VOCABULARY), config.joint)(
        collate_samples([images[0], images[1]])
    )
    assert set(outcome.losses) == {"predicate", "object", "box", "relatedness", "pixel"}
    assert_close(outcome.total, sum(outcome.losses.values()))  # type: ignore[arg-type]


# Own images ---------------------------------------------------------------------------------------


def test_three_phases_without_a_file(tmp_path: Path) -> None:
    config = config_without_data(tmp_path)
    images = PairsDataset(pairs(6), VOCABULARY, augment=True)
    path = train(config, dataset=images, val_dataset=PairsDataset(pairs(2), VOCABULARY))
    assert not (tmp_path / "none").exists()
    model = AutoEncoder.from_checkpoint(path)
    assert model.vocabulary == VOCABULARY
    assert model.render(pairs(1)[0][1]).size == (32, 32)
    assert {row["phase"] for row in read_history(tmp_path / "run")} == {
        "detector",
        "reconstruction",
        "joint",
    }
    rows = read_history(tmp_path / "run", VALIDATION)
    assert {row["phase"] for row in rows} == {"detector", "joint"}  # those validated by default


def test_images_without_validation_images_are_not_validated(tmp_path: Path) -> None:
    train(config_without_data(tmp_path), ("detector",), dataset=PairsDataset(pairs(4), VOCABULARY))
    assert read_history(tmp_path / "run", VALIDATION) == []
    assert not (tmp_path / "none").exists()


def test_own_images_are_what_is_learnt_from(tmp_path: Path) -> None:
    """Other images, other weights; the same images, the same weights."""
    weights = []
    for name, count in (("a", 3), ("b", 3), ("c", 4)):
        config = tiny_config(tmp_path, "--out", str(tmp_path / name))
        path = train(config, ("reconstruction",), dataset=PairsDataset(pairs(count), VOCABULARY))
        weights.append(dict(read_checkpoint(path).model))
    same(weights[0], weights[1])
    with pytest.raises(AssertionError):
        same(weights[0], weights[2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": pairs(2)}, r"dataset: expected a GraphDataset, such as PairsDataset"),
        ({"val_dataset": 3}, r"val_dataset: expected a GraphDataset.*, got int"),
        (
            {
                "dataset": PairsDataset(pairs(2), VOCABULARY),
                "val_dataset": PairsDataset(pairs(2), Vocabulary.from_names(["a", "b"], ["c"])),
            },
            "val_dataset: expected the vocabulary of the training images, got another one",
        ),
        ({"phases": "joint"}, r"phases: expected a sequence of detector, reconstruction, joint"),
        ({"phases": ("joint", "last")}, r"phases: expected a sequence .*'last'"),
    ],
)
def test_bad_arguments(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train(config_without_data(tmp_path), **arguments)
    assert not (tmp_path / "run").exists()


# on_step ------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tiny_run: Path, tmp_path: Path) -> Path:
    """A folder of its own with the tiny scenes."""
    shutil.copytree(tiny_run / "scenes", tmp_path / "scenes")
    return tmp_path


def test_on_step_is_called_once_a_step_with_its_numbers(folder: Path) -> None:
    reports: list[StepReport] = []
    config = tiny_config(folder, "--runtime.log_every=1", "--joint.decay_at=[0.5]")
    train(config, on_step=reports.append)
    rows = read_history(folder / "run")
    assert [(r.phase, r.step) for r in reports] == [(row["phase"], row["step"]) for row in rows]
    assert len(reports) == 12
    for report, row in zip(reports, rows):
        assert dict(report.losses) == row["losses"]
    joint = [r.learning_rates for r in reports if r.phase == "joint"]
    expected = [decayed(0.01, step, 4, 2, (0.5,)) for step in range(4)]
    assert_close([rates["graph"] for rates in joint], expected)
    assert_close([rates["generator"] for rates in joint], [1e-4, 1e-4, 1e-5, 1e-5])


class Enough(Exception):
    pass


@pytest.mark.parametrize("last", [3, 4, 8, 10])  # inside, at the end, at an average's end
def test_an_exception_of_on_step_leaves_a_checkpoint_that_resumes_to_the_same_bits(
    folder: Path, last: int
) -> None:
    options = ("--reconstruction.ema_decay=0.5", "--runtime.checkpoint_every=100")
    unbroken = tiny_config(folder, "--out", str(folder / "unbroken"), *options)
    train(unbroken)
    stopped = tiny_config(folder, *options)
    calls: list[StepReport] = []

    def stop(report: StepReport) -> None:
        calls.append(report)
        if len(calls) == last:
            raise Enough

    with pytest.raises(Enough):
        train(stopped, on_step=stop)
    checkpoint = read_checkpoint(folder / "run" / CHECKPOINT)
    assert (checkpoint.phase, checkpoint.step) == (calls[-1].phase, calls[-1].step)
    train(stopped, start=find_start(stopped, None, resume=True), on_step=calls.append)
    assert len(calls) == 12
    first, second = (read_checkpoint(folder / n / CHECKPOINT) for n in ("unbroken", "run"))
    same(dict(first.model), dict(second.model))
    same(dict(first.training), dict(second.training))
