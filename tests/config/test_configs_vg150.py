"""The recipe of the paper's run: each of its configurations runs, one after the other."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from autoenc_sg.cli.main import main
from autoenc_sg.config.data import ScenesConfig
from autoenc_sg.config.files import load_config
from autoenc_sg.data.scenes.files import write_scenes
from autoenc_sg.training.run_log import read_history
from autoenc_sg.weights.checkpoint import read_checkpoint

STEPS = ("detector_vgg16", "reconstruction", "joint", "graph_only")
ROOT = Path(__file__).resolve().parents[2]

FEW = """--data.workers 0 --detector.pretrained false --detector.min_size 64 --detector.max_size 64
    --detector.rois_per_image 8 --detector.train_proposals 32 --detector.proposals 16
    --detector_training.steps 2 --detector_training.batch_size 2
    --reconstruction.steps 2 --reconstruction.batch_size 2 --reconstruction.validate_every 2
    --joint.steps 2 --joint.batch_size 2 --joint.regions_per_image 6
    --runtime.accelerator cpu --runtime.devices 1 --runtime.log_every 1 --runtime.sample_every 2
    --runtime.precision 32-true"""
NARROW = """--detector.box_head_dim 32 --detector.feature_dim 16 --predictor.dim 16
    --generator.refinement_dims [16,12,8] --generator.gconv_hidden_dim 16"""


def command_of(name: str) -> list[str]:
    """The command in a configuration's first line, less `autoenc-sg`."""
    first = (ROOT / "configs" / "vg150" / f"{name}.yaml").read_text(encoding="utf-8").split("\n")[0]
    program, *words = shlex.split(first.removeprefix("# "))
    assert program == "autoenc-sg"
    return words


def run_all(folder: Path, *overrides: str) -> None:
    write_scenes(folder / "scenes", ScenesConfig(num_train=8, num_test=2, image_size=64))
    for name in STEPS:
        words = [w.replace("runs/vg150", str(folder / "runs")) for w in command_of(name)]
        words[words.index("PATH")] = str(folder / "scenes")
        out = folder / "runs" / load_config(f"vg150/{name}").out.removeprefix("runs/vg150/")
        assert main([*words, "--out", str(out), *overrides]) == 0


def test_the_recipe_runs_as_its_first_lines_say(tmp_path: Path) -> None:
    run_all(tmp_path, *FEW.split(), *NARROW.split())
    runs = tmp_path / "runs"
    rows = {out.name: read_history(out)[-1] for out in runs.iterdir()}
    assert {name: row["phase"] for name, row in rows.items()} == {
        "detector": "detector",
        "reconstruction": "reconstruction",
        "joint": "joint",
        "graph_only": "joint",
    }
    assert "pixel" in rows["joint"]["losses"]
    assert "pixel" not in rows["graph_only"]["losses"]
    first = read_checkpoint(runs / "detector" / "best_detector.safetensors").model
    second = read_checkpoint(runs / "reconstruction" / "checkpoint.safetensors").model
    name = "detector.roi_heads.box_head.fc6.weight"
    assert bool((first[name] == second[name]).all())


@pytest.mark.slow
def test_the_recipe_runs_at_its_own_widths(tmp_path: Path) -> None:
    run_all(tmp_path, *FEW.split())


def test_the_four_steps_are_of_one_model() -> None:
    configs = [load_config(f"vg150/{name}") for name in STEPS]
    for config in configs[1:]:
        for part in ("detector", "relpn", "predictor", "generator"):
            assert getattr(config, part) == getattr(configs[0], part)
    joint, alone = (replace(c.joint, image_loss_weight=0.0) for c in configs[2:])
    assert joint == alone
    assert configs[2].joint.image_loss_weight > 0
    assert configs[3].joint.image_loss_weight == 0


def test_the_paper_s_numbers_are_in_the_recipe() -> None:
    config = load_config("vg150/joint")
    assert (config.detector.backbone, config.detector.proposals) == ("vgg16", 256)
    assert (config.detector.pooled_size, config.detector.feature_dim) == (5, 512)
    assert (config.detector.detections, config.detector.nms_threshold) == (64, 0.3)
    assert (config.joint.lr, config.generator.image_size) == (0.01, 64)


def test_the_joint_step_keeps_what_was_learnt_before() -> None:
    """The detector's heads hardly move without a detection loss, and true graphs go on."""
    for name in ("joint", "graph_only"):
        joint = load_config(f"vg150/{name}").joint
        assert joint.detection_weight == 0
        assert joint.detector_lr_factor == 0.05
        assert joint.true_graph_weight == 1
    for config in (load_config(f"vg150/{name}") for name in STEPS):
        assert config.generator.mask_size == 0 or config.reconstruction.mask_weight > 0
