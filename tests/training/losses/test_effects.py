"""What a training step does to which parameters: the effect, not only that it ran."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from autoenc_sg.config.model import GeneratorConfig
from autoenc_sg.config.phases import PhaseName
from autoenc_sg.data.base.samples import Batch, collate_samples
from autoenc_sg.data.open import open_dataset
from autoenc_sg.generator import ObjectDiscriminator, PatchDiscriminator
from autoenc_sg.model import AutoEncoder
from autoenc_sg.training import validation
from autoenc_sg.training.discriminators import (
    AdversarialLossWeights,
    ImageAdversary,
    ObjectAdversary,
)
from autoenc_sg.training.objectives import Objects, Outcome, ReconstructionObjective
from autoenc_sg.training.parallel.fabric import make_fabric
from autoenc_sg.training.parallel.processes import Processes
from autoenc_sg.training.phases import Phase
from autoenc_sg.training.validation import BEST_DETECTOR, validate_phase, validation_losses
from autoenc_sg.weights.checkpoint import read_checkpoint
from tests.support.live_validation import live_validation
from tests.support.tiny import tiny_config


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("effects")


def fresh(folder: Path, *overrides: str) -> tuple[AutoEncoder, Batch]:
    config = tiny_config(folder, *overrides)
    dataset = open_dataset(config.data, "test")
    torch.manual_seed(0)
    model = AutoEncoder(config, dataset.vocabulary)
    return model, collate_samples([dataset[i] for i in range(2)])


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def outcome(dim: int) -> Outcome:
    """Real images are bright, generated ones dark, the layout is not zero."""
    objects = Objects(
        torch.tensor([1, 2, 0, 0]),
        torch.tensor([[0.0, 0, 0.5, 0.5], [0.2, 0.2, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]]),
        torch.tensor([0, 1, 0, 1])[[0, 2, 1, 3]],
    )
    return Outcome(
        {},
        torch.full((2, 3, 32, 32), 0.1),
        torch.rand(2, dim, 32, 32, generator=torch.Generator().manual_seed(1)),
        torch.full((2, 3, 32, 32), 0.9),
        objects,
    )


class Recorded(nn.Module):
    """A network that keeps the inputs of its calls."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.calls: list[tuple[Any, ...]] = []

    def forward(self, *inputs: Any) -> Any:
        self.calls.append(inputs)
        return self.network(*inputs)


CONFIG = GeneratorConfig(
    image_size=32, gconv_dim=6, discriminator_dims=(8, 8), object_discriminator_dims=(8, 8)
)


def test_the_patch_discriminator_learns_to_prefer_real_images(folder: Path) -> None:
    torch.manual_seed(0)
    fabric = make_fabric(tiny_config(folder))
    network = PatchDiscriminator(CONFIG)
    adversary = ImageAdversary(
        Processes(fabric, 1), network, AdversarialLossWeights(image=1.0), 1e-3
    )
    batch = outcome(6)
    losses = [float(adversary.discriminator_step(batch)["discriminator"]) for _ in range(30)]
    assert losses[-1] < losses[0]
    with torch.no_grad():
        assert (
            network(batch.target, batch.layout).mean() > network(batch.image, batch.layout).mean()
        )


def test_the_object_discriminator_learns_real_objects_and_classes(folder: Path) -> None:
    torch.manual_seed(0)
    fabric = make_fabric(tiny_config(folder))
    network = ObjectDiscriminator(CONFIG, 4)
    weights = AdversarialLossWeights(objects=1.0, auxiliary=1.0)
    adversary = ObjectAdversary(Processes(fabric, 1), network, weights, 1e-3)
    batch = outcome(6)
    assert batch.objects is not None
    boxes, image_index = batch.objects.boxes, batch.objects.image_index
    errors = []
    for _ in range(2):
        with torch.no_grad():
            real, classes = network(batch.target, boxes, image_index)
            fake, _ = network(batch.image, boxes, image_index)
        errors.append(float(nn.functional.cross_entropy(classes, batch.objects.labels)))
        for _ in range(40):
            adversary.discriminator_step(batch)
    assert real.mean() > fake.mean()
    assert errors[1] < errors[0]


