"""A share of the train images keeps its relations, and images without graphs are data, too."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from autoenc_sg.config.data import DataConfig, ScenesConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.annotation import annotated_graphs, choose_unannotated
from autoenc_sg.data.base.from_pairs import PairsDataset
from autoenc_sg.data.base.samples import Sample, collate_samples
from autoenc_sg.data.base.unannotated import WithMoreImages
from autoenc_sg.data.open import open_dataset, open_unannotated
from autoenc_sg.scoring.graph_scores import GraphScores
from autoenc_sg.scoring.options import EvaluationOptions

NAMES = Vocabulary(("__background__", "dog", "cat"), ("__background__", "left of", "right of"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    root = tmp_path_factory.mktemp("scenes")
    return DataConfig("scenes", str(root), num_val=4, flip=False, scenes=ScenesConfig(24, 3, 64))


# The share ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fraction", "annotated"), [(1.0, 200), (0.5, 100), (0.0125, 2), (0.013, 3), (1e-9, 1)]
)
def test_the_share_is_rounded_and_never_empty(fraction: float, annotated: int) -> None:
    left_out = choose_unannotated(range(1000, 1200), fraction, 0)
    assert len(left_out) == 200 - annotated
    assert left_out <= set(range(200))


def test_the_choice_is_nested_and_follows_seed_and_ids_alone() -> None:
    ids = list(range(300))
    shares = [choose_unannotated(ids, fraction, 5) for fraction in (0.05, 0.2, 0.8)]
    assert shares[0] > shares[1] > shares[2]
    assert choose_unannotated(ids, 0.2, 5) == shares[1]
    assert choose_unannotated(ids, 0.2, 6) != shares[1]
    backwards = choose_unannotated(ids[::-1], 0.2, 5)
    assert {299 - index for index in backwards} == shares[1]
    assert sorted(set(ids) - choose_unannotated(ids, 0.01, 0)) == [9, 170, 190]  # for ever


def test_images_beyond_the_share_keep_their_boxes_alone(data: DataConfig) -> None:
    whole = open_dataset(data, "train")
    part = open_dataset(replace(data, annotated_fraction=0.25), "train", seed=3)
    assert len(part) == 22
    assert len(part.unannotated) == 16
    for i in range(22):
        known, full = part.graph(i), whole.graph(i)
        assert_close(known.boxes, full.boxes)
        assert_close(known.labels, full.labels)
        count = 0 if i in part.unannotated else len(full.triples)
        assert len(known.triples) == len(part.sample(i).graph.triples) == count
        assert len(part.annotated(i).triples) == (count and len(whole.annotated(i).triples))
    for split in ("val", "test"):
        other = open_dataset(replace(data, annotated_fraction=0.25), split)
        assert not other.unannotated
        assert all(len(other.graph(i).triples) > 0 for i in range(len(other)))
    assert not whole.unannotated
    again = open_dataset(replace(data, annotated_fraction=0.25), "train", seed=4)
    assert again.unannotated == part.unannotated  # whatever the run's seed is
    other = open_dataset(replace(data, annotated_fraction=0.25, annotated_seed=1), "train")
    assert other.unannotated != part.unannotated


def test_statistics_of_the_train_split_are_of_annotated_images(data: DataConfig) -> None:
    part = open_dataset(replace(data, annotated_fraction=0.25), "train")
    graphs = list(annotated_graphs(part))
    assert len(graphs) == 6
    triples = torch.cat([graph.triples for graph in graphs])
    scores = GraphScores(part.vocabulary, part, EvaluationOptions(tasks=("PredCls",)))
    counts = torch.bincount(triples[:, 1], minlength=part.vocabulary.num_predicates)
    assert_close(scores.counts, counts)
    expected = GraphScores(part.vocabulary, _Listed(part, graphs), EvaluationOptions())
    assert_close(scores.prior.log_prior, expected.prior.log_prior)


class _Listed(PairsDataset):
    def __init__(self, dataset: PairsDataset, graphs: list[SceneGraph]) -> None:
        self.vocabulary, self.graphs = dataset.vocabulary, graphs

    def __len__(self) -> int:
        return len(self.graphs)

    def annotated(self, index: int) -> SceneGraph:
        return self.graphs[index]


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.5, float("nan")])
def test_a_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(InputError, match="annotated_fraction: expected above 0, 1 at most, got"):
        DataConfig(annotated_fraction=fraction)


# Images without graphs ----------------------------------------------------------------------------


def photos(folder: Path) -> DataConfig:
    """A photo on its side, one below, a text with a photo's name, a hidden file."""
    (folder / "deep").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20), "red").save(folder / "a.jpg", exif=exif)
    Image.new("RGB", (30, 60), "blue").save(folder / "deep" / "b.png")
    (folder / "c.jpg").write_text("no photo")
    (folder / ".hidden.png").write_text("no photo")
    return DataConfig(unannotated=str(folder), short_side=10, flip=True)


