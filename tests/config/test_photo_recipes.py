"""The recipes for photographs run from their first line, on files of the names they ask for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from autoenc_sg.cli.main import main
from autoenc_sg.config.data import ScenesConfig
from autoenc_sg.config.files import load_config
from autoenc_sg.core.errors import InputError
from autoenc_sg.data.scenes.files import write_scenes
from autoenc_sg.detector.published.classes import coco_names
from autoenc_sg.detector.timm_backbones import CARRIED
from autoenc_sg.training.run_log import read_history
from autoenc_sg.weights.checkpoint import read_checkpoint

FEW = """--detector.min_size 64 --detector.max_size 64 --detector.train_min_sizes [48,64]
    --detector.rois_per_image 8 --detector.train_proposals 32 --detector.proposals 16
    --data.workers 0 --data.num_val 2 --detector_training.steps 2
    --reconstruction.steps 2 --reconstruction.batch_size 2 --joint.steps 2 --joint.batch_size 2
    --generator.image_size 32 --generator.refinement_dims [16,12,8]
    --runtime.accelerator cpu --runtime.devices 1 --runtime.log_every 1"""


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    write_scenes(tmp_path / "scenes", ScenesConfig(num_train=8, num_test=2, image_size=64))
    return tmp_path / "scenes"


def test_own_photographs(scenes: Path, tmp_path: Path) -> None:
    pytest.importorskip(CARRIED["tf_efficientnet_lite0"][1])
    command = ["train", "own", "--data.root", str(scenes), "--out", str(tmp_path / "run")]
    assert main([*command, *FEW.split()]) == 0
    assert {row["phase"] for row in read_history(tmp_path / "run")} == {
        "detector",
        "reconstruction",
        "joint",
    }


def test_torchvision_s_detector_of_coco_stays_and_the_rest_is_trained(
    scenes: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    published = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
    torch.save(published, tmp_path / "coco.pth")
    command = ["train", "photos_coco_detector", "--data.root", str(scenes)]
    command += ["--out", str(tmp_path / "run"), "--detector.weights", str(tmp_path / "coco.pth")]
    assert main([*command, *FEW.split(), "--detector_training.steps", "0"]) == 0
    checkpoint = read_checkpoint(tmp_path / "run")
    weights, names = checkpoint.model, checkpoint.vocabulary.objects
    first = "backbone.body.conv1.weight"
    assert_close(weights[f"detector.{first.replace('body', 'body.body')}"], published[first])
    boxes = "roi_heads.box_predictor.bbox_pred.weight"  # not trained in the joint phase
    for name in ("person", "dog"):
        ours, theirs = names.index(name), coco_names(True).index(name)
        rows = weights[f"detector.{boxes}"][4 * ours : 4 * ours + 4]
        assert_close(rows, published[boxes][4 * theirs : 4 * theirs + 4])
    losses = read_history(tmp_path / "run")[-1]["losses"]
    assert {"predicate", "relatedness", "pixel"} <= losses.keys()


@pytest.mark.parametrize("value", ["48,64", "a"])
def test_a_list_without_brackets_is_told_how_to_write_one(value: str) -> None:
    with pytest.raises(InputError, match=r"expected a list in brackets such as \[1, 2\], got '"):
        load_config("own", [f"--detector.train_min_sizes={value}"])
