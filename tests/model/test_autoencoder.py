"""The public door: parse, render, reconstruct."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.graph_json import graph_from_json, graph_to_json
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model.autoencoder import AutoEncoder
from tests.support.tiny import tiny_config


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> AutoEncoder:
    return AutoEncoder.from_checkpoint(tiny_run / "run" / "checkpoint.safetensors")


@pytest.fixture(scope="module")
def photos(tiny_run: Path) -> list[torch.Tensor]:
    dataset = open_dataset(tiny_config(tiny_run).data, "test")
    return [dataset[i].image for i in range(3)]


def test_parse_takes_pil_numpy_and_tensors_alike(
    model: AutoEncoder, photos: list[torch.Tensor]
) -> None:
    array = photos[0].permute(1, 2, 0).numpy()
    graphs = [
        model.parse(x) for x in (photos[0], array, Image.fromarray(array), photos[0].float() / 255)
    ]
    assert len(graphs[0]) > 0
    for graph in graphs[1:]:
        torch.testing.assert_close(graph.boxes, graphs[0].boxes)
        assert torch.equal(graph.triples, graphs[0].triples)


def test_batched_equals_one_by_one(model: AutoEncoder, photos: list[torch.Tensor]) -> None:
    together = model.parse(photos)
    for photo, graph in zip(photos, together):
        alone = model.parse(photo)
        assert torch.equal(alone.labels, graph.labels)
        torch.testing.assert_close(alone.boxes, graph.boxes, atol=1e-3, rtol=1e-4)
    pictures = model.render_batch(together, [3, 4, 5])
    for i, graph in enumerate(together):
        torch.testing.assert_close(
            pictures[i], model.render_batch([graph], [3 + i])[0], atol=1e-5, rtol=1e-4
        )


def test_boxes_are_pixels_of_the_users_photo(
    model: AutoEncoder, photos: list[torch.Tensor]
) -> None:
    large = torch.nn.functional.interpolate(
        photos[0][None].float(), scale_factor=4, mode="nearest"
    )[0]
    graph = model.parse(large.to(torch.uint8))
    assert graph.image_size == (256, 256)
    assert float(graph.boxes.max()) > 64
    assert float(graph.boxes.min()) >= 0
    assert float(graph.boxes.max()) <= 256


def test_parsed_graph_goes_through_json_into_render(
    model: AutoEncoder, photos: list[torch.Tensor]
) -> None:
    graph = model.parse(photos[1])
    back = graph_from_json(graph_to_json(graph, model.vocabulary), model.vocabulary)
    assert back.has_boxes
    assert np.array_equal(np.asarray(model.render(graph, 5)), np.asarray(model.render(back, 5)))


def test_same_seed_same_picture(model: AutoEncoder, photos: list[torch.Tensor]) -> None:
    graph = model.parse(photos[0])
    first, again, other = (np.asarray(model.render(graph, seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (32, 32, 3)
    assert np.array_equal(np.asarray(model.reconstruct(photos[0], seed=1)), first)


def test_empty_graph_renders_and_empty_photo_parses(model: AutoEncoder) -> None:
    assert model.render(SceneGraph.empty((64, 64))).size == (32, 32)
    assert model.parse(torch.zeros(3, 64, 64)).image_size == (64, 64)
    assert model.parse(torch.zeros(3, 10, 300, dtype=torch.uint8)).image_size == (10, 300)
    with pytest.raises(InputError, match="at most 64 short sides, got 300 x 1 pixels"):
        model.parse(torch.zeros(3, 1, 300, dtype=torch.uint8))


def test_graph_of_another_vocabulary_is_refused(model: AutoEncoder) -> None:
    graph = SceneGraph(
        torch.tensor([99]),
        torch.tensor([[0.0, 0, 9, 9]]),
        torch.zeros(0, 3, dtype=torch.int64),
        (9, 9),
    )
    with pytest.raises(InputError, match="object id: expected below 19, got 99"):
        model.render(graph)


def test_training_mode_survives_parse(model: AutoEncoder, photos: list[torch.Tensor]) -> None:
    model.train()
    model.detector.eval()
    model.parse(photos[0])
    assert model.training
    assert not model.detector.backbone.training
    model.eval()
