import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.augment import flip, flip_boxes, flip_half, left_right_swap
from autoenc_sg.data.base.samples import Sample

NAMES = Vocabulary.from_names(
    ["cat", "dog"],
    ["left of", "on", "right of", "at the left side of", "at the right side of", "bright"],
)
SWAP = left_right_swap(NAMES)


def make(seed: int, objects: int, triples: int, width: int = 7) -> Sample:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(objects, 2, generator=generator)
    boxes = torch.cat([low, low + torch.rand(objects, 2, generator=generator)], 1)
    count = triples if objects else 0
    rows = torch.randint(max(objects, 1), (count, 2), generator=generator)
    predicates = torch.randint(1, 7, (count,), generator=generator)
    graph = SceneGraph(
        torch.randint(1, 3, (objects,), generator=generator),
        boxes,
        torch.stack([rows[:, 0], predicates, rows[:, 1]], 1),
        (5, width),
        triple_scores=torch.rand(count, generator=generator),
        masks=torch.rand(objects, 4, 4, generator=generator),
        background=torch.rand(9, 2, generator=generator),
    )
    image = torch.randint(256, (3, 5, width), generator=generator, dtype=torch.uint8)
    return Sample(image, graph, 3)


def test_swap_is_by_whole_words() -> None:
    assert SWAP.tolist() == [0, 3, 2, 1, 5, 4, 6]


def test_hand_computed_flip() -> None:
    graph = SceneGraph(
        torch.tensor([1, 2]),
        torch.tensor([[0.0, 1, 2, 3], [4, 0, 7, 5]]),
        torch.tensor([[0, 1, 1], [0, 2, 1]]),
        (5, 7),
        masks=torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]),
        background=torch.tensor([[1.0, 5], [2, 6], [3, 7], [4, 8]]),  # sky left, right, sand ...
    )
    image = torch.arange(105, dtype=torch.uint8).reshape(3, 5, 7)
    mirrored = flip(Sample(image, graph, 1), SWAP)
    assert_close(mirrored.graph.boxes, torch.tensor([[5.0, 1, 7, 3], [0, 0, 3, 5]]))
    assert_close(mirrored.graph.triples, torch.tensor([[0, 3, 1], [0, 2, 1]]))
    assert_close(mirrored.graph.masks, torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]]]))
    assert_close(mirrored.graph.background, torch.tensor([[2.0, 6], [1, 5], [4, 8], [3, 7]]))
    assert mirrored.image[0, 0].tolist() == [6, 5, 4, 3, 2, 1, 0]


def test_what_cannot_be_said_in_the_mirror_is_left_out() -> None:
    swap = left_right_swap(Vocabulary.from_names(["cat"], ["left of", "on"]))
    assert swap.tolist() == [0, 0, 2]
    graph = SceneGraph(
        torch.tensor([1, 1]),
        torch.zeros(2, 4),
        torch.tensor([[0, 1, 1], [1, 2, 0]]),
        (5, 7),
        triple_scores=torch.tensor([0.1, 0.2]),
    )
    mirrored = flip(Sample(torch.zeros(3, 5, 7, dtype=torch.uint8), graph, 1), swap).graph
    assert_close(mirrored.triples, torch.tensor([[1, 2, 0]]))
    assert_close(mirrored.triple_scores, torch.tensor([0.2]))


@given(st.integers(0, 1000), st.integers(0, 5), st.integers(0, 6))
def test_flip_twice_is_the_identity(seed: int, objects: int, triples: int) -> None:
    sample = make(seed, objects, triples)
    twice = flip(flip(sample, SWAP), SWAP)
    assert_close(twice.image, sample.image)
    assert_close(twice.graph.boxes, sample.graph.boxes)
    assert_close(twice.graph.triples, sample.graph.triples)
    assert_close(twice.graph.masks, sample.graph.masks)
    assert_close(twice.graph.background, sample.graph.background)
    assert_close(twice.graph.triple_scores, sample.graph.triple_scores)


def test_flipped_boxes_follow_the_pixels() -> None:
    image = torch.zeros(3, 6, 9, dtype=torch.uint8)
    image[:, 1:4, 2:5] = 1
    (box,) = flip_boxes(torch.tensor([[2.0, 1, 5, 4]]), 9).int().tolist()
    x1, y1, x2, y2 = box
    assert int(image.flip(-1)[0, y1:y2, x1:x2].sum()) == 9


@pytest.mark.parametrize("epoch", [0, 1])
def test_flip_half_follows_from_its_key(epoch: int) -> None:
    sample = make(0, 2, 2)
    flipped = [
        not flip_half(sample, SWAP, 0, epoch, i).image.equal(sample.image) for i in range(200)
    ]
    again = [not flip_half(sample, SWAP, 0, epoch, i).image.equal(sample.image) for i in range(200)]
    other = [
        not flip_half(sample, SWAP, 0, epoch + 2, i).image.equal(sample.image) for i in range(200)
    ]
    assert flipped == again != other
    assert 70 < sum(flipped) < 130
