"""Heads, refinement, discriminator and losses."""

import math
from copy import deepcopy
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch.nn import functional as F

from autoenc_sg.config.model import GeneratorConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.generator import (
    ObjectDiscriminator,
    PatchDiscriminator,
    box_loss,
    class_loss,
    gan_discriminator_loss,
    gan_generator_loss,
    mask_loss,
    pixel_loss,
)
from autoenc_sg.generator.crops import crop_objects
from autoenc_sg.generator.heads import MaskHead, box_head
from autoenc_sg.generator.normalization import ImageNormalization, normalization_layers
from autoenc_sg.generator.refinement import RefinementNetwork
from tests.support.gradients import assert_all_but_biases_before_norms_have_gradients
from tests.support.graphs import some_layout


def test_box_head_starts_alive_and_never_negative() -> None:
    torch.manual_seed(0)
    boxes = box_head(16, 32)(torch.randn(50, 16))
    assert boxes.shape == (50, 4)
    assert (boxes >= 0).all()
    assert (boxes > 0).float().mean() > 0.8


@pytest.mark.parametrize("size", [1, 2, 16])
@pytest.mark.parametrize("n", [1, 3])
def test_mask_head_sizes(size: int, n: int) -> None:
    head = MaskHead(8, size).train()
    masks = head(torch.randn(n, 8))
    assert masks.shape == (n, size, size)
    assert ((masks > 0) & (masks < 1)).all()


