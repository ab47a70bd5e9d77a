"""What makes a step independent of the number of processes, in one process."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn
from torch.testing import assert_close

from autoenc_sg.config.files import load_config
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.layers import ImageRandom, RowNorm, dropout, mlp
from autoenc_sg.data.loading import BatchPlan
from autoenc_sg.detector.sampling import ImageSampler
from autoenc_sg.training.parallel import batch_norm
from autoenc_sg.training.parallel.batch_norm import GlobalBatchNorm2d, replace_batch_norm
from autoenc_sg.training.parallel.fabric import make_fabric
from autoenc_sg.training.parallel.loss_terms import Term, total_losses


@pytest.mark.parametrize(
    "option", ["devices=0", "devices=two", "accelerator=abacus", "strategy=none"]
)
def test_a_runtime_that_is_not_there_is_refused_in_one_line(option: str) -> None:
    name, value = option.split("=")
    config = load_config("demo", ["--runtime.accelerator=cpu", f"--runtime.{option}"])
    with pytest.raises(InputError, match=f"runtime: expected .*{name} '?{value}") as refused:
        make_fabric(config)
    assert "\n" not in str(refused.value)


def test_numbers_of_an_image_follow_from_its_seed_alone() -> None:
    index = torch.tensor([0, 1, 0, 2, 1])
    drawn = ImageRandom([7, 8, 9]).uniform(index, 3)
    assert drawn.shape == (5, 3)
    alone = ImageRandom([8])
    assert_close(drawn[[1, 4]], alone.uniform(torch.zeros(2, dtype=torch.int64), 3))
    again = alone.uniform(torch.zeros(2, dtype=torch.int64), 3)
    assert not torch.equal(again, drawn[[1, 4]])  # the stream goes on
    assert ImageRandom([7]).uniform(torch.zeros(0, dtype=torch.int64)).shape == (0,)


def test_dropout_by_hand() -> None:
    layers = mlp((1, 1, 1), dropout=0.5).train()
    for layer in (layers[0], layers[3]):
        assert isinstance(layer, nn.Linear)
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
    numbers = torch.tensor([[0.4], [0.5], [0.9]])
    out = dropout(layers, torch.ones(3, 1), lambda width: numbers[:, :width])
    assert_close(out, torch.tensor([[0.0], [2.0], [2.0]]))
    assert_close(dropout(layers.eval(), torch.ones(3, 1), lambda _: numbers), torch.ones(3, 1))


def test_samples_of_an_image_do_not_depend_on_the_others() -> None:
    labels = [torch.tensor([1, 0, 0, -1, 2, 0, 1, 0]), torch.zeros(50).long(), torch.ones(9).long()]
    sampler = ImageSampler(4, 0.5)
    sampler.random = ImageRandom([1, 2, 3])
    positive, negative = sampler(labels)
    assert [int(mask.sum()) for mask in positive] == [2, 0, 2]
    assert [int(mask.sum()) for mask in negative] == [2, 4, 0]
    assert sampler.num_sampled == 10
    for image, mask in enumerate(positive):
        assert bool((labels[image][mask.bool()] > 0).all())
    sampler.random = ImageRandom([2])
    assert torch.equal(sampler(labels[1:2])[1][0], negative[1])


def test_shares_make_the_mean_of_processes_the_mean_of_the_batch() -> None:
    values = torch.tensor([1.0, 2, 6])
    parts, total = (values[:2], values[2:]), len(values)
    losses = []
    for part in parts:
        terms = {"a": [Term(part.mean(), len(part)), Term(part.sum() * 0 + 4, 1)]}
        losses.append(total_losses(terms, lambda counts: [2 * counts[0] / total, 1.0])["a"])
    assert_close(torch.stack(losses).mean(), values.mean() + 4)
    assert_close(total_losses({"a": [Term(values.mean(), 3)]})["a"], values.mean())


def test_a_process_without_an_image_takes_one_of_the_others() -> None:
    plans = [list(BatchPlan(5, 1, 3, 0, rank=rank, world=3)) for rank in range(3)]
    assert plans[0] == plans[1] == plans[2]
    assert [len(batch) for batch in plans[1]] == [1, 1, 1]
    uneven = [list(BatchPlan(5, 3, 2, 0, rank=rank, world=2)) for rank in range(2)]
    assert [len(batch) for batch in uneven[0] + uneven[1]] == [2, 2, 1, 1]


class OtherProcess:
    """Stands for `torch.distributed`: the sum of this process's values and another's."""

    def __init__(self, others: list[torch.Tensor]) -> None:
        self.others = others

    def all_reduce(self, values: torch.Tensor) -> None:
        values += self.others.pop(0)


@pytest.mark.parametrize("is_counted", [True, False])
def test_batch_norm_over_two_processes_by_hand(
    monkeypatch: pytest.MonkeyPatch, is_counted: bool
) -> None:
    # This process has 1 and 3, the other 5 and 7; or this one's do not count.
    mean, squares = (4.0, 10.0) if is_counted else (6.0, 2.0)
    others = [torch.tensor([12.0, 2.0]), torch.tensor([(5 - mean) ** 2 + (7 - mean) ** 2])]
    other: Any = OtherProcess(others)
    monkeypatch.setattr(batch_norm, "distributed", other)
    net = nn.Sequential(nn.BatchNorm1d(1))
    replace_batch_norm(net, is_counted)
    norm = net[0]
    assert isinstance(norm, nn.BatchNorm1d)
    count = 4 if is_counted else 2
    total = 20.0 if is_counted else 2.0
    assert others[1].item() == (10.0 if is_counted else squares)
    out = net(torch.tensor([[1.0], [3.0]]))
    deviation = (total / count + norm.eps) ** 0.5
    assert_close(out, torch.tensor([[(1 - mean) / deviation], [(3 - mean) / deviation]]))
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert_close(norm.running_mean, torch.tensor([0.1 * mean]))
    assert_close(norm.running_var, torch.tensor([0.9 + 0.1 * total / (count - 1)]))
    assert norm.num_batches_tracked is not None
    assert int(norm.num_batches_tracked) == 1


def test_replaced_batch_norms_share_weights_and_are_pytorchs_in_one_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone: Any = type("Alone", (), {"all_reduce": staticmethod(lambda values: None)})
    monkeypatch.setattr(batch_norm, "distributed", alone)
    torch.manual_seed(0)
    before = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4)), nn.ReLU())
    after = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4)), nn.ReLU())
    after.load_state_dict(before.state_dict())
    weight = after[1][0].weight  # type: ignore[index, union-attr]
    replace_batch_norm(after)
    replace_batch_norm(after)
    assert after[1][0].weight is weight  # type: ignore[index, union-attr]
    assert after.state_dict().keys() == before.state_dict().keys()
    images = torch.randn(2, 3, 6, 6)
    gradients = []
    for net in (before, after):
        net.train()(images).square().sum().backward()
        gradients.append([parameter.grad for parameter in net.parameters()])
    assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-4)
    assert_close(dict(before.state_dict()), dict(after.state_dict()))
    assert_close(before.eval()(images), after.eval()(images))


def test_one_row_of_all_processes_is_normalized_as_in_evaluation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone: Any = type("Alone", (), {"all_reduce": staticmethod(lambda values: None)})
    monkeypatch.setattr(batch_norm, "distributed", alone)
    net = nn.Sequential(RowNorm(2))
    replace_batch_norm(net)
    for rows in (torch.ones(1, 2), torch.ones(0, 2)):
        assert_close(net(rows), rows / (1 + 1e-5) ** 0.5)


def test_layers_inside_a_replaced_batch_norm_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    # timm's batch norm holds the activation that follows it.
    alone: Any = type("Alone", (), {"all_reduce": staticmethod(lambda values: None)})
    monkeypatch.setattr(batch_norm, "distributed", alone)
    torch.manual_seed(0)
    before = nn.Sequential(BatchNormAct2d(3, act_layer=nn.PReLU))
    after = deepcopy(before)
    replace_batch_norm(after)
    assert type(after[0]) is GlobalBatchNorm2d
    assert after.state_dict().keys() == before.state_dict().keys()
    images = torch.randn(2, 3, 4, 4)
    assert_close(after(images), before(images), rtol=1e-4, atol=1e-5)
    assert_close(after.eval()(images), before.eval()(images))
