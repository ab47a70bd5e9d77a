"""Codes of what lies outside all boxes: from the detector's map to the graphs of `parse`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from autoenc_sg.core.graph_json import read_graphs, write_graph
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.detector import FeatureMaps
from autoenc_sg.model import AutoEncoder
from autoenc_sg.model.background import BackgroundEncoder, outside_means
from autoenc_sg.model.codes import encode_appearance
from tests.support.tiny import tiny_config

MAP = torch.tensor([[[[1.0, 2], [4, 9]]]])  # one image, one channel, 2 x 2 cells
LEFT_TOP = torch.tensor([[0.0, 0.0, 0.5, 0.5]])
FIRST = torch.tensor([0])
WHOLE = torch.ones(1, 2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> AutoEncoder:
    """Untrained, with codes of 3 numbers and a grid of 2 x 2."""
    overrides = ("--generator.appearance_dim=3", "--generator.background_cells=2")
    config = tiny_config(tmp_path_factory.mktemp("background"), *overrides)
    torch.manual_seed(0)
    model = AutoEncoder(config, Vocabulary.from_names(["dog", "sky", "tree"], ["on", "near"]))
    with torch.no_grad():
        assert model.generator.background_net is not None
        model.generator.background_net.weight.normal_()
    return model.eval()


@pytest.fixture(scope="module")
def images() -> list[Tensor]:
    return list(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))


def feature_maps(count: int, channels: int = 4) -> FeatureMaps:
    """Of images of 8 x 16 pixels, in the left half of maps of 4 x 16 cells."""
    values = torch.randn(count, channels, 4, 16, generator=torch.Generator().manual_seed(1))
    sizes = ((8, 16),) * count
    return FeatureMaps((values,), sizes, sizes, (8, 32))


# The masked mean ----------------------------------------------------------------------------------


def test_mean_outside_one_box_by_hand() -> None:
    means, counts = outside_means(MAP, WHOLE, LEFT_TOP, FIRST, 1)
    assert_close(means, torch.tensor([[[5.0]]]))  # (2 + 4 + 9) / 3
    assert counts.tolist() == [[3]]


def test_a_covered_part_has_zeros() -> None:
    means, counts = outside_means(MAP, WHOLE, LEFT_TOP, FIRST, 2)
    assert_close(means, torch.tensor([[[0.0], [2], [4], [9]]]))  # row by row
    assert counts.tolist() == [[0, 1, 1, 1]]


def test_overlapping_boxes_cover_once_and_boxes_may_reach_outside() -> None:
    boxes = torch.tensor([[-1.0, -1, 0.6, 0.6], [0.1, 0.1, 0.4, 2]])
    means, counts = outside_means(MAP, WHOLE, boxes, torch.tensor([0, 0]), 1)
    assert_close(means, torch.tensor([[[5.5]]]))  # (2 + 9) / 2
    assert counts.tolist() == [[2]]


def test_padding_is_left_out() -> None:
    maps = torch.tensor([[[[1.0, 3, 50, 50], [5, 7, 50, 50]]]])
    inside = torch.tensor([[1.0, 0.5]])
    means, _ = outside_means(maps, inside, torch.zeros(0, 4), FIRST[:0], 1)
    assert_close(means, torch.tensor([[[4.0]]]))
    means, _ = outside_means(maps, inside, LEFT_TOP, FIRST, 2)
    assert_close(means, torch.tensor([[[0.0], [3], [5], [7]]]))


def test_a_grid_finer_than_the_map_has_parts_without_a_cell() -> None:
    means, counts = outside_means(MAP, WHOLE, torch.zeros(0, 4), FIRST[:0], 4)
    assert int(counts.sum()) == 4
    assert means.isfinite().all()


# The encoder --------------------------------------------------------------------------------------


def test_codes_of_a_batch_equal_those_one_by_one() -> None:
    torch.manual_seed(0)
    encoder = BackgroundEncoder(4, 3, 2)
    maps = feature_maps(3)
    boxes = torch.tensor([[0.0, 0, 8, 4], [2, 2, 16, 8], [0, 0, 16, 8]])  # pixels
    codes = encoder(maps, boxes, torch.tensor([0, 0, 2]))
    assert codes.shape == (3, 4, 3)
    assert not codes[0, 0].any()  # the first box is that part
    assert codes[0, 1:3].any(1).all()
    assert codes[1].any(1).all()
    assert not codes[2].any()  # covered wholly
    assert (codes.abs() < 1).all()
    for i, rows in enumerate((slice(0, 2), slice(0, 0), slice(2, 3))):
        single = FeatureMaps((maps.maps[0][i : i + 1],), ((8, 16),), ((8, 16),), (8, 32))
        count = len(boxes[rows])
        alone = encoder(single, boxes[rows], torch.zeros(count, dtype=torch.int64))
        assert_close(alone[0], codes[i])


def test_gradient_trains_the_encoder_and_ends_there_also_without_boxes() -> None:
    torch.manual_seed(0)
    encoder = BackgroundEncoder(4, 3, 1)
    maps = feature_maps(1)
    maps.maps[0].requires_grad_()
    encoder(maps, torch.zeros(0, 4), FIRST[:0]).square().sum().backward()
    assert maps.maps[0].grad is None
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())
    whole = torch.tensor([[0.0, 0, 16, 8]])
    encoder.zero_grad()
    encoder(maps, whole, FIRST).sum().backward()
    assert all(not p.grad.any() for p in encoder.parameters() if p.grad is not None)


# The autoencoder ----------------------------------------------------------------------------------


def test_parse_gives_codes_of_what_lies_outside_the_graph_s_boxes(
    model: AutoEncoder, images: list[Tensor]
) -> None:
    assert model.background is not None
    maps = model.detector.encode(images)
    scores = torch.cat([g.object_scores for g in model.parse(images)])  # type: ignore[misc]
    middle = float(scores.median())
    for threshold in (0.0, middle, 1.0):
        graphs = model.parse(images, object_threshold=threshold)
        batch = SceneGraphBatch.collate(graphs)
        with torch.no_grad():
            expected = model.background(maps, batch.boxes, batch.image_index)
        assert_close(batch.background, expected, atol=1e-5, rtol=1e-4)
    assert not any(map(len, graphs))
    assert expected.any(2).all()


def test_given_boxes_are_left_out_whatever_their_scores(
    model: AutoEncoder, images: list[Tensor]
) -> None:
    half = [[0.0, 0.0, 64.0, 32.0]]
    graph = model.parse(images[0], boxes=half)
    assert graph.background is not None
    assert graph.background.any(1).tolist() == [False, False, True, True]
    known = SceneGraph(
        torch.tensor([1]), torch.tensor(half), torch.zeros(0, 3, dtype=torch.int64), (64, 64)
    )
    batch = SceneGraphBatch.collate([known])
    coded = model.with_appearance(images[:1], batch)
    assert coded.background is not None
    assert_close(coded.background[0], graph.background, atol=1e-5, rtol=1e-4)
    assert not coded.background.requires_grad
    trained = encode_appearance(model, images[:1], batch).background
    assert trained is not None
    assert trained.requires_grad


def test_codes_survive_json_and_are_drawn(
    model: AutoEncoder, images: list[Tensor], tmp_path: Path
) -> None:
    graph = model.parse(images[0], object_threshold=1.0)
    assert len(graph) == 0
    write_graph(tmp_path / "g.json", graph, model.vocabulary)
    (read,) = read_graphs(tmp_path / "g.json", model.vocabulary)
    assert graph.background is not None
    assert read.background is not None
    assert torch.equal(read.background, graph.background)
    other = model.parse(images[1] * 0, object_threshold=1.0)
    bare = SceneGraph.empty((64, 64), model.vocabulary)
    first, second, third = model.render_batch([read, other, bare])
    assert not torch.allclose(first, second, atol=1e-4)
    assert not torch.allclose(first, third, atol=1e-4)
