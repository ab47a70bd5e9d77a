"""`parse` and `render` between the graphs, with PyTorch's networks in place of ONNX."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.graph_json import read_graphs
from autoenc_sg.core.images import read_image
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.onnx_runtime import OnnxModel
from autoenc_sg.onnx_runtime.description import DESCRIPTION
from autoenc_sg.onnx_runtime.photos import read_photo
from autoenc_sg.pipelines.onnx_export.export import describe, graph_difference
from tests.onnx_runtime.stand_in import TorchGraphs, tiny_model


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> AutoEncoder:
    return AutoEncoder.from_checkpoint(tiny_run / "run")


@pytest.fixture(scope="module")
def photos(tiny_run: Path) -> list[Path]:
    return sorted((tiny_run / "scenes" / "VG_100K").glob("*.jpg"))[:4]


def test_parse_is_that_of_the_model(model: AutoEncoder, photos: list[Path], tmp_path: Path) -> None:
    graphs = TorchGraphs(model)
    wide = tmp_path / "wide.png"
    Image.open(photos[0]).resize((150, 70)).save(wide)
    sizes = 0
    for photo in (*photos, wide):
        expected = model.parse(photo)
        got = graphs.parse(photo)
        sizes += len(expected) + len(expected.triples)
        assert got.image_size == expected.image_size
        assert graph_difference(expected, got) < 1e-3
    assert sizes > 20


def test_thresholds_leave_nothing(model: AutoEncoder, photos: list[Path]) -> None:
    graph = TorchGraphs(model).parse(photos[0], object_threshold=1.0)
    assert len(graph.labels) == len(graph.triples) == 0
    with pytest.raises(InputError, match=r"threshold: expected a number in 0\.\.1, got 2"):
        TorchGraphs(model).parse(photos[0], edge_threshold=2)


def test_render_with_the_same_noise_is_that_of_the_model(
    model: AutoEncoder, photos: list[Path]
) -> None:
    graphs = TorchGraphs(model)
    graph = graphs.parse(photos[1])
    noise = model.generator.seeded_noise([5])
    assert noise.input is not None
    got = graphs.render(graph, noise={"noise_input": noise.input.numpy()})
    expected = np.array(model.render(model.parse(photos[1]), seed=5))
    assert np.abs(got.astype(int) - expected).max() <= 1
    assert np.abs(graphs.render(graph, 1).astype(int) - got).max() > 1  # other noise


CODES = ("appearance_dim=3", "background_cells=2", "appearance_colors=2")
PYRAMID = ("--detector.backbone=resnet18", "--detector.anchor_sizes=[8,16,32,64,96]")


@pytest.mark.parametrize("backbone", [(), PYRAMID], ids=["one map", "pyramid"])
def test_codes_and_a_pyramid(tmp_path: Path, backbone: tuple[str, ...]) -> None:
    codes = [f"--generator.{option}" for option in CODES]
    model = tiny_model(tmp_path, *codes, *backbone)
    graphs = TorchGraphs(model)
    for size in ((50, 70), (90, 45)):
        photo = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
        expected, got = model.parse(photo), graphs.parse(photo)
        assert len(expected) > 1
        assert expected.appearance is not None
        assert got.background is not None
        assert graph_difference(expected, got) < 1e-3
        noise = model.generator.seeded_noise([0]).input
        assert noise is not None
        drawn = graphs.render(got, noise={"noise_input": noise.numpy()}).astype(int)
        assert np.abs(drawn - np.array(model.render(expected))).max() <= 1
        plain = replace(got, appearance=None, background=None)
        other = graphs.render(plain, noise={"noise_input": noise.numpy()})
        assert np.abs(drawn - other).max() > 1  # codes are drawn


def test_the_graph_is_written_as_graph_files_are(
    model: AutoEncoder, photos: list[Path], tmp_path: Path
) -> None:
    graph = TorchGraphs(model).parse(photos[0])
    file = tmp_path / "graph.json"
    file.write_text(json.dumps(graph.to_json()), encoding="utf-8")
    (read,) = read_graphs(file, model.vocabulary)
    assert graph_difference(read, graph) < 1e-3


def test_photos_of_every_kind_are_read_alike(photos: list[Path], tmp_path: Path) -> None:
    pixels = read_photo(photos[0])
    assert np.array_equal(pixels, read_image(photos[0]).permute(1, 2, 0).numpy())
    assert read_photo(pixels) is pixels
    glass = Image.new("RGBA", (3, 2), (255, 0, 0, 0))
    glass.save(tmp_path / "glass.png")
    assert read_photo(tmp_path / "glass.png").min() == 255  # transparent is white
    for wrong in (tmp_path / "none.jpg", np.zeros((2, 2)), 3):
        with pytest.raises(InputError):
            read_photo(wrong)  # type: ignore[arg-type]


def test_a_folder_that_is_no_export_is_refused(model: AutoEncoder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="description of a model"):
        OnnxModel(tmp_path)
    (tmp_path / DESCRIPTION).write_text("[]")
    with pytest.raises(InputError, match="another file"):
        OnnxModel(tmp_path)
    describe(model).write(tmp_path)
    with pytest.raises(InputError, match=r"generator\.onnx: expected a graph that onnxruntime"):
        OnnxModel(tmp_path)


def test_a_decoder_alone_does_not_parse(model: AutoEncoder, photos: list[Path]) -> None:
    graphs = TorchGraphs(model)
    object.__setattr__(graphs.description, "encoder", None)
    with pytest.raises(InputError, match="parse: expected a model with an encoder"):
        graphs.parse(torch.zeros(3, 3, 3).numpy())
