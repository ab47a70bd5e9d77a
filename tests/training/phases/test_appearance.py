"""How appearance codes train, and what of them a checkpoint takes along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from autoenc_sg.core.errors import InputError
from autoenc_sg.data.base.samples import Batch
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.training.parallel.fabric import make_fabric
from autoenc_sg.training.phases import Phase
from autoenc_sg.training.start import Start, build_model
from autoenc_sg.training.validation import validation_losses
from autoenc_sg.weights.checkpoint import read_checkpoint
from autoenc_sg.weights.sg2im import export_sg2im, import_sg2im
from tests.support.tiny import CODES, photos, tiny_config
from tests.training.phases.test_reconstruction_options import weights_of


def phase_of(coded_run: Path, name: str, *overrides: str) -> tuple[Phase, AutoEncoder]:
    config = tiny_config(coded_run, CODES, *overrides)
    dataset = open_dataset(config.data, "train")
    torch.manual_seed(0)
    model = AutoEncoder(config, dataset.vocabulary)
    return Phase(name, make_fabric(config), model, config), model  # type: ignore[arg-type]


def steps(phase: Phase, batch: Batch, count: int) -> None:
    for step in range(count):
        assert all(torch.isfinite(v) for v in phase.step(batch, step).values())


def changed(before: dict[str, Tensor], module: torch.nn.Module) -> set[str]:
    after = module.state_dict()
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def names(all_names: Sequence[str] | set[str], prefix: str) -> set[str]:
    return {name for name in all_names if name.startswith(prefix)}


def test_reconstruction_trains_bottleneck_and_w_but_no_detector(coded_run: Path) -> None:
    phase, model = phase_of(coded_run, "reconstruction", "--reconstruction.ema_decay=0.5")
    before = weights_of(model)
    steps(phase, photos(coded_run, 3, "train"), 3)
    moved = changed(before, model)
    assert "generator.appearance_net.weight" in moved
    assert len(names(moved, "appearance.")) == 6
    assert not names(moved, "detector.")  # nor its running statistics
    trained = weights_of(model)
    phase.finish()  # the average of both
    averaged = changed(trained, model)
    assert "generator.appearance_net.weight" in averaged
    assert names(averaged, "appearance.")
    scores = validation_losses(
        model, open_dataset(tiny_config(coded_run).data, "val"), phase.config.reconstruction
    )
    assert all(score == score for score in scores.values())


@pytest.mark.parametrize("mode", ["soft", "detached"])
def test_joint_trains_the_bottleneck_and_keeps_what_is_frozen(coded_run: Path, mode: str) -> None:
    phase, model = phase_of(coded_run, "joint", f"--joint.mode={mode}")
    before = weights_of(model)
    steps(phase, photos(coded_run, 3, "train"), 3)
    moved = changed(before, model)
    assert len(names(moved, "appearance.")) == 6
    frozen = [names(moved, f"detector.{part}.") for part in ("backbone", "rpn")]
    assert frozen == [set(), set()]


def test_appearance_gives_the_detector_no_gradient(coded_run: Path) -> None:
    """With the image loss alone and the graph detached, codes are the only way there."""
    from autoenc_sg.training.objectives import JointObjective

    config = tiny_config(coded_run, CODES, "--joint.mode=detached").joint
    _, model = phase_of(coded_run, "joint")
    with torch.no_grad():
        assert model.generator.appearance_net is not None
        model.generator.appearance_net.weight.normal_()
    objective = JointObjective(model, config)
    objective(photos(coded_run, 2, "train")).losses["pixel"].backward()
    assert all(p.grad is None for p in model.detector.parameters())
    assert model.appearance is not None
    assert all(p.grad is not None and p.grad.any() for p in model.appearance.parameters())


def test_a_graph_only_checkpoint_goes_on_with_codes(tiny_run: Path, coded_run: Path) -> None:
    base = read_checkpoint(tiny_run / "run" / "checkpoint.safetensors")
    dataset = open_dataset(tiny_config(coded_run).data, "train")
    plain = AutoEncoder(base.config, dataset.vocabulary)
    plain.load(base.model, "base")
    config = tiny_config(coded_run, CODES)
    grown = build_model(config, dataset, Start(base)).eval()
    graphs = photos(coded_run, 2).graphs.split()
    assert torch.equal(grown.render_batch(graphs, [1, 2]), plain.render_batch(graphs, [1, 2]))
    broken = {n: v for n, v in grown.state_dict().items() if n != "generator.appearance_net.weight"}
    with pytest.raises(InputError, match="1 missing"):  # a damaged one is not mended
        build_model(config, dataset, Start(replace(base, model=broken)))


def test_sg2im_gets_the_generator_without_codes(coded_checkpoint: str, tmp_path: Path) -> None:
    converted = export_sg2im(read_checkpoint(Path(coded_checkpoint)))
    assert any("no appearance codes" in note for note in converted.notes)
    torch.save(converted.content, tmp_path / "sg2im.pt")
    back = import_sg2im(tmp_path / "sg2im.pt").content
    assert back.config.generator.appearance_dim == 0


# A generator configured otherwise ----------------------------------------------------------------


def test_codes_without_colours_go_on_with_colours(coded_run: Path, coded_checkpoint: str) -> None:
    base = read_checkpoint(Path(coded_checkpoint))
    dataset = open_dataset(tiny_config(coded_run).data, "train")
    config = tiny_config(coded_run, CODES, "--generator.appearance_colors=2")
    before = build_model(base.config, dataset, Start(base))
    grown = build_model(config, dataset, Start(base))
    batch = photos(coded_run, 2)
    codes = [m.eval().with_appearance(batch.images, batch.graphs) for m in (before, grown)]
    assert codes[0].appearance is not None
    assert torch.equal(codes[0].appearance, codes[1].appearance)  # type: ignore[arg-type]


def test_a_detector_run_goes_on_with_another_generator(tiny_run: Path) -> None:
    base = read_checkpoint(tiny_run / "run" / "checkpoint.safetensors")
    dataset = open_dataset(base.config.data, "train")
    wider = ("--generator.relation_layout=true", "--generator.gconv_dim=12", CODES)
    config = tiny_config(tiny_run, *wider)
    detector_run = replace(base, phase="detector")
    model = build_model(config, dataset, Start(detector_run))
    after = model.state_dict()
    kept = {n for n in base.model if n in after and torch.equal(base.model[n], after[n])}
    for part in ("detector.", "relpn.", "predictor."):
        assert names(set(base.model), part) <= kept
    alike = build_model(base.config, dataset, Start(detector_run)).state_dict()
    assert all(torch.equal(alike[n], value) for n, value in base.model.items())
    for phase in ("reconstruction", "joint", ""):  # a trained generator is not thrown away
        with pytest.raises(InputError, match=r"relation_layout: expected false"):
            build_model(config, dataset, Start(replace(base, phase=phase)))
    with pytest.raises(InputError, match=r"relation_layout: expected false"):
        build_model(config, dataset, Start(detector_run, resume=True))
