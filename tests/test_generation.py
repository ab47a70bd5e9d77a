"""Graph files to pictures, and the test split's graphs to pictures with an index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from autoenc_sg.__main__ import main
from autoenc_sg.errors import InputError
from autoenc_sg.generation import GenerateOptions, draw_all
from autoenc_sg.graph_json import graph_from_json, read_graphs
from autoenc_sg.model import AutoEncoder

BOXED = {
    "objects": ["person", "dog"],
    "relationships": [[0, "near", 1]],
    "boxes": [[5, 5, 40, 60], [30, 30, 62, 62]],
    "image_size": [64, 64],
}
BARE = {"objects": ["tree"], "relationships": []}
MASKED = {**BOXED, "masks": [[[1, 0], [0, 1]], [[1, 1], [1, 1]]]}


@pytest.fixture(scope="module")
def checkpoint(tiny_run: Path) -> str:
    return str(tiny_run / "run" / "checkpoint.pt")


@pytest.fixture(scope="module")
def model(checkpoint: str) -> AutoEncoder:
    return AutoEncoder.from_checkpoint(checkpoint)


def generate(checkpoint: str, folder: Path, content: Any, *options: str) -> list[str]:
    """Names of what `generate` writes for `g.json`."""
    file = folder / "g.json"
    file.write_text(json.dumps(content))
    out = folder / "out"
    assert main(["generate", checkpoint, str(file), "--out", str(out), *options]) == 0
    return sorted(p.name for p in out.iterdir())


def pixels(path: Path) -> bytes:
    return Image.open(path).tobytes()


def test_many_graphs_samples_and_a_grid(checkpoint: str, tmp_path: Path) -> None:
    names = generate(checkpoint, tmp_path, [BOXED, BARE], "--samples", "2", "--seed", "5")
    pictures = [f"g-{i:04d}-{j:04d}.png" for i in range(2) for j in range(2)]
    assert names == [*pictures, "g-grid.png"]
    grid = Image.open(tmp_path / "out" / "g-grid.png")
    assert grid.size == (2 * 32 + 6, 2 * 32 + 6)  # a row a graph, 2 pixels around each
    first, second = (pixels(tmp_path / "out" / name) for name in pictures[:2])
    assert first != second
    alone = tmp_path / "alone"
    alone.mkdir()
    assert generate(checkpoint, alone, BOXED, "--seed", "7") == ["g.png"]
    assert pixels(alone / "out" / "g.png") == second  # sample j of graph i: seed + i + 2 j


def test_metadata_holds_a_graph_that_draws_the_same(
    checkpoint: str, model: AutoEncoder, tmp_path: Path
) -> None:
    generate(checkpoint, tmp_path, MASKED, "--seed", "3")
    image = Image.open(tmp_path / "out" / "g.png")
    data = json.loads(image.text["scene graph"])  # type: ignore[attr-defined]
    assert data["seed"] == 3
    assert data["boxes"] == BOXED["boxes"]
    parsed = graph_from_json(data, model.vocabulary)
    assert model.render(parsed.graph, seed=3).tobytes() == image.tobytes()


def test_given_and_predicted_boxes_and_masks(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = {}
    for name, options in {
        "default": [],
        "given": ["--boxes", "given", "--masks", "given"],
        "boxes": ["--boxes", "predicted"],
        "masks": ["--masks", "predicted"],
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        generate(checkpoint, folder, MASKED, *options)
        drawn[name] = pixels(folder / "out" / "g.png")
        assert (folder / "out" / "g-masks.png").exists() == ("--masks" in options)
    assert drawn["default"] == drawn["given"]
    assert len(set(drawn.values())) == 3
    image = Image.open(tmp_path / "boxes" / "out" / "g.png")
    data = json.loads(image.text["scene graph"])  # type: ignore[attr-defined]
    assert "boxes" not in data
    assert torch.tensor(data["predicted_boxes"]).shape == (2, 4)
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps(BARE))
    for options in (["--boxes", "given"], ["--masks", "given"]):
        assert (
            main(["generate", checkpoint, str(bare), "--out", str(tmp_path / "n"), *options]) == 2
        )
        assert f"graph 0, {options[0][2:]}: expected" in capsys.readouterr().err
    assert not (tmp_path / "n").exists()


def test_masks_size_temperature_and_growth(checkpoint: str, tmp_path: Path) -> None:
    options = ["--masks", "--grow", "--size", "100", "--temperature", "0", "--seed", "1"]
    names = generate(checkpoint, tmp_path, BOXED, *options)
    assert names == ["g-growth.png", "g-masks.png", "g.png"]
    assert Image.open(tmp_path / "out" / "g.png").size == (100, 100)
    first = pixels(tmp_path / "out" / "g.png")
    generate(checkpoint, tmp_path, BOXED, *options[:-1], "2")
    assert pixels(tmp_path / "out" / "g.png") == first  # no noise, no seed


def test_reading_leaves_the_input_alone_and_batches_equal_single_pictures(
    model: AutoEncoder, tmp_path: Path
) -> None:
    file = tmp_path / "g.json"
    file.write_text(json.dumps([BOXED, BARE, MASKED, BOXED]))
    graphs = [p.graph for p in read_graphs(file, model.vocabulary)]
    before = [g.boxes.clone() for g in graphs]
    jobs = [(g, i == 1, 10 + i) for i, g in enumerate(graphs)]
    together = list(draw_all(model, jobs))
    for job, picture in zip(jobs, together):
        (alone,) = draw_all(model, [job])
        torch.testing.assert_close(alone.image, picture.image, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(alone.boxes, picture.boxes, atol=1e-3, rtol=1e-4)
    for old, graph in zip(before, graphs):
        assert torch.equal(old, graph.boxes)


def test_empty_graphs_and_crowds_are_drawn(checkpoint: str, tmp_path: Path) -> None:
    crowd = {
        "objects": ["tree"] * 10_000,
        "relationships": [],
        "boxes": [[0, 0, 20, 20]] * 10_000,
        "image_size": [64, 64],
    }
    empty = {"objects": [], "relationships": []}
    names = generate(checkpoint, tmp_path, [empty, crowd])
    assert names == ["g-0000.png", "g-0001.png", "g-grid.png"]
    assert generate(checkpoint, tmp_path, empty, "--masks", "--grow")[-1] == "g.png"


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ({**BARE, "objects": ["trea"]}, "'trea': expected one of .* nearest: tree"),
        ({**BARE, "relationships": [[0, "near", 7]]}, "object indices from 0 to 0"),
        ({**BOXED, "relationships": [[0, "near", 0]]}, "two different objects"),
        ({**BOXED, "boxes": [[5, 5, 5, 9], [1, 1, 2, 2]]}, "x1 < x2"),
    ],
)
def test_bad_graphs_are_one_line(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], graph: Any, message: str
) -> None:
    file = tmp_path / "g.json"
    file.write_text(json.dumps(graph))
    assert main(["generate", checkpoint, str(file), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    with pytest.raises(InputError, match=message):
        raise InputError(error)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples: expected >= 1, got 0"),
        ({"temperature": -1.0}, "temperature: expected a number >= 0"),
        ({"temperature": float("nan")}, "temperature"),
        ({"size": 0}, "size: expected 1..8192"),
    ],
)
def test_bad_options(options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        GenerateOptions(**options)


def test_sample_writes_images_graphs_and_an_index(
    checkpoint: str, model: AutoEncoder, tmp_path: Path
) -> None:
    out = tmp_path / "samples"
    arguments = ["sample", checkpoint, "--out", str(out), "--limit", "3", "--seed", "4"]
    assert main([*arguments, "--photos", "--boxes", "predicted"]) == 0
    lines = [json.loads(line) for line in (out / "index.jsonl").read_text().splitlines()]
    graphs = read_graphs(out / "graphs.json", model.vocabulary)
    assert len(lines) == len(graphs) == 3
    assert len({line["image_id"] for line in lines}) == 3
    for number, (line, parsed) in enumerate(zip(lines, graphs)):
        assert (line["graph"], line["seed"]) == (number, 4 + number)
        image = Image.open(out / line["image"])
        assert Image.open(out / line["photo"]).size == image.size == (32, 32)
        again = model.render(parsed.graph, seed=line["seed"], predict_boxes=True)
        assert _nearly(again, image)
        assert len(line["true_boxes"]) == len(line["predicted_boxes"]) == len(parsed.graph)


def _nearly(a: Image.Image, b: Image.Image) -> bool:
    """Equal up to rounding: the one was drawn in a batch."""
    bytes_a, bytes_b = a.convert("RGB").tobytes(), b.convert("RGB").tobytes()
    return max(abs(x - y) for x, y in zip(bytes_a, bytes_b)) <= 1
