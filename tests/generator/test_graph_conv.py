"""The graph convolution against its formula, written out edge by edge."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from autoenc_sg.generator.graph_conv import GraphTripleConv, GraphTripleConvNet, Pooling


def _inputs(n: int, m: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    pairs = torch.randint(max(n, 1), (m, 2), generator=rng)
    return (
        torch.randn(n, 3, generator=rng),
        torch.randn(m, 3, generator=rng),
        pairs,
        torch.rand(m, generator=rng),
    )


def _layer(pooling: Pooling = "avg") -> GraphTripleConv:
    torch.manual_seed(1)
    return GraphTripleConv(3, 4, 5, pooling)


def _by_edges(
    layer: GraphTripleConv, objects: Tensor, predicates: Tensor, pairs: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    pooled, total = torch.zeros(len(objects), 5), torch.zeros(len(objects))
    out = []
    for (s, o), predicate, weight in zip(pairs.tolist(), predicates, weights):
        message = layer.net1(torch.cat([objects[s], predicate, objects[o]]))
        pooled[s] += weight * message[:5]
        pooled[o] += weight * message[9:]
        total[s] += weight
        total[o] += weight
        out.append(message[5:9])
    if layer.pooling == "avg":
        pooled = pooled / total.clamp(min=1)[:, None]
    return layer.net2(pooled), torch.stack(out)


def test_hand_computed_messages() -> None:
    # One number per vector; net1 gives (s + p, p, p + o), net2 the identity; all are positive.
    layer = GraphTripleConv(1, 1, 1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.net1[0] = torch.nn.Identity()
        layer.net1[2] = torch.nn.Linear(3, 3, bias=False)
        layer.net1[2].weight.copy_(torch.tensor([[1.0, 1, 0], [0, 1, 0], [0, 1, 1]]))
        layer.net2[0].weight.fill_(1)
        layer.net2[2].weight.fill_(1)
    objects = torch.tensor([[1.0], [2], [4], [9]])
    predicates = torch.tensor([[10.0], [20]])
    pairs = torch.tensor([[0, 1], [1, 2]])
    with torch.no_grad():
        unit, edges = layer(objects, predicates, pairs, torch.ones(2))
        weighted, _ = layer(objects, predicates, pairs, torch.tensor([0.5, 1.0]))
    # node 0: 1 + 10; node 1: mean of 10 + 2 and 2 + 20; node 2: 20 + 4; node 3: no edge
    torch.testing.assert_close(unit[:, 0], torch.tensor([11.0, 17, 24, 0]))
    torch.testing.assert_close(edges[:, 0], torch.tensor([10.0, 20]))
    # node 0: 0.5 * 11 / max(0.5, 1); node 1: (0.5 * 12 + 22) / 1.5
    torch.testing.assert_close(weighted[:, 0], torch.tensor([5.5, 28 / 1.5, 24, 0]))


@pytest.mark.parametrize("pooling", ["avg", "sum"])
@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 6), m=st.integers(1, 12), seed=st.integers(0, 99))
def test_equals_the_loop_over_edges(pooling: Pooling, n: int, m: int, seed: int) -> None:
    layer, inputs = _layer(pooling), _inputs(n, m, seed)
    for got, expected in zip(layer(*inputs), _by_edges(layer, *inputs)):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("pooling", ["avg", "sum"])
def test_an_edge_of_weight_zero_is_no_edge(pooling: Pooling) -> None:
    objects, predicates, pairs, weights = _inputs(4, 6)
    weights = torch.tensor([1.0, 0, 1, 0, 0.5, 1])
    has_weight = weights > 0
    layer = _layer(pooling)
    with_zeros, _ = layer(objects, predicates, pairs, weights)
    without, _ = layer(objects, predicates[has_weight], pairs[has_weight], weights[has_weight])
    torch.testing.assert_close(with_zeros, without)


def test_renumbering_objects_and_edges() -> None:
    objects, predicates, pairs, weights = _inputs(5, 7)
    layer = _layer()
    out, edges = layer(objects, predicates, pairs, weights)
    order, edge_order = torch.randperm(5), torch.randperm(7)
    place = torch.argsort(order)
    again, edges_again = layer(
        objects[order], predicates[edge_order], place[pairs[edge_order]], weights[edge_order]
    )
    torch.testing.assert_close(again, out[order])
    torch.testing.assert_close(edges_again, edges[edge_order])


@pytest.mark.parametrize(("n", "m"), [(0, 0), (3, 0)])
def test_empty_graphs_with_backward(n: int, m: int) -> None:
    objects, predicates, pairs, weights = _inputs(n, m)
    net = GraphTripleConvNet(3, 5, layers=2)
    out, edges = net(objects.requires_grad_(), predicates, pairs, weights)
    (out.sum() + edges.sum()).backward()
    assert out.shape == (n, 3)
    assert edges.shape == (0, 3)
    assert objects.grad is not None
    assert all(p.grad is not None for p in net.parameters())


def test_gradient_reaches_everything() -> None:
    inputs = _inputs(4, 6)
    objects, predicates, pairs, weights = (
        t.requires_grad_() if t.is_floating_point() else t for t in inputs
    )
    torch.manual_seed(0)
    net = GraphTripleConvNet(3, 16, layers=2)
    out, edges = net(objects, predicates, pairs, weights)
    (out.square().sum() + edges.square().sum()).backward()
    for tensor in (objects, predicates, weights, *net.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0
