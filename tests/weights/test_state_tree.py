"""Nested states to flat tensors and JSON, and back."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

from autoenc_sg.core.errors import InputError
from autoenc_sg.weights.state_tree import flatten_state, unflatten_state


def there_and_back(state: dict[str, Any]) -> dict[str, Any]:
    tensors, structure = flatten_state(state)
    return unflatten_state(tensors, json.loads(json.dumps(structure)), "here")


def test_names_and_structure_by_hand() -> None:
    moment = torch.ones(2)
    tensors, structure = flatten_state({"adam": {"state": {0: {"m": moment}}, "betas": (0.9, 1)}})
    assert tensors == {"adam.state.0.m": moment}
    state = {"dict": [[0, {"dict": [["m", {"tensor": "adam.state.0.m"}]]}]]}
    adam = {"dict": [["state", state], ["betas", {"tuple": [0.9, 1]}]]}
    assert structure == {"dict": [["adam", adam]]}


def test_values_types_and_keys_come_back() -> None:
    state = {
        "plain": [1, -0.0, math.pi, 1e-320, True, None, "dict", ""],
        "nested": {"a": ({}, [], ()), 3: {"dict": {"tensor": "x"}}, None: 0},
        "": "empty key",
    }
    back = there_and_back(state)
    assert back == state
    assert [type(value) for value in back["plain"]] == [type(value) for value in state["plain"]]
    assert type(back["nested"]["a"]) is tuple
    assert math.copysign(1, back["plain"][1]) == -1
    assert there_and_back({}) == {}
    infinite = there_and_back({"a": [math.inf, math.nan]})["a"]
    assert infinite[0] == math.inf
    assert math.isnan(infinite[1])


def test_paths_that_coincide_stay_apart() -> None:
    one, two = torch.zeros(1), torch.ones(1)
    state = {"a.b": one, "a": {"b": two}}
    tensors, _ = flatten_state(state)
    assert len(tensors) == 2
    back = there_and_back(state)
    assert torch.equal(back["a.b"], one)
    assert torch.equal(back["a"]["b"], two)


def test_an_optimizer_goes_on_as_before() -> None:
    def trained(steps: int, state: dict[str, Any] | None = None) -> tuple[torch.Tensor, Any]:
        weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
        adam = torch.optim.Adam([weight], 0.1)
        if state is not None:
            with torch.no_grad():
                weight.copy_(state["weight"])
            adam.load_state_dict(state["adam"])
        for _ in range(steps):
            adam.zero_grad()
            (weight**2).sum().backward()
            adam.step()
        return weight.detach(), adam.state_dict()

    weight, adam = trained(2)
    resumed, _ = trained(3, there_and_back({"weight": weight, "adam": adam}))
    assert torch.equal(resumed, trained(5)[0])


def test_other_values_are_refused_with_their_path() -> None:
    with pytest.raises(TypeError, match=r"a\.1: no set in a saved state"):
        flatten_state({"a": [0, {1}]})


@pytest.mark.parametrize(
    "structure",
    [[], 3, {}, {"a": 1}, {"dict": [1]}, {"dict": [["a"]]}, {"dict": [["a", {"tensor": "x"}]]},
     {"dict": [[[], 1]]}, {"dict": [["a", {"tensor": []}]]}, {"tuple": 3}, {"dict": [], "b": 1}],
)  # fmt: skip
def test_other_structures_are_refused(structure: Any) -> None:
    with pytest.raises(InputError, match="here: expected a saved state, got"):
        unflatten_state({}, structure, "here")
