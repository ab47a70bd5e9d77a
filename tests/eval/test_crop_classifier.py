"""Crops of objects, the network that names them, and the share it recognizes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from autoenc_sg.core.boxes import union_boxes
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.images import as_float, target_images
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.data.base.samples import Sample
from autoenc_sg.data.open import open_dataset
from autoenc_sg.eval.crop_classifier import (
    CropClassifier,
    CropTraining,
    ObjectAccuracy,
    as_bytes,
    crop_boxes,
    fit_crop_classifier,
)
from autoenc_sg.scoring.crop_dataset import crop_classifier_of, real_crops, real_union_crops
from tests.support.tiny import tiny_config

SHORT = CropTraining(steps=25, batch_size=24, width=4, lr=0.01)


def flat_crops(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Crops of one colour with noise: class 1 reddish, 2 greenish, 3 bluish."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(1, 4, (count,), generator=rng)
    crops = torch.rand(count, 3, 32, 32, generator=rng) * 0.4
    crops[torch.arange(count), labels - 1] += 0.5
    return crops, labels


class Answering(CropClassifier):
    """Says 1 where a crop is mostly red, else 2."""

    def labels(self, crops: Tensor) -> Tensor:
        means = as_float(crops).mean((2, 3))
        return torch.where(means[:, 0] > means[:, 1], 1, 2)


def graph(labels: list[int], boxes: list[list[float]], size: tuple[int, int]) -> SceneGraph:
    return SceneGraph(
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.zeros(0, 3, dtype=torch.int64),
        size,
    )


def test_crops_by_hand() -> None:
    columns = torch.arange(64.0).expand(1, 3, 64, 64)  # x, in pixels, at centres x + 1/2
    crop = crop_boxes(columns, torch.tensor([[0.25, 0.0, 0.75, 1.0]]), torch.zeros(1).long())
    assert crop.shape == (1, 3, 32, 32)
    assert_close(crop[0, 0, 5], torch.arange(32.0) + 16)  # a pixel of the crop is one of the image
    wide = crop_boxes(columns, torch.tensor([[0.0, 0.0, 1.0, 0.5]]), torch.zeros(1).long())
    assert_close(wide[0, 1, 9], 2 * torch.arange(32.0) + 0.5)  # the mean of two


def test_crops_of_many_images_equal_those_of_one() -> None:
    images = torch.rand(3, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[0.1, 0.2, 0.5, 0.9], [0.0, 0.0, 1.0, 1.0], [-0.2, 0.4, 0.3, 1.4]])
    index = torch.tensor([0, 2, 2])
    crops = crop_boxes(images, boxes, index)
    for i in range(3):
        alone = crop_boxes(images[index[i]][None], boxes[i][None], torch.zeros(1).long())
        assert_close(crops[i], alone[0])
    order = torch.tensor([2, 0, 1])
    assert_close(crop_boxes(images, boxes[order], index[order]), crops[order])
    assert crop_boxes(images, boxes[:0], index[:0]).shape == (0, 3, 32, 32)
    assert_close(as_float(as_bytes(crops)), crops, atol=1 / 500, rtol=0)


def test_network_never_answers_the_reserved_class_and_is_differentiable() -> None:
    torch.manual_seed(0)
    network = CropClassifier(4, 3)
    crops = torch.rand(5, 3, 32, 32)
    logits = network(crops)
    assert (logits[:, 0] == -torch.inf).all()
    torch.nn.functional.cross_entropy(logits, torch.tensor([1, 2, 3, 1, 2])).backward()
    for name, value in network.named_parameters():
        assert value.grad is not None, name
        assert value.grad.isfinite().all(), name
    assert network.training
    assert (network.labels(crops) >= 1).all()
    assert network.training
    assert network.labels(crops[:0]).shape == (0,)


def test_training_learns_and_is_reproducible_without_touching_the_random_state() -> None:
    crops, labels = flat_crops(120, 0)
    state = torch.get_rng_state()
    first = fit_crop_classifier(as_bytes(crops), labels, 4, SHORT)
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(3)
    again = fit_crop_classifier(as_bytes(crops), labels, 4, SHORT)
    for (name, a), b in zip(first.state_dict().items(), again.state_dict().values()):
        assert torch.equal(a, b), name
    unseen, true = flat_crops(60, 1)
    assert (first.labels(unseen) == true).float().mean() > 0.95
    chance = (CropClassifier(4, 4).labels(unseen) == true).float().mean()
    assert chance < 0.8


def test_accuracy_by_hand() -> None:
    red = torch.tensor([1.0, 0, 0])[:, None, None].expand(3, 8, 8)
    half = torch.cat([red[:, :, :4], red[[1, 0, 2], :, 4:]], 2)  # red left, green right
    graphs = SceneGraphBatch.collate(
        [
            graph([1, 2], [[0, 0, 8, 16], [8, 0, 16, 16]], (16, 16)),
            graph([], [], (4, 4)),
            graph([2, 1, 1], [[0, 0, 16, 16], [0, 0, 8, 16], [8, 0, 16, 16]], (16, 16)),
        ]
    )
    images = torch.stack([half, red, half])
    images[2] = red
    accuracy = ObjectAccuracy(Answering(4), 4)
    accuracy.update(images, graphs)
    # image 0: both right; image 2, all red: the 2 is missed, both 1 are found
    scores = accuracy.compute()
    assert float(scores["object accuracy"]) == pytest.approx(4 / 5)
    assert float(scores["object accuracy, mean of classes"]) == pytest.approx((1 + 1 / 2) / 2)
    assert accuracy.per_class().isnan().tolist() == [True, False, False, True]
    assert_close(accuracy.per_class()[1:3], torch.tensor([1.0, 0.5]).double())
    elsewhere = ObjectAccuracy(Answering(4), 4)
    swapped = graphs.unit_boxes()[[1, 0, 2, 3, 4]]
    elsewhere.update(images, graphs, swapped)
    assert float(elsewhere.compute()["object accuracy"]) == pytest.approx(2 / 5)
    parts = ObjectAccuracy(Answering(4), 4)
    for image, single in zip(images, graphs.split()):
        parts.update(image[None], SceneGraphBatch.collate([single]))
    assert_close(parts.compute(), scores)


def test_nothing_to_recognize_is_nan() -> None:
    accuracy = ObjectAccuracy(Answering(3), 3)
    accuracy.update(torch.zeros(1, 3, 8, 8), SceneGraphBatch.collate([graph([], [], (4, 4))]))
    assert all(math.isnan(float(value)) for value in accuracy.compute().values())


@pytest.mark.parametrize(
    ("crops", "labels", "message"),
    [
        (torch.zeros(0, 3, 32, 32), torch.zeros(0).long(), "crops: expected one or more of"),
        (torch.zeros(2, 3, 16, 16), torch.ones(2).long(), r"crops: .* got \[2, 3, 16, 16\]"),
        (torch.zeros(2, 3, 32, 32), torch.ones(3).long(), r"labels of crops: expected shape \[2\]"),
        (torch.zeros(1, 3, 32, 32), torch.zeros(1).long(), r"labels of crops: expected 1\.\.3"),
        (torch.zeros(1, 3, 32, 32), torch.tensor([4]), r"expected 1\.\.3, got 4\.\.4"),
    ],
)
def test_bad_crops(crops: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_crop_classifier(crops, labels, 4, SHORT)


def test_bad_pictures_and_options() -> None:
    accuracy = ObjectAccuracy(Answering(3), 3)
    one = SceneGraphBatch.collate([graph([1], [[0, 0, 2, 2]], (4, 4))])
    with pytest.raises(InputError, match="images: expected 1, one a graph, got 2"):
        accuracy.update(torch.zeros(2, 3, 8, 8), one)
    with pytest.raises(InputError, match=r"images: expected values in \[0, 1\]"):
        accuracy.update(torch.full((1, 3, 8, 8), 2.0), one)
    bad: list[tuple[dict[str, Any], str]] = [
        ({"steps": 0}, "crop training, steps: expected >= 1"),
        ({"lr": 0.0}, "crop training, lr: expected > 0"),
        ({"shift": 40}, "crop training, shift"),
    ]
    for options, message in bad:
        with pytest.raises(InputError, match=message):
            CropTraining(**options)


def test_crops_of_a_data_set(tiny_run: Path) -> None:
    dataset = open_dataset(tiny_config(tiny_run).data, "train")
    crops, labels = real_crops(dataset, 32, 3)
    samples = [dataset[i] for i in range(3)]
    assert_close(labels, torch.cat([s.graph.labels for s in samples]))
    last = samples[2]
    image = target_images([last.image], 32)
    boxes = last.graph.boxes / 64
    index = torch.zeros(len(boxes), dtype=torch.int64)
    assert_close(crops[-len(boxes) :], as_bytes(crop_boxes(image, boxes, index)))
    unions, predicates = real_union_crops(dataset, 32, 3)
    assert_close(predicates, torch.cat([s.graph.triples[:, 1] for s in samples]))
    pair = union_boxes(boxes, last.graph.triples[-1:, [0, 2]])
    assert_close(unions[-1:], as_bytes(crop_boxes(image, pair, index[:1])))
    network = crop_classifier_of(dataset, 32, 3, CropTraining(steps=2, batch_size=8, width=2))
    assert network.classifier.out_features == dataset.vocabulary.num_objects


def test_a_data_set_without_objects(tiny_run: Path) -> None:
    class Bare:
        vocabulary = open_dataset(tiny_config(tiny_run).data, "train").vocabulary
        image_ids = (1,)

        def __len__(self) -> int:
            return 1

        def graph(self, index: int, epoch: int = 0) -> SceneGraph:
            return SceneGraph.empty((8, 8))

        def sample(self, index: int, epoch: int = 0) -> Sample:
            return Sample(torch.zeros(3, 8, 8, dtype=torch.uint8), self.graph(0), 1)

        def __getitem__(self, index: int) -> Sample:
            return self.sample(index)

    crops, labels = real_crops(Bare(), 32)
    assert (len(crops), len(labels)) == (0, 0)
    with pytest.raises(InputError, match="crops: expected one or more"):
        crop_classifier_of(Bare(), 32)
