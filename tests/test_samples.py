from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from autoenc_sg.errors import InputError
from autoenc_sg.samples import Sample, collate_samples, num_validation, random_stream, read_pixels
from autoenc_sg.structures import SceneGraph


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


def test_read_pixels_is_rgb(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2), (10, 20, 30)).save(tmp_path / "a.png")
    image = read_pixels(tmp_path / "a.png")
    assert image.dtype == torch.uint8
    assert image.shape == (3, 2, 3)
    assert image[:, 1, 2].tolist() == [10, 20, 30]
    Image.new("L", (3, 2), 9).save(tmp_path / "grey.jpg")
    assert read_pixels(tmp_path / "grey.jpg").shape == (3, 2, 3)


def test_read_pixels_names_a_missing_or_broken_file(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"none\.jpg: expected a readable image file, got no such file"
    ):
        read_pixels(tmp_path / "none.jpg")
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(
        InputError, match=r"text\.jpg: expected a readable image file, got .+"
    ) as error:
        read_pixels(tmp_path / "text.jpg")
    assert "\n" not in str(error.value)
    Image.new("RGB", (90, 80)).save(tmp_path / "whole.jpg")
    (tmp_path / "half.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:-200])
    with pytest.raises(
        InputError, match=r"half\.jpg: expected a readable image file, got .*[Tt]runcated"
    ):
        read_pixels(tmp_path / "half.jpg")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(InputError, match=r"empty\.jpg: expected a readable image"):
        read_pixels(tmp_path / "empty.jpg")
