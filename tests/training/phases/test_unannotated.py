"""Unannotated images in the joint phase: which losses they have, and what these move."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.testing import assert_close

from autoenc_sg.config.phases import JointPhase
from autoenc_sg.config.predictor import HEADS
from autoenc_sg.config.unannotated import UnannotatedConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.layers import ImageRandom
from autoenc_sg.core.structures import CandidatePairs
from autoenc_sg.data.base.samples import Batch, collate_samples
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.predictors.parts.long_tail import logit_adjustment
from autoenc_sg.training.loop import train
from autoenc_sg.training.losses.teacher import Teacher, mean_divergence
from autoenc_sg.training.objectives import JointObjective
from autoenc_sg.training.parallel.fabric import make_fabric
from autoenc_sg.training.phases import Phase
from autoenc_sg.training.run_log import read_history
from autoenc_sg.training.start import Start
from autoenc_sg.weights.checkpoint import read_checkpoint, read_resumable
from tests.support.tiny import same, tiny_config

NO_IMAGE_LOSS = "--joint.image_loss_weight=0"
PSEUDO = "--joint.unannotated.pseudo_labels=teacher"
BOTH = frozenset([0, 1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("unannotated")


def fresh(folder: Path, *overrides: str) -> tuple[AutoEncoder, Batch]:
    """An untrained model and two annotated images; all detections are objects."""
    config = tiny_config(folder, *overrides)
    dataset = open_dataset(config.data, "test")
    torch.manual_seed(0)
    model = AutoEncoder(config, dataset.vocabulary)
    return model, collate_samples([dataset[i] for i in range(2)])


def losses_and_gradients(
    objective: JointObjective, batch: Batch
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The losses, and the gradients that are not zero."""
    objective.zero_grad()
    outcome = objective(batch, ImageRandom(range(len(batch))))
    outcome.total.backward()
    parameters = objective.model.named_parameters()
    gradients = {n: p.grad.clone() for n, p in parameters if p.grad is not None and p.grad.any()}
    return outcome.losses, gradients


# Graph and image losses ---------------------------------------------------------------------------


def test_graph_losses_of_unannotated_images_move_nothing(folder: Path) -> None:
    model, batch = fresh(folder, NO_IMAGE_LOSS, "--joint.detection_weight=0")
    objective = JointObjective(model, model.config.joint).train()
    _, moved = losses_and_gradients(objective, batch)
    assert any(name.startswith("predictor.") for name in moved)
    losses, moved = losses_and_gradients(objective, replace(batch, unannotated=BOTH))
    assert {name: float(loss.detach()) for name, loss in losses.items()} == {
        "predicate": 0.0,
        "object": 0.0,
        "box": 0.0,
        "relatedness": 0.0,
    }
    assert moved == {}


def test_graph_losses_are_those_of_the_annotated_images(folder: Path) -> None:
    model, batch = fresh(folder, NO_IMAGE_LOSS, "--joint.detection_weight=1")
    objective = JointObjective(model, model.config.joint).train()
    mixed, moved = losses_and_gradients(objective, replace(batch, unannotated=frozenset([1])))
    alone, moved_alone = losses_and_gradients(objective, batch.select([0]))
    assert mixed.keys() == alone.keys() >= {"predicate", "relatedness", "roi_class"}
    for name, loss in alone.items():
        assert_close(mixed[name], loss)
    assert moved.keys() == moved_alone.keys()
    for name, gradient in moved_alone.items():
        assert_close(moved[name], gradient, atol=1e-5, rtol=1e-4)


def test_image_losses_of_unannotated_images_move_the_predictor(folder: Path) -> None:
    model, batch = fresh(folder, "--joint.pixel_weight=10", "--joint.true_graph_weight=0")
    objective = JointObjective(model, model.config.joint).train()
    losses, moved = losses_and_gradients(objective, replace(batch, unannotated=BOTH))
    assert losses["pixel"] > 0
    for part in ("predictor.", "relpn.", "generator."):
        assert any(name.startswith(part) for name in moved), part