def test_mask_head_of_a_hand_set_network() -> None:
    head = MaskHead(1, 2).eval()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        head[1].weight.fill_(1)  # batch norm: (v - 0) / sqrt(1 + eps)
        head[2].weight[0, 0, 1, 1] = 1  # identity
        head[4].weight.fill_(2)
    masks = head(torch.tensor([[math.log(3) / 2], [-5.0]]))
    expected = torch.tensor([0.75, 0.5])[:, None, None].expand(2, 2, 2)
    torch.testing.assert_close(masks, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("n", [2, 5])
def test_mask_head_trains_as_its_layers_one_by_one(n: int) -> None:
    torch.manual_seed(n)
    head = MaskHead(6, 8).train()
    layers = torch.nn.Sequential(*deepcopy(list(head)))
    vectors = torch.randn(n, 6, requires_grad=True)
    got, expected = head(vectors), layers(vectors[:, :, None, None]).squeeze(1).sigmoid()
    torch.testing.assert_close(got, expected)
    upstream = torch.randn(n, 8, 8)
    gradients = [
        torch.autograd.grad(masks, [vectors, *net.parameters()], upstream)
        for masks, net in ((got, head), (expected, layers))
    ]
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(dict(head.named_buffers()), dict(layers.named_buffers()))


def test_mask_size_must_be_a_power_of_two() -> None:
    with pytest.raises(InputError, match="mask size: expected a power of two, got 12"):
        MaskHead(8, 12)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("objects", [0, 1, 3, 9])
def test_refinement_equals_the_plain_recursion(objects: int, train: bool) -> None:
    torch.manual_seed(0)
    net = RefinementNetwork(9, 2, (8, 6), 32, "batch", "leakyrelu-0.2").train(train)
    for norm in net.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
                torch.nn.init.uniform_(values, 0.5, 2)
    layout, noise = some_layout(2, objects, 9, 32), torch.randn(2, 2, 32, 32)
    start = torch.randn(2, 1, 8, 8)
    features, plain = start, torch.cat([layout.maps(32), noise], 1)
    for module, side in zip(net.refinement_modules, (16, 32)):
        features = features.repeat_interleave(2, 2).repeat_interleave(2, 3)
        pooled = F.adaptive_avg_pool2d(plain, side)
        features = module.net(torch.cat([pooled, features], 1))
    expected = net.output_conv(features)
    assert net.levels == [16, 32]
    torch.testing.assert_close(net(layout, noise, start), expected, atol=1e-5, rtol=1e-4)


def test_refinement_without_noise_starts_from_zeros() -> None:
    net = RefinementNetwork(3, 2, (8,), 32, "none", "relu")
    layout = some_layout(1, 2, 3, 32)
    zeros = net(layout, torch.zeros(1, 2, 32, 32), torch.zeros(1, 1, 16, 16))
    torch.testing.assert_close(net(layout), zeros)


def test_too_many_refinement_modules() -> None:
    with pytest.raises(InputError, match=r"refinement modules at 32 px: expected 1\.\.5, got 6"):
        RefinementNetwork(3, 0, (4,) * 6, 32, "batch", "relu")
    with pytest.raises(InputError, match=r"expected 1\.\.5 modules for 32 px"):
        GeneratorConfig(image_size=32, refinement_dims=(4,) * 6)


def test_normalizations_by_name() -> None:
    assert isinstance(normalization_layers("batch", 4)[0], torch.nn.BatchNorm2d)
    assert isinstance(normalization_layers("instance", 4)[0], torch.nn.InstanceNorm2d)
    assert normalization_layers("none", 4) == []
    with pytest.raises(InputError, match="normalization"):
        normalization_layers("layer", 4)


@pytest.mark.parametrize(
    ("normalization", "untrained"), [("batch", 1), ("instance", 1), ("none", 0)]
)
def test_biases_before_a_normalization_have_no_gradient_in_training(
    normalization: Literal["batch", "instance", "none"], untrained: int
) -> None:
    config = replace(_config("none"), normalization=normalization)
    config = replace(config, discriminator_dims=(4, 6), object_discriminator_dims=(4, 6))
    patches, objects = PatchDiscriminator(config), ObjectDiscriminator(config, 3)
    image, boxes = torch.rand(2, 3, 64, 64), torch.tensor([[0.0, 0, 1, 1]] * 2)
    patches(image).sum().backward()
    torch.cat(objects(image, boxes, torch.tensor([0, 1])), 1).sum().backward()
    for net in (patches, objects):
        assert_all_but_biases_before_norms_have_gradients(net)
        assert sum(p.grad is None for p in net.parameters()) == untrained


def test_image_normalization_and_its_inverse() -> None:
    norm = ImageNormalization()
    grey = torch.full((1, 3, 1, 1), 0.485)
    expected = torch.tensor([0.0, 0.029 / 0.224, 0.079 / 0.225])
    torch.testing.assert_close(norm(grey).flatten(), expected)
    torch.testing.assert_close(norm.inverse(norm(grey)), grey)
    assert norm.state_dict() == {}


def _config(
    condition: Literal["layout", "none"], size: int = 64, classifier: bool = True
) -> GeneratorConfig:
    return GeneratorConfig(
        image_size=size,
        gconv_dim=5,
        discriminator_dims=(8, 12, 16),
        discriminator_condition=condition,
        discriminator_classifier=classifier,
        refinement_dims=(8, 8),
    )


@pytest.mark.parametrize(("size", "side"), [(32, 2), (64, 6), (128, 14)])
def test_discriminator_patches(size: int, side: int) -> None:
    image = torch.rand(2, 3, size, size)
    assert PatchDiscriminator(_config("none", size))(image).shape == (2, 1, side, side)
    maps = PatchDiscriminator(_config("none", size, classifier=False))(image)
    assert maps.shape == (2, 16, side, side)


def test_discriminator_has_sg2im_s_names_and_size() -> None:
    with torch.device("meta"):
        net = PatchDiscriminator(GeneratorConfig(discriminator_condition="none"))
    shapes = {name: tuple(value.shape) for name, value in net.named_parameters()}
    assert shapes["cnn.0.weight"] == (64, 3, 4, 4)
    assert shapes["cnn.1.weight"] == (64,)
    assert shapes["cnn.3.weight"] == (128, 64, 4, 4)
    assert shapes["cnn.4.weight"] == (128,)
    assert shapes["cnn.6.weight"] == (256, 128, 4, 4)
    assert shapes["classifier.weight"] == (1, 256, 1, 1)
    assert sum(p.numel() for p in net.parameters()) == 659_521


def test_discriminator_sees_the_layout() -> None:
    torch.manual_seed(0)
    net = PatchDiscriminator(_config("layout")).eval()
    image, layout = torch.rand(2, 3, 64, 64), torch.randn(2, 5, 64, 64).requires_grad_()
    scores = net(image, layout)
    assert not torch.allclose(scores, net(image, layout * 2))
    scores.sum().backward()
    assert layout.grad is not None
    assert layout.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    with pytest.raises(InputError, match="expected a layout, got None"):
        net(image)


def test_discriminator_too_deep_for_the_image() -> None:
    config = GeneratorConfig(image_size=32, discriminator_dims=(8, 8, 8, 8))
    assert PatchDiscriminator(GeneratorConfig(image_size=64, discriminator_dims=(8,) * 4))
    with pytest.raises(InputError, match="discriminator_dims at 32 px"):
        PatchDiscriminator(config)


def test_object_discriminator_has_sg2im_s_names_and_size() -> None:
    with torch.device("meta"):
        net = ObjectDiscriminator(GeneratorConfig(), 179)
    shapes = {name: tuple(value.shape) for name, value in net.named_parameters()}
    assert shapes["cnn.0.0.weight"] == (64, 3, 4, 4)
    assert shapes["cnn.0.1.weight"] == (64,)
    assert shapes["cnn.0.6.weight"] == (256, 128, 4, 4)
    assert shapes["cnn.2.weight"] == (1024, 256)
    assert shapes["real_classifier.weight"] == (1, 1024)
    assert shapes["obj_classifier.weight"] == (179, 1024)
    assert sum(p.numel() for p in net.parameters()) == 1_106_932


def test_object_discriminator_judges_each_object_with_gradient() -> None:
    torch.manual_seed(0)
    config = GeneratorConfig(object_discriminator_dims=(4, 6), object_size=16)
    net = ObjectDiscriminator(config, 5).eval()
    image = torch.rand(3, 3, 32, 32, requires_grad=True)
    boxes = torch.tensor([[0.0, 0, 1, 1], [0.1, 0.2, 0.5, 0.6], [0.5, 0.5, 1.2, 0.9]])
    index = torch.tensor([0, 2, 2])
    real, classes = net(image, boxes, index)
    assert (real.shape, classes.shape) == ((3, 1), (3, 5))
    alone = net(image[2:], boxes[1:2], torch.zeros(1, dtype=torch.int64))
    torch.testing.assert_close(alone, (real[1:2], classes[1:2]), atol=1e-5, rtol=1e-4)
    (real.sum() + class_loss(classes, torch.tensor([0, 3, 4]))).backward()
    assert image.grad is not None
    assert image.grad[0].abs().sum() > 0
    assert image.grad[1].abs().sum() == 0  # no object in it
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    none = net(image, boxes[:0], index[:0])
    assert (none[0].shape, none[1].shape) == ((0, 1), (0, 5))
    (none[0].sum() + class_loss(none[1], index[:0])).backward()
    with pytest.raises(InputError, match="object_discriminator_dims at 8 px"):
        ObjectDiscriminator(replace(config, object_size=8, object_discriminator_dims=(4,) * 3), 5)


def test_crops_by_hand() -> None:
    image = torch.arange(16.0).reshape(1, 1, 4, 4)  # rows of 0 1 2 3, 4 5 6 7, …
    whole = crop_objects(image, torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([0]), 4)
    torch.testing.assert_close(whole, image)
    middle = torch.tensor([[1 / 3, 0.0, 2 / 3, 1 / 6]])  # columns 1 to 2, rows 0 to 1/2
    crop = crop_objects(image, middle, torch.tensor([0]), 2)
    torch.testing.assert_close(crop[0, 0], torch.tensor([[1.0, 2.0], [3.0, 4.0]]))


@pytest.mark.parametrize("size", [4, 9])
def test_crops_equal_grid_sampling(size: int) -> None:
    torch.manual_seed(size)
    images = torch.randn(3, 2, 12, 17, requires_grad=True)
    boxes = torch.rand(6, 4) * 1.4 - 0.2  # also mirrored, and outside
    index = torch.tensor([0, 0, 0, 2, 2, 2])
    along = torch.linspace(0, 1, size)
    x = boxes[:, :1] + along * (boxes[:, 2:3] - boxes[:, :1])
    y = boxes[:, 1:2] + along * (boxes[:, 3:] - boxes[:, 1:2])
    grid = (
        torch.stack([x[:, None].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)], 3) * 2
        - 1
    )
    expected = F.grid_sample(images[index], grid, align_corners=True)
    got = crop_objects(images, boxes, index, size)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
    upstream = torch.randn_like(got)
    gradients = [torch.autograd.grad(r, images, upstream)[0] for r in (got, expected)]
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)


