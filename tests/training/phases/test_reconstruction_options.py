"""Options of the reconstruction phase: six losses, averages, evaluation mode, best checkpoint."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from autoenc_sg.config.files import load_config
from autoenc_sg.config.image_losses import ImageLossConfig
from autoenc_sg.config.phases import ReconstructionPhase
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.data.base.samples import Batch, Sample, collate_samples
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.model.modes import eval_mode
from autoenc_sg.training.ema import WeightAverage
from autoenc_sg.training.loop import train
from autoenc_sg.training.losses.features import FeatureLoss
from autoenc_sg.training.parallel.fabric import OpaqueBatch, make_fabric
from autoenc_sg.training.phases import Phase
from autoenc_sg.training.start import find_start
from autoenc_sg.training.validation import is_due, validate_phase, validation_losses
from autoenc_sg.weights.checkpoint import read_checkpoint, read_resumable
from tests.support.live_validation import live_validation
from tests.support.tiny import same, tiny_config
from tests.training.test_loop import Killed, KillingReporter

ALL = [
    "--reconstruction.object_adversarial_weight=0.01",
    "--reconstruction.mask_weight=0.1",
    "--reconstruction.pixel_space=normalized",
    "--reconstruction.box_kind=l1",
    "--generator.object_discriminator_dims=[8,12]",
    "--generator.discriminator_condition=none",
    "--generator.discriminator_classifier=false",
]
LATE = [
    "--reconstruction.steps=6",
    "--reconstruction.eval_mode_after=3",
    "--reconstruction.ema_decay=0.5",
    "--reconstruction.validate_every=2",
]


@pytest.fixture(scope="module")
def folder(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of its own with the tiny scenes."""
    options_folder = tmp_path_factory.mktemp("options")
    shutil.copytree(tiny_run / "scenes", options_folder / "scenes")
    return options_folder


def phase_of(folder: Path, *overrides: str) -> tuple[Phase, AutoEncoder]:
    config = tiny_config(folder, *overrides)
    dataset = open_dataset(config.data, "train")
    torch.manual_seed(0)
    model = AutoEncoder(config, dataset.vocabulary)
    return Phase("reconstruction", make_fabric(config), model, config), model


def masked(folder: Path, count: int = 3) -> Batch:
    """A batch whose graphs have masks; one image has no object."""
    dataset = open_dataset(tiny_config(folder).data, "train")
    samples = []
    for i in range(count):
        image, graph, image_id = dataset[i]
        if i == 1:
            graph = SceneGraph.empty(graph.image_size)
        masks = (torch.rand(len(graph), 4, 4) > 0.4).float()
        fields = (graph.labels, graph.boxes, graph.triples, graph.image_size)
        samples.append(Sample(image, SceneGraph(*fields, masks=masks), image_id))
    return collate_samples(samples)


def weights_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("gan", ["gan", "lsgan", "wgan"])
def test_six_losses_and_both_discriminators_move(folder: Path, gan: str) -> None:
    phase, model = phase_of(folder, *ALL, f"--reconstruction.gan={gan}")
    before = [weights_of(model.generator), *(weights_of(a.plain) for a in phase.adversaries)]
    losses = phase.step(masked(folder), 0)
    assert set(losses) == {
        "pixel",
        "layout_box",
        "mask",
        "adversarial",
        "object_adversarial",
        "auxiliary",
        "discriminator",
        "object_discriminator",
        "object_discriminator_adversarial",
    }
    assert all(torch.isfinite(loss) for loss in losses.values())
    after = [weights_of(model.generator), *(weights_of(a.plain) for a in phase.adversaries)]
    for old, new in zip(before, after):
        assert any(not torch.equal(old[name], new[name]) for name in old)


def test_generator_s_step_leaves_the_discriminators_alone(folder: Path) -> None:
    phase, _ = phase_of(folder, *ALL)
    outcome = phase.objective(OpaqueBatch(masked(folder)))
    for adversary in phase.adversaries:
        adversary.plain.zero_grad()
        sum(adversary.generator_losses(outcome).values()).backward(retain_graph=True)
        assert all(p.grad is None for p in adversary.plain.parameters())
        assert all(p.requires_grad for p in adversary.plain.parameters())


def test_no_masks_no_mask_loss(folder: Path) -> None:
    phase, _ = phase_of(folder, *ALL)
    dataset = open_dataset(tiny_config(folder).data, "train")
    assert "mask" not in phase.step(collate_samples([dataset[0], dataset[1]]), 0)


