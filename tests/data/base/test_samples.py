import pytest
import torch
from torch.testing import assert_close

from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.data.base.samples import Sample, collate_samples, num_validation, random_stream


def sample(image_id: int, height: int, width: int, count: int) -> Sample:
    labels = torch.arange(1, count + 1)
    boxes = torch.tensor([[0.0, 0.0, width, height]]).repeat(count, 1)
    triples = torch.tensor([[0, 1, count - 1]]) if count else torch.zeros(0, 3, dtype=torch.int64)
    image = torch.full((3, height, width), image_id, dtype=torch.uint8)
    return Sample(image, SceneGraph(labels, boxes, triples, (height, width)), image_id)


def test_collate_keeps_order_sizes_and_an_empty_image_in_the_middle() -> None:
    samples = [sample(7, 4, 5, 2), sample(8, 3, 3, 0), sample(9, 6, 2, 3)]
    batch = collate_samples(samples).to("cpu")
    assert len(batch) == 3
    assert batch.image_ids == (7, 8, 9)
    assert [tuple(image.shape) for image in batch.images] == [(3, 4, 5), (3, 3, 3), (3, 6, 2)]
    assert_close(batch.graphs.image_index, torch.tensor([0, 0, 2, 2, 2]))
    assert_close(batch.graphs.triples, torch.tensor([[0, 1, 1], [2, 1, 4]]))
    for one, graph in zip(samples, batch.graphs.split()):
        assert_close(one.graph.boxes, graph.boxes)
        assert_close(one.graph.triples, graph.triples)


def test_random_stream_follows_from_its_key() -> None:
    assert random_stream("a", 1, 2).random() == random_stream("a", 1, 2).random()
    others = {
        random_stream(*key).random() for key in (("a", 1, 2), ("a", 12), ("b", 1, 2), ("a", 2, 1))
    }
    assert len(others) == 4
    assert random_stream(0).random() == pytest.approx(0.3616904771377427)  # on every machine


@pytest.mark.parametrize(
    ("train", "wanted", "cut"),
    [
        (56224, 5000, 5000),
        (50000, 5000, 5000),
        (49999, 5000, 4999),
        (100, 0, 0),
        (5, 9, 1),
        (1, 9, 0),
    ],
)
def test_num_validation(train: int, wanted: int, cut: int) -> None:
    assert num_validation(train, wanted) == cut


def test_num_validation_of_nothing() -> None:
    assert num_validation(0, 5) == 0