def test_hand_computed_mask_class_and_normalized_pixel_losses() -> None:
    masks, target = torch.tensor([[[0.25, 0.5]]]), torch.tensor([[[0.0, 1.0]]])
    cross_entropy = (math.log(4 / 3) + math.log(2)) / 2
    torch.testing.assert_close(mask_loss(masks, target), torch.tensor(cross_entropy))
    image_masks = torch.full((1, 1, 2), 0.75)  # should be ones
    both = torch.tensor((2 * cross_entropy + 2 * math.log(4 / 3)) / 4)
    torch.testing.assert_close(mask_loss(masks, target, image_masks), both)
    none = masks[:0].requires_grad_()
    mask_loss(none, target[:0]).backward()
    sure = torch.tensor([[[0.0, 1.0]]], requires_grad=True)
    mask_loss(sure, 1 - target).backward()
    assert torch.isfinite(sure.grad).all()  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"true masks: expected shape \[1, 1, 2\]"):
        mask_loss(masks, torch.zeros(1, 2, 2))
    logits = torch.tensor([[0.0, math.log(3.0)]])
    torch.testing.assert_close(class_loss(logits, torch.tensor([1])), torch.tensor(math.log(4 / 3)))
    image = torch.full((1, 3, 1, 1), 0.225)
    expected = torch.tensor((0.225 / 0.229 + 0.225 / 0.224 + 1) / 3)
    torch.testing.assert_close(pixel_loss(image, image * 0, "normalized"), expected)
    with pytest.raises(InputError, match="pixel space"):
        pixel_loss(image, image, "lab")  # type: ignore[arg-type]


