"""Small layers and grouped reductions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.layers import (
    RowNorm,
    activation_layer,
    first_per_group,
    mlp,
    segment_mean,
    segment_softmax,
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relu", [0.0, 2.0]),
        ("leakyrelu-0.2", [-0.2, 2.0]),
        ("leakyrelu", [-0.01, 2.0]),
        ("none", [-1.0, 2.0]),
        ("gelu", [-0.158655, 1.954500]),
    ],
)
def test_activations_by_hand(name: str, expected: list[float]) -> None:
    out = activation_layer(name)(torch.tensor([-1.0, 2.0]))
    assert_close(out, torch.tensor(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["tanh", "leakyrelu-", "leakyrelu-x", "relu-3", ""])
def test_unknown_activation(name: str) -> None:
    with pytest.raises(InputError) as error:
        activation_layer(name)
    expected = "relu, leakyrelu-<slope>, gelu or none"
    assert str(error.value) == f"activation: expected {expected}, got {name!r}"


def test_mlp_layers() -> None:
    kinds = [type(layer) for layer in mlp((3, 4, 5, 2), dropout=0.5)]
    between = [nn.Linear, nn.ReLU, nn.Dropout]
    assert kinds == [*between, *between, nn.Linear]
    assert [type(layer) for layer in mlp((3, 2), final_activation=True)] == [nn.Linear, nn.ReLU]
    assert mlp((3, 4, 2))(torch.zeros(2, 0, 3)).shape == (2, 0, 2)


def test_a_bias_before_batch_norm_has_a_gradient_in_evaluation_mode_alone() -> None:
    torch.manual_seed(0)
    layers = mlp((2, 3, 1), batch_norm=True)
    plain = nn.Sequential(nn.Linear(2, 3), RowNorm(3), nn.ReLU(), nn.Linear(3, 1))
    plain.load_state_dict(layers.state_dict())  # the same names
    rows = torch.randn(4, 2)
    expected, gradients = gradients_by_name(plain, rows), gradients_by_name(layers, rows)
    assert_close(expected.pop("0.bias"), torch.zeros(3), atol=1e-6, rtol=0)
    assert_close(gradients, expected, atol=0, rtol=0)
    assert_close(dict(layers.state_dict()), dict(plain.state_dict()), atol=0, rtol=0)
    expected = gradients_by_name(plain.eval(), rows)
    assert_close(gradients_by_name(layers.eval(), rows), expected, atol=0, rtol=0)
    assert expected["0.bias"].abs().sum() > 0


def gradients_by_name(net: nn.Module, rows: torch.Tensor) -> dict[str, torch.Tensor]:
    """The gradients of the sum of outputs, of the parameters that have one."""
    net.zero_grad()
    net(rows).sum().backward()
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


def test_a_single_row_is_normalized_by_the_running_statistics() -> None:
    norm = RowNorm(2)
    norm.running_mean, norm.running_var = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 1.0])
    row = torch.tensor([[5.0, 2.0]], requires_grad=True)
    assert_close(norm(row), torch.tensor([[2.0, 0.0]]), atol=1e-4, rtol=0)
    norm(row).sum().backward()
    assert row.grad is not None
    assert_close(row.grad, torch.tensor([[0.5, 1.0]]), atol=1e-4, rtol=0)
    assert_close(norm.running_mean, torch.tensor([1.0, 2.0]))
    assert_close(norm.eval()(row), torch.tensor([[2.0, 0.0]]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("count", [0, 2, 5])
def test_more_rows_are_normalized_as_torch_does(count: int) -> None:
    rows = torch.randn(count, 3)
    ours, theirs = RowNorm(3), nn.BatchNorm1d(3)
    assert_close(ours(rows), theirs(rows))
    assert_close(ours.state_dict(), theirs.state_dict())


def test_segment_mean_by_hand() -> None:
    values = torch.tensor([[1.0, 2], [3, 4], [5, 6]], requires_grad=True)
    means = segment_mean(values, torch.tensor([2, 0, 2]), 4)
    assert_close(means, torch.tensor([[3.0, 4], [0, 0], [3, 4], [0, 0]]))
    means.sum().backward()
    assert_close(values.grad, torch.tensor([[0.5, 0.5], [1, 1], [0.5, 0.5]]))


def test_segment_mean_of_nothing() -> None:
    values = torch.zeros(0, 2, 3, requires_grad=True)
    means = segment_mean(values, torch.zeros(0, dtype=torch.int64), 2)
    assert_close(means, torch.zeros(2, 2, 3))
    means.sum().backward()
    assert values.grad is not None
    assert segment_mean(values, torch.zeros(0, dtype=torch.int64), 0).shape == (0, 2, 3)


groups = st.lists(st.integers(0, 3), max_size=12)


@settings(max_examples=60, deadline=None)
@given(groups, st.integers(0, 100))
def test_segment_mean_against_a_loop(group: list[int], seed: int) -> None:
    values = torch.randn(len(group), 2, generator=torch.Generator().manual_seed(seed))
    index = torch.tensor(group, dtype=torch.int64)
    expected = torch.zeros(4, 2)
    for g in range(4):
        rows = [values[i] for i in range(len(group)) if group[i] == g]
        if rows:
            expected[g] = sum(rows) / len(rows)
    assert_close(segment_mean(values, index, 4), expected)


@settings(max_examples=60, deadline=None)
@given(groups, st.integers(0, 5))
def test_first_per_group_against_a_loop(group: list[int], count: int) -> None:
    expected = [
        i for g in range(5) for i in [k for k in range(len(group)) if group[k] == g][:count]
    ]
    index = torch.tensor(group, dtype=torch.int64)
    assert first_per_group(index, 5, count).tolist() == expected


def test_segment_softmax_by_hand() -> None:
    scores = torch.tensor([0.0, 5.0, math.log(3.0), 1000.0, 1000.0], requires_grad=True)
    index = torch.tensor([2, 0, 2, 3, 3])
    shares = segment_softmax(scores, index, 5)
    assert_close(shares, torch.tensor([0.25, 1.0, 0.75, 0.5, 0.5]))
    shares[0].backward()
    assert_close(scores.grad, torch.tensor([0.1875, 0.0, -0.1875, 0.0, 0.0]))
    assert segment_softmax(torch.zeros(0), index[:0], 3).shape == (0,)
