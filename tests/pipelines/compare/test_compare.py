"""A comparison at tiny size: what each cell trains, and what a second call does."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from autoenc_sg.config.phases import JointPhase
from autoenc_sg.config.predictor import GcnConfig, MotifsConfig, PredictorConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.pipelines.compare import Cell, Comparison, Grid, cells, run, run_comparison
from autoenc_sg.pipelines.compare.base import base_checkpoint, base_digest, check_base
from autoenc_sg.pipelines.compare.cells import RESULT, cell_settings, run_cell
from autoenc_sg.scoring.options import ALL_TASKS, EvaluationOptions
from autoenc_sg.weights.checkpoint import Checkpoint, find_checkpoints, read_checkpoint
from tests.support.tiny import same, tiny_config
from tests.training.test_loop import Killed, KillingReporter

OPTIONS = (
    *("--joint.steps=2", "--joint.validate_epochs=0", "--joint.batch_size=2"),
    "--runtime.checkpoint_every=1",
)
SCORED = EvaluationOptions(tasks=ALL_TASKS, limit=2, images=False)
HEAD, RELPN = "predictor.object_in.weight", "relpn.subject_projection.0.weight"
UNION, CLASSES = "detector.union_head.0.weight", "detector.roi_heads.box_predictor.cls_score.weight"


def grid_in(folder: Path, *overrides: str) -> Grid:
    """Two heads with and without the image loss, one seed."""
    config = tiny_config(folder, *OPTIONS, *overrides)
    return Grid(config, ("gcn", "vanilla"), (True, False), 1, SCORED)


def weights(grid: Grid, cell: Cell) -> dict[str, torch.Tensor]:
    return dict(read_checkpoint(grid.folder(cell)).model)


@pytest.fixture(scope="module")
def init(tiny_run: Path) -> Path:
    return tiny_run / "run"


@pytest.fixture(scope="module")
def compared(tiny_run: Path, init: Path, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    folder = tmp_path_factory.mktemp("compared")
    shutil.copytree(tiny_run / "scenes", folder / "scenes")
    return run_comparison(grid_in(folder), init, quiet=True)


@pytest.fixture
def copied(compared: Comparison, tmp_path: Path) -> Grid:
    """A folder of its own with the finished comparison."""
    root = compared.grid.out.parent
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    return grid_in(tmp_path, "--data.root", str(root / "scenes"))


# What is trained ---------------------------------------------------------------------------------


def test_cells_differ_in_what_they_compare_alone(compared: Comparison, init: Path) -> None:
    grid, base = compared.grid, dict(read_checkpoint(init).model)
    assert [result.cell for result in compared.results] == grid.cells()
    assert str(grid.cells()[0]) == "gcn, image loss on, seed 0"
    on, off, other, _ = (weights(grid, cell) for cell in grid.cells())
    for name, value in base.items():
        if name.startswith("detector.") and not name.startswith("detector.union_head"):
            assert torch.equal(on[name], value), name
            assert torch.equal(other[name], value), name
        elif name.startswith("generator."):
            assert torch.equal(off[name], value), name
    assert not torch.equal(on[HEAD], off[HEAD])
    assert any(n.startswith("generator.") and not torch.equal(on[n], v) for n, v in base.items())
    assert HEAD not in other


def test_a_seed_decides_the_fresh_layers(tiny_run: Path, init: Path, tmp_path: Path) -> None:
    root = str(tiny_run / "scenes")
    config = tiny_config(tmp_path, *OPTIONS, "--joint.steps=0", "--data.root", root)
    grid = Grid(config, ("gcn",), (False,), 2, SCORED)
    run_comparison(grid, init, quiet=True)
    one, two = (weights(grid, cell) for cell in grid.cells())
    base = dict(read_checkpoint(init).model)
    for name in (HEAD, RELPN, UNION):
        assert not torch.equal(one[name], two[name]), name
        assert not torch.equal(one[name], base[name]), name
    assert torch.equal(one[CLASSES], base[CLASSES])


def test_scores_of_every_task_beside_the_prior(compared: Comparison) -> None:
    for result in compared.results:
        for task in ALL_TASKS:
            for metric in ("R@20", "mR@50", "ngR@100", "zR@20"):
                value = result.scores[f"{task} {metric}"]
                assert value is None or 0 <= value <= 1
                assert f"{task} {metric}" in result.prior
        assert "AP50" in result.detection
    assert compared.results[0].prior["PredCls R@20"] == compared.results[-1].prior["PredCls R@20"]
    names = {path.name for path in compared.grid.regions.iterdir()}
    assert names == {"train", "test"}


# A second call -----------------------------------------------------------------------------------


def forbid_cells(monkeypatch: pytest.MonkeyPatch) -> list[Cell]:
    """Record the first cell that is run, and let none run."""
    started: list[Cell] = []

    def run_nothing(grid: Grid, cell: Cell, *_: object) -> None:
        started.append(cell)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run_cell", run_nothing)
    return started


def test_what_is_finished_is_not_run_again(
    compared: Comparison, copied: Grid, init: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = replace(copied, config=replace(compared.grid.config, out=copied.config.out))
    started = forbid_cells(monkeypatch)
    again = run_comparison(grid, init, quiet=True)
    assert started == []
    for one, other in zip(again.results, compared.results):
        assert one.scores == other.scores
        assert one.prior == other.prior
    more = replace(grid, heads=("gcn", "vanilla", "frequency"))
    with pytest.raises(KeyboardInterrupt):
        run_comparison(more, init, quiet=True)
    assert started == [Cell("frequency", True, 0)]


def test_an_interrupted_cell_goes_on(copied: Grid, compared: Comparison, init: Path) -> None:
    cell = copied.cells()[0]
    shutil.rmtree(copied.folder(cell))
    base = base_checkpoint(copied, init)
    settings = cell_settings(copied, cell, base_digest(base))
    with pytest.raises(Killed):
        run_cell(copied, cell, settings, base, KillingReporter(1))
    assert find_checkpoints(copied.folder(cell))
    assert not (copied.folder(cell) / RESULT).exists()
    again = run_comparison(copied, init, quiet=True)
    assert [result.cell for result in again.results] == copied.cells()
    same(weights(copied, cell), weights(compared.grid, cell))
    assert again.results[0].scores == compared.results[0].scores


def test_a_cell_that_fails_is_left_out_and_tried_again(
    copied: Grid, init: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cell in copied.cells()[1:3]:
        (copied.folder(cell) / RESULT).unlink()
    evaluate = cells.evaluate_model

    def failing(model: object, *arguments: object) -> object:
        if type(model.predictor).__name__ == "GraphPredictor":  # type: ignore[attr-defined]
            raise RuntimeError("no\nmemory")
        return evaluate(model, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(cells, "evaluate_model", failing)
    partial = run_comparison(copied, init, quiet=True)
    off = copied.cells()[1]
    assert partial.failures == {off: "RuntimeError: no memory"}
    assert [result.cell for result in partial.results] == [c for c in copied.cells() if c != off]
    error = copied.folder(off) / "error.txt"
    assert "RuntimeError" in error.read_text()
    monkeypatch.undo()
    whole = run_comparison(copied, init, quiet=True)
    assert len(whole.results) == 4
    assert not whole.failures
    assert not error.exists()


def test_other_settings_are_refused_and_nothing_is_lost(
    copied: Grid, init: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = forbid_cells(monkeypatch)
    files = {p: p.read_bytes() for p in copied.out.rglob("*.json")}
    joint = replace(copied.config.joint, lr=0.5)
    other = replace(copied, config=replace(copied.config, joint=joint))
    with pytest.raises(InputError, match=r"joint\.lr: expected 0\.5, got 0\.01 in an earlier run"):
        run_comparison(other, init, quiet=True)
    limited = replace(copied, options=replace(copied.options, limit=1))
    with pytest.raises(InputError, match=r"evaluation\.limit: expected 1, got 2 in an earlier run"):
        run_comparison(limited, init, quiet=True)
    with pytest.raises(InputError, match="base: expected"):
        run_comparison(copied, copied.folder(copied.cells()[0]), quiet=True)
    path = copied.folder(copied.cells()[0]) / RESULT
    for text in ("", "[]", '{"scores": 3}', '{"scores": {"R": "x"}, "prior": {}, "detection": {}}'):
        path.write_text(text)
        with pytest.raises(InputError, match=r"result\.json: expected") as raised:
            run_comparison(copied, init, quiet=True)
        assert "\n" not in str(raised.value)
    path.write_bytes(files[path])
    assert {p: p.read_bytes() for p in copied.out.rglob("*.json")} == files
    assert started == []


def test_a_base_of_another_size_ends_before_any_cell(
    tiny_run: Path, init: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = forbid_cells(monkeypatch)
    root = str(tiny_run / "scenes")
    other_size = r"run: (detector|generator).*expected"
    for option, message in (
        ("--detector.channels=8", other_size),
        ("--generator.gconv_dim=6", other_size),
        ("--generator.relation_layout=true", r"generator\.relation_layout: expected false, as"),
    ):
        grid = grid_in(tmp_path, option, "--data.root", root)
        with pytest.raises(InputError, match=message) as raised:
            run_comparison(grid, init, quiet=True)
        assert "\n" not in str(raised.value)
    assert started == []
    assert not (grid.out / "cells").exists()


def test_the_generator_of_a_detector_s_run_gives_way_to_another(
    tiny_run: Path, init: Path, tmp_path: Path
) -> None:
    """As in training: that phase has not trained it."""
    root = str(tiny_run / "scenes")
    grid = grid_in(tmp_path, "--generator.relation_layout=true", "--data.root", root)
    checkpoint = read_checkpoint(init)
    check_base(grid, replace(checkpoint, phase="detector"), checkpoint.vocabulary, init)
    with pytest.raises(InputError, match=r"relation_layout: expected false"):
        check_base(grid, checkpoint, checkpoint.vocabulary, init)


def test_detector_and_generator_are_trained_once(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = forbid_cells(monkeypatch)
    options = ("--reconstruction.steps=2", "--data.root", str(tiny_run / "scenes"))
    grid = grid_in(tmp_path, "--detector_training.steps=1", *options)
    bases: list[Checkpoint] = []
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_comparison(grid, quiet=True)
        bases.append(read_checkpoint(grid.out / "base"))
    assert (bases[0].phase, bases[0].step) == ("reconstruction", 2)
    same(dict(bases[0].model), dict(bases[1].model))
    assert started == [grid.cells()[0]] * 2
    longer = grid_in(tmp_path, "--detector_training.steps=3", *options)
    with pytest.raises(InputError, match=r"base: detector_training\.steps: expected 3, got 1"):
        run_comparison(longer, quiet=True)


def test_options_of_single_heads(tmp_path: Path) -> None:
    options = ("motifs.edge_layers=1", "motifs.dim=16", "motifs.loss.focal=2", "gcn.attention=true")
    grid = replace(grid_in(tmp_path), heads=("gcn", "motifs", "vanilla"), head_options=options)
    shared = grid.config.predictor
    gcn, motifs, vanilla = (grid.config_of(cell).predictor for cell in grid.cells()[::2])
    assert motifs == replace(
        shared.of_head("motifs"),
        dim=16,
        loss=replace(shared.loss, focal=2.0),
        motifs=MotifsConfig(edge_layers=1),
    )
    assert gcn == replace(shared, gcn=GcnConfig(attention=True))
    assert vanilla == shared.of_head("vanilla")
    plain = replace(grid, head_options=())
    cell = grid.cells()[0]
    with_options, without = (replace(g.config_of(cell), predictor=shared) for g in (grid, plain))
    assert with_options == without


def test_missing_word_vectors_end_it_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = forbid_cells(monkeypatch)
    file = tmp_path / "words.npz"
    options = (f"motifs.word_vectors={file}", "motifs.embedding_dim=3")
    grid = replace(grid_in(tmp_path), heads=("gcn", "motifs"), head_options=options)
    with pytest.raises(InputError, match=r"words\.npz: expected an \.npz file"):
        run_comparison(grid, quiet=True)
    np.savez(file, words=np.array(["tree"]), vectors=np.ones((1, 2), dtype=np.float16))
    with pytest.raises(InputError, match=r"words\.npz: expected vectors of 3 numbers .*, got 2"):
        run_comparison(grid, quiet=True)
    assert started == []
    assert not (grid.out / "base").exists()


def test_a_grid_of_nothing_or_with_a_trained_detector(tmp_path: Path) -> None:
    grid = grid_in(tmp_path)
    no_images = replace(grid.config, joint=JointPhase(image_loss_weight=0))
    trained = replace(grid.config, joint=JointPhase(detection_weight=1))
    parallel = replace(grid.config, runtime=replace(grid.config.runtime, devices=2))
    odd = replace(grid.config, predictor=PredictorConfig(dim=15))
    for changes, message in (
        ({"heads": ()}, "--heads: expected one or more different ones"),
        ({"heads": ("gcn", "gcn")}, "--heads: expected one or more different ones"),
        ({"heads": ("gcn", "tree")}, "--heads: expected some of gcn, .*, got 'tree'"),
        ({"image_loss": ()}, "--image-loss: expected one or more"),
        ({"seeds": 0}, "--seeds: expected >= 1"),
        ({"config": no_images}, "image_loss_weight: expected > 0 with --image-loss on"),
        ({"config": trained}, "detection_weight: expected 0 in a comparison"),
        ({"config": parallel}, "runtime.devices: expected 1 in a comparison, got 2"),
        ({"config": odd, "heads": ("gcn", "transformer")}, "heads: expected a divisor of .* 15"),
    ):
        with pytest.raises(InputError, match=message):
            replace(grid, **changes)  # type: ignore[arg-type]
    replace(grid, config=no_images, image_loss=(False,))
    runtime = replace(grid.config.runtime, devices="auto")
    everywhere = replace(grid, config=replace(grid.config, runtime=runtime))
    assert everywhere.config_of(grid.cells()[0]).runtime.devices == 1
    assert everywhere.base_config().runtime.devices == 1
