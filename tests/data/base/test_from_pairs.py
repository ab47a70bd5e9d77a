"""Pairs of images and graphs in memory, trained on and evaluated without files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.testing import assert_close
from torch.utils.data import Dataset

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.from_pairs import PairsDataset
from autoenc_sg.data.base.samples import GraphDataset
from autoenc_sg.data.loading import BatchPlan, batches, training_loader

NAMES = Vocabulary.from_names(["cat", "mat"], ["left of", "right of", "on"])
GRAPH = SceneGraph(
    torch.tensor([1, 2]),
    torch.tensor([[0.0, 0, 10, 10], [20, 5, 40, 20]]),
    torch.tensor([[0, 1, 1], [0, 3, 1]]),
    (20, 40),
)
PIXELS = torch.randint(256, (3, 20, 40), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
ROWS = PIXELS.permute(1, 2, 0).numpy()  # [H, W, 3]


class Photos(Dataset[tuple[Tensor, SceneGraph]]):
    """A user's own torch data set."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[Tensor, SceneGraph]:
        return PIXELS, GRAPH


@pytest.mark.parametrize(
    "image", [PIXELS, PIXELS / 255, ROWS, ROWS.astype(np.float64) / 255, Image.fromarray(ROWS)]
)
def test_images_of_every_kind(image: Any) -> None:
    data: GraphDataset = PairsDataset([(image, GRAPH)], NAMES)
    sample = data[0]
    assert_close(sample.image, PIXELS)
    assert sample.image.dtype == torch.uint8
    assert sample.image_id == 0
    assert_close(sample.graph.boxes, GRAPH.boxes)
    assert sample.graph.triples.tolist() == GRAPH.triples.tolist()
    assert data.image_ids == (0,)
    assert len(data) == 1


def test_files_are_read_upright(tmp_path: Path) -> None:
    turned = Image.fromarray(ROWS.transpose(1, 0, 2)[::-1])
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    sample = PairsDataset([(tmp_path / "turned.png", GRAPH)], NAMES)[0]
    assert_close(sample.image, PIXELS)
    assert PairsDataset([(str(tmp_path / "turned.png"), GRAPH)], NAMES)[0].image.equal(PIXELS)


def test_augment_mirrors_and_keeps_one_predicate_of_a_pair() -> None:
    data = PairsDataset([(PIXELS, GRAPH)], NAMES, augment=True, seed=1)
    outcomes = set()
    for epoch in range(60):
        image, graph, _ = data.sample(0, epoch)
        flipped = bool(graph.boxes[0, 0] > 0)
        assert_close(image, PIXELS.flip(2) if flipped else PIXELS)
        outcomes.add((flipped, tuple(graph.triples[:, 1].tolist())))
        assert data.graph(0, epoch).boxes.equal(GRAPH.boxes)  # not mirrored
    assert outcomes == {(False, (1,)), (False, (3,)), (True, (2,)), (True, (3,))}
    again = PairsDataset([(PIXELS, GRAPH)], NAMES, augment=True, seed=1)
    for epoch in range(9):
        assert again.sample(0, epoch).graph.boxes.equal(data.sample(0, epoch).graph.boxes)
    assert data.annotated(0).triples.tolist() == GRAPH.triples.tolist()


def test_scores_of_relations_are_dropped_where_relations_are_drawn() -> None:
    graph = replace(GRAPH, triple_scores=torch.full((len(GRAPH.triples),), 0.5))
    drawn = PairsDataset([(PIXELS, graph)], NAMES, augment=True).sample(0).graph
    assert len(drawn.triples) < len(graph.triples)
    assert drawn.triple_scores is None


def test_a_torch_dataset_in_batches() -> None:
    data = PairsDataset(Photos(), NAMES)
    assert [len(batch) for batch in batches(data, 4)] == [4, 2]
    loader = training_loader(data, BatchPlan(len(data), 3, 2, 0), workers=1)
    drawn = [image_id for batch in loader for image_id in batch.image_ids]
    assert sorted(drawn) == list(range(6))


