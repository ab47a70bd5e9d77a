"""The loop: phases move what they should, losses fall, a killed run resumes to the same bits."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autoenc_sg.config.phases import PHASES
from autoenc_sg.core.errors import InputError
from autoenc_sg.data.base.samples import collate_samples
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.training.loop import train
from autoenc_sg.training.parallel.fabric import make_fabric
from autoenc_sg.training.phases import Phase, decayed
from autoenc_sg.training.run_log import read_history
from autoenc_sg.training.start import Start, find_start
from autoenc_sg.visualization.progress import Reporter
from autoenc_sg.weights.checkpoint import read_checkpoint, read_resumable
from tests.support.tiny import same, tiny_config


class Killed(Exception):
    pass


class KillingReporter(Reporter):
    """Dies after so many steps, as a power cut would."""

    def __init__(self, steps: int) -> None:
        super().__init__([])
        self.steps_left = steps

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.steps_left -= steps
        if self.steps_left < 0:
            raise Killed
        super().advance(steps, note)


@pytest.fixture(scope="module")
def finished(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished run that tests may write beside."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(tiny_run, folder, dirs_exist_ok=True)
    return folder


@pytest.mark.parametrize("steps", [3, 5, 11])
def test_killed_and_resumed_equals_unbroken_bit_for_bit(
    finished: Path, tmp_path: Path, steps: int
) -> None:
    shutil.copytree(finished / "scenes", tmp_path / "scenes")
    config = tiny_config(tmp_path)
    with pytest.raises(Killed):
        train(config, reporter=KillingReporter(steps))
    train(config, start=find_start(config, None, resume=True))
    unbroken, resumed = (read_resumable(f / "run") for f in (finished, tmp_path))
    assert unbroken.training
    same(dict(unbroken.model), dict(resumed.model))
    same(dict(unbroken.training), dict(resumed.training))
    steps_of = [
        [(r["phase"], r["step"]) for r in read_history(f / "run")] for f in (finished, tmp_path)
    ]
    assert steps_of[0] == steps_of[1]


def test_a_finished_run_that_is_resumed_stays_as_it_is(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "run", tmp_path / "run")
    config = tiny_config(tmp_path, "--data.root", str(finished / "scenes"))
    before = read_resumable(tmp_path / "run")
    train(config, start=find_start(config, None, resume=True))
    after = read_resumable(tmp_path / "run")
    assert (after.phase, after.step) == ("joint", 4)
    same(dict(before.model), dict(after.model))
    same(dict(before.training), dict(after.training))


def test_run_writes_all_it_promises(finished: Path) -> None:
    run = finished / "run"
    checkpoint = read_resumable(run)
    assert (checkpoint.phase, checkpoint.step) == ("joint", 4)
    assert {"optimizer_graph", "optimizer_generator", "discriminator", "rng_cpu"} <= set(
        checkpoint.training
    )
    assert (run / "config.yaml").is_file()
    for phase in PHASES:
        assert list((run / "logs" / phase).glob("events.*"))
    losses = {(row["phase"], name) for row in read_history(run) for name in row["losses"]}
    assert {
        ("detector", "rpn_objectness"),
        ("reconstruction", "pixel"),
        ("reconstruction", "discriminator"),
        ("joint", "predicate"),
        ("joint", "object"),
        ("joint", "box"),
        ("joint", "relatedness"),
        ("joint", "pixel"),
    } <= losses


def phase_of(folder: Path, name: str, *overrides: str) -> tuple[Phase, AutoEncoder]:
    config = tiny_config(folder, *overrides)
    dataset = open_dataset(config.data, "train")
    torch.manual_seed(0)
    model = AutoEncoder(config, dataset.vocabulary)
    return Phase(name, make_fabric(config), model, config), model  # type: ignore[arg-type]


def some_batch(folder: Path, count: int = 3):  # type: ignore[no-untyped-def]
    config = tiny_config(folder)
    dataset = open_dataset(replace(config.data, flip=False), "train")
    return collate_samples([dataset[i] for i in range(count)])


@pytest.mark.parametrize("name", PHASES)
def test_each_phase_learns_one_batch(finished: Path, name: str) -> None:
    rate = {"detector": "detector_training", "reconstruction": "reconstruction", "joint": "joint"}[
        name
    ]
    phase, _ = phase_of(finished, name, f"--{rate}.steps", "1000", "--predictor.dropout", "0")
    batch = some_batch(finished)
    totals = []
    for step in range(30):
        torch.manual_seed(1)
        losses = phase.step(batch, step)
        totals.append(
            float(sum(v for k, v in losses.items() if k not in ("discriminator", "adversarial")))
        )
    assert sum(totals[-3:]) < 0.95 * sum(totals[:3])


def test_joint_phase_leaves_backbone_and_proposals_alone(finished: Path) -> None:
    phase, model = phase_of(finished, "joint")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    phase.step(some_batch(finished), 3)
    after = model.state_dict()
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    assert not [k for k in moved if k.startswith(("detector.backbone", "detector.rpn"))]
    for part in ("detector.roi_heads.box_head", "relpn", "predictor", "generator"):
        assert any(k.startswith(part) for k in moved), part


def test_graph_only_baseline_leaves_the_generator_alone(finished: Path) -> None:
    phase, model = phase_of(finished, "joint", "--joint.image_loss_weight", "0")
    before = {k: v.clone() for k, v in model.generator.state_dict().items()}
    losses = phase.step(some_batch(finished), 3)
    assert "pixel" not in losses
    same(before, dict(model.generator.state_dict()))


def test_detection_losses_join_when_weighted(finished: Path) -> None:
    phase, _ = phase_of(
        finished, "joint", "--joint.detection_weight", "1", "--joint.freeze_backbone", "false"
    )
    assert {"roi_class", "rpn_box"} <= set(phase.step(some_batch(finished), 3))


def test_images_without_objects_or_relations_train(finished: Path) -> None:
    from autoenc_sg.core.scene_graph import SceneGraph
    from autoenc_sg.data.base.samples import Sample

    dataset = open_dataset(tiny_config(finished).data, "train")
    image, graph, image_id = dataset[0]
    lonely = graph.select(torch.tensor([0]))
    nothing = SceneGraph.empty(graph.image_size)
    batch = collate_samples(
        [Sample(image, nothing, 1), Sample(image, lonely, 2), Sample(image, graph, image_id)]
    )
    empty = collate_samples([Sample(image, nothing, 1)])
    for name in PHASES:
        phase, _ = phase_of(finished, name)
        for case in (batch, empty):
            assert all(torch.isfinite(v) for v in phase.step(case, 3).values())


def test_learning_rate_by_hand() -> None:
    rates = [decayed(1.0, step, 10, 2, (0.5, 0.9)) for step in range(10)]
    torch.testing.assert_close(rates, [0.5, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1, 0.01])


def test_nothing_is_overwritten_unasked(finished: Path) -> None:
    config = tiny_config(finished)
    with pytest.raises(InputError, match="use --resume, --phase, --overwrite or another --out"):
        find_start(config, None, resume=False)
    assert find_start(config, "joint", resume=False).step("joint") == 0
    assert find_start(config, None, resume=True).skips("reconstruction")
    fresh = tiny_config(finished, "--out", str(finished / "other"))
    assert find_start(fresh, None, resume=False).checkpoint is None
    with pytest.raises(InputError, match="--resume: expected a checkpoint"):
        find_start(fresh, None, resume=True)


def test_checkpoint_of_another_vocabulary_is_refused(finished: Path, tmp_path: Path) -> None:
    from autoenc_sg.core.vocabulary import Vocabulary

    checkpoint = read_checkpoint(finished / "run" / "checkpoint.safetensors")
    other = replace(checkpoint, vocabulary=Vocabulary.from_names(["cat"], ["on"]))
    with pytest.raises(InputError, match="expected the data's vocabulary"):
        train(tiny_config(finished, "--out", str(tmp_path)), ("joint",), Start(other))


def test_detector_weights_load_from_a_checkpoint(finished: Path) -> None:
    weights = str(finished / "run" / "checkpoint.safetensors")
    config = tiny_config(finished, "--detector.weights", weights)
    dataset = open_dataset(config.data, "train")
    from autoenc_sg.training.start import build_model

    model = build_model(config, dataset, Start())
    same(
        dict(model.detector.state_dict()),
        {
            k.removeprefix("detector."): v
            for k, v in read_checkpoint(Path(weights)).model.items()
            if k.startswith("detector.")
        },
    )


def test_pretrained_weights_are_not_fetched_where_others_are_loaded_next(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autoenc_sg.model import autoencoder as model_module
    from autoenc_sg.training.start import build_model
    from autoenc_sg.weights.checkpoint import write_checkpoint

    downloads, build = [], model_module.build_detector

    def recording(config, num_classes, download=True):  # type: ignore[no-untyped-def]
        downloads.append(download)
        return build(config, num_classes, download)

    monkeypatch.setattr(model_module, "build_detector", recording)
    path = finished / "run" / "checkpoint.safetensors"
    whole = read_checkpoint(path)
    decoder = replace(
        whole, model={k: v for k, v in whole.model.items() if k.startswith("generator.")}
    )
    config = tiny_config(finished)
    weighted = tiny_config(finished, "--detector.weights", str(path))
    dataset = open_dataset(config.data, "train")
    build_model(config, dataset, Start())
    build_model(config, dataset, Start(whole))
    build_model(config, dataset, Start(decoder))
    assert downloads == [True, False, True]
    model = build_model(weighted, dataset, Start(decoder))  # the encoder begins from these weights
    assert downloads[3:] == [False]
    assert model.has_encoder
    same(
        dict(model.detector.state_dict()),
        {k[len("detector.") :]: v for k, v in whole.model.items() if k.startswith("detector.")},
    )
    AutoEncoder.from_checkpoint(path)
    write_checkpoint(tmp_path / "decoder.pt", decoder)
    assert not AutoEncoder.from_checkpoint(tmp_path / "decoder.pt").has_encoder
    assert downloads[4:] == [False, False]