def test_masks_of_another_size_are_named(folder: Path) -> None:
    phase, _ = phase_of(folder, *ALL, "--generator.mask_size=8")
    with pytest.raises(InputError, match=r"true masks: expected shape .* 8, 8\], got"):
        phase.step(masked(folder), 0)


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_resume_with_every_option_is_bit_equal(folder: Path, tmp_path: Path, steps: int) -> None:
    shutil.copytree(folder / "scenes", tmp_path / "a" / "scenes")
    shutil.copytree(folder / "scenes", tmp_path / "b" / "scenes")
    options = [*ALL, *LATE, "--runtime.checkpoint_every=1"]
    unbroken, broken = (tiny_config(tmp_path / name, *options) for name in "ab")
    train(unbroken, ("reconstruction",))
    with pytest.raises(Killed):
        train(broken, ("reconstruction",), reporter=KillingReporter(steps))
    train(broken, ("reconstruction",), find_start(broken, None, resume=True))
    files = [tmp_path / name / "run" for name in "ab"]
    for name in ("checkpoint.safetensors", "best.safetensors"):
        first, second = (read_checkpoint(f / name) for f in files)
        same(dict(first.model), dict(second.model))
        assert first.step == second.step
    first, second = (read_resumable(f) for f in files)
    assert first.training
    same(dict(first.training), dict(second.training))


def test_a_finished_run_with_an_average_goes_on_from_its_own_weights(
    folder: Path, tmp_path: Path
) -> None:
    for name in "ab":
        shutil.copytree(folder / "scenes", tmp_path / name / "scenes")
    options = ["--reconstruction.ema_decay=0.9", "--reconstruction.steps="]
    short, long = (tiny_config(tmp_path / "a", options[0], options[1] + n) for n in ("2", "4"))
    unbroken = tiny_config(tmp_path / "b", options[0], options[1] + "4")
    train(unbroken, ("reconstruction",))
    train(short, ("reconstruction",))
    averaged = read_checkpoint(tmp_path / "a" / "run" / "checkpoint.safetensors")
    train(short, ("reconstruction",), find_start(short, None, resume=True))  # nothing left to do
    again = read_checkpoint(tmp_path / "a" / "run" / "checkpoint.safetensors")
    same(dict(averaged.model), dict(again.model))
    train(long, ("reconstruction",), find_start(long, None, resume=True))
    first, second = (read_resumable(tmp_path / name / "run") for name in "ab")
    assert first.training
    same(dict(first.model), dict(second.model))
    same(dict(first.training), dict(second.training))


def test_evaluation_mode_freezes_statistics_and_begins_adam_anew(folder: Path) -> None:
    phase, model = phase_of(folder, "--reconstruction.eval_mode_after=1")
    batch = collate_samples([open_dataset(tiny_config(folder).data, "train")[i] for i in (0, 1)])
    name = "refinement_net.refinement_modules.0.net.1.running_mean"
    means = [weights_of(model.generator)[name]]
    for step in range(3):
        phase.step(batch, step)
        means.append(weights_of(model.generator)[name])
    assert not torch.equal(means[0], means[1])
    assert torch.equal(means[1], means[2])
    counts = [int(s["step"]) for s in phase.optimizers["generator"].state_dict()["state"].values()]
    assert set(counts) == {2}
    assert all(a.plain.training for a in phase.adversaries)


def test_average_by_hand() -> None:
    layer = nn.BatchNorm1d(1)
    average = WeightAverage(layer, 0.75)
    with torch.no_grad():
        layer.weight.fill_(5.0)
        layer.running_mean.fill_(2.0)  # type: ignore[union-attr]
    average.update()
    averaged = average.state()["average"]
    assert float(averaged["weight"]) == 2.0  # 0.75 * 1 + 0.25 * 5: the first step counts, too
    assert float(averaged["running_mean"]) == 2.0
    with average.applied():
        assert float(layer.weight.detach()) == 2.0
    assert float(layer.weight.detach()) == 5.0
    average.apply()
    assert float(layer.weight.detach()) == 2.0
    assert float(average.state()["unaveraged"]["weight"]) == 5.0


def test_average_is_lerp_bit_for_bit() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(37, 41)
    average = WeightAverage(layer, 0.999)
    expected = layer.weight.detach().clone()
    for _ in range(20):
        with torch.no_grad():
            layer.weight.add_(torch.randn_like(layer.weight))
        average.update()
        expected.lerp_(layer.weight.detach(), 1 - 0.999)
    assert torch.equal(average.state()["average"]["weight"], expected)