def test_their_graphs_are_not_looked_at(folder: Path) -> None:
    options = ("--joint.image_losses.relation_adversarial_weight=0.1", PSEUDO)
    model, batch = fresh(folder, "--joint.true_graph_weight=1", *options)
    objective = JointObjective(model, model.config.joint).eval()
    one = replace(batch, unannotated=frozenset([1]))
    graphs = batch.graphs.split()
    other_graph = replace(
        graphs[1],
        labels=graphs[1].labels.flip(0),
        boxes=graphs[1].boxes / 2,
        triples=graphs[0].triples[:0],
    )
    samples = [(batch.images[0], graphs[0], 0), (batch.images[1], other_graph, 1)]
    other = collate_samples(samples, frozenset([1]))  # type: ignore[arg-type]
    first, second = (objective(b, ImageRandom([3, 4])) for b in (one, other))
    same(first.losses, second.losses)
    assert first.relations is not None
    assert len(first.relations.labels) == len(graphs[0].triples) + 2  # and each image to itself


def test_true_graphs_are_drawn_of_annotated_images_alone(folder: Path) -> None:
    model, batch = fresh(folder, "--joint.true_graph_weight=1")
    objective = JointObjective(model, model.config.joint).eval()
    with torch.no_grad():
        mixed = objective(replace(batch, unannotated=frozenset([0])), ImageRandom([3, 4])).losses
        alone = objective(batch.select([1]), ImageRandom([4])).losses
    assert mixed["true_graph_pixel"] > 0
    assert mixed.keys() == alone.keys()
    none = objective(replace(batch, unannotated=BOTH), ImageRandom([3, 4])).losses
    assert "true_graph_pixel" not in none


@pytest.mark.parametrize("unannotated", [frozenset([1]), BOTH])
def test_images_without_detections(folder: Path, unannotated: frozenset[int]) -> None:
    options = ("--joint.unannotated.object_threshold=1", "--joint.unannotated.consistency_weight=1")
    model, batch = fresh(folder, PSEUDO, *options)
    objective = JointObjective(model, model.config.joint).train()
    objects: list[Tensor] = []
    original = model.graph_pass

    def recorded(regions: Any, *arguments: Any) -> Any:
        objects.append(regions.image_index)
        return original(regions, *arguments)

    model.graph_pass = recorded  # type: ignore[method-assign]
    losses, moved = losses_and_gradients(objective, replace(batch, unannotated=unannotated))
    assert all(bool(loss.isfinite()) for loss in losses.values())
    assert losses["pseudo_label"] == losses["consistency"] == 0
    assert any(name.startswith("generator.") for name in moved)
    assert set(objects[0].tolist()) == {0, 1} - unannotated


@pytest.mark.parametrize(
    ("own", "decode", "count"), [(None, 0.0, 6), (None, 1.0, 0), (0.0, 1.0, 6)]
)
def test_the_threshold_of_their_objects(
    folder: Path, own: float | None, decode: float, count: int
) -> None:
    model, batch = fresh(folder, f"--decode.object_threshold={decode}")
    options = UnannotatedConfig(object_threshold=own)
    objective = JointObjective(model, replace(model.config.joint, unannotated=options)).eval()
    seen = objective.regions.read(batch.images, batch.graphs)
    rows = objective._graph(seen, replace(batch, unannotated=BOTH))[2]
    assert len(seen.detections.boxes) == 12
    assert len(rows) == 2 * count


# The teacher --------------------------------------------------------------------------------------


def joint_objective(model: AutoEncoder, **options: Any) -> JointObjective:
    config = replace(model.config.joint, unannotated=UnannotatedConfig(**options))
    return JointObjective(model, config).eval()