def test_graphs_of_another_vocabulary_are_translated() -> None:
    other = Vocabulary.from_names(["mat", "cat"], ["on", "left of"])
    graph = SceneGraph.empty((20, 40), other).add("cat", (0, 0, 10, 10)).add("mat", (20, 5, 40, 20))
    sample = PairsDataset([(PIXELS, graph.relate(0, "on", 1))], NAMES)[0]
    assert sample.graph.labels.tolist() == [1, 2]
    assert sample.graph.triples.tolist() == [[0, 3, 1]]
    assert sample.graph.vocabulary == NAMES
    strange = SceneGraph.empty((20, 40), Vocabulary.from_names(["dog"], ["on"]))
    with pytest.raises(InputError, match="pair 0: object 'dog': expected one of 2 known names"):
        PairsDataset([(PIXELS, strange.add("dog", (0, 0, 9, 9)))], NAMES)[0]


def test_boxes_a_little_outside_are_clipped() -> None:
    boxes = torch.tensor([[-0.5, 0, 10, 10], [20, 5, 41, 20.2]])
    sample = PairsDataset([(PIXELS, replace(GRAPH, boxes=boxes))], NAMES)[0]
    assert_close(sample.graph.boxes, torch.tensor([[0.0, 0, 10, 10], [20, 5, 40, 20]]))


def test_images_without_objects_and_no_pairs() -> None:
    data = PairsDataset([(PIXELS, SceneGraph.empty((20, 40)))], NAMES, augment=True)
    assert len(data[0].graph) == 0
    (batch,) = batches(data, 1)
    assert batch.graphs.boxes.shape == (0, 4)
    assert len(PairsDataset([], NAMES)) == 0


def boxed(*box: float) -> SceneGraph:
    return replace(GRAPH, boxes=torch.tensor([[0.0, 0, 10, 10], box]))


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (PIXELS, r"pair 0: expected \(image, SceneGraph\), got a tensor \[3, 20, 40\]"),
        ((PIXELS,), r"pair 0: expected \(image, SceneGraph\), got tuple of 1"),
        ((PIXELS, {"labels": []}), r"expected \(image, SceneGraph\), got \(image, dict\)"),
        ((None, GRAPH), "pair 0: image: expected a path, a PIL image, an array or a tensor"),
        ((PIXELS[0], GRAPH), r"pair 0: image tensor: expected shape \[3, H, W\]"),
        ((PIXELS.float(), GRAPH), "pair 0: float image: expected values in"),
        (("nowhere.png", GRAPH), "pair 0: nowhere.png: expected an image file"),
        ((PIXELS[:, :, :30], GRAPH), "pair 0: expected a graph of its image of 30 x 20 pixels, "),
        ((PIXELS, replace(GRAPH, has_boxes=False)), "pair 0: expected a graph with boxes, got one"),
        ((PIXELS, boxed(20, 5, 42, 20)), "pair 0 box 1: expected x1, y1, x2, y2 with some area"),
        ((PIXELS, boxed(40, 5, 41, 20)), "pair 0 box 1: .* within 40 x 20, got"),
        ((PIXELS, boxed(20, 5, 20, 9)), "pair 0 box 1"),
        ((PIXELS, replace(GRAPH, labels=torch.tensor([1, 3]))), "pair 0: labels: expected"),
        (
            (PIXELS, replace(GRAPH, triples=torch.tensor([[0, 4, 1]]))),
            "pair 0: triples' predicates",
        ),
    ],
)
def test_bad_pairs(pair: Any, message: str) -> None:
    data = PairsDataset([pair], NAMES)
    with pytest.raises(InputError, match=message) as error:
        data.sample(0)
    assert "\n" not in str(error.value)


def test_bad_arguments() -> None:
    with pytest.raises(InputError, match="pairs: expected a sequence or a torch Dataset with a"):
        PairsDataset(iter([(PIXELS, GRAPH)]), NAMES)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="vocabulary: expected a Vocabulary, got list"):
        PairsDataset([(PIXELS, GRAPH)], ["cat", "mat"])  # type: ignore[arg-type]