def test_average_of_a_checkpoint_goes_on() -> None:
    """What a checkpoint holds are the names of the module's own state dict."""
    layer = nn.BatchNorm1d(2)
    average = WeightAverage(layer, 0.5)
    state = {"average": {k: v + 1 for k, v in layer.state_dict().items()}}
    average.load(state)
    same(dict(average.state()["average"]), state["average"])
    average.update()
    assert average.state()["average"]["weight"].tolist() == [1.5, 1.5]  # between 2 and 1
    average.load({**state, "unaveraged": {k: v * 0 for k, v in layer.state_dict().items()}})
    assert layer.weight.tolist() == [0.0, 0.0]


def test_best_checkpoint_is_kept_and_validation_is_without_trace(
    folder: Path, tmp_path: Path
) -> None:
    phase, model = phase_of(folder)
    held_out = open_dataset(tiny_config(folder).data, "val")
    state, before = torch.get_rng_state(), weights_of(model)
    model.train()
    losses = validate_phase(phase, model, live_validation(model, held_out), tmp_path, 1)
    assert losses.keys() == {"pixel", "layout_box"}
    assert phase.best == sum(losses.values())
    assert model.training
    assert torch.equal(state, torch.get_rng_state())
    same(before, dict(model.state_dict()))
    with torch.no_grad():
        model.generator.box_net[2].bias.add_(5.0)  # worse
    validate_phase(phase, model, live_validation(model, held_out), tmp_path, 2)
    best = read_checkpoint(tmp_path / "best.safetensors")
    assert best.step == 1
    same(before, dict(best.model))


def test_the_last_step_is_validated_too(folder: Path) -> None:
    phase, _ = phase_of(folder, "--reconstruction.steps=5", "--reconstruction.validate_every=2")
    assert [done for done in range(1, 6) if is_due(phase, done, 100)] == [2, 4, 5]


def test_validation_is_a_mean_over_images(folder: Path) -> None:
    _, model = phase_of(folder)
    held_out = open_dataset(tiny_config(folder).data, "train")
    one = validation_losses(model, held_out, ReconstructionPhase(batch_size=1, validation_images=3))
    pixels = ReconstructionPhase(batch_size=3, validation_images=3)
    assert validation_losses(model, held_out, pixels)["pixel"] == pytest.approx(one["pixel"])


def test_validation_has_the_feature_losses(folder: Path) -> None:
    """Else the best weights of a generator trained by them alone would be the first ones."""
    _, model = phase_of(folder)
    held_out = open_dataset(tiny_config(folder).data, "train")
    losses = ImageLossConfig(feature_weight=2.0, relation_feature_weight=0.5)
    options = ReconstructionPhase(batch_size=2, validation_images=3, image_losses=losses)
    measured = validation_losses(model, held_out, options)
    plain = validation_losses(model, held_out, replace(options, image_losses=ImageLossConfig()))
    expected = dict.fromkeys(("features", "relation_features"), 0.0)
    with eval_mode(model), torch.no_grad():
        for i in range(3):
            batch = collate_samples([held_out[i]])
            graph = model.relax(batch.graphs)
            noise = model.generator.seeded_noise(batch.image_ids)
            drawn = model.generator(graph, noise).image
            terms = FeatureLoss(model.detector, losses).terms(drawn, batch.images, graph)
            for name in expected:
                expected[name] += float(terms[name][0].mean) / 3
    assert measured == pytest.approx({**plain, **expected}, rel=1e-4)


def test_sg2im_configuration_has_its_weights() -> None:
    config = load_config("sg2im")
    phase, generator = config.reconstruction, config.generator
    assert (phase.pixel_weight, phase.box_weight, phase.adversarial_weight) == (1, 10, 0.01)
    assert (phase.object_adversarial_weight, phase.auxiliary_weight) == (0.01, 0.1)
    assert (phase.eval_mode_after, phase.steps, phase.lr, phase.batch_size) == (
        100_000,
        10**6,
        1e-4,
        32,
    )
    assert (phase.pixel_space, phase.gan, phase.box_kind) == ("normalized", "gan", "squared")
    assert (generator.layout_noise_dim, generator.input_noise) == (32, False)
    assert generator.discriminator_condition == "none"
    assert not generator.discriminator_classifier


def test_bad_options() -> None:
    with pytest.raises(InputError, match=r"reconstruction.ema_decay: expected 0..1, got 1.0"):
        ReconstructionPhase(ema_decay=1.0)
    with pytest.raises(InputError, match="mask_weight: expected >= 0"):
        ReconstructionPhase(mask_weight=-1)