def test_the_patch_discriminator_sees_the_layout_beside_real_and_generated_images(
    folder: Path,
) -> None:
    fabric = make_fabric(tiny_config(folder))
    weights = AdversarialLossWeights(image=1.0)
    adversary = ImageAdversary(Processes(fabric, 1), PatchDiscriminator(CONFIG), weights, 1e-3)
    recorded = Recorded(adversary.network)
    adversary.network = recorded
    batch = outcome(6)
    adversary.discriminator_step(batch)
    (real, layout_of_real), (fake, layout_of_fake) = recorded.calls
    for got, expected in (
        (real, batch.target),
        (fake, batch.image),
        (layout_of_real, batch.layout),
        (layout_of_fake, batch.layout),
    ):
        assert_close(got, expected, rtol=0, atol=0)


def test_the_object_discriminator_s_loss_by_hand(folder: Path) -> None:
    """Real objects from the true images; classes of real and of generated ones."""
    torch.manual_seed(0)
    network, batch = ObjectDiscriminator(CONFIG, 4), outcome(6)
    assert batch.objects is not None
    labels, boxes, image_index = batch.objects
    real, real_classes = network(batch.target, boxes, image_index)
    fake, fake_classes = network(batch.image, boxes, image_index)
    assert bool((real != fake).all())
    functional = nn.functional
    adversarial = functional.softplus(-real).mean() + functional.softplus(fake).mean()
    expected = adversarial
    for classes in (real_classes, fake_classes):
        expected = expected + functional.cross_entropy(classes, labels)
    weights = AdversarialLossWeights(objects=0.5, auxiliary=0.25)
    processes = Processes(make_fabric(tiny_config(folder)), 1)
    adversary = ObjectAdversary(processes, network, weights, 1e-3)
    losses = adversary.generator_losses(batch)
    assert_close(losses["object_adversarial"], 0.5 * functional.softplus(-fake).mean())
    assert_close(losses["auxiliary"], 0.25 * functional.cross_entropy(fake_classes, labels))
    own = adversary.discriminator_step(batch)
    assert_close(own["object_discriminator"], expected.detach())
    assert_close(own["object_discriminator_adversarial"], adversarial.detach())


def test_the_generator_is_scored_with_the_layout_and_the_discriminator_stays(folder: Path) -> None:
    fabric = make_fabric(tiny_config(folder))
    weights = AdversarialLossWeights(image=0.5)
    network = PatchDiscriminator(CONFIG)
    adversary = ImageAdversary(Processes(fabric, 1), network, weights, 1e-3)
    batch = outcome(6)
    assert batch.image is not None
    image = batch.image.requires_grad_(True)
    loss = adversary.generator_losses(batch)["adversarial"]
    with torch.no_grad():
        scores = network(image, batch.layout)
    assert_close(loss, 0.5 * nn.functional.softplus(-scores).mean())  # -log sigmoid: non-saturating
    loss.backward()
    assert image.grad is not None
    assert bool(image.grad.any())
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_the_image_loss_weight_scales_the_adversarial_loss_too(folder: Path, weight: float) -> None:
    model, batch = fresh(
        folder, f"--joint.image_loss_weight={weight}", "--joint.adversarial_weight=0.4"
    )
    phase = Phase("joint", make_fabric(model.config), model, model.config)
    (adversary,) = phase.adversaries
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    layout = torch.rand(2, 12, 32, 32, generator=torch.Generator().manual_seed(3))
    loss = adversary.generator_losses(Outcome({}, image, layout))["adversarial"]
    scores = adversary.plain(image, layout)
    assert_close(loss, weight * 0.4 * nn.functional.softplus(-scores).mean())
    losses = phase.step(batch, 0)
    assert {"adversarial", "discriminator"} <= losses.keys()


@pytest.mark.parametrize("gan", ["lsgan", "wgan"])
def test_the_joint_phase_has_the_kind_of_gan_loss_that_is_configured(
    folder: Path, gan: str
) -> None:
    model, _ = fresh(folder, f"--reconstruction.gan={gan}", "--joint.adversarial_weight=0.5")
    (adversary,) = Phase("joint", make_fabric(model.config), model, model.config).adversaries
    image, layout = torch.rand(2, 3, 32, 32), torch.rand(2, 12, 32, 32)
    loss = adversary.generator_losses(Outcome({}, image, layout))["adversarial"]
    scores = adversary.plain(image, layout)
    by_hand = -scores if gan == "wgan" else (scores.sigmoid() - 1).square()
    assert_close(loss, model.config.joint.image_loss_weight * 0.5 * by_hand.mean())


