"""Anchors and regions in crowds are neither positive nor negative."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.testing import assert_close

from autoenc_sg.core.boxes import covered_shares
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from tests.detector.test_faster_rcnn import photos, tiny_detector, truth_of

BOXES = torch.tensor(
    [
        [0.0, 0, 10, 10],  # a true box
        [30, 30, 40, 40],  # within the crowd
        [15, 30, 25, 40],  # half of it in the crowd
        [14, 30, 24, 40],  # less than half
        [1, 1, 11, 11],  # IoU 81 / 119 = 0.68 with the true box
        [26, 2, 36, 12],  # outside both
    ]
)
TRUE = BOXES[:1]
CROWD = torch.tensor([[20.0, 20, 60, 60]])
TARGET = {"boxes": TRUE, "labels": torch.tensor([2])}


def test_covered_shares_by_hand() -> None:
    boxes = torch.cat([BOXES[:4], torch.tensor([[30.0, 30, 30, 40], [0, 0, 80, 80]])])
    expected = torch.tensor([0, 1, 0.5, 0.4, 0, 0.25])
    assert_close(covered_shares(boxes, CROWD)[:, 0], expected)
    assert covered_shares(boxes[:0], CROWD).shape == (0, 1)
    assert covered_shares(boxes, CROWD[:0]).shape == (6, 0)


def test_anchors_in_a_crowd_have_no_label() -> None:
    rpn = tiny_detector().rpn
    labels, _ = rpn.assign_targets_to_anchors([BOXES], [TARGET])
    assert labels[0].tolist() == [1, 0, 0, 0, -1, 0]
    labels, boxes = rpn.assign_targets_to_anchors([BOXES], [{**TARGET, "ignored": CROWD}])
    assert labels[0].tolist() == [1, -1, -1, 0, -1, 0]
    assert_close(boxes[0][0], TRUE[0])
    over_all = {**TARGET, "ignored": torch.tensor([[0.0, 0, 64, 64]])}
    labels, _ = rpn.assign_targets_to_anchors([BOXES], [over_all])
    assert labels[0].tolist() == [1, -1, -1, -1, -1, -1]  # the true box's stays positive


def test_regions_in_a_crowd_are_no_background() -> None:
    heads = tiny_detector().roi_heads

    def chosen(target: dict[str, Tensor]) -> list[tuple[int, list[float]]]:
        boxes, _, labels, _ = heads.select_training_samples([BOXES[1:].clone()], [target])
        return sorted(zip(labels[0].tolist(), boxes[0].tolist()))

    negative = [BOXES[i].tolist() for i in (1, 2, 3, 5)]
    positive = [(2, BOXES[0].tolist()), (2, BOXES[4].tolist())]  # the true box is a region, too
    assert chosen(TARGET) == sorted([(0, box) for box in negative] + positive)
    rest = [BOXES[i].tolist() for i in (3, 5)]
    assert chosen({**TARGET, "ignored": CROWD}) == sorted([(0, b) for b in rest] + positive)
    assert chosen(TARGET) == sorted([(0, box) for box in negative] + positive)  # nothing is kept


def losses(truth: SceneGraphBatch, *sizes: tuple[int, int]) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return tiny_detector().train().losses(photos(*sizes), truth)


def test_no_ignored_regions_change_nothing() -> None:
    truth, sizes = truth_of(2, 3), ((64, 64), (64, 64))
    before = losses(truth, *sizes)
    far = torch.tensor([[1.0, 1, 200, 200, 300, 300]])  # outside the image
    for ignored in (torch.zeros(0, 6), far):
        for name, loss in losses(replace(truth, ignored=ignored), *sizes).items():
            assert torch.equal(loss, before[name]), name


def test_ignored_regions_are_scaled_with_their_image() -> None:
    """The right half of the second image, in pixels of the images and of the network."""
    detector = tiny_detector().train()
    seen: list[list[Tensor]] = []
    assign = detector.rpn.assign_targets_to_anchors

    def spy(anchors: list[Tensor], targets: list[dict[str, Tensor]]):  # type: ignore[no-untyped-def]
        seen.append([target["ignored"] for target in targets])
        return assign(anchors, targets)

    detector.rpn.assign_targets_to_anchors = spy  # type: ignore[method-assign]
    truth = replace(truth_of(1, 1, size=(32, 32)), ignored=torch.tensor([[1.0, 2, 16, 0, 32, 32]]))
    total = torch.stack(list(detector.losses(photos((32, 32), (32, 32)), truth).values())).sum()
    total.backward()
    assert total.isfinite()
    assert_close(seen[0][0], torch.zeros(0, 4))
    assert_close(seen[0][1], torch.tensor([[32.0, 0, 64, 64]]))
