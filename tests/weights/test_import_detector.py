"""Detectors of Neural Motifs and Graph R-CNN: names, shapes, and what their numbers mean here."""

from __future__ import annotations

import math
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor
from torch.testing import assert_close
from torchvision.models.detection.image_list import ImageList

from autoenc_sg.cli.main import main
from autoenc_sg.config.files import load_config
from autoenc_sg.config.model import DetectorConfig
from autoenc_sg.core.boxes import DELTA_WEIGHTS
from autoenc_sg.detector import FasterRCNN, build_detector
from autoenc_sg.detector.conventions import CONVENTIONS
from autoenc_sg.detector.published.state_dicts import recognize, translate
from autoenc_sg.detector.regions.pooling import CornerSampling, roi_pool
from autoenc_sg.weights.detector import load_detector_weights
from tests.support.files.detector_files import (
    MOTIFS_RATIOS,
    MOTIFS_SCALES,
    Weights,
    graph_rcnn_detector,
    motifs_anchor_grid,
    motifs_detector,
)
from tests.support.graphs import random_boxes, seeded

NAMES = tuple(f"class {i}" for i in range(151))


@pytest.fixture(scope="module")
def motifs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("motifs") / "vg-faster-rcnn.tar"
    weights = OrderedDict(motifs_detector())
    # as PyTorch 0.3 wrote it: not a zip
    torch.save({"epoch": 24, "state_dict": weights}, path, _use_new_zipfile_serialization=False)
    return path


@pytest.fixture(scope="module")
def motifs(motifs_file: Path, tmp_path_factory: pytest.TempPathFactory) -> FasterRCNN:
    out = tmp_path_factory.mktemp("imported")
    assert main(["import", "motifs-detector", str(motifs_file), "--out", str(out)]) == 0
    config = load_config("vg150/joint", ["--detector", str(out / "detector.yaml")]).detector
    detector = build_detector(config, len(NAMES), download=False)
    assert config.weights is not None
    load_detector_weights(detector, config.weights, NAMES)
    assert isinstance(detector, FasterRCNN)
    return detector.eval()


# Neural Motifs ----------------------------------------------------------------------------------


def test_motifs_settings_are_read_off_the_file(motifs: FasterRCNN) -> None:
    config = motifs.config
    assert_close(config.anchor_ratios, MOTIFS_RATIOS, atol=1e-6, rtol=0)
    assert_close(config.anchor_sizes, tuple(16 * s for s in MOTIFS_SCALES), atol=1e-4, rtol=0)
    assert (config.backbone, config.conventions) == ("vgg16", "motifs")
    assert (config.box_head_dim, config.box_pooled_size) == (32, 7)
    assert (config.min_size, config.max_size, config.detections) == (592, 592, 64)
    assert (config.score_threshold, config.nms_threshold) == (0.01, 0.3)


def test_motifs_weights_lie_where_they_belong(motifs: FasterRCNN) -> None:
    theirs, own = motifs_detector(), motifs.state_dict()
    assert_close(own["backbone.body.28.bias"], torch.full((512,), 28.0))
    assert_close(own["roi_heads.box_head.fc6.weight"], theirs["roi_fmap.0.weight"])
    assert_close(own["roi_heads.box_head.fc7.bias"], theirs["roi_fmap.3.bias"])
    assert_close(own["roi_heads.box_predictor.cls_score.weight"], theirs["score_fc.weight"])


def test_motifs_anchors_are_those_in_its_file(motifs: FasterRCNN) -> None:
    """Theirs hold their last pixel."""
    images = ImageList(torch.zeros(1, 3, 48, 80), [(48, 80)])
    (got,) = motifs.rpn.anchor_generator(images, [torch.zeros(1, 512, 3, 5)])
    wanted = torch.tensor(motifs_anchor_grid(5))[:3].reshape(-1, 4)
    assert_close(got, wanted + torch.tensor([0.0, 0, 1, 1]), atol=1e-3, rtol=1e-5)