def test_gradients_are_clipped_before_the_step(folder: Path) -> None:
    """Without momentum and decay a step is at most the rate times the largest norm long."""
    overrides = ("weight_decay=0", "momentum=0", "warmup=0", "lr=0.5")
    options = [f"--detector_training.{option}" for option in overrides]
    lengths = []
    for clip in (1e-3, 1e6):
        model, batch = fresh(folder, *options, f"--detector_training.clip={clip}")
        phase = Phase("detector", make_fabric(model.config), model, model.config)
        before = weights_of(model.detector)
        phase.step(batch, 0)
        moved = [p.detach() - before[n] for n, p in model.detector.named_parameters()]
        lengths.append(float(torch.cat([m.flatten() for m in moved]).norm()))
    assert lengths[0] == pytest.approx(0.5 * 1e-3, rel=1e-3)
    assert lengths[1] > 10 * lengths[0]


@pytest.mark.parametrize("name", ["detector_training", "joint"])
def test_weight_decay_is_obeyed(folder: Path, name: str) -> None:
    """The first step differs by rate x decay x weight."""
    after: list[dict[str, Tensor]] = []
    before: dict[str, Tensor] = {}
    for decay in (0.0, 0.5):
        options = [f"--{name}.{o}" for o in (f"weight_decay={decay}", "warmup=0", "clip=1e6")]
        model, batch = fresh(
            folder, *options, "--predictor.dropout=0", "--joint.image_loss_weight=0"
        )
        phase_name: Any = "detector" if name == "detector_training" else name
        phase = Phase(phase_name, make_fabric(model.config), model, model.config)
        before = weights_of(model)
        torch.manual_seed(1)
        phase.step(batch, 0)
        after.append(weights_of(model))
    layer = "detector.roi_heads.box_head.fc6.weight" if name == "detector_training" else None
    layer = layer or "predictor.subject_kernel.weight"
    rate = 0.01  # of the tiny configuration
    assert_close(
        after[1][layer] - after[0][layer], -rate * 0.5 * before[layer], rtol=1e-3, atol=1e-6
    )
    assert bool((after[0][layer] != before[layer]).any())


def test_momentum_goes_on_with_the_step_before(folder: Path) -> None:
    """The second step differs by 0.9 times the first, as the gradients are the same."""
    places = []
    for momentum in (0.0, 0.9):
        options = (f"momentum={momentum}", "weight_decay=0", "warmup=0", "clip=1e6", "decay_at=[]")
        model, batch = fresh(folder, *(f"--detector_training.{option}" for option in options))
        phase = Phase("detector", make_fabric(model.config), model, model.config)
        weight = model.detector.get_parameter("roi_heads.box_head.fc6.weight")
        steps = [weight.detach().clone()]
        for step in range(2):
            torch.manual_seed(step)
            phase.step(batch, step)
            steps.append(weight.detach().clone())
        places.append(steps)
    (start, first, plain), (_, also_first, moved_on) = places
    assert bool((first != start).any())
    assert_close(also_first, first, rtol=0, atol=0)
    assert_close(moved_on - plain, 0.9 * (first - start), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["detector", "reconstruction", "joint"])
