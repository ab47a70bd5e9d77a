"""The image loss alone trains the encoder, across the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from autoenc_sg.core.graph_logits import RelaxMode
from autoenc_sg.core.images import target_images
from autoenc_sg.data.base.samples import Batch, collate_samples
from autoenc_sg.data.open import open_dataset
from autoenc_sg.generator import GeneratorNoise, pixel_loss
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.training.objectives import JointObjective, Outcome
from autoenc_sg.training.parallel.fabric import make_fabric
from autoenc_sg.training.phases import Phase
from tests.support.tiny import tiny_config

MODES: tuple[RelaxMode, ...] = ("soft", "straight_through", "detached")
ONLY_PIXELS = [
    f"--joint.{name}_weight=0"
    for name in ("predicate", "object", "box", "relatedness", "adversarial", "detection")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gradient")


@pytest.fixture(scope="module")
def batch(folder: Path) -> Batch:
    dataset = open_dataset(replace(tiny_config(folder).data, flip=False), "train")
    return collate_samples([dataset[i] for i in range(3)])


def fresh(folder: Path, *overrides: str) -> AutoEncoder:
    config = tiny_config(folder, *overrides)
    torch.manual_seed(0)
    return AutoEncoder(config, open_dataset(config.data, "train").vocabulary)


def path_parameters(model: AutoEncoder) -> dict[str, Tensor]:
    """Everything between the frozen maps and the graph."""
    modules = [*model.detector.trainable_head_modules(), model.relpn, model.predictor]
    on_path = {id(p) for part in modules for p in part.parameters()}
    return {name: p for name, p in model.named_parameters() if id(p) in on_path}


def joint_outcome(model: AutoEncoder, batch: Batch, mode: RelaxMode) -> Outcome:
    """One forward of the joint phase in training mode."""
    for part in model.detector.frozen_modules():
        part.requires_grad_(not model.config.joint.freeze_backbone)
    torch.manual_seed(1)
    objective = JointObjective(model, replace(model.config.joint, mode=mode)).train()
    outcome: Outcome = objective(batch)
    return outcome


def has_gradient(parameter: Tensor) -> bool:
    return parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)


def test_the_path_is_the_whole_encoder_but_what_is_frozen(folder: Path) -> None:
    model = fresh(folder)
    names = set(path_parameters(model))
    frozen = {
        f"detector.{n}" for n, _ in model.detector.named_parameters() if n.startswith(("ba", "rpn"))
    }
    boxes = {f"detector.roi_heads.box_predictor.bbox_pred.{n}" for n in ("weight", "bias")}
    encoder = {n for n, _ in model.named_parameters() if not n.startswith("generator.")}
    assert names == encoder - frozen - boxes
    for part in (
        "relpn.subject_projection",
        "relpn.object_projection",
        "relpn.subject_position",
        "predictor.rounds",
        "predictor.box_deltas",
        "detector.roi_heads.box_head",
        "detector.union_head",
    ):
        assert any(name.startswith(part) for name in names), part


@pytest.mark.parametrize("mode", ["soft", "straight_through"])
def test_pixel_loss_reaches_every_parameter_on_the_path(
    folder: Path, batch: Batch, mode: RelaxMode
) -> None:
    model = fresh(folder)
    joint_outcome(model, batch, mode).losses["pixel"].backward()
    without = [name for name, p in path_parameters(model).items() if not has_gradient(p)]
    assert without == []
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    for part in model.detector.frozen_modules():
        assert all(p.grad is None for p in part.parameters())


@pytest.mark.parametrize("mode", MODES)
def test_relations_in_the_layout_carry_gradient_to_the_predicates(
    folder: Path, batch: Batch, mode: RelaxMode
) -> None:
    """Also where objects are drawn in one way, whatever their vectors: relations alone differ."""
    model = fresh(folder, "--generator.relation_layout", "true")
    drawn = model.generator.relation_net
    assert drawn is not None
    last = model.generator.gconv_net
    assert last is not None
    with torch.no_grad():  # objects' vectors no longer depend on anything
        last.gconvs[-1].net2[2].weight.zero_()
    joint_outcome(model, batch, mode).losses["pixel"].backward()
    if mode != "straight_through":  # where all hard edge weights are 0 here
        assert all(has_gradient(p) for p in drawn.parameters())
    on_path = model.get_parameter("predictor.relation_classifier.0.weight")
    assert has_gradient(on_path) == (mode != "detached")


def test_detached_trains_the_generator_alone(folder: Path, batch: Batch) -> None:
    model = fresh(folder)
    joint_outcome(model, batch, "detached").losses["pixel"].backward()
    assert [name for name, p in path_parameters(model).items() if p.grad is not None] == []
    assert has_gradient(model.generator.obj_embeddings.weight)
    assert has_gradient(model.generator.pred_embeddings.weight)


def test_modes_draw_what_they_say(folder: Path, batch: Batch) -> None:
    model = fresh(folder, "--predictor.dropout", "0")
    soft, hard, detached = (joint_outcome(model, batch, mode) for mode in MODES)
    assert soft.image is not None
    assert hard.image is not None
    assert_close(soft.image, detached.image)
    assert_close(soft.losses["pixel"], detached.losses["pixel"])
    assert (soft.image - hard.image).abs().max() > 1e-3


def test_gradient_reaches_the_backbone_where_it_is_not_frozen(folder: Path, batch: Batch) -> None:
    model = fresh(folder, "--joint.freeze_backbone", "false")
    joint_outcome(model, batch, "soft").losses["pixel"].backward()
    assert all(has_gradient(p) for p in model.detector.backbone.parameters())


@pytest.mark.parametrize("mode", MODES)
def test_a_training_step_on_pixels_alone_moves_the_encoder(
    folder: Path, batch: Batch, mode: RelaxMode
) -> None:
    options = ["--joint.weight_decay=0", "--joint.warmup=0", f"--joint.mode={mode}"]
    model = fresh(folder, *ONLY_PIXELS, *options)
    phase = Phase("joint", make_fabric(model.config), model, model.config)
    before = {name: p.clone() for name, p in path_parameters(model).items()}
    losses = phase.step(batch, 0)
    assert float(losses["pixel"]) > 0
    assert sum(float(v) for k, v in losses.items() if k != "pixel") == 0
    moved = {n for n, p in path_parameters(model).items() if not torch.equal(p, before[n])}
    assert moved == (set() if mode == "detached" else set(before))


@pytest.mark.parametrize("mode", ["soft", "straight_through"])
def test_one_image_without_objects_keeps_gradients_finite(
    folder: Path, batch: Batch, mode: RelaxMode
) -> None:
    model = fresh(folder, "--detector.score_threshold", "1.1")  # the detector finds nothing
    nothing = batch.graphs.split()[1].select(torch.zeros(0, dtype=torch.int64))
    first, _, last = batch.graphs.split()
    mixed = replace(batch, graphs=type(batch.graphs).collate([first, nothing, last]))
    joint_outcome(model, mixed, mode).losses["pixel"].backward()
    for name, parameter in path_parameters(model).items():
        assert has_gradient(parameter), name
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


def directions(model: AutoEncoder) -> Iterator[tuple[str, Tensor]]:
    """A few weights all along the path."""
    named = dict(model.named_parameters())
    for name in (
        "relpn.subject_projection.0.weight",
        "relpn.object_position.2.weight",
        "predictor.relation_classifier.0.weight",
        "predictor.object_kernel.weight",
        "predictor.box_deltas.weight",
        "detector.roi_heads.box_head.fc6.weight",
        "detector.union_head.2.weight",
    ):
        yield name, named[name]


def pixels_of_true_regions(model: AutoEncoder, batch: Batch) -> Callable[[], Tensor]:
    """The pixel loss over the true boxes as a function of the weights alone, in double."""
    model.eval().double()
    images = [image.double() / 255 for image in batch.images]
    target = target_images(images, model.config.generator.image_size)
    drawn = model.generator.noise(len(images)).input
    assert drawn is not None
    noise = GeneratorNoise(drawn.double())
    boxes, index = batch.graphs.boxes.double(), batch.graphs.image_index
    with torch.no_grad():
        maps = model.detector.encode(images)

    def loss() -> Tensor:
        relaxed = model.graph_pass(model.detector.describe(maps, boxes, index)).graph.relax("soft")
        return pixel_loss(model.generator(relaxed, noise).image, target)

    return loss


@pytest.mark.parametrize("drawn", ["false", "true"])
def test_soft_gradient_equals_finite_differences(folder: Path, batch: Batch, drawn: str) -> None:
    model = fresh(folder, "--generator.relation_layout", drawn)
    loss = pixels_of_true_regions(model, batch)
    loss().backward()
    for name, weight in directions(model):
        assert weight.grad is not None
        step = weight.grad / weight.grad.norm()
        values = []
        with torch.no_grad():
            for sign in (1, -1):
                weight += sign * 1e-5 * step
                values.append(loss())
                weight -= sign * 1e-5 * step
        slope = (values[0] - values[1]) / 2e-5
        assert_close(slope, weight.grad.norm(), rtol=1e-3, atol=1e-9, msg=name)


def test_a_few_steps_of_the_encoder_alone_lower_the_pixel_loss(folder: Path, batch: Batch) -> None:
    model = fresh(folder)
    loss = pixels_of_true_regions(model, batch)
    optimizer = torch.optim.Adam(path_parameters(model).values(), 1e-3)
    totals = []
    for _ in range(10):
        now = loss()
        optimizer.zero_grad()
        now.backward()
        optimizer.step()
        totals.append(float(now.detach()))
    assert totals[-1] < totals[0]
    assert max(totals) < 1.1 * totals[0]