def test_motifs_proposals_against_its_formulas(motifs: FasterRCNN) -> None:
    """Softmax of two logits, deltas of centres and logarithms of sides, boxes with last pixels."""
    theirs = motifs_detector()
    maps = torch.randn(1, 512, 2, 3, generator=seeded(5)) * 4
    hidden = torch.nn.functional.conv2d(
        maps, theirs["rpn_head.conv.0.weight"], theirs["rpn_head.conv.0.bias"], padding=1
    ).clamp(0, 6)
    assert (hidden == 6).any()
    answers = torch.nn.functional.conv2d(
        hidden, theirs["rpn_head.conv.2.weight"], theirs["rpn_head.conv.2.bias"]
    )
    (objectness,), (deltas,) = motifs.rpn.head([maps])
    images = ImageList(torch.zeros(1, 3, 32, 48), [(32, 48)])
    anchors = motifs.rpn.anchor_generator(images, [maps])[0].reshape(2, 3, 20, 4)
    grid = motifs_anchor_grid(3)
    for y, x, a in ((0, 0, 0), (1, 2, 19), (0, 1, 7), (1, 0, 12)):
        own = answers[0, 6 * a : 6 * a + 6, y, x]
        score = math.exp(own[1]) / (math.exp(own[0]) + math.exp(own[1]))
        assert_close(objectness[0, a, y, x].sigmoid(), torch.tensor(score), atol=1e-4, rtol=1e-3)
        x1, y1, x2, y2 = grid[y][x][a]
        w, h = x2 - x1 + 1, y2 - y1 + 1
        cx, cy = x1 + w / 2 + float(own[2]) * w, y1 + h / 2 + float(own[3]) * h
        w, h = w * math.exp(own[4]), h * math.exp(own[5])
        last_pixels = torch.tensor([cx - w / 2, cy - h / 2, cx + w / 2 - 1, cy + h / 2 - 1])
        moved = deltas[0].reshape(20, 4, 2, 3)[a, :, y, x]
        (box,) = motifs.rpn.box_coder.decode_single(moved[None], anchors[y, x, a][None])
        assert_close(box, last_pixels + torch.tensor([0.0, 0, 1, 1]), atol=1e-2, rtol=1e-4)


