"""The grid of the image loss: its cells, their configurations, its figures, and a tiny run."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autoenc_sg.core.errors import InputError
from autoenc_sg.data.scenes.builder import VOCABULARY
from autoenc_sg.model import AutoEncoder
from autoenc_sg.weights.checkpoint import read_checkpoint
from benchmarks import image_loss
from benchmarks.image_grid.run import GridRun, best_is_past
from benchmarks.image_grid.summary import Difference, difference, figure, registered_line, tables
from benchmarks.image_grid.ways import GRID_WAYS, WAYS, Cell, Grid, Setting
from tests.support.tiny import TINY, tiny_config

FEW = Setting(0.05, "clean", "gcn")
ALL = Setting(1.0, "clean", "gcn")


def grid_in(folder: Path, **changes: object) -> Grid:
    return replace(Grid(folder, fractions=(1.0,), noises=("clean",), heads=("gcn",)), **changes)  # type: ignore[arg-type]


# Cells --------------------------------------------------------------------------------------------


def test_ways_with_unannotated_images_need_some(tmp_path: Path) -> None:
    everything = Grid(tmp_path)
    by_fraction = {
        fraction: {cell.way for cell in everything.cells() if cell.setting.fraction == fraction}
        for fraction in (0.05, 0.2, 1.0)
    }
    assert by_fraction[0.05] == by_fraction[0.2] == set(GRID_WAYS)
    assert by_fraction[1.0] == {"graph-only", "image-loss", "relations"}
    assert len(everything.cells()) == (6 + 6 + 3) * 3 * 2 * 5
    more = replace(everything, fractions=(1.0,), unannotated=tmp_path)
    assert {cell.way for cell in more.cells()} == set(GRID_WAYS)
    first = everything.cells()[:7]
    assert [cell.way for cell in first] == [*GRID_WAYS, "graph-only"]
    assert {(cell.setting, cell.seed) for cell in first} == {(FEW, 0), (FEW, 1)}
    assert len({everything.folder(cell) for cell in everything.cells()}) == 450


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fractions": (0.0,)}, r"--fractions: expected in \(0, 1\], got 0\.0"),
        ({"noises": ("loud",)}, "--noises: expected some of clean, noisy, biased, got 'loud'"),
        ({"ways": ("magic",)}, "--ways: expected some of graph-only.* got 'magic'"),
        ({"seeds": 0}, "--seeds: expected >= 1, got 0"),
        ({"ways": ("unannotated",)}, "grid: expected a way for one of the fractions"),
    ],
)
def test_grids_that_make_no_sense(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        grid_in(tmp_path, **changes)


def test_configurations_differ_in_what_they_compare_alone(tmp_path: Path) -> None:
    grid = grid_in(tmp_path, overrides=("--joint.lr=0.03",))
    configs = {way: grid.config_of(Cell(ALL, way, 3)) for way in ("graph-only", "image-loss")}
    plain, loss = configs.values()
    assert (plain.joint.image_loss_weight, loss.joint.image_loss_weight) == (0, 1)
    same = replace(plain.joint, image_loss_weight=1.0, true_graph_weight=1.0)
    assert replace(loss, out=plain.out, joint=same) == replace(plain, joint=same)
    assert loss.joint == same
    assert (plain.seed, plain.joint.lr, plain.joint.decay_at) == (3, 0.03, ())
    assert plain.joint.freeze_detector
    relations = grid.config_of(Cell(ALL, "relations", 3))
    assert relations.generator.relation_layout
    assert relations.joint.image_losses == relations.reconstruction.image_losses
    assert relations.joint.image_losses.relation_feature_weight > 0
    of_generator = grid.generator_config(ALL, draws_relations=True)
    assert of_generator.generator == relations.generator
    biased = grid.config_of(Cell(Setting(1.0, "biased", "motifs"), "no-gradient", 0))
    assert biased.data.scenes.biased_predicates == 0.3
    assert biased.data.root == str(tmp_path / "scenes" / "biased")
    assert biased.joint.region_cache == str(tmp_path / "regions" / "biased")
    assert (biased.predictor.name, biased.joint.mode) == ("motifs", "detached")


def test_every_way_starts_from_the_same_fresh_layers(tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY, encoding="utf-8")
    grid = grid_in(tmp_path, config=str(file))
    models = []
    for way in ("graph-only", "relations"):
        config = grid.config_of(Cell(ALL, way, 5))
        torch.manual_seed(config.seed)
        models.append(AutoEncoder(config, VOCABULARY).state_dict())
    plain, relations = models
    fresh = [n for n in plain if n.startswith(("predictor.", "relpn.", "detector.union_head"))]
    assert len(fresh) > 10
    assert all(torch.equal(plain[name], relations[name]) for name in fresh)
    assert len(relations) > len(plain)


def test_options_of_a_fraction(tmp_path: Path) -> None:
    grid = Grid(tmp_path, unannotated=tmp_path / "photos")
    configs = {way: grid.config_of(Cell(FEW, way, 0)) for way in GRID_WAYS}
    for way, config in configs.items():
        assert config.data.annotated_fraction == 0.05
        uses = WAYS[way].uses_unannotated
        assert config.joint.unannotated.per_batch == (None if uses else 0)
        assert config.data.unannotated == (str(tmp_path / "photos") if uses else "")
        teacher = "teacher" if way.startswith("pseudo-labels") else "none"
        assert config.joint.unannotated.pseudo_labels == teacher
    assert grid.config_of(Cell(ALL, "image-loss", 0)).data.annotated_fraction == 1


# Figures ------------------------------------------------------------------------------------------


def results_of(setting: Setting, **ways: tuple[float, ...]) -> dict[Cell, dict[str, float]]:
    return {
        Cell(setting, way.replace("_", "-"), seed): {"SGGen mR@50": value, "PredCls R@20": 0.5}
        for way, values in ways.items()
        for seed, value in enumerate(values)
    }


def test_intervals_are_students() -> None:
    """Of 1, 2, 3 points: mean 2, standard deviation 1, t of 2 degrees 4.303, over sqrt 3."""
    found = Difference.of([0.01, 0.02, 0.03])
    assert found is not None
    assert found.mean == pytest.approx(0.02)
    assert found.half == pytest.approx(0.01 * 4.303 / math.sqrt(3))
    assert found.text() == "+2.0 [-0.5, +4.5]"
    alone = Difference.of([-0.01])
    assert alone is not None
    assert alone.text() == "-1.0"
    assert Difference.of([]) is None


def test_differences_are_of_equal_seeds() -> None:
    results = results_of(FEW, graph_only=(0.1, 0.2, 0.3), unannotated=(0.15, 0.26))
    found = difference(results, FEW, "unannotated", "SGGen mR@50")
    assert found is not None
    assert (found.count, found.mean) == (2, pytest.approx(0.055))
    assert difference(results, FEW, "relations", "SGGen mR@50") is None
    assert difference(results, FEW, "unannotated", "SGGen R@50") is None


def test_what_was_named_in_advance() -> None:
    assert registered_line({}).endswith("mR@50 of unannotated minus graph-only: not run.")
    clear = results_of(FEW, graph_only=(0.1, 0.2, 0.3), unannotated=(0.15, 0.25, 0.36))
    line = registered_line(clear)
    assert "5 % clean, gcn: SGGen mR@50" in line
    assert "+5.3 [+3.9, +6.8], 3 seeds" in line
    assert line.endswith(": reached.")
    assert registered_line(results_of(FEW, graph_only=(0.1,), unannotated=(0.2,))).endswith(
        "+10.0, 1 seed; aim: 3 points or more, interval above 0: not reached."
    )  # one seed has no interval
    small = results_of(FEW, graph_only=(0.1, 0.2), unannotated=(0.12, 0.22))
    assert registered_line(small).endswith("not reached.")


def test_tables_and_figure() -> None:
    results = results_of(FEW, graph_only=(0.1, 0.2), unannotated=(0.15, 0.26))
    scores, differences = tables(results)
    assert scores.title == "5 % clean, gcn: scores"
    assert [row[:2] for row in scores.rows] == [["graph-only", 2], ["unannotated", 2]]
    column = scores.columns.index("SGGen mR@50")
    assert [row[column] for row in scores.rows] == ["15.0 ± 7.1", "20.5 ± 7.8"]
    assert [row[0] for row in differences.rows] == ["unannotated"]
    assert differences.rows[0][column - 1] == "+5.5 [-0.9, +11.9]"
    assert figure(results).width > 100


# Runs ---------------------------------------------------------------------------------------------


def test_when_a_run_has_stopped_to_rise(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "--joint.best_metric=SGGen R@50")
    folder = Path(config.out)
    folder.mkdir()
    assert not best_is_past(config, 2)

    def after(*values: float) -> bool:
        rows = [{"phase": "reconstruction", "step": 9, "scores": {"pixel": 99.0}}]
        for step, value in enumerate(values, 1):
            rows.append({"phase": "joint", "step": step, "scores": {"SGGen R@50": value}})
        lines = [json.dumps(row) + "\n" for row in rows]
        (folder / "validation.jsonl").write_text("".join(lines))
        return best_is_past(config, 2)

    assert not after(0.3, 0.1)
    assert after(0.3, 0.1, 0.3)  # no better in two
    assert not after(0.3, 0.1, 0.31)
    assert not after(0.3, 0.1, 0.31, 0.2)
    assert after(0.1, 0.3, 0.3, 0.2)
    assert not after(0.1, math.nan)
    assert after(math.nan, 0.1, math.nan, 0.1)


@pytest.mark.slow
def test_a_tiny_grid_is_run_and_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY, encoding="utf-8")
    out = tmp_path / "grid"
    steps = ("--detector_training.steps=1", "--reconstruction.steps=1", "--joint.steps=9")
    more = ("--joint.validate_min_steps=1", "--joint.batch_size=16", "--data.num_val=1")
    command = [
        *("--out", str(out), "--config", str(file), "--threads", "1", "--patience", "1"),
        *("--fractions", "1", "--noises", "clean", "--heads", "gcn", "--seeds", "1"),
        *("--ways", "graph-only", "image-loss", "relations"),
        *("--data.scenes.num_train=17", "--data.scenes.num_test=2", *steps, *more),
    ]
    assert image_loss.main(command) == 0
    text = (out / "image_loss.md").read_text()
    assert "## 100 % clean, gcn: differences" in text
    assert "not run." in text
    assert (out / "image_loss.png").is_file()
    folders = {way: out / "cells" / "1-clean" / f"gcn-{way}-seed-0" for way in WAYS}
    last = {way: read_checkpoint(folders[way]) for way in ("graph-only", "image-loss", "relations")}
    for way, checkpoint in last.items():
        result = json.loads((folders[way] / "result-val.json").read_text())
        assert 0 < result["predicted graph L1"] < 1
        assert 1 <= result["best step"] <= checkpoint.step <= 9
    models = [checkpoint.model for checkpoint in last.values()]
    for name, value in models[0].items():
        if name.startswith("detector.") and not name.startswith("detector.union_head"):
            assert all(torch.equal(value, other[name]) for other in models), name
    monkeypatch.setattr(GridRun, "run_cell", lambda *_: pytest.fail("a finished cell was run"))
    assert image_loss.main(command) == 0
    assert image_loss.main([*command, "--joint.lr", "-1"]) == 2
    assert "joint.lr: expected >= 0" in capsys.readouterr().err