def test_photos_of_a_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        images = open_unannotated(photos(tmp_path / "p"), NAMES, 0)
    assert caplog.messages == [
        f"{tmp_path / 'p'}: 1 files are no readable photos and are left out (c.jpg)"
    ]
    assert len(images) == 2
    assert images.graph(0).image_size == (40, 20)  # upright
    sample = images[0]
    assert sample.image.shape == (3, 20, 10)  # shrunk
    assert sample.image.dtype == torch.uint8
    assert sample.graph.image_size == (20, 10)
    assert len(sample.graph) == len(images.annotated(1)) == 0
    assert images[1].image.shape == (3, 20, 10)
    assert images.unannotated == {0, 1}


def test_photos_are_mirrored_by_epoch(tmp_path: Path) -> None:
    pixels = torch.arange(200, dtype=torch.uint8).reshape(1, 10, 20).expand(3, -1, -1)
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    images = open_unannotated(DataConfig(unannotated=str(tmp_path)), NAMES, 0)
    views = [images.sample(0, epoch).image for epoch in range(8)]
    mirrored = [torch.equal(view, pixels.flip(-1)) for view in views]
    assert 0 < sum(mirrored) < 8
    assert all(m or torch.equal(view, pixels) for m, view in zip(mirrored, views))
    images.flip = False
    assert torch.equal(images.sample(0, mirrored.index(True)).image, pixels)


def test_the_train_images_of_a_data_set(data: DataConfig) -> None:
    train = open_dataset(data, "train")
    config = DataConfig(unannotated=data.root, num_val=4, flip=False)
    images = open_unannotated(config, NAMES, 0)
    assert images.image_ids == train.image_ids
    assert torch.equal(images[3].image, train[3].image)
    assert len(images[3].graph) == 0
    assert images.vocabulary is NAMES


def test_bad_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.jpg").write_text("no photo")
    (tmp_path / "file.jpg").write_text("no photo")
    for name, message in {
        "empty": "expected a folder with image files, got none in it",
        "broken": "expected a folder with readable photos, got 1 files, none of them readable",
        "file.jpg": "data.unannotated: expected a folder .*, got a file",
        "nowhere": "data.unannotated: expected a folder .*, got nothing there",
    }.items():
        with pytest.raises(InputError, match=message):
            open_unannotated(DataConfig(unannotated=str(tmp_path / name)), NAMES, 0)


def test_photos_behind_a_data_set(tmp_path: Path, data: DataConfig) -> None:
    train = open_dataset(replace(data, annotated_fraction=0.5), "train")
    more = open_unannotated(photos(tmp_path / "p"), train.vocabulary, 0)
    both = WithMoreImages(train, more)
    assert len(both) == len(both.image_ids) == 24
    assert both.unannotated == train.unannotated | {22, 23}
    assert torch.equal(both[19].image, train[19].image)
    assert torch.equal(both[23].image, more[1].image)
    assert len(both.graph(23)) == len(both.annotated(22)) == 0
    assert len(WithMoreImages(train, None)) == 22


def test_scores_of_pseudo_relations_survive_a_photo_in_the_batch() -> None:
    graph = SceneGraph(
        torch.tensor([1, 2]),
        torch.tensor([[0.0, 0, 4, 4], [2, 2, 8, 8]]),
        torch.tensor([[0, 1, 1]]),
        (8, 8),
        triple_scores=torch.tensor([0.25]),
    )
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    samples = [Sample(image, graph, 1), Sample(image, SceneGraph.empty((8, 8)), 2)]
    batch = collate_samples(samples, frozenset([1]))
    assert batch.graphs.triple_scores is not None
    assert_close(batch.graphs.triple_scores, torch.tensor([0.25]))
    assert batch.to("cpu").unannotated == {1}
    first = batch.select([0])
    assert first.image_ids == (1,)
    assert not first.unannotated
