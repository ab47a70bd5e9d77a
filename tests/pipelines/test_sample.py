"""`sample`: a split's true graphs as pictures, with what metrics need to read them again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from autoenc_sg.cli.main import main
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.graph_json import read_graphs
from autoenc_sg.core.images import as_tensor, read_image, resize_square
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.samples import GraphDataset, Sample
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.pipelines.options import SampleOptions
from autoenc_sg.pipelines.sample import write_samples
from autoenc_sg.visualization.progress import Reporter
from tests.support.tiny import tiny_config


@pytest.fixture(scope="module")
def checkpoint(tiny_run: Path) -> str:
    return str(tiny_run / "run" / "checkpoint.safetensors")


@pytest.fixture(scope="module")
def model(checkpoint: str) -> AutoEncoder:
    return AutoEncoder.from_checkpoint(checkpoint)


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "index.jsonl").read_text().splitlines()]


def test_images_graphs_and_an_index(
    checkpoint: str, model: AutoEncoder, tiny_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "samples"
    arguments = ["sample", checkpoint, "--out", str(out), "--limit", "3", "--seed", "4"]
    assert main([*arguments, "--photos", "--boxes", "predicted"]) == 0
    lines, graphs = lines_of(out), read_graphs(out / "graphs.json", model.vocabulary)
    dataset = open_dataset(tiny_config(tiny_run).data, "test")
    assert [line["image_id"] for line in lines] == list(dataset.image_ids[:3])
    assert len(graphs) == 3
    for number, (line, parsed) in enumerate(zip(lines, graphs)):
        assert (line["graph"], line["seed"], line["temperature"]) == (number, 4 + number, 1.0)
        sample = dataset[number]
        torch.testing.assert_close(parsed.triples, sample.graph.triples)
        torch.testing.assert_close(parsed.boxes, sample.graph.boxes)
        image = Image.open(out / line["image"])
        again = model.render(parsed, seed=line["seed"], predict_boxes=True)
        assert_nearly(again, image)
        photo = resize_square(sample.image.float() / 255, 32)
        torch.testing.assert_close(
            as_tensor(Image.open(out / line["photo"])), photo, atol=1 / 255, rtol=0
        )
        torch.testing.assert_close(
            torch.tensor(line["true_boxes"]), sample.graph.boxes, atol=1e-3, rtol=0
        )
        assert len(line["predicted_boxes"]) == len(parsed)
        assert line["image_size"] == list(parsed.image_size)


def test_true_boxes_are_drawn_by_default_and_all_graphs(
    checkpoint: str, model: AutoEncoder, tmp_path: Path
) -> None:
    out = tmp_path / "samples"
    assert main(["sample", checkpoint, "--out", str(out), "--temperature", "0"]) == 0
    lines, graphs = lines_of(out), read_graphs(out / "graphs.json", model.vocabulary)
    assert len(lines) == len(graphs) == 6
    assert not (out / "photos").exists()
    generated = model.generate_batch(graphs, [9] * 6, temperature=0.0)
    for line, image in zip(lines, generated.image.clamp(0, 1)):
        stored = read_image(out / line["image"]).float() / 255
        torch.testing.assert_close(stored, image, atol=1.01 / 255, rtol=0)


class Listed:
    """Graphs of a list, with black photos."""

    def __init__(self, vocabulary: Vocabulary, graphs: list[SceneGraph]) -> None:
        self.vocabulary = vocabulary
        self.graphs = graphs
        self.image_ids = tuple(range(len(graphs)))

    def __len__(self) -> int:
        return len(self.graphs)

    def graph(self, index: int, epoch: int = 0) -> SceneGraph:
        return self.graphs[index]

    def sample(self, index: int, epoch: int = 0) -> Sample:
        graph = self.graphs[index]
        return Sample(torch.zeros(3, *graph.image_size, dtype=torch.uint8), graph, index)

    def __getitem__(self, index: int) -> Sample:
        return self.sample(index)


def write(model: AutoEncoder, dataset: GraphDataset, out: Path, options: SampleOptions) -> Path:
    return write_samples(model, dataset, out, options, Reporter([("sample", 1.0)]))


def masked(model: AutoEncoder, value: float) -> Listed:
    graph = SceneGraph(
        torch.tensor([1]),
        torch.tensor([[0.0, 0, 30, 30]]),
        torch.zeros(0, 3, dtype=torch.int64),
        (30, 30),
        masks=torch.full((1, 2, 2), value),
    )
    return Listed(model.vocabulary, [graph, SceneGraph.empty((20, 30))])


def test_given_and_predicted_masks_and_an_empty_graph(model: AutoEncoder, tmp_path: Path) -> None:
    pictures = {}
    for name, value, options in (
        ("ones", 1.0, SampleOptions()),
        ("half", 0.5, SampleOptions()),
        ("ones predicted", 1.0, SampleOptions(masks="predicted")),
        ("half predicted", 0.5, SampleOptions(masks="predicted")),
    ):
        write(model, masked(model, value), tmp_path / name, options)
        lines = lines_of(tmp_path / name)
        pictures[name] = [read_image(tmp_path / name / line["image"]) for line in lines]
        assert lines[1]["true_boxes"] == lines[1]["predicted_boxes"] == []
    assert not torch.equal(pictures["ones"][0], pictures["half"][0])
    assert torch.equal(pictures["ones predicted"][0], pictures["half predicted"][0])
    assert torch.equal(pictures["ones"][1], pictures["half"][1])


def test_graphs_that_cannot_be_written_leave_nothing(model: AutoEncoder, tmp_path: Path) -> None:
    flat = SceneGraph(
        torch.tensor([1]),
        torch.tensor([[3.0, 3, 3, 9]]),
        torch.zeros(0, 3, dtype=torch.int64),
        (30, 30),
    )
    with pytest.raises(InputError, match=r"boxes\[0\]: expected .* x1 < x2"):
        write(model, Listed(model.vocabulary, [flat]), tmp_path / "out", SampleOptions())
    with pytest.raises(InputError, match="graphs to draw: expected one or more in the split, got"):
        write(model, Listed(model.vocabulary, []), tmp_path / "out", SampleOptions())
    assert list(tmp_path.rglob("*.*")) == []


def test_an_interrupted_call_has_no_index(model: AutoEncoder, tmp_path: Path) -> None:
    write(model, masked(model, 1.0), tmp_path, SampleOptions())

    class Unreadable(Listed):
        def sample(self, index: int, epoch: int = 0) -> Sample:
            raise InputError("photo: expected an image")

    broken = Unreadable(model.vocabulary, masked(model, 1.0).graphs)
    with pytest.raises(InputError, match="photo: expected an image"):
        write(model, broken, tmp_path, SampleOptions(photos=True))
    assert not (tmp_path / "index.jsonl").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit: expected >= 1, got 0"),
        ({"seed": -3}, "seed: expected 0.."),
        ({"temperature": float("inf")}, "temperature: expected a number >= 0, got inf"),
    ],
)
def test_bad_options(options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SampleOptions(**options)


def test_missing_data_is_one_line(checkpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", checkpoint, "--data", "/no/such"]) == 2
    assert "/no/such: expected the folder of the data set" in capsys.readouterr().err


def assert_nearly(a: Image.Image, b: Image.Image) -> None:
    """Equal up to rounding: the one was drawn in a batch."""
    torch.testing.assert_close(as_tensor(a), as_tensor(b), atol=1.01 / 255, rtol=0)
