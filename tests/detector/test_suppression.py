"""Which regions are kept: suppression per class, thresholds, borders."""

from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close
from torchvision.ops import box_iou

from autoenc_sg.detector import Detections
from autoenc_sg.detector.suppression import choose, suppress
from tests.detector.test_faster_rcnn import TINY
from tests.support.graphs import random_boxes, seeded


def test_thresholds_and_the_most_detections_by_hand() -> None:
    config = replace(TINY, score_threshold=0.3, detections=2, nms_threshold=0.3)
    boxes = torch.tensor(
        [[0.0, 0, 8, 8], [10, 10, 18, 18], [20, 20, 28, 28], [1, 20, 9, 28], [5, 5, 5.9, 9]]
    )
    scores = torch.tensor([0.29, 0.5, 0.9, 0.8, 0.95])  # too unsure, third, -, -, too narrow
    detections = Detections(boxes, torch.ones(5, dtype=torch.int64), scores, torch.zeros(5).long())
    suppressed = suppress(config, detections, 1)
    assert_close(suppressed.scores, torch.tensor([0.9, 0.8]))
    assert_close(suppressed.boxes, boxes[2:4])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10), st.integers(1, 3), st.booleans())
def test_suppression_against_a_loop(seed: int, count: int, images: int, one_box: bool) -> None:
    classes = 4
    config = replace(TINY, score_threshold=0.2, nms_threshold=0.3, detections=4)
    g = seeded(seed)
    index = torch.randint(images, (count,), generator=g).sort().values
    scores = torch.rand(count, classes, generator=g)
    columns = 1 if one_box else classes
    boxes = random_boxes(count * columns, 20, 20, seed).reshape(count, columns, 4)
    detections = choose(config, scores, boxes, index, images)
    expected = []  # (region, class)
    for image in range(images):
        stay: list[tuple[float, int, int]] = []
        for label in range(1, classes):
            suppressed: list[int] = []
            for i in scores[:, label].argsort(descending=True).tolist():
                column = 0 if one_box else label
                overlaps = [
                    float(box_iou(boxes[i, [column]], boxes[k, [column]])) for k in suppressed
                ]
                if (
                    index[i] == image
                    and scores[i, label] >= 0.2
                    and max(overlaps, default=0) <= 0.3
                ):
                    suppressed.append(i)
                    stay.append((float(scores[i, label]), i, label))
        chosen: dict[int, int] = {}
        for _, i, label in sorted(stay, reverse=True):
            chosen.setdefault(i, label)
        expected += list(chosen.items())[:4]
    labels = [label for _, label in expected]
    assert detections.labels.tolist() == labels
    for row, (i, label) in enumerate(expected):
        assert_close(detections.boxes[row], boxes[i, 0 if one_box else label])
        assert_close(detections.scores[row], scores[i, label])
        assert detections.image_index[row] == index[i]


# The whole detector -----------------------------------------------------------------------------
