"""Mean colours: of images' parts, of boxes, outside of them, and what they do to the codes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.core.structures import Regions
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.detector import COLOR_PARTS, FeatureMaps, image_colors
from autoenc_sg.model import AutoEncoder
from autoenc_sg.model.appearance import AppearanceEncoder, Bottleneck, box_colors
from autoenc_sg.model.background import seen_outside
from autoenc_sg.model.codes import SeenMemory, encode_appearance
from tests.support.graphs import random_graph
from tests.support.tiny import tiny_config

RED, BLUE = torch.tensor([1.0, -1, -1]), torch.tensor([-1.0, -1, 1])
FIRST = torch.tensor([0])
NO_BOXES = torch.zeros(0, 4)


def red_and_blue(height: int = 64, width: int = 96) -> Tensor:
    """An image whose left half is red and whose right half is blue, in [0, 1]."""
    image = torch.zeros(3, height, width)
    image[0, :, : width // 2] = 1
    image[2, :, width // 2 :] = 1
    return image


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> AutoEncoder:
    """Untrained, but its layers of colours are not 0."""
    overrides = ("--generator.appearance_dim=3", "--generator.background_cells=2")
    folder = tmp_path_factory.mktemp("colors")
    config = tiny_config(folder, *overrides, "--generator.appearance_colors=2")
    torch.manual_seed(0)
    model = AutoEncoder(config, Vocabulary.from_names(["dog", "sky", "tree"], ["on", "near"]))
    for encoder in (model.appearance, model.background):
        assert isinstance(encoder, Bottleneck)
        assert encoder.color_net is not None
        torch.nn.init.normal_(encoder.color_net.weight)
    return model.eval()


# Of an image --------------------------------------------------------------------------------------


def test_parts_of_images_of_any_size() -> None:
    images = [red_and_blue(), red_and_blue(20, 50), torch.full((3, 7, 7), 0.25)]
    colors = image_colors(images)
    assert colors.shape == (3, 3, COLOR_PARTS, COLOR_PARTS)
    for i in (0, 1):
        assert_close(colors[i, :, 3, 2], RED)
        assert_close(colors[i, :, -1, -1], BLUE)
    assert_close(colors[2], torch.full_like(colors[2], -0.5))


def test_a_part_s_colour_is_the_mean_of_its_pixels() -> None:
    image = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0))
    assert_close(image_colors([image])[0, :, 5, 7], image[:, 10:12, 21:24].mean((1, 2)) * 2 - 1)
    assert not image_colors([image.requires_grad_()]).requires_grad


# Of boxes -----------------------------------------------------------------------------------------


def test_cells_of_boxes_by_hand() -> None:
    colors = image_colors([red_and_blue()])
    boxes = torch.tensor([[0.0, 0, 1, 1], [0, 0, 0.4, 1], [0.6, 0.2, 0.9, 0.7]])
    cells = box_colors(colors, boxes, torch.zeros(3, dtype=torch.int64), 2).reshape(3, 3, 2, 2)
    assert_close(cells[0, :, :, 0], RED[:, None].expand(3, 2))
    assert_close(cells[0, :, :, 1], BLUE[:, None].expand(3, 2))
    assert_close(cells[1], RED[:, None, None].expand(3, 2, 2))
    assert_close(cells[2], BLUE[:, None, None].expand(3, 2, 2))


def test_one_cell_over_all_is_the_mean_of_a_ramp() -> None:
    ramp = torch.linspace(0, 1, 320).expand(3, 64, 320)
    colors = image_colors([ramp])
    boxes = torch.tensor([[0.0, 0, 1, 1], [0.25, 0, 0.5, 1]])
    means = box_colors(colors, boxes, torch.zeros(2, dtype=torch.int64), 1)
    assert_close(means[0], torch.zeros(3), atol=1e-5, rtol=0)
    assert_close(means[1], torch.full((3,), 2 * 0.375 - 1), atol=5e-3, rtol=0)


def test_a_box_outside_has_the_border_s_colour_and_one_without_area_that_of_its_place() -> None:
    colors = image_colors([red_and_blue()])
    boxes = torch.tensor([[-0.5, -1, -0.1, 2], [0.8, 0.5, 0.8, 0.5]])
    means = box_colors(colors, boxes, torch.zeros(2, dtype=torch.int64), 1)
    assert_close(means, torch.stack([RED, BLUE]))


def test_a_batch_equals_one_by_one_and_no_boxes_have_none() -> None:
    images = torch.rand(3, 3, 40, 56, generator=torch.Generator().manual_seed(1))
    colors = image_colors(list(images))
    boxes = (
        torch.rand(5, 2, 2, generator=torch.Generator().manual_seed(2)).sort(1).values.flatten(1)
    )
    index = torch.tensor([0, 0, 2, 2, 2])
    together = box_colors(colors, boxes, index, 2)
    for row in range(5):
        i = int(index[row])
        alone = box_colors(colors[i : i + 1], boxes[row : row + 1], FIRST, 2)
        assert_close(together[row], alone[0])
    assert box_colors(colors, NO_BOXES, FIRST[:0], 2).shape == (0, 12)


# Outside of boxes ---------------------------------------------------------------------------------


def test_what_is_outside_the_boxes() -> None:
    image = red_and_blue()
    values = torch.randn(1, 5, 8, 12, generator=torch.Generator().manual_seed(0))
    size = (64, 96)
    maps = FeatureMaps((values,), (size,), (size,), (64, 96), image_colors([image]))
    left = torch.tensor([[0.0, 0, 48, 64]])
    means, _ = seen_outside(maps, left, FIRST, 1, with_colors=True)
    plain, _ = seen_outside(maps, left, FIRST, 1)
    assert_close(means[0, 0, :5], plain[0, 0])
    assert_close(means[0, 0, 5:], BLUE)
    everything, counts = seen_outside(
        maps, torch.tensor([[0.0, 0, 96, 64]]), FIRST, 2, with_colors=True
    )
    assert not everything.any()
    assert not counts.any()


# Codes --------------------------------------------------------------------------------------------


def test_the_bottleneck_with_colours_by_hand() -> None:
    bottleneck = Bottleneck(4, 2, 3)
    assert bottleneck.color_net is not None
    looks = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    plain = bottleneck.net(bottleneck.norm(looks[:, :4]))
    assert_close(bottleneck.codes(looks), plain.tanh())  # W3 starts at 0
    torch.nn.init.normal_(bottleneck.color_net.weight)
    expected = (plain + looks[:, 4:] @ bottleneck.color_net.weight.mT).tanh()
    codes = bottleneck.codes(looks)
    assert_close(codes, expected)
    codes.sum().backward()
    assert looks.grad is None
    assert all(p.grad is not None and p.grad.any() for p in bottleneck.parameters())


def test_regions_of_one_map_differ_by_their_colours_alone() -> None:
    torch.manual_seed(0)
    encoder = AppearanceEncoder(4, 2, 1)
    assert encoder.color_net is not None
    torch.nn.init.normal_(encoder.color_net.weight)
    boxes = torch.tensor([[0.0, 0, 30, 64], [10, 5, 40, 60], [60, 5, 90, 60]])
    nothing, index, size = torch.zeros(3, 0), torch.zeros(3, dtype=torch.int64), ((64, 96),)
    colors = image_colors([red_and_blue()])
    regions = Regions(boxes, nothing, nothing, index, size, (), size, colors=colors)
    codes = encoder(torch.ones(3, 4, 2, 2), regions)
    assert_close(codes[0], codes[1])
    assert not torch.allclose(codes[0], codes[2], atol=1e-3)


def test_parse_and_training_see_the_same_codes(model: AutoEncoder) -> None:
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[0.0, 0, 64, 32], [8, 20, 40, 60]])
    triples = torch.zeros(0, 3, dtype=torch.int64)
    known = SceneGraph(torch.tensor([1, 2]), boxes, triples, (64, 64))
    coded = model.with_appearance([image], SceneGraphBatch.collate([known]))
    parsed = model.parse(image, boxes=boxes.tolist())
    assert_close(parsed.appearance, coded.appearance, atol=1e-5, rtol=1e-4)
    assert coded.background is not None
    assert_close(parsed.background, coded.background[0], atol=1e-5, rtol=1e-4)
    brighter = model.with_appearance([image * 0.5 + 0.5], SceneGraphBatch.collate([known]))
    assert brighter.appearance is not None
    assert coded.appearance is not None
    assert not torch.allclose(brighter.appearance, coded.appearance, atol=1e-3)


def test_what_is_remembered_has_the_same_codes(model: AutoEncoder) -> None:
    images = list(torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(3)))
    batch = SceneGraphBatch.collate([random_graph(n, 0, n, (64, 64)) for n in (2, 0, 3)])
    memory = SeenMemory(1)
    for _ in range(2):
        remembered = encode_appearance(model, images, batch, memory)
        direct = encode_appearance(model, images, batch)
        assert_close(remembered.appearance, direct.appearance, atol=1e-5, rtol=1e-4)
        assert_close(remembered.background, direct.background, atol=1e-5, rtol=1e-4)


def test_colours_need_codes_and_have_a_limit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"appearance_colors: expected 0 without appearance codes"):
        tiny_config(tmp_path, "--generator.appearance_colors=2")
    codes = "--generator.appearance_dim=3"
    with pytest.raises(InputError, match=r"appearance_colors: expected <= 16, got 17"):
        tiny_config(tmp_path, codes, "--generator.appearance_colors=17")