def test_hand_computed_gan_losses() -> None:
    real, fake = torch.tensor([[math.log(3.0)]]), torch.tensor([[0.0], [-math.log(3.0)]])
    # sigmoid: real 3/4; fake 1/2, 1/4
    torch.testing.assert_close(
        gan_generator_loss(fake), torch.tensor((math.log(2) + math.log(4)) / 2)
    )
    torch.testing.assert_close(
        gan_discriminator_loss(real, fake),
        torch.tensor(math.log(4 / 3) + (math.log(2) + math.log(4 / 3)) / 2),
    )
    torch.testing.assert_close(gan_generator_loss(fake, "lsgan"), torch.tensor((0.25 + 0.5625) / 2))
    torch.testing.assert_close(
        gan_discriminator_loss(real, fake, "lsgan"), torch.tensor(0.0625 + (0.25 + 0.0625) / 2)
    )
    torch.testing.assert_close(gan_generator_loss(fake, "wgan"), torch.tensor(math.log(3.0) / 2))
    torch.testing.assert_close(
        gan_discriminator_loss(real, fake, "wgan"), torch.tensor(-1.5 * math.log(3.0))
    )


@pytest.mark.parametrize("kind", ["gan", "lsgan", "wgan"])
def test_gan_losses_stay_finite(kind: Literal["gan", "lsgan", "wgan"]) -> None:
    scores = torch.tensor([-1e4, 1e4], requires_grad=True)
    total = gan_generator_loss(scores, kind) + gan_discriminator_loss(scores, scores, kind)
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(scores.grad).all()  # type: ignore[arg-type]


def test_unknown_losses() -> None:
    with pytest.raises(InputError, match="GAN loss: expected gan, lsgan or wgan, got 'hinge'"):
        gan_generator_loss(torch.zeros(1), "hinge")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="box loss"):
        box_loss(torch.zeros(1, 4), torch.zeros(1, 4), kind="l3")  # type: ignore[arg-type]


def test_hand_computed_pixel_and_box_losses() -> None:
    torch.testing.assert_close(
        pixel_loss(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.0])), torch.tensor(0.75)
    )
    boxes, target = torch.tensor([[0.0, 0, 0.5, 1]]), torch.tensor([[0.0, 0, 1, 1]])
    torch.testing.assert_close(box_loss(boxes, target), torch.tensor(0.25 / 4))
    torch.testing.assert_close(box_loss(boxes, target, kind="l1"), torch.tensor(0.5 / 4))
    # the image's own box is off by 1 in one of 8 coordinates
    image_boxes = torch.tensor([[1.0, 0, 1, 1]])
    torch.testing.assert_close(box_loss(boxes, target, image_boxes), torch.tensor(1.25 / 8))


def test_no_box_costs_nothing() -> None:
    boxes = torch.zeros(0, 4, requires_grad=True)
    loss = box_loss(boxes, torch.zeros(0, 4))
    loss.backward()
    assert float(loss.detach()) == 0.0
