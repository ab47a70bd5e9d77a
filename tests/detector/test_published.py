"""Published weights of torchvision and detectron2: their names, their classes, their answers."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision.models import WeightsEnum
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from autoenc_sg.config.model import DetectorConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.detector import FasterRCNN, build_detector
from autoenc_sg.detector.published.classes import class_pairs, coco_names, take_classes
from autoenc_sg.weights.detector import load_detector_weights
from autoenc_sg.weights.safe_pickle import read_array_pickle
from tests.support.graphs import random_boxes

NAMES = ("__background__", "cat", "zebra crossing", "person")
CAT, PERSON = 17, 1  # of COCO's 91
CONFIG = DetectorConfig(
    backbone="resnet50_fpn",
    pretrained=True,
    min_size=64,
    max_size=96,
    proposals=40,
    box_head_dim=1024,
    box_pooled_size=7,
    feature_dim=16,
    detections=10,
    score_threshold=0.0,
)


@pytest.fixture(scope="module")
def published() -> nn.Module:
    """torchvision's model as published, but for its numbers."""
    torch.manual_seed(0)
    model: nn.Module = fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, min_size=64, max_size=96
    )
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):  # else the maps would vanish or explode
            buffer.fill_(2.0)
    return model.eval()


@pytest.fixture(scope="module")
def file(published: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / "fasterrcnn_resnet50_fpn_coco.pth"
    weights = {k: v for k, v in published.state_dict().items() if "num_batches" not in k}
    torch.save(weights, path)
    return path


def older(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names in the published file, which were given before blocks of one convolution."""
    renamed = {}
    for name, value in weights.items():
        if ".fpn." in name:
            name = name.replace(".0.weight", ".weight").replace(".0.bias", ".bias")
        renamed[name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")] = value
    return renamed


def filled(source: str, config: DetectorConfig = CONFIG) -> FasterRCNN:
    torch.manual_seed(1)
    detector = build_detector(config, len(NAMES), download=False)
    load_detector_weights(detector, source, NAMES)
    assert isinstance(detector, FasterRCNN)
    return detector.eval()


@pytest.fixture(scope="module")
def detector(file: Path) -> FasterRCNN:
    return filled(str(file))


# torchvision ------------------------------------------------------------------------------------


def test_answers_are_those_of_torchvision(published: Any, detector: FasterRCNN) -> None:
    image = torch.rand(3, 64, 90)
    maps = detector.encode([image])
    batch, _ = published.transform([image])
    theirs = published.backbone(batch.tensors)
    for own_map, key in zip(maps.maps, theirs):
        assert_close(own_map, theirs[key], atol=1e-4, rtol=1e-3)
    boxes = random_boxes(5, 64, 90, 0)
    pooled = published.roi_heads.box_roi_pool(theirs, [boxes], [(64, 90)])
    logits, _ = published.roi_heads.box_predictor(published.roi_heads.box_head(pooled))
    got = detector.describe(maps, boxes, torch.zeros(5, dtype=torch.int64)).class_logits
    for ours, coco in ((0, 0), (1, CAT), (3, PERSON)):
        assert_close(got[:, ours], logits[:, coco], atol=1e-3, rtol=1e-3)
    published.rpn._pre_nms_top_n["testing"] = 160
    published.rpn._post_nms_top_n["testing"] = 40
    proposals, _ = published.rpn(batch, theirs)
    assert_close(detector._propose(maps)[0], proposals[0], atol=1e-2, rtol=1e-3)


def test_rows_of_known_classes_are_taken_and_others_begin_anew(
    published: nn.Module, detector: FasterRCNN
) -> None:
    torch.manual_seed(1)
    fresh = build_detector(CONFIG, len(NAMES), download=False).state_dict()
    theirs, own_weights = published.state_dict(), detector.state_dict()
    for part in ("weight", "bias"):
        name = f"roi_heads.box_predictor.cls_score.{part}"
        assert_close(own_weights[name][[1, 3]], theirs[name][[CAT, PERSON]])
        assert_close(own_weights[name][2], fresh[name][2])
        name = f"roi_heads.box_predictor.bbox_pred.{part}"
        assert_close(own_weights[name][4:8], theirs[name][4 * CAT : 4 * CAT + 4])
        assert_close(own_weights[name][8:12], fresh[name][8:12])
    for name in ("union_head.0.weight", "projection.0.bias"):
        assert_close(own_weights[name], fresh[name])


def test_older_names_give_the_same(
    published: nn.Module, detector: FasterRCNN, tmp_path: Path
) -> None:
    weights = older({k: v for k, v in published.state_dict().items() if "num_batches" not in k})
    assert {"rpn.head.conv.weight", "backbone.fpn.inner_blocks.0.weight"} <= set(weights)
    torch.save(weights, tmp_path / "old.pth")
    own_weights, other = detector.state_dict(), filled(str(tmp_path / "old.pth")).state_dict()
    assert all(torch.equal(own_weights[name], other[name]) for name in own_weights)


def test_batch_norm_is_frozen_or_learns(file: Path) -> None:
    frozen = [n for n, _ in filled(str(file)).named_parameters() if ".bn1." in n]
    assert frozen == []
    learning = filled(str(file), replace(CONFIG, pretrained=False))
    assert any(".bn1." in name for name, _ in learning.named_parameters())
    assert torch.equal(
        learning.state_dict()["backbone.body.body.bn1.running_var"], torch.full((64,), 2.0)
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"channels": 64}, r"expected shape \[64, 256, 1, 1\], got \[256, 256, 1, 1\]"),
        ({"box_head_dim": 512}, r"expected shape \[512, 12544\], got \[1024, 12544\]"),
        ({"backbone": "vgg16"}, "missing"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(
    changes: dict[str, Any], expected: str, file: Path
) -> None:
    with pytest.raises(InputError, match=expected) as error:
        filled(str(file), replace(CONFIG, **changes))
    assert "\n" not in str(error.value)


def test_coco_is_downloaded(
    published: nn.Module, detector: FasterRCNN, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def answer(self: Any, *_: Any, **__: Any) -> dict[str, Tensor]:
        asked.append(self.url)
        return dict(published.state_dict())

    monkeypatch.setattr(WeightsEnum, "get_state_dict", answer)
    got = filled("coco", replace(CONFIG, weights="coco", pretrained=False))
    assert len(asked) == 1
    assert asked[0].endswith("fasterrcnn_resnet50_fpn_coco-258fb6c6.pth")
    assert [n for n, _ in got.named_parameters() if ".bn1." in n] == []  # frozen without asking
    assert_close(
        got.state_dict()["backbone.body.fpn.layer_blocks.3.0.bias"],
        detector.state_dict()["backbone.body.fpn.layer_blocks.3.0.bias"],
    )


def test_without_a_network_coco_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", offline)
    with pytest.raises(InputError) as error:
        filled("coco")
    said = str(error.value)
    assert "\n" not in said
    assert said.startswith("detector.weights: expected a network to download https://")
    assert said.endswith("give detector.weights the file instead")


# Classes ----------------------------------------------------------------------------------------


def test_class_pairs_by_hand() -> None:
    assert class_pairs("torchvision", 91, NAMES) == [(0, 0), (1, CAT), (3, PERSON)]
    assert class_pairs("detectron2", 81, NAMES) == [(0, 0), (1, 16), (3, PERSON)]
    assert class_pairs("motifs", 4, NAMES) == [(0, 0), (1, 1), (2, 2), (3, 3)]
    assert class_pairs("motifs", 151, NAMES) == [(0, 0)]
    assert class_pairs("torchvision", 4, NAMES) == [(i, i) for i in range(4)]
    assert (len(coco_names(True)), len(coco_names(False))) == (91, 81)


@pytest.mark.parametrize("kind", ["torchvision", "detectron2"])
def test_rows_by_hand(kind: Any) -> None:
    """Theirs count up; ours are -1 where theirs have nothing to say."""
    last = kind == "detectron2"
    prefix = "network.roi_heads.box_predictor" if last else "roi_heads.box_predictor"
    count, boxes = (81, 80) if last else (91, 91)
    own_weights = {
        f"{prefix}.cls_score.weight": torch.full((4, 2), -1.0),
        f"{prefix}.cls_score.bias": torch.full((4,), -1.0),
        f"{prefix}.bbox_pred.weight": torch.full((12 if last else 16, 2), -1.0),
        f"{prefix}.bbox_pred.bias": torch.full((12 if last else 16,), -1.0),
    }
    theirs = {
        f"{prefix}.cls_score.weight": torch.arange(count).float()[:, None].expand(count, 2),
        f"{prefix}.cls_score.bias": torch.arange(count).float(),
        f"{prefix}.bbox_pred.weight": torch.arange(4 * boxes).float()[:, None].expand(-1, 2),
        f"{prefix}.bbox_pred.bias": torch.arange(4 * boxes).float(),
    }
    mixed, num_matched = take_classes(own_weights, theirs, kind, NAMES)
    assert num_matched == 2
    if last:  # cat is their 15, person their 0, background their 80
        scores, moves = [15, -1, 0, 80], [[60, 61, 62, 63], [-1] * 4, [0, 1, 2, 3]]
    else:
        scores, moves = [0, 17, -1, 1], [[-1] * 4, [68, 69, 70, 71], [-1] * 4, [4, 5, 6, 7]]
    assert mixed[f"{prefix}.cls_score.bias"].tolist() == scores
    assert mixed[f"{prefix}.cls_score.weight"][:, 1].tolist() == scores
    assert mixed[f"{prefix}.bbox_pred.bias"].reshape(-1, 4).tolist() == moves
    assert mixed[f"{prefix}.bbox_pred.weight"][:, 0].reshape(-1, 4).tolist() == moves


# Pickles of arrays --------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 4])
def test_array_pickles_by_hand(protocol: int, tmp_path: Path) -> None:
    content = {
        "model": {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float64(2.5)},
        "__author__": "a model zoo",
        "bytes": b"\xff",
    }
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    got = read_array_pickle(path)
    np.testing.assert_array_equal(got["model"]["a.weight"], content["model"]["a.weight"])  # type: ignore[index]
    assert got["model"]["b"] == 2.5
    assert got["bytes"] == b"\xff"


class Danger:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call[0], self.call[1:]


@pytest.mark.parametrize(
    "value",
    [
        Danger(print, "ran"),
        Danger(eval, "1"),
        Danger(np.load, "x"),
        Danger(np.lib.format.read_array, 1),
    ],
)
def test_pickles_that_would_run_code_are_refused(
    value: Danger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"model": {"a": value}}))
    with pytest.raises(InputError, match="one that would run") as error:
        read_array_pickle(path)
    assert "\n" not in str(error.value)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"\x80\x04K"])
def test_what_is_not_a_pickle_is_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.pkl: expected a pickle of arrays"):
        read_array_pickle(path)
    with pytest.raises(InputError, match="no such file"):
        read_array_pickle(tmp_path / "none.pkl")
