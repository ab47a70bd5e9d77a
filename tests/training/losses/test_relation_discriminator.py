"""The relation discriminator in training: what it learns, and what its losses train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from autoenc_sg.config.model import GeneratorConfig
from autoenc_sg.config.phases import PhaseName
from autoenc_sg.core.errors import InputError
from autoenc_sg.data.base.samples import Batch, collate_samples
from autoenc_sg.data.open import open_dataset
from autoenc_sg.generator import RelationDiscriminator
from autoenc_sg.model import AutoEncoder
from autoenc_sg.training.discriminators import AdversarialLossWeights, RelationAdversary
from autoenc_sg.training.objectives import Outcome, ReconstructionObjective, Relations
from autoenc_sg.training.parallel.fabric import OpaqueBatch, make_fabric
from autoenc_sg.training.parallel.processes import Processes
from autoenc_sg.training.phases import Phase
from tests.support.tiny import same, tiny_config

CONFIG = GeneratorConfig(image_size=32, object_discriminator_dims=(8, 8))
SMALL = "--generator.object_discriminator_dims=[8,12]"
BOXES = torch.tensor(
    [
        [[0.0, 0, 0.5, 0.5], [0.4, 0.4, 1, 1]],
        [[0.2, 0.2, 1, 1], [0, 0, 0.6, 0.6]],
        [[0.0, 0, 1, 1], [0, 0, 1, 1]],
    ]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("relations")


def outcome() -> Outcome:
    """Real images are bright, generated ones dark; the predicate follows from the order."""
    relations = Relations(torch.tensor([1, 2, 0]), BOXES, torch.tensor([0, 1, 1]))
    rng = torch.Generator().manual_seed(1)
    dark, bright = (torch.rand(2, 3, 32, 32, generator=rng) * 0.2 + low for low in (0.1, 0.7))
    return Outcome({}, dark, None, bright, relations=relations)


def adversary_of(
    folder: Path, network: nn.Module, relations: float = 1.0, auxiliary: float = 1.0
) -> RelationAdversary:
    weights = AdversarialLossWeights(relations=relations, relation_auxiliary=auxiliary)
    return RelationAdversary(Processes(make_fabric(tiny_config(folder)), 1), network, weights, 1e-3)


def phase_of(folder: Path, name: PhaseName, *overrides: str) -> tuple[Phase, Batch]:
    config = tiny_config(folder, SMALL, "--generator.relation_layout=true", *overrides)
    dataset = open_dataset(config.data, "test")
    torch.manual_seed(0)
    model = AutoEncoder(config, dataset.vocabulary)
    batch = collate_samples([dataset[i] for i in range(2)])
    return Phase(name, make_fabric(config), model, config), batch


def on(name: str, weight: float = 0.5) -> str:
    return f"--{name}.image_losses.relation_adversarial_weight={weight}"


def test_it_learns_real_relations_and_predicates(folder: Path) -> None:
    torch.manual_seed(0)
    network, batch = RelationDiscriminator(CONFIG, 4), outcome()
    adversary, errors = adversary_of(folder, network), []
    assert batch.relations is not None
    for _ in range(2):
        with torch.no_grad():
            real, predicates = network(batch.target, *batch.relations[1:])
            fake, _ = network(batch.image, *batch.relations[1:])
        errors.append(float(F.cross_entropy(predicates, batch.relations.labels)))
        for _ in range(40):
            adversary.discriminator_step(batch)
    assert real.mean() > fake.mean()
    assert errors[1] < 0.5 * errors[0]


def test_its_losses_by_hand(folder: Path) -> None:
    torch.manual_seed(0)
    network, batch = RelationDiscriminator(CONFIG, 4), outcome()
    assert batch.relations is not None
    (labels, *places) = batch.relations
    real, real_predicates = network(batch.target, *places)
    fake, fake_predicates = network(batch.image, *places)
    expected = F.softplus(-real).mean() + F.softplus(fake).mean()
    for predicates in (real_predicates, fake_predicates):
        expected = expected + F.cross_entropy(predicates, labels)
    adversary = adversary_of(folder, network, 0.5, 0.25)
    losses = adversary.generator_losses(batch)
    assert_close(losses["relation_adversarial"], 0.5 * F.softplus(-fake).mean())
    assert_close(losses["relation_auxiliary"], 0.25 * F.cross_entropy(fake_predicates, labels))
    step = adversary.discriminator_step(batch)
    assert_close(step["relation_discriminator"], expected.detach())
    gan = F.softplus(-real).mean() + F.softplus(fake).mean()
    assert_close(step["relation_discriminator_adversarial"], gan.detach())


def test_its_class_loss_makes_a_picture_show_the_predicates(folder: Path) -> None:
    """Descending it on the pixels alone; the discriminator gets no gradient."""
    torch.manual_seed(0)
    network, batch = RelationDiscriminator(CONFIG, 4), outcome()
    adversary = adversary_of(folder, network)
    for _ in range(30):
        adversary.discriminator_step(batch)
    assert batch.image is not None
    image, values = batch.image.clone().requires_grad_(), []
    for _ in range(8):
        loss = adversary.generator_losses(batch._replace(image=image))["relation_auxiliary"]
        (gradient,) = torch.autograd.grad(loss, image)
        values.append(float(loss.detach()))
        image = (image - 0.5 * gradient / gradient.norm()).detach().requires_grad_()
    assert values[-1] < 0.9 * values[0]
    assert all(p.grad is None for p in network.parameters())
    assert all(p.requires_grad for p in network.parameters())


def test_the_class_loss_alone_trains_the_generator_s_predicates(folder: Path) -> None:
    off = [f"--reconstruction.{n}_weight=0" for n in ("pixel", "box", "adversarial")]
    auxiliary = "--reconstruction.image_losses.relation_auxiliary_weight"
    moved = []
    for weight in (0.0, 1.0):
        # a GAN loss of almost no weight, only for the discriminator to be there
        phase, batch = phase_of(
            folder, "reconstruction", *off, on("reconstruction", 1e-30), f"{auxiliary}={weight}"
        )
        generator = phase.model.generator
        assert generator.relation_net is not None
        weights = [generator.pred_embeddings.weight, *generator.relation_net.parameters()]
        before = [p.detach().clone() for p in weights]
        losses = phase.step(batch, 0)
        assert set(losses) >= {"relation_adversarial", "relation_auxiliary"}
        moved.append([bool((p.detach() != b).any()) for p, b in zip(weights, before)])
    assert not any(moved[0])
    assert all(moved[1])


def test_the_objective_hands_out_the_true_relations(folder: Path) -> None:
    phase, batch = phase_of(folder, "reconstruction", on("reconstruction"))
    config = phase.config.reconstruction
    result = ReconstructionObjective(phase.model, config)(batch)
    assert result.relations is not None
    labels, boxes, index = result.relations
    for i, graph in enumerate(batch.graphs.split()):
        height, width = graph.image_size
        rows = index == i
        assert labels[rows].tolist() == [*graph.triples[:, 1].tolist(), 0]
        unit = graph.boxes / torch.tensor([width, height, width, height])
        for column in (0, 1):
            expected = unit[graph.triples[:, 2 * column]]
            assert_close(boxes[rows][:-1, column], expected)
        assert_close(boxes[rows][-1], torch.tensor([[0.0, 0, 1, 1]] * 2))


@pytest.mark.parametrize("name", ["reconstruction", "joint"])
def test_without_weight_there_is_none(folder: Path, name: PhaseName) -> None:
    plain, batch = phase_of(folder, name)
    phase, _ = phase_of(folder, name, on(name))
    assert [a.name for a in plain.adversaries] == ["discriminator"]
    assert [a.name for a in phase.adversaries] == ["relation_discriminator", "discriminator"]
    scores, predicates = phase.adversaries[0].plain(
        torch.rand(1, 3, 32, 32), BOXES[:1], torch.tensor([0])
    )
    assert predicates.shape == (1, phase.model.vocabulary.num_predicates)
    assert scores.shape == (1, 1)
    added = {"relation_adversarial", "relation_auxiliary"}
    added |= {"relation_discriminator", "relation_discriminator_adversarial"}
    assert set(phase.step(batch, 0)) - set(plain.step(batch, 0)) == added


def copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    return {k: copied(v) for k, v in value.items()} if isinstance(value, dict) else value


def test_it_goes_on_in_the_joint_phase_and_when_resumed(folder: Path) -> None:
    first, batch = phase_of(folder, "reconstruction", on("reconstruction"))
    first.step(batch, 0)
    state = copied(first.state())
    joint, _ = phase_of(folder, "joint", on("joint"))
    joint.continue_from(state)
    fresh, _ = phase_of(folder, "joint", on("joint"), "--joint.fresh_discriminator=true")
    fresh.continue_from(state)
    name = "relation_discriminator"
    same(dict(joint.state()[name]), dict(state[name]))
    same(joint.state()[f"optimizer_{name}"]["state"], state[f"optimizer_{name}"]["state"])
    assert fresh.state()[f"optimizer_{name}"]["state"] == {}
    weight = "predicate_classifier.weight"
    assert not torch.equal(fresh.state()[name][weight], state[name][weight])
    resumed, _ = phase_of(folder, "reconstruction", on("reconstruction"))
    resumed.load_state(state)
    resumed.model.load_state_dict(first.model.state_dict())
    same(resumed.step(batch, 1), first.step(batch, 1))
    same(copied(resumed.state()), copied(first.state()))


def test_in_the_joint_phase_it_trains_the_predictor(folder: Path) -> None:
    """The class loss crosses the predicted graph, as the pixel loss does."""
    phase, batch = phase_of(folder, "joint", on("joint"))
    phase.objective.train()
    result = phase.objective(OpaqueBatch(batch))
    loss = phase.adversaries[0].generator_losses(result)["relation_auxiliary"]
    loss.backward()
    gradient = phase.model.get_parameter("predictor.relation_classifier.0.weight").grad
    assert gradient is not None
    assert gradient.any()


def test_negative_weights_are_refused(folder: Path) -> None:
    for name in ("reconstruction", "joint"):
        expected = rf"{name}\.image_losses\.relation_adversarial_weight: expected >= 0, got -1"
        with pytest.raises(InputError, match=expected):
            tiny_config(folder, on(name, -1))
