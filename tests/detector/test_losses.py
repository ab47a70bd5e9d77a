"""The losses of Faster R-CNN: by hand, of frozen parts, of empty images, and that they teach."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tests.detector.test_faster_rcnn import photos, tiny_detector, truth_of
from tests.support.graphs import C

ALL = {"rpn_objectness", "rpn_box", "roi_class", "roi_box"}


@pytest.mark.parametrize("counts", [[2, 3], [2, 0, 1], [0, 0]])
def test_losses_with_backward(counts: list[int]) -> None:
    detector = tiny_detector().train()
    images = photos(*[(64, 64)] * len(counts))
    losses = detector.losses(images, truth_of(*counts))
    assert set(losses) == ALL
    assert all(loss.ndim == 0 and loss.isfinite() and loss >= 0 for loss in losses.values())
    if not sum(counts):
        assert float(losses["roi_box"].detach()) == float(losses["rpn_box"].detach()) == 0
    torch.stack(list(losses.values())).sum().backward()
    on_the_way = [detector.backbone, detector.rpn, detector.roi_heads]
    for part in on_the_way:
        for parameter in part.parameters():
            assert parameter.grad is not None
            assert parameter.grad.isfinite().all()
    assert all(p.grad is None for p in detector.union_head.parameters())


def test_class_loss_by_hand() -> None:
    """Sampled regions whose logits are all alike cost log C each."""
    detector = tiny_detector().train()
    nn.init.zeros_(detector.roi_heads.box_predictor.cls_score.weight)
    nn.init.zeros_(detector.roi_heads.box_predictor.cls_score.bias)
    loss = detector.losses(photos((64, 64)), truth_of(3))["roi_class"]
    assert_close(loss, torch.tensor(float(C)).log())


def test_frozen_parts_have_no_losses() -> None:
    detector = tiny_detector().train()
    for part in detector.frozen_modules():
        part.eval()
    assert set(detector.losses(photos((64, 64)), truth_of(2))) == {"roi_class", "roi_box"}
    detector.eval()
    assert detector.losses(photos((64, 64)), truth_of(2)) == {}


def test_a_few_steps_learn_one_image() -> None:
    detector = tiny_detector().train()
    image, truth = photos((64, 64)), truth_of(2)
    optimizer = torch.optim.SGD(detector.parameters(), 0.02, 0.9)
    totals = []
    for _ in range(15):
        torch.manual_seed(0)
        loss = torch.stack(list(detector.losses(image, truth).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.append(float(loss.detach()))
    assert totals[-1] < 0.8 * totals[0]


def test_each_box_keeps_its_class_and_is_scaled_with_its_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    detector = tiny_detector().train()
    truth = truth_of(2, 0, 3, size=(32, 32))  # enlarged to 64
    passed: list[Any] = []
    roi_heads = detector.roi_heads.forward

    def recorded(*arguments: Any) -> Any:
        passed.append(arguments[3])
        return roi_heads(*arguments)

    monkeypatch.setattr(detector.roi_heads, "forward", recorded)
    detector.losses(photos(*[(32, 32)] * 3), truth)
    (targets,) = passed
    for target, graph in zip(targets, truth.split()):
        assert target["labels"].tolist() == graph.labels.tolist()
        assert_close(target["boxes"], 2 * graph.boxes)


def test_names_of_the_losses() -> None:
    """The box loss of RPN trains its own head, not that of the regions."""
    detector = tiny_detector().train()
    losses = detector.losses(photos((64, 64)), truth_of(2))
    losses["rpn_box"].backward(retain_graph=True)
    assert detector.rpn.head.bbox_pred.weight.grad is not None
    assert detector.roi_heads.box_predictor.bbox_pred.weight.grad is None
    losses["roi_box"].backward(retain_graph=True)
    assert detector.roi_heads.box_predictor.bbox_pred.weight.grad is not None


def test_samples_are_faster_r_cnn_s() -> None:
    """Anchors from IoU 0.7, regions from 0.5; half and a quarter of them objects (Ren et al.)."""
    detector = tiny_detector()
    rpn, heads = detector.rpn, detector.roi_heads
    assert (rpn.proposal_matcher.high_threshold, rpn.proposal_matcher.low_threshold) == (0.7, 0.3)
    assert (rpn.fg_bg_sampler.batch_size_per_image, rpn.fg_bg_sampler.positive_fraction) == (
        256,
        0.5,
    )
    assert heads.proposal_matcher.high_threshold == heads.proposal_matcher.low_threshold == 0.5
    sampler = heads.fg_bg_sampler
    assert (sampler.batch_size_per_image, sampler.positive_fraction) == (8, 0.25)
