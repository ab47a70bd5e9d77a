"""Iterative message passing."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from autoenc_sg.config.predictor import ImpConfig, PredictorConfig
from autoenc_sg.predictors.imp import ImpPredictor, Messages
from tests.support.graphs import C, D, P, random_pairs, random_regions, seeded


def test_messages_of_half_open_gates_by_hand() -> None:
    layer = Messages(2)
    for parameter in layer.parameters():
        torch.nn.init.zeros_(parameter)  # each gate is 1/2
    objects = torch.tensor([[2.0, 0.0], [0.0, 4.0], [6.0, 6.0]])
    relations = torch.tensor([[1.0, 1.0], [3.0, 5.0]])
    pairs = torch.tensor([[0, 1], [1, 0]])
    to_objects, to_relations = layer(objects, relations, pairs)
    assert_close(to_relations, torch.tensor([[1.0, 2.0], [1.0, 2.0]]))
    assert_close(to_objects, torch.tensor([[2.0, 3.0], [2.0, 3.0], [0.0, 0.0]]))
    layer.mean = True
    to_objects, _ = layer(objects, relations, pairs)
    assert_close(to_objects, torch.tensor([[1.0, 1.5], [1.0, 1.5], [0.0, 0.0]]))


@pytest.mark.parametrize("pooling", ["sum", "mean"])
def test_two_rounds_against_a_loop(pooling: str) -> None:
    torch.manual_seed(0)
    options = ImpConfig(pooling)  # type: ignore[arg-type]
    net = ImpPredictor(PredictorConfig("imp", 8, steps=2, imp=options), D, C, P).eval()
    regions = random_regions([3, 0, 3])
    pairs = random_pairs(regions, 4)
    unions = torch.randn(len(pairs), D, 3, 3, generator=seeded(1))
    logits = net(regions, pairs, unions)
    h = list(net.object_gru(net.object_in(regions)))
    e = list(net.relation_gru(net.union_in(regions, pairs.pairs, unions).mean((2, 3))))
    gates, ends = net.messages, pairs.pairs.tolist()
    for _ in range(2):
        m_k, m_i = [], [torch.zeros(8) for _ in h]
        counts = [0] * len(h)
        for k, (i, j) in enumerate(ends):
            subject, object_ = torch.cat([h[i], e[k]]), torch.cat([h[j], e[k]])
            g_s, g_o = gates.subject_gate(subject), gates.object_gate(object_)
            m_k.append(g_s.sigmoid() * h[i] + g_o.sigmoid() * h[j])
            m_i[i] = m_i[i] + gates.outgoing_gate(subject).sigmoid() * e[k]
            m_i[j] = m_i[j] + gates.incoming_gate(object_).sigmoid() * e[k]
            counts[i], counts[j] = counts[i] + 1, counts[j] + 1
        if pooling == "mean":
            m_i = [m / max(n, 1) for m, n in zip(m_i, counts)]
        e = [net.relation_gru(m[None], old[None])[0] for m, old in zip(m_k, e)]
        h = [net.object_gru(m[None], old[None])[0] for m, old in zip(m_i, h)]
    classes = regions.class_logits + net.object_classifier(torch.stack(h))
    assert_close(logits.object_logits, classes, atol=1e-5, rtol=1e-4)
    predicates = net.relation_classifier(torch.stack(e))
    assert_close(logits.predicate_logits, predicates, atol=1e-5, rtol=1e-4)


def test_three_rounds_unless_another_number_is_given() -> None:
    assert PredictorConfig("imp").rounds == 3
    assert PredictorConfig("imp", steps=2).rounds == 2
    assert PredictorConfig("gcn").rounds == 2
    assert PredictorConfig("vanilla").rounds == 0