def test_a_pseudo_label_moves_its_predicate_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = fresh(folder, NO_IMAGE_LOSS, "--predictor.dropout=0")
    batch = replace(batch, unannotated=BOTH)
    predicates = model.vocabulary.num_predicates
    objective = joint_objective(
        model, pseudo_labels="teacher", pseudo_threshold=0.9, pseudo_weight=2
    )
    assert objective.teacher is not None
    logits = torch.zeros(100, predicates)
    logits[5, 3] = 10.0
    monkeypatch.setattr(objective.teacher, "predicate_logits", lambda s, r, p: logits[: len(p)])
    optimizer = torch.optim.SGD(model.predictor.parameters(), 0.05)
    probabilities = []
    for _ in range(2):
        with torch.no_grad():
            seen = objective.regions.read(batch.images, batch.graphs)
            student = objective._graph(seen, batch)[0].graph.predicate_logits
        probabilities.append(student.softmax(-1)[5, 3])
        losses, moved = losses_and_gradients(objective, batch)
        optimizer.step()
    assert len(student) > 6
    assert_close(losses["pseudo_label"].detach(), -2 * probabilities[1].log())
    assert probabilities[1] > probabilities[0]
    assert any(name.startswith("predictor.") for name in moved)
    logits[5, 3] = 4.0  # 0.8 of 14 predicates
    assert 0.5 < float(logits[5].softmax(-1)[3]) < 0.9
    losses, moved = losses_and_gradients(objective, batch)
    assert losses["pseudo_label"] == 0
    assert moved == {}