def test_motifs_box_deltas_are_not_scaled(motifs: FasterRCNN) -> None:
    theirs = motifs_detector()
    features = torch.rand(2, 32, generator=seeded(3))
    logits, deltas = motifs.roi_heads.box_predictor(features)
    assert_close(logits, features @ theirs["score_fc.weight"].T + theirs["score_fc.bias"])
    moves = features @ theirs["bbox_fc.weight"].T + theirs["bbox_fc.bias"]
    scaled = (deltas.reshape(2, -1, 4) / torch.tensor(DELTA_WEIGHTS)).flatten(1)
    assert_close(scaled, moves, atol=1e-5, rtol=1e-4)
    start = torch.tensor([[10.0, 20, 60, 50], [0, 0, 16, 32]])
    boxes = motifs.roi_heads.box_coder.decode_single(deltas, start).reshape(2, -1, 4)
    for row in (0, 1):
        x1, y1, x2, y2 = (start[row] - torch.tensor([0.0, 0, 1, 1])).tolist()
        dx, dy, dw, dh = moves[row, 4 * 77 : 4 * 78].tolist()
        w, h = x2 - x1 + 1, y2 - y1 + 1
        cx, cy = x1 + w / 2 + dx * w, y1 + h / 2 + dy * h
        w, h = w * math.exp(dw), h * math.exp(dh)
        wanted = torch.tensor([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
        assert_close(boxes[row, 77], wanted, atol=1e-3, rtol=1e-4)


def bilinear(values: Tensor, y: float, x: float) -> Tensor:
    """A map `[D, H, W]` between its cells; 0 beyond them."""
    height, width = values.shape[1:]
    if not (0 <= y <= height - 1 and 0 <= x <= width - 1):
        return torch.zeros(len(values))
    top, left = math.floor(y), math.floor(x)
    low, right = math.ceil(y), math.ceil(x)
    upper = values[:, top, left] + (values[:, top, right] - values[:, top, left]) * (x - left)
    lower = values[:, low, left] + (values[:, low, right] - values[:, low, left]) * (x - left)
    return upper + (lower - upper) * (y - top)


@pytest.mark.parametrize("size", [2, 7])
def test_motifs_pooling_against_a_loop(size: int) -> None:
    pool = roi_pool({"0": 16}, size, CONVENTIONS["motifs"])
    assert isinstance(pool, CornerSampling)
    values = torch.randn(2, 3, 5, 6, generator=seeded(1))
    boxes = [
        torch.cat([random_boxes(4, 80, 96, 3), torch.tensor([[0.0, 0, 96, 80], [5, 5, 5.2, 6]])]),
        random_boxes(3, 80, 96, 4),
    ]
    got = pool({"0": values}, boxes, [(80, 96)] * 2)
    row = 0
    for image, own in enumerate(boxes):
        for x1, y1, x2, y2 in own.tolist():
            x2, y2 = max(x2 - 1, x1), max(y2 - 1, y1)
            for i in range(size):
                for j in range(size):
                    y = (y1 + i * (y2 - y1) / (size - 1)) / 16
                    x = (x1 + j * (x2 - x1) / (size - 1)) / 16
                    wanted = bilinear(values[image], y, x)
                    assert_close(got[row, :, i, j], wanted, atol=1e-4, rtol=1e-4)
            row += 1


def test_motifs_pooling_of_nothing_with_backward() -> None:
    pool = roi_pool({"0": 16}, 3, CONVENTIONS["motifs"])
    values = torch.randn(1, 2, 4, 4, requires_grad=True)
    pooled = pool({"0": values}, [torch.zeros(0, 4)], [(64, 64)])
    assert pooled.shape == (0, 2, 3, 3)
    pooled.sum().backward()
    assert values.grad is not None
    assert float(values.grad.abs().sum()) == 0


def test_the_detector_in_a_whole_model_of_motifs_is_found(tmp_path: Path) -> None:
    weights = {f"detector.{name}": value for name, value in motifs_detector().items()}
    weights |= {"context.obj_embed.weight": torch.zeros(3), "roi_fmap.1.0.weight": torch.zeros(3)}
    path = tmp_path / "vgrel-7.tar"
    torch.save({"epoch": 7, "state_dict": weights}, path)
    assert main(["import", "motifs-detector", str(path), "--out", str(tmp_path / "out")]) == 0
    own = load_file(tmp_path / "out" / "detector.safetensors")
    direct = translate(motifs_detector(), "motifs")
    assert set(own) == set(direct)
    assert_close(own["rpn.head.bbox_pred.weight"], direct["rpn.head.bbox_pred.weight"])


# Graph R-CNN ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graph_rcnn(tmp_path_factory: pytest.TempPathFactory) -> tuple[FasterRCNN, Path]:
    folder = tmp_path_factory.mktemp("graph_rcnn")
    weights = {f"module.{name}": value for name, value in graph_rcnn_detector().items()}
    weights["module.rel_heads.relpn.relationshipness.subj_proj.0.weight"] = torch.zeros(2)
    file = folder / "checkpoint_0099999.pth"
    torch.save({"model": weights, "optimizer": {}, "scheduler": {}, "iteration": 99999}, file)
    out = folder / "out"
    assert main(["import", "graph-rcnn-detector", str(file), "--out", str(out)]) == 0
    values = yaml.safe_load((out / "detector.yaml").read_text(encoding="utf-8"))
    values |= {"min_size": 64, "max_size": 64, "proposals": 8, "feature_dim": 16}
    values |= {"anchor_sizes": tuple(values["anchor_sizes"])}
    detector = build_detector(DetectorConfig(**values), len(NAMES), download=False)
    load_detector_weights(detector, values["weights"], NAMES)
    assert isinstance(detector, FasterRCNN)
    return detector.eval(), out


def test_graph_rcnn_weights_lie_where_they_belong(graph_rcnn: tuple[FasterRCNN, Path]) -> None:
    detector, out = graph_rcnn
    theirs, own = graph_rcnn_detector(), detector.state_dict()
    pairs = {
        "backbone.body.conv1.weight": "backbone.body.stem.conv1.weight",
        "backbone.body.layer3.22.bn2.running_var": "backbone.body.layer3.22.bn2.running_var",
        "rpn.head.conv.0.0.bias": "rpn.head.conv.bias",
        "rpn.head.bbox_pred.weight": "rpn.head.bbox_pred.weight",
        "roi_heads.box_head.layer4.0.downsample.0.weight": (
            "roi_heads.box.feature_extractor.head.layer4.0.downsample.0.weight"
        ),
        "roi_heads.box_predictor.bbox_pred.bias": "roi_heads.box.predictor.bbox_pred.bias",
    }
    for ours, name in pairs.items():
        assert_close(own[ours], theirs[name], msg=ours)
    detected = [name for name in own if not name.startswith(detector.graph_layers)]
    assert set(load_file(out / "detector.safetensors")) == set(detected)


def test_graph_rcnn_conventions(graph_rcnn: tuple[FasterRCNN, Path]) -> None:
    detector, _ = graph_rcnn
    block = detector.get_submodule("backbone.body.layer2.0")
    assert (block.conv1.stride, block.conv2.stride) == ((2, 2), (1, 1))
    assert detector.get_submodule("roi_heads.box_head.layer4.0").conv1.stride == (2, 2)
    grey = torch.full((3, 64, 64), 128 / 255)
    batch, _ = detector.transform([grey])
    wanted = 128 - torch.tensor([102.9801, 115.9465, 122.7717])
    assert_close(batch.tensors[0, :, 5, 5], wanted, atol=1e-3, rtol=1e-5)


def test_graph_rcnn_anchors_by_hand(graph_rcnn: tuple[FasterRCNN, Path]) -> None:
    """Sides at 16 pixels are rounded (23x12, 16x16, 11x22), then scaled by 2, 4, 8, 16 and 32."""
    detector, _ = graph_rcnn
    (cell,) = detector.rpn.anchor_generator.cell_anchors
    sides = [(23, 12), (16, 16), (11, 22)]
    wanted = [
        [8 - w * s / 2, 8 - h * s / 2, 8 + w * s / 2, 8 + h * s / 2]
        for w, h in sides
        for s in (2, 4, 8, 16, 32)
    ]
    assert_close(cell, torch.tensor(wanted))
    # the corners that maskrcnn-benchmark's source states for 16 pixels, of 128 and a ratio of 1/2
    assert_close(cell[2] - torch.tensor([0.0, 0, 1, 1]), torch.tensor([-84.0, -40, 99, 55]))


def test_graph_rcnn_goes_all_the_way(graph_rcnn: tuple[FasterRCNN, Path]) -> None:
    detector, _ = graph_rcnn
    maps = detector.encode([torch.rand(3, 64, 64)])
    assert maps.maps[0].shape == (1, 1024, 4, 4)
    found = detector.detect(maps)
    regions = detector.describe(maps, random_boxes(2, 64, 64, 0), torch.tensor([0, 0]))
    assert regions.features.shape == (2, 16)
    assert regions.class_logits.shape == (2, 151)
    assert (found.labels >= 1).all()


# Bad files --------------------------------------------------------------------------------------


class Danger:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return print, ("this ran",)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"state_dict": {"a.weight": torch.zeros(1)}}, "expected weights of motifs detector"),
        ({"epoch": 3}, "expected a mapping of names to tensors"),
        ({"state_dict": {"x": Danger()}}, "would run"),
    ],
)
def test_other_files_are_refused_in_one_line(
    content: object, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file.tar"
    torch.save(content, path)
    status = main(["import", "motifs-detector", str(path), "--out", str(tmp_path / "out")])
    said = capsys.readouterr()
    assert status == 2
    assert said.err.count("\n") == 1
    assert expected in said.err
    assert "this ran" not in said.out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("drop", "expected"),
    [
        ("rpn_head.anchors", "expected rpn_head.anchors, got no such name"),
        ("bbox_fc.weight", "bbox_fc.weight"),
        ("features.5.bias", "1 missing"),
        ("score_fc.weight", "cls_score.weight, got no such weights"),
    ],
)
def test_a_part_that_is_missing_is_named(
    drop: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights: Weights = {k: v for k, v in motifs_detector().items() if k != drop}
    path = tmp_path / "file.tar"
    torch.save({"state_dict": weights}, path)
    assert main(["import", "motifs-detector", str(path), "--out", str(tmp_path / "out")]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (
            "rpn_head.conv.2.weight",
            torch.zeros(5, 2, 1, 1),
            "expected a detector of motifs, got unfl",
        ),
        ("bbox_fc.bias", torch.zeros(5), "expected a detector of motifs, got The size of tensor"),
        ("roi_fmap.0.weight", torch.zeros(7), "with roi_heads.box_head.fc6.weight, got shape [7]"),
        ("rpn_head.anchors", torch.zeros(3), "expected shape [H, W, A, 4], got [3]"),
    ],
)
def test_a_part_of_another_shape_is_named(
    name: str, value: Tensor, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file.tar"
    torch.save({"state_dict": motifs_detector() | {name: value}}, path)
    assert main(["import", "motifs-detector", str(path), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_kinds_are_told_apart_by_their_names() -> None:
    assert recognize(motifs_detector()) == "motifs"
    assert recognize(["module.roi_heads.box.predictor.cls_score.weight"]) == "graph_rcnn"
    assert recognize(["backbone.fpn.inner_blocks.0.0.weight"]) == "torchvision"
    assert recognize(["proposal_generator.rpn_head.objectness_logits.weight"]) == "detectron2"
    assert recognize(["backbone.body.fpn.inner_blocks.0.0.weight"]) is None
    assert recognize([]) is None
