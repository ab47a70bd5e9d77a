"""NumPy between the graphs: the same as torchvision and the model choose."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import batched_nms

from autoenc_sg.detector.colors import image_colors
from autoenc_sg.onnx_runtime.boxes import anchors_of, by_level, decoded, suppressed
from autoenc_sg.onnx_runtime.choices import detections, pairs, softmax
from autoenc_sg.onnx_runtime.description import Detection, Pixels, Pooling
from autoenc_sg.onnx_runtime.photos import mean_colors, network_input
from autoenc_sg.relpn.pairs import all_pairs, pair_nms, top_pairs

DETECTION = Detection(0.3, 0.5, 2, 3, None, 0.0, 0.0, 0.5)


def random_boxes(count: int, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    low, size = torch.rand(2, count, 2, generator=random) * 50
    return torch.cat([low, low + size + 1], 1)


@pytest.mark.parametrize("size", [(40, 60), (61, 33), (300, 100)])
def test_a_photo_is_resized_and_padded_as_the_detector_does(size: tuple[int, int]) -> None:
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    got, inside = network_input(pixels, Pixels(mean, std, 64, 96, 32, 32))
    transform = GeneralizedRCNNTransform(64, 96, mean, std)
    batch, _ = transform([torch.from_numpy(pixels).permute(2, 0, 1) / 255])
    assert inside == tuple(batch.image_sizes[0])
    torch.testing.assert_close(torch.from_numpy(got), batch.tensors, atol=1e-5, rtol=0)


def test_suppression_is_torchvision_s() -> None:
    boxes, groups = random_boxes(200), torch.arange(200) % 3
    scores = torch.rand(200, generator=torch.Generator().manual_seed(1))
    expected = batched_nms(boxes.double(), scores.double(), groups, 0.4)
    got = suppressed(boxes.double().numpy(), scores.numpy(), groups.numpy(), 0.4)
    assert 20 < len(got) < 200
    assert got.tolist() == expected.tolist()


def test_suppression_of_nothing_and_of_equal_scores() -> None:
    none = np.zeros((0, 4))
    assert suppressed(none, np.zeros(0), np.zeros(0), 0.5).tolist() == []
    same = np.array([[0, 0, 10, 10.0]] * 3)
    assert suppressed(same, np.ones(3), np.array([0, 0, 1]), 0.5).tolist() == [0, 2]


def test_anchors_and_deltas_by_hand() -> None:
    cell = np.array([[-1, -2, 1, 2], [-4, -4, 4, 4]], np.float32)
    anchors = anchors_of(cell, (1, 2), (8, 16))
    assert anchors.tolist() == [[-1, -2, 1, 2], [-4, -4, 4, 4], [15, -2, 17, 2], [12, -4, 20, 4]]
    boxes = np.array([[0, 0, 10, 20]], np.float32)
    deltas = np.array([[1, 0, np.log(2) * 5, 0]], np.float32)
    moved = decoded(deltas, boxes, (10.0, 10.0, 5.0, 5.0))
    np.testing.assert_allclose(moved, [[[-4, 0, 16, 20]]], atol=1e-5)


def test_boxes_go_to_the_map_of_their_size() -> None:
    boxes = np.array([[0, 0, 224, 224], [0, 0, 10, 10], [0, 0, 112, 112]], np.float32)
    parts, order = by_level(boxes, Pooling(2, 3, 4, False))
    assert order.tolist() == [1, 2, 0]  # levels 4, 3 and 3
    assert [len(part) for part in parts] == [2, 1]
    parts, _ = by_level(boxes, Pooling(1, 3, 3, True))
    assert parts[0][1].tolist() == [0, 0, 9, 9]


def test_a_region_keeps_its_best_class_and_few_are_kept() -> None:
    scores = np.array([[0, 0.6, 0.4], [0.1, 0.35, 0.55], [0.2, 0.5, 0.3]], np.float32)
    boxes = np.array([[0, 0, 9, 9], [40, 0, 49, 9], [80, 0, 89, 9]], np.float32)
    chosen = detections(scores, boxes[:, None].repeat(3, 1), DETECTION)
    assert chosen.tolist() == [boxes[0].tolist(), boxes[1].tolist()]
    small = boxes * 0.1  # less than a pixel
    assert detections(scores, small[:, None].repeat(3, 1), DETECTION).shape == (0, 4)


@pytest.mark.parametrize("threshold", [None, 0.3])
def test_pairs_are_those_of_the_relation_proposals(threshold: float | None) -> None:
    boxes = random_boxes(8)
    logits = torch.randn(8, 8, generator=torch.Generator().manual_seed(2))
    candidates = all_pairs(torch.zeros(8, dtype=torch.int64), 1)
    values = logits[candidates[:, 0], candidates[:, 1]]
    rows = torch.arange(len(candidates))
    if threshold is not None:
        rows = pair_nms(boxes, candidates, values, threshold)
    best = rows[top_pairs(values[rows], torch.zeros_like(rows), 1, 12)]
    options = Detection(0.3, 0.5, 2, 12, threshold, 0.0, 0.0, 0.5)
    chosen, relatedness = pairs(logits.numpy(), boxes.numpy(), options)
    assert chosen.tolist() == candidates[best].tolist()
    torch.testing.assert_close(torch.from_numpy(relatedness), values[best].sigmoid())


def test_of_one_object_there_is_no_pair() -> None:
    chosen, relatedness = pairs(np.zeros((1, 1), np.float32), np.zeros((1, 4)), DETECTION)
    assert chosen.shape == (0, 2)
    assert relatedness.shape == (0,)
    assert softmax(np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("size", [(64, 32), (50, 71), (20, 33)])
def test_mean_colors_are_the_detector_s(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = image_colors([torch.from_numpy(pixels).permute(2, 0, 1) / 255])
    torch.testing.assert_close(torch.from_numpy(mean_colors(pixels, 32)), expected)
