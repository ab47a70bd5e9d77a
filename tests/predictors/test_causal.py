"""Branches of context, union box and labels, and the effects between them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from autoenc_sg.config.predictor import HeadName, MotifsConfig, PredictorConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.predictors.build import build_predictor
from autoenc_sg.predictors.parts.causal import CausalEffect
from autoenc_sg.predictors.parts.frequency_bias import FrequencyBias
from tests.support.graphs import C, D, P, random_pairs, random_regions, seeded

S, DIM = 3, 8
PAIRS = torch.tensor([[0, 1]])


def toy(form: Any, effect: Any) -> tuple[CausalEffect, FrequencyBias]:
    """Two predicates, two classes; one number for the context, one for the union box.

    W_x x = (x, 2 x), W_v v = (v, 0), W_g x = (0, x); b is 1 for predicate 1 between classes 1.
    """
    net, bias = CausalEffect(form, effect, 1, 3, 2), FrequencyBias(3, 2)
    layers: list[tuple[Any, list[float]]] = [(net.context, [1.0, 2.0]), (net.visual, [1.0, 0.0])]
    layers += [(net.gate, [0.0, 1.0])] if form == "gate" else []
    with torch.no_grad():
        for layer, weights in layers:
            layer.weight.copy_(torch.tensor(weights)[:, None])
            layer.bias.zero_()
        bias.table.weight[1 * 3 + 1, 1] = 1
        net.mean_context.fill_(-1)
        net.mean_classes.copy_(torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]))
    return net.eval(), bias


def results(form: str, effect: str) -> Tensor:
    """x = 3, v = 2; subject certainly class 1, object 1 or 2, a little more likely 1."""
    net, bias = toy(form, effect)
    objects = torch.tensor([[-100.0, 50.0, -100.0], [-100.0, math.log(3.0), 0.0]])
    logits, branches = net(torch.tensor([[3.0]]), torch.tensor([[2.0]]), bias, objects, PAIRS)
    assert (branches == ()) is (effect != "none")
    return logits[0]  # type: ignore[no-any-return]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_the_sum_by_hand() -> None:
    assert_close(results("sum", "none"), torch.tensor([3 + 2.0, 6 + 1.0]))  # best labels: b = 1
    # the effect of the context: W_x (x - x'), whatever the labels
    assert_close(results("sum", "tde"), torch.tensor([4.0, 8.0]))
    # labels: b is 3/4 on average; x' with z' of a subject of class 2: 0
    assert_close(results("sum", "nie"), torch.tensor([0.0, 0.75]))
    assert_close(results("sum", "te"), torch.tensor([4.0, 8.75]))


def test_the_gate_by_hand() -> None:
    plain = torch.tensor([3 * sigmoid(2), 6 * sigmoid(1 + 3)])
    assert_close(results("gate", "none"), plain)
    with_own = torch.tensor([3 * sigmoid(2), 6 * sigmoid(0.75 + 3)])
    without = torch.tensor([-1 * sigmoid(2), -2 * sigmoid(0.75 - 1)])
    neither = torch.tensor([-1 * sigmoid(2), -2 * sigmoid(0 - 1)])
    assert_close(results("gate", "tde"), with_own - without)
    assert_close(results("gate", "nie"), without - neither)
    assert_close(results("gate", "te"), with_own - neither)


def test_means_follow_the_batches() -> None:
    net, bias = toy("sum", "none")
    net.train()
    objects = torch.tensor([[0.0, 50.0, -50.0], [0.0, 50.0, -50.0]])
    for value, expected in ((2.0, 2.0), (4.0, 2.0 + 0.0005 * 2)):
        context = torch.tensor([[value]])
        net(context, torch.zeros(1, 1), bias, objects, PAIRS)
        assert_close(net.mean_context, torch.tensor([expected]))
    assert_close(net.mean_classes[:, 1], torch.ones(2))
    net(torch.zeros(0, 1), torch.zeros(0, 1), bias, objects, PAIRS[:0])
    assert int(net.num_updates) == 2
    net.eval()(torch.ones(1, 1), torch.zeros(1, 1), bias, objects, PAIRS)
    assert int(net.num_updates) == 2


@pytest.mark.parametrize("name", ["motifs", "transformer"])
@pytest.mark.parametrize(("form", "branches"), [("gate", 1), ("sum", 3)])
def test_heads_with_branches(name: HeadName, form: Any, branches: int) -> None:
    torch.manual_seed(0)
    config = PredictorConfig(name, DIM, dropout=0.0, causal=form, effect="tde")
    net = build_predictor(config, D, S, C, P)
    assert net.frequency_bias is not None
    torch.nn.init.normal_(net.frequency_bias.table.weight)
    for counts in ([3, 0, 2], [1], [0]):
        regions = random_regions(counts)
        pairs = random_pairs(regions, 3)
        unions = torch.randn(len(pairs), D, S, S, generator=seeded(1))
        net.zero_grad()
        trained = net.train()(regions, pairs, unions)
        assert [logits.shape for logits in trained.auxiliary_logits] == [(len(pairs), P)] * branches
        total = trained.predicate_logits.sum() + trained.object_logits.sum()
        total.backward()
        assert all(p.grad is not None for p in net.parameters())
        used = net.eval()(regions, pairs, unions)
        assert used.auxiliary_logits == ()
        assert used.predicate_logits.shape == (len(pairs), P)
        if len(pairs):
            assert not torch.allclose(used.predicate_logits, trained.predicate_logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"causal": "sum"}, r"predictor\.causal: expected none unless .* is motifs or transformer"),
        ({"effect": "tde"}, r"predictor\.effect: expected none if predictor\.causal is none"),
    ],
)
def test_options_without_effect_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PredictorConfig("imp", **options)


def test_the_branch_of_the_union_box_cannot_be_left_out() -> None:
    blind = MotifsConfig(vision=False)
    with pytest.raises(InputError, match=r"predictor\.motifs\.vision: expected true with .*causal"):
        PredictorConfig("motifs", causal="sum", motifs=blind)
    assert not PredictorConfig("motifs", motifs=blind).motifs.vision


def test_another_head_has_branches_if_it_may() -> None:
    config = PredictorConfig("motifs", causal="gate", effect="tde")
    assert config.of_head("transformer").causal == "gate"
    assert config.of_head("imp") == PredictorConfig("imp")