def test_the_sum_of_all_losses_is_descended(
    folder: Path, name: PhaseName, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = fresh(folder)
    phase = Phase(name, make_fabric(model.config), model, model.config)
    sums: list[float] = []
    backward = phase.fabric.backward

    def recorded(loss: Tensor) -> None:
        sums.append(float(loss.detach()))
        backward(loss)

    monkeypatch.setattr(phase.fabric, "backward", recorded)
    losses = {key: float(value) for key, value in phase.step(batch, 0).items()}
    discriminators = {adversary.name for adversary in phase.adversaries}
    assert discriminators == (set() if name == "detector" else {"discriminator"})
    expected = sum(value for key, value in losses.items() if key not in discriminators)
    assert sums[0] == pytest.approx(expected, rel=1e-5)
    assert sums[1:] == pytest.approx([losses[key] for key in discriminators])


def test_gradients_end_with_their_step(folder: Path) -> None:
    model, batch = fresh(folder)
    phase = Phase("joint", make_fabric(model.config), model, model.config)
    phase.step(batch, 0)
    networks = [model, *(adversary.plain for adversary in phase.adversaries)]
    assert len(networks) == 2
    assert all(p.grad is None for network in networks for p in network.parameters())


def test_the_object_discriminator_is_told_the_true_objects(folder: Path) -> None:
    model, batch = fresh(folder, "--reconstruction.object_adversarial_weight=0.1")
    outcome = ReconstructionObjective(model, model.config.reconstruction)(batch)
    assert outcome.objects is not None
    labels, boxes, image_index = outcome.objects
    for i, graph in enumerate(batch.graphs.split()):
        height, width = graph.image_size
        rows = image_index == i
        assert labels[rows].tolist() == [*graph.labels.tolist(), 0]
        size = torch.tensor([width, height, width, height])
        assert_close(boxes[rows], torch.cat([graph.boxes / size, torch.tensor([[0.0, 0, 1, 1]])]))


def test_validation_measures_the_average_of_the_weights(folder: Path, tmp_path: Path) -> None:
    model, batch = fresh(folder, "--reconstruction.ema_decay=0.9", "--reconstruction.lr=0.05")
    dataset = open_dataset(model.config.data, "val")
    phase = Phase("reconstruction", make_fabric(model.config), model, model.config)
    for step in range(3):
        phase.step(batch, step)
    own = validation_losses(model, dataset, model.config.reconstruction)
    measured = validate_phase(phase, model, live_validation(model, dataset), tmp_path, 3)
    assert phase.average is not None
    unaveraged = weights_of(model.generator)
    phase.average.apply()
    assert measured == validation_losses(model, dataset, model.config.reconstruction)
    assert measured != own
    assert any(not torch.equal(unaveraged[n], p) for n, p in model.generator.named_parameters())


def test_the_average_follows_the_steps_and_is_what_the_phase_ends_with(folder: Path) -> None:
    model, batch = fresh(folder, "--reconstruction.ema_decay=0.75", "--reconstruction.lr=0.05")
    phase = Phase("reconstruction", make_fabric(model.config), model, model.config)
    expected = weights_of(model.generator)
    for step in range(3):
        phase.step(batch, step)
        for name, weight in weights_of(model.generator).items():
            expected[name] = 0.75 * expected[name] + 0.25 * weight
    own = weights_of(model.generator)
    phase.finish()
    for name, weight in weights_of(model.generator).items():
        assert_close(weight, expected[name], rtol=1e-4, atol=1e-5)
    assert any(float((own[name] - expected[name]).abs().max()) > 1e-3 for name in own)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), [(1, -0.2), (1, -0.2), (3, -0.3)]),  # AP50
        (("--detector_training.best_metric=AP",), [(1, -0.1), (2, -0.3), (2, -0.3)]),
    ],
)
def test_the_detector_with_the_best_score_is_kept(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    expected: list[tuple[int, float]],
) -> None:
    model, _ = fresh(folder, *options)
    dataset = open_dataset(model.config.data, "val")
    phase = Phase("detector", make_fabric(model.config), model, model.config)
    scores = iter([(0.2, 0.1), (0.1, 0.3), (0.3, 0.2)])  # AP50 and AP
    monkeypatch.setattr(
        validation, "detector_precision", lambda *_: dict(zip(("AP50", "AP"), next(scores)))
    )
    kept = []
    for step in (1, 2, 3):
        validate_phase(phase, model, live_validation(model, dataset), tmp_path, step)
        kept.append((read_checkpoint(tmp_path / BEST_DETECTOR).step, phase.best))
    assert kept == expected


def test_each_loss_reaches_its_own_part(folder: Path) -> None:
    """Graph losses train the encoder, image losses the generator; the frozen backbone stays."""
    model, batch = fresh(folder, "--joint.warmup=0")
    phase = Phase("joint", make_fabric(model.config), model, model.config)
    before = weights_of(model)
    phase.step(batch, 0)
    moved = {n.split(".")[0] for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert {"relpn", "predictor", "generator"} <= moved
    for part in model.detector.frozen_modules():
        for p in part.parameters():
            assert p.grad is None
    frozen = {id(p) for part in model.detector.frozen_modules() for p in part.parameters()}
    assert frozen
    for n, p in model.named_parameters():
        if id(p) in frozen:
            assert torch.equal(p, before[n]), n
