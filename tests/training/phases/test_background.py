"""How codes of the background train, and what of them a checkpoint takes along."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.data.base.samples import Batch
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.training.guards.saved_batch import read_batch, save_batch
from autoenc_sg.training.objectives import JointObjective
from autoenc_sg.training.start import Start, build_model
from autoenc_sg.weights.checkpoint import Checkpoint, read_checkpoint
from autoenc_sg.weights.sg2im import export_sg2im, import_sg2im
from tests.support.graphs import random_graph
from tests.support.tiny import CODES, photos, tiny_config
from tests.training.phases.test_appearance import changed, names, phase_of, steps
from tests.training.phases.test_reconstruction_options import weights_of

CELLS = "--generator.background_cells=2"
FEW_OBJECTS = "--decode.object_threshold=0.99"  # else untrained regions cover all


def open_scenes(folder: Path, count: int, split: str = "train") -> Batch:
    """The tiny scenes without the objects that reach over half of the picture: sky and ground."""
    batch = photos(folder, count, split)
    graphs = batch.graphs.split()
    wide = [g.boxes[:, 2] - g.boxes[:, 0] > g.image_size[1] / 2 for g in graphs]
    parts = [g.select((~w).nonzero()[:, 0]) for g, w in zip(graphs, wide)]
    return Batch(batch.images, SceneGraphBatch.collate(parts), batch.image_ids)


@pytest.mark.parametrize("phase_name", ["reconstruction", "joint"])
def test_image_losses_train_bottleneck_and_w(coded_run: Path, phase_name: str) -> None:
    phase, model = phase_of(
        coded_run, phase_name, CELLS, FEW_OBJECTS, "--reconstruction.ema_decay=0.5"
    )
    before = weights_of(model)
    steps(phase, open_scenes(coded_run, 3), 3)
    moved = changed(before, model)
    assert "generator.background_net.weight" in moved
    assert len(names(moved, "background.")) == 6
    if phase_name == "reconstruction":
        assert not names(moved, "detector.")  # nor its running statistics
        trained = weights_of(model)
        phase.finish()  # the average of all
        averaged = changed(trained, model)
        assert names(averaged, "background.")
        assert "generator.background_net.weight" in averaged
    else:
        parts = [names(moved, f"detector.{part}.") for part in ("backbone", "rpn")]
        assert parts == [set(), set()]


@pytest.mark.parametrize("phase_name", ["reconstruction", "joint"])
def test_image_losses_train_the_layers_of_colours(coded_run: Path, phase_name: str) -> None:
    options = ("--generator.appearance_colors=2", CELLS, FEW_OBJECTS)
    phase, model = phase_of(coded_run, phase_name, *options)
    steps(phase, open_scenes(coded_run, 3), 3)
    for encoder in (model.appearance, model.background):
        assert encoder is not None
        assert encoder.color_net is not None
        assert encoder.color_net.weight.any()  # it starts at 0


def test_the_background_gives_the_detector_no_gradient(coded_run: Path) -> None:
    """With the image loss alone and the graph detached, codes are the only way there."""
    _, model = phase_of(coded_run, "joint", CELLS, FEW_OBJECTS)
    with torch.no_grad():
        assert model.generator.background_net is not None
        model.generator.background_net.weight.normal_()
    config = tiny_config(coded_run, CODES, CELLS, "--joint.mode=detached").joint
    objective = JointObjective(model, config)
    model.generator.background_net.dropout = 0.0
    objective(open_scenes(coded_run, 2)).losses["pixel"].backward()
    assert all(p.grad is None for p in model.detector.parameters())
    assert model.background is not None
    assert all(p.grad is not None and p.grad.any() for p in model.background.parameters())


def test_checkpoints_without_background_go_on(
    tiny_run: Path, coded_run: Path, coded_checkpoint: str
) -> None:
    plain_checkpoint = read_checkpoint(tiny_run / "run" / "checkpoint.safetensors")
    coded = read_checkpoint(Path(coded_checkpoint))
    dataset = open_dataset(tiny_config(coded_run).data, "train")
    config = tiny_config(coded_run, CODES, CELLS)
    batch = open_scenes(coded_run, 2, "test")
    for base in (plain_checkpoint, coded):
        before = AutoEncoder(base.config, dataset.vocabulary)
        before.load(base.model, "base")
        grown = build_model(config, dataset, Start(base)).eval()
        graphs = before.with_appearance(batch.images, batch.graphs).split()
        expected = before.render_batch(graphs, [1, 2])
        assert torch.equal(grown.render_batch(graphs, [1, 2]), expected)
        codes = grown.with_appearance(batch.images, batch.graphs).background
        with_codes = [replace(g, background=c) for g, c in zip(graphs, codes)]  # type: ignore[arg-type]
        assert codes is not None
        assert codes.any()
        assert (grown.render_batch(with_codes, [1, 2]) - expected).abs().max() < 1e-4
    name = "generator.background_net.weight"
    damaged = {n: value for n, value in grown.state_dict().items() if n != name}
    with pytest.raises(InputError, match="1 missing"):  # a damaged one is not mended
        build_model(config, dataset, Start(replace(coded, model=damaged)))


def test_sg2im_gets_the_generator_without_codes(coded_run: Path, tmp_path: Path) -> None:
    dataset = open_dataset(tiny_config(coded_run).data, "train")
    config = tiny_config(coded_run, CODES, CELLS)
    model = AutoEncoder(config, dataset.vocabulary)
    converted = export_sg2im(Checkpoint(config, dataset.vocabulary, model.state_dict()))
    assert any("no codes of the background" in note for note in converted.notes)
    torch.save(converted.content, tmp_path / "sg2im.pt")
    assert import_sg2im(tmp_path / "sg2im.pt").content.config.generator.background_cells == 0


def test_a_saved_batch_keeps_its_codes(tmp_path: Path) -> None:
    graphs = SceneGraphBatch.collate([random_graph(2, 1, 0, (8, 8), full=True)])
    batch = Batch((torch.zeros(3, 8, 8, dtype=torch.uint8),), graphs, (7,))
    save_batch(tmp_path / "b.npz", batch)
    codes = read_batch(tmp_path / "b.npz").graphs.background
    assert codes is not None
    assert graphs.background is not None
    assert torch.equal(codes, graphs.background)