def test_no_relation_is_a_label_in_the_ratio_of_annotated_images(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sure relation of the first image: it has 3 unrelated pairs; the second image has 3."""
    model, batch = fresh(folder, NO_IMAGE_LOSS, "--joint.background_ratio=3")
    objective = joint_objective(model, pseudo_labels="teacher")
    assert objective.teacher is not None
    logits = torch.zeros(100, model.vocabulary.num_predicates)
    logits[:, 0] = 10.0
    logits[0, 0], logits[0, 2] = 0.0, 10.0
    monkeypatch.setattr(objective.teacher, "predicate_logits", lambda s, r, p: logits[: len(p)])
    counts: list[int] = []

    def counted(terms: Any, shares: Any) -> dict[str, Tensor]:
        counts.append(terms["pseudo_label"][0].count)
        return {name: each[0].mean for name, each in terms.items()}

    monkeypatch.setattr("autoenc_sg.training.objectives.total_losses", counted)
    objective(replace(batch, unannotated=BOTH), ImageRandom([0, 1]))
    assert counts == [1 + 3 + 3]


def test_consistency_is_the_divergence_from_the_teacher(folder: Path) -> None:
    target, logits = torch.tensor([[0.0, 1.0], [2.0, 0.0]]), torch.zeros(2, 2)
    p = target.softmax(-1)
    assert_close(mean_divergence(target, logits), ((p * (p / 0.5).log()).sum()) / 2)
    assert mean_divergence(target[:0], logits[:0]) == 0
    model, batch = fresh(folder, NO_IMAGE_LOSS)
    batch = replace(batch, unannotated=BOTH)
    objective = joint_objective(model, consistency_weight=3.0)
    losses, _ = losses_and_gradients(objective, batch)  # the teacher is the head
    assert_close(losses["consistency"].detach(), torch.tensor(0.0), atol=1e-6, rtol=0)
    objective.train()  # with dropout it is disturbed
    losses, moved = losses_and_gradients(objective, batch)
    assert losses["consistency"] > 1e-6
    assert any(name.startswith("predictor.") for name in moved)
    assert not any(name.startswith(("relpn.", "generator.")) for name in moved)


@pytest.mark.parametrize("head", HEADS)
def test_the_teacher_says_what_a_model_of_its_weights_says(folder: Path, head: str) -> None:
    options = (f"--predictor.name={head}", "--predictor.loss.logit_adjustment=1")
    model, batch = fresh(folder, *options, "--predictor.loss.adjusted=use")
    counts = model.predictor.predicate_counts
    assert counts is not None
    counts.copy_(torch.arange(len(counts)) + 1)
    torch.manual_seed(1)
    other = AutoEncoder(model.config, model.vocabulary)
    names = ("predictor.", "detector.union_head.", "detector.projection.")
    own = {n: v for n, v in other.state_dict().items() if n.startswith(names)}
    teacher = Teacher(model, 0.9)
    parameters = {n for n, _ in model.named_parameters()}
    teacher.load({"teacher": {"weights": own, "updates": 1}})
    assert set(teacher.weights) == {n for n in own if n in parameters}
    whole = {**model.state_dict(), **teacher.weights}
    objective = JointObjective(model, model.config.joint).train()
    with torch.no_grad():
        seen = objective.regions.read(batch.images, batch.graphs)
        rows = torch.arange(6)
        pairs = CandidatePairs(
            torch.tensor([[4, 0], [0, 1], [2, 3]]), torch.tensor([0.9, 0.5, 0.1])
        )
        before = {n: v.clone() for n, v in model.state_dict().items()}
        logits = teacher.predicate_logits(seen, rows, pairs)
        same(dict(model.state_dict()), before)
        assert model.predictor.training
        model.load_state_dict(whole)
        model.eval()
        regions = seen.regions(rows)
        unions = model.detector.union_features(regions, pairs.pairs)
        graph = model.predictor(regions, pairs, unions)
    assert torch.equal(graph.pairs, pairs.pairs)
    assert_close(logits, graph.predicate_logits + logit_adjustment(counts, 1.0))


def test_the_average_by_hand_and_in_a_checkpoint(folder: Path) -> None:
    model, _ = fresh(folder)
    teacher = Teacher(model, 0.6)
    assert not any(name.startswith(("generator.", "relpn.")) for name in teacher.weights)
    name = "detector.union_head.0.weight"
    weight = dict(model.named_parameters())[name]
    average = weight.detach().clone()
    for decay in (1 / 2, 0.6, 0.6):  # 1 - 1/2, then 1 - 1/3 and 1 - 1/4 are above 0.6
        with torch.no_grad():
            weight.add_(1.0)
        average = decay * average + (1 - decay) * weight.detach()
        teacher.update()
        assert_close(teacher.weights[name], average)
    other = Teacher(model, 0.6)
    assert_close(other.weights[name], weight.detach())
    other.load(teacher.state())
    same(other.state(), teacher.state())
    other.load({})  # of a run without a teacher: from the head as it is
    assert_close(other.weights[name], weight.detach())
    assert other.updates == 0


def test_a_step_updates_the_teacher(folder: Path) -> None:
    model, batch = fresh(folder, PSEUDO, "--joint.unannotated.pseudo_threshold=0")
    phase = Phase("joint", make_fabric(model.config), model, model.config)
    losses = phase.step(replace(batch, unannotated=frozenset([1])), 0)
    assert losses["pseudo_label"] > 0
    assert phase.teacher is not None
    assert phase.teacher.updates == phase.state()["teacher"]["updates"] == 1
    plain, _ = fresh(folder)
    assert "teacher" not in Phase("joint", make_fabric(plain.config), plain, plain.config).state()


# Runs ---------------------------------------------------------------------------------------------

SCARCE = (
    *("--data.annotated_fraction=0.4", "--joint.unannotated.per_batch=2"),
    *(PSEUDO, "--joint.unannotated.pseudo_threshold=0"),
    *("--joint.unannotated.consistency_weight=1", "--joint.true_graph_weight=1"),
    *("--generator.appearance_dim=4", "--reconstruction.seen_memory=1"),
)


def test_resumed_equals_unbroken_with_photos_and_cached_regions(
    tiny_run: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(3):
        Image.new("RGB", (64, 48), (80 * i, 40, 200)).save(photos / f"{i}.png")
    where = ("--data.root", str(tiny_run / "scenes"), f"--data.unannotated={photos}")
    cached = ("--joint.freeze_detector=true", f"--joint.region_cache={tmp_path / 'regions'}")
    few = ("--reconstruction.steps=1", "--runtime.keep_last=3", "--runtime.log_every=1")
    config = tiny_config(tmp_path, *where, *cached, *few, *SCARCE)
    start = Start(read_checkpoint(tiny_run / "run"))
    train(config, ("reconstruction", "joint"), start)
    run = tmp_path / "run"
    losses = [row["losses"] for row in read_history(run) if row["phase"] == "joint"]
    assert [row["pseudo_label"] > 0 for row in losses] == [True] * 4, losses
    assert losses[-1]["consistency"] > 0, losses
    assert {p.name for p in (tmp_path / "regions").iterdir()} == {"train", "val", "unannotated"}
    expected = read_resumable(run)
    assert expected.training["teacher"]["updates"] == 4
    (run / "checkpoint.safetensors").unlink()  # as if ended before the last step
    assert read_resumable(run).step == 2
    again = Start(read_resumable(run), resume=True, in_place=True)
    train(config, ("reconstruction", "joint"), again)
    after = read_resumable(run)
    same(dict(after.model), dict(expected.model))
    same(dict(after.training), dict(expected.training))


def test_annotated_batches_do_not_depend_on_the_unannotated_ones(
    tiny_run: Path, tmp_path: Path
) -> None:
    """Without gradient from these images, runs with and without them have the same graph losses."""
    start = Start(read_checkpoint(tiny_run / "run"))
    histories = []
    for count in (0, 2):
        where = ("--data.root", str(tiny_run / "scenes"), "--out", str(tmp_path / str(count)))
        frozen = ("--joint.mode=detached", f"--joint.unannotated.per_batch={count}")
        options = ("--data.annotated_fraction=0.4", "--joint.steps=3", "--runtime.log_every=1")
        config = tiny_config(tmp_path, *where, *frozen, *options, "--joint.validate_epochs=0")
        train(config, ("joint",), start)
        rows = [row["losses"] for row in read_history(tmp_path / str(count))]
        histories.append([{n: row[n] for n in ("predicate", "object", "box")} for row in rows])
        pixels = [row["pixel"] for row in rows]
    assert len(histories[0]) == 3
    for one, other in zip(*histories):
        assert one == pytest.approx(other, rel=1e-4)
    assert all(pixel > 0 for pixel in pixels)


def test_a_teacher_without_pupils_is_told(
    tiny_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    where = ("--data.root", str(tiny_run / "scenes"), "--joint.steps=1")
    config = tiny_config(tmp_path, *where, PSEUDO, "--joint.validate_epochs=0")
    train(config, ("joint",), Start(read_checkpoint(tiny_run / "run")))
    assert sum("have no effect" in message for message in caplog.messages) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per_batch": -1}, "joint.unannotated.per_batch: expected >= 0"),
        ({"pseudo_threshold": 1.5}, "joint.unannotated.pseudo_threshold: expected 0..1"),
        ({"object_threshold": float("nan")}, "joint.unannotated.object_threshold: expected 0..1"),
        ({"teacher_decay": 1.0}, "joint.unannotated.teacher_decay: expected 0 or more, below 1"),
        ({"consistency_weight": -1.0}, "joint.unannotated.consistency_weight: expected >= 0"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        JointPhase(unannotated=UnannotatedConfig(**options))


def test_how_many_unannotated_images_a_batch_has() -> None:
    plain = JointPhase(batch_size=6)
    assert plain.unannotated_per_batch == 6
    assert replace(plain, image_loss_weight=0.0).unannotated_per_batch == 0
    teacher = UnannotatedConfig(pseudo_labels="teacher")
    assert replace(plain, image_loss_weight=0.0, unannotated=teacher).unannotated_per_batch == 6
    assert replace(plain, unannotated=UnannotatedConfig(per_batch=2)).unannotated_per_batch == 2
    assert replace(plain, unannotated=UnannotatedConfig(per_batch=0)).unannotated_per_batch == 0
