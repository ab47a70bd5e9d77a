"""Losses and logits that know how often each predicate occurs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from autoenc_sg.config.predicate_loss import PredicateLossConfig
from autoenc_sg.config.predictor import PredictorConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.predictors.frequency import FrequencyPredictor
from autoenc_sg.predictors.parts.long_tail import (
    class_weights,
    logit_adjustment,
    predicate_losses,
)
from tests.predictors.test_frequency import THREE_IMAGES
from tests.support.graphs import C, D, P, random_pairs, random_regions

COUNTS = torch.tensor([1000.0, 16, 4, 0])
LOGITS = torch.tensor([[0.0, math.log(3.0), 0.0, 0.0], [2.0, 0.0, 1.0, -1.0]])
TARGET = torch.tensor([1, 2])


def losses(**options: Any) -> torch.Tensor:
    return predicate_losses(LOGITS, TARGET, PredicateLossConfig(**options), COUNTS)


def test_plain_cross_entropy_unless_asked() -> None:
    assert_close(losses(), F.cross_entropy(LOGITS, TARGET, reduction="none"))
    assert_close(losses()[0], torch.tensor(math.log(2.0)))


def test_weights_by_hand() -> None:
    """A predicate that never occurs counts as one that did once: 16, 4, 1, 21 triples."""
    weights = class_weights(COUNTS, PredicateLossConfig(class_weights="inverse_sqrt"))
    scale = (4 + 2 + 1) / 21  # the mean of 1 / sqrt(n) over the triples
    assert_close(weights, torch.tensor([1, 1 / 4, 1 / 2, 1.0]) / torch.tensor([1, *[scale] * 3]))
    balanced = class_weights(COUNTS, PredicateLossConfig(class_weights="balanced", beta=0.5))
    plain = torch.tensor([0.5 / (1 - 0.5**16), 0.5 / (1 - 0.5**4), 1.0])
    mean = (plain * torch.tensor([16.0, 4, 1])).sum() / 21
    assert_close(balanced, torch.cat([torch.ones(1), plain / mean]))
    assert_close(class_weights(COUNTS, PredicateLossConfig()), torch.ones(4))
    assert_close(
        losses(class_weights="inverse_sqrt")[0], math.log(2.0) / 4 / scale * torch.ones(())
    )


def test_focal_and_smoothing_by_hand() -> None:
    p = 0.5  # of the true predicate of the first pair
    assert_close(losses(focal=2.0)[0], torch.tensor((1 - p) ** 2 * math.log(2.0)))
    smooth = 0.9 * math.log(2.0) + 0.1 / 4 * (math.log(2.0) + 3 * math.log(6.0))
    assert_close(losses(label_smoothing=0.1)[0], torch.tensor(smooth))


def test_a_sure_prediction_has_a_finite_focal_gradient() -> None:
    logits = torch.tensor([[0.0, 200.0, 0.0, 0.0]], requires_grad=True)
    loss = predicate_losses(logits, torch.tensor([1]), PredicateLossConfig(focal=0.5))
    loss.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_adjustment_by_hand() -> None:
    added = logit_adjustment(COUNTS, 2.0)
    shares = torch.tensor([16 / 21, 4 / 21, 1 / 21])
    entropy = -(shares * shares.log()).sum()
    assert_close(added, torch.cat([torch.zeros(1), 2 * (shares.log() + entropy)]))
    assert_close((shares * added[1:]).sum(), torch.tensor(0.0))
    expected = F.cross_entropy(LOGITS + added, TARGET, reduction="none")
    assert_close(losses(logit_adjustment=2.0), expected)
    plain = F.cross_entropy(LOGITS, TARGET, reduction="none")
    assert_close(losses(logit_adjustment=2.0, adjusted="use"), plain)


def test_the_adjustment_in_use() -> None:
    regions = random_regions([3])
    pairs = random_pairs(regions, 4)
    unions = torch.zeros(4, D, 3, 3)
    loss = PredicateLossConfig(logit_adjustment=1.0, adjusted="use")
    config = PredictorConfig("frequency", loss=loss)
    net = FrequencyPredictor(config, C, P)
    net.fit_frequency(THREE_IMAGES)
    assert net.predicate_counts is not None
    assert net.predicate_counts[1:].tolist() == [2, 0, 1]
    trained = net(regions, pairs, unions).predicate_logits
    used = net.eval()(regions, pairs, unions).predicate_logits
    assert_close(used, trained - logit_adjustment(net.predicate_counts, 1.0))
    plain = FrequencyPredictor(replace(config, loss=PredicateLossConfig()), C, P)
    assert plain.predicate_counts is None
    assert "predicate_counts" not in plain.state_dict()


@pytest.mark.parametrize(
    ("option", "value"),
    [("beta", 1.0), ("focal", -1.0), ("label_smoothing", 1.0), ("positive_fraction", 0.0)],
)
def test_values_out_of_range(option: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"predictor\.loss\.{option}: expected"):
        PredicateLossConfig(**{option: value})  # type: ignore[arg-type]
