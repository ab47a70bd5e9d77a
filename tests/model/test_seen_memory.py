"""What the detector has seen of an image is remembered, and is what it would see again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.augment import flip_graph, left_right_swap
from autoenc_sg.model import AutoEncoder
from autoenc_sg.model.codes import SeenMemory, encode_appearance
from tests.support.graphs import random_graph
from tests.support.tiny import tiny_config


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> AutoEncoder:
    overrides = ("--generator.appearance_dim=3", "--generator.background_cells=2")
    config = tiny_config(tmp_path_factory.mktemp("seen"), *overrides)
    torch.manual_seed(0)
    return AutoEncoder(config, Vocabulary.from_names(["dog", "sky", "tree"], ["on", "left of"]))


@pytest.fixture(scope="module")
def images() -> list[Tensor]:
    return list(torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)))


GRAPHS = [random_graph(count, 0, count, (64, 64)) for count in (2, 0, 3)]


def count_passes(model: AutoEncoder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each pass of the detector has."""
    passes: list[int] = []
    encode = model.detector.encode

    def counted(images: list[Tensor]) -> object:
        passes.append(len(images))
        return encode(images)

    monkeypatch.setattr(model.detector, "encode", counted)
    return passes


def test_codes_are_those_of_each_image_alone(
    model: AutoEncoder, images: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [
        encode_appearance(model, [image], SceneGraphBatch.collate([graph]))
        for image, graph in zip(images, GRAPHS)
    ]
    passes, memory = count_passes(model, monkeypatch), SeenMemory(1)
    for order in ([0, 1, 2], [2, 0]):
        batch = SceneGraphBatch.collate([GRAPHS[i] for i in order])
        coded = encode_appearance(model, [images[i] for i in order], batch, memory)
        expected = SceneGraphBatch.collate([alone[i].split()[0] for i in order])
        assert expected.appearance is not None
        assert expected.background is not None
        assert_close(coded.appearance, expected.appearance)
        assert_close(coded.background, expected.background)
    assert passes == [1, 1, 1]
    assert coded.appearance is not None
    assert model.appearance is not None
    coded.appearance.sum().backward()  # the bottleneck is trained, whatever is remembered
    assert all(p.grad is not None and p.grad.any() for p in model.appearance.net.parameters())


def test_mirrored_images_and_other_boxes_are_others(
    model: AutoEncoder, images: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    passes, memory = count_passes(model, monkeypatch), SeenMemory(1)
    graph = GRAPHS[0]
    mirrored = flip_graph(graph, left_right_swap(model.vocabulary))
    for image, own in ((images[0], graph), (images[0].flip(-1), mirrored), (images[0], mirrored)):
        encode_appearance(model, [image], SceneGraphBatch.collate([own]), memory)
    assert len(passes) == len(memory) == 3


def test_the_longest_unused_is_forgotten(
    model: AutoEncoder, images: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    passes, memory = count_passes(model, monkeypatch), SeenMemory(0)
    channels = model.detector.map_channels
    memory.capacity = 2 * 4 * (2 * 4 * channels + 4 * channels + 4)  # float32, of two graphs
    graph = GRAPHS[0]

    def look(number: int) -> None:
        encode_appearance(model, [images[number]], SceneGraphBatch.collate([graph]), memory)

    for number in (0, 1, 0, 2):  # 1 goes
        look(number)
    assert (len(memory), len(passes), memory.size) == (2, 3, memory.capacity)
    look(0)
    assert len(passes) == 3
    look(1)
    assert len(passes) == 4


def test_training_passes_each_image_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from autoenc_sg.data.base.samples import collate_samples
    from autoenc_sg.data.open import open_dataset
    from autoenc_sg.training.objectives import ReconstructionObjective

    overrides = ("--generator.appearance_dim=3", "--reconstruction.seen_memory=1")
    config = tiny_config(tmp_path, *overrides)
    dataset = open_dataset(config.data, "test")
    model = AutoEncoder(config, dataset.vocabulary)
    passes = count_passes(model, monkeypatch)
    objective = ReconstructionObjective(model, config.reconstruction)
    batch = collate_samples([dataset[i] for i in range(2)])
    first = objective(batch).losses["pixel"]
    assert passes == [1, 1]
    objective(batch)
    assert passes == [1, 1]
    assert first.isfinite()
