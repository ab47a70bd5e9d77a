"""The discriminator of relations: what it sees of a picture."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from autoenc_sg.config.model import GeneratorConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.images import IMAGENET_MEAN, IMAGENET_STD
from autoenc_sg.generator import RelationDiscriminator, with_image_relations
from tests.support.gradients import assert_all_but_biases_before_norms_have_gradients

CONFIG = GeneratorConfig(object_discriminator_dims=(4, 6), object_size=16)
SUBJECTS = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.2, 0.1, 0.4, 0.9], [0.0, 0.0, 1.0, 1.0]])
OBJECTS = torch.tensor([[0.5, 0.5, 1.0, 1.0], [0.1, 0.3, 0.8, 0.5], [0.0, 0.0, 1.0, 1.0]])
BOXES = torch.stack([SUBJECTS, OBJECTS], 1)
INDEX = torch.tensor([0, 1, 1])


def network() -> RelationDiscriminator:
    torch.manual_seed(0)
    return RelationDiscriminator(CONFIG, 5).eval()


def pictures() -> Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_its_input_is_the_crop_and_both_boxes() -> None:
    net, seen = network(), []
    net.cnn.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(pictures(), BOXES, INDEX)
    (inputs,) = seen
    assert inputs.shape == (3, 5, 16, 16)
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    axis = torch.linspace(-1, 1, 16)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij")[::-1], 2)[None]
    whole = F.grid_sample(pictures()[:1], grid, align_corners=True)[0]  # union of the first pair
    assert_close(inputs[0, :3], (whole - mean) / std, atol=1e-5, rtol=1e-4)
    half = torch.zeros(16, 16)
    half[:8, :8] = 1
    assert_close(inputs[0, 3:], torch.stack([half, half.flip(0, 1)]))
    # second pair: union [0.1, 0.1, 0.8, 0.9]; the subject's columns are 1/7 to 3/7 of its 16
    columns = torch.zeros(16)
    columns[3:6], columns[2], columns[6] = 1, 3 - 16 / 7, 48 / 7 - 6
    assert_close(inputs[1, 3], columns.expand(16, 16))
    assert_close(inputs[2, 3:], torch.ones(2, 16, 16))


def test_batched_equals_one_by_one_and_order_of_the_two_matters() -> None:
    net = network()
    scores, predicates = net(pictures(), BOXES, INDEX)
    assert scores.shape == (3, 1)
    assert predicates.shape == (3, 5)
    for row, image in enumerate(INDEX):
        one = slice(row, row + 1)
        alone = net(pictures()[image][None], BOXES[one], torch.tensor([0]))
        assert_close(alone, (scores[one], predicates[one]), atol=1e-5, rtol=1e-4)
    exchanged, _ = net(pictures(), BOXES.flip(1), INDEX)
    assert (exchanged[:2] != scores[:2]).all()
    assert_close(exchanged[2], scores[2])


def test_gradient_reaches_picture_and_weights() -> None:
    net, images = network(), pictures().requires_grad_()
    scores, predicates = net.train()(images, BOXES, INDEX)
    (scores.sum() + predicates.square().sum()).backward()
    assert images.grad is not None
    assert images.grad.abs().sum((1, 2, 3)).gt(0).all()
    assert_all_but_biases_before_norms_have_gradients(net)
    assert all(p.grad is None or p.grad.any() for p in net.parameters())


def test_there_is_a_relation_in_every_image() -> None:
    predicates, boxes = torch.tensor([3, 1]), torch.rand(2, 2, 4)
    labels, pair_boxes, index = with_image_relations(predicates, boxes, torch.tensor([2, 0]), 3)
    whole = torch.tensor([0.0, 0, 1, 1]).expand(2, 4)
    assert labels.tolist() == [1, 0, 0, 3, 0]
    assert index.tolist() == [0, 0, 1, 2, 2]
    assert_close(pair_boxes, torch.stack([boxes[1], whole, whole, boxes[0], whole]))


def test_crops_too_small_for_its_convolutions_are_refused() -> None:
    small = replace(CONFIG, object_size=8, object_discriminator_dims=(4,) * 3)
    with pytest.raises(InputError, match="object_discriminator_dims at 8 px"):
        RelationDiscriminator(small, 5)
