"""Graph files to pictures: what `generate` draws and writes."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from autoenc_sg.cli.main import main
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.graph_json import graph_from_json, read_graphs
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.pipelines.generate import _prepared, draw_all
from autoenc_sg.pipelines.options import GenerateOptions
from autoenc_sg.weights.checkpoint import read_checkpoint, write_checkpoint
from tests.support.tiny import same

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
    return str(tiny_run / "run" / "checkpoint.safetensors")


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
    assert (data["seed"], data["temperature"]) == (3, 1.0)
    assert data["boxes"] == BOXED["boxes"]
    parsed = graph_from_json(data, model.vocabulary)
    assert model.render(parsed, seed=3).tobytes() == image.tobytes()


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
        assert f"graph 1 of 1, {options[0][2:]}: expected" in capsys.readouterr().err
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
    graphs = read_graphs(file, model.vocabulary)
    before = copy.deepcopy(graphs)
    jobs = [(g, i == 1, 10 + i) for i, g in enumerate(graphs)]
    together = list(draw_all(model, jobs))
    for job, picture in zip(jobs, together):
        (alone,) = draw_all(model, [job])
        torch.testing.assert_close(alone.image, picture.image, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(alone.boxes, picture.boxes, atol=1e-3, rtol=1e-4)
    for old, graph in zip(before, graphs):
        same(vars(old), vars(graph))


def test_empty_graphs_are_drawn(checkpoint: str, tmp_path: Path) -> None:
    empty = {"objects": [], "relationships": []}
    assert generate(checkpoint, tmp_path, empty, "--masks", "--grow") == ["g.png"]
    together = tmp_path / "together"
    together.mkdir()
    names = generate(checkpoint, together, [empty, MASKED, BARE])
    assert names == ["g-0000.png", "g-0001.png", "g-0002.png", "g-grid.png"]


def test_more_masks_than_a_row_holds(checkpoint: str, tmp_path: Path) -> None:
    crowd = {"objects": ["tree"] * 9, "relationships": []}
    generate(checkpoint, tmp_path, crowd, "--masks")
    sheet = Image.open(tmp_path / "out" / "g-masks.png")
    assert sheet.width > 8 * 128  # eight in the first row, one in the second
    assert 2 * 128 < sheet.height < 3 * 128


def test_refused_graphs_write_nothing(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crowd = {"objects": ["tree"] * 500, "relationships": []}
    file = tmp_path / "g.json"
    file.write_text(json.dumps([BOXED, crowd]))
    for option, limit in (("--masks", 400), ("--grow", 64)):
        call = ["generate", checkpoint, str(file), "--out", str(tmp_path / "out"), option]
        assert main(call) == 2
        expected = f"graph 2 of 2, objects: expected at most {limit} with {option}, got 500"
        assert expected in capsys.readouterr().err
    file.write_text("[]")
    assert main(["generate", checkpoint, str(file), "--out", str(tmp_path / "out")]) == 2
    assert "expected one graph or more, got an empty list" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_picture_is_finite_or_refused(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "g.json"
    file.write_text(json.dumps(BOXED))
    broken = read_checkpoint(Path(checkpoint))
    broken.model["generator.refinement_net.output_conv.2.bias"].fill_(float("nan"))
    write_checkpoint(tmp_path / "c.pt", broken)
    call = ["generate", str(tmp_path / "c.pt"), str(file), "--out", str(tmp_path / "out")]
    assert main(call) == 2
    assert "picture: expected finite numbers" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*call, "--device", "meta"]) == 2
    assert "--device: expected one PyTorch can use, got 'meta'" in capsys.readouterr().err


def test_masks_without_a_mask_head(model: AutoEncoder) -> None:
    def prepare(graph: Any, masks: Any) -> Any:
        parsed = graph_from_json(graph, model.vocabulary)
        return _prepared(parsed, GenerateOptions(masks=masks, mask_images=True), bare, "g")

    config = replace(model.config, generator=replace(model.config.generator, mask_size=0))
    bare = AutoEncoder(config, model.vocabulary)
    with pytest.raises(InputError, match="g, --masks: expected a generator with masks"):
        prepare(BOXED, None)
    with pytest.raises(InputError, match="g, --masks: expected a generator with masks"):
        prepare(MASKED, "predicted")
    graph, predicted = prepare(MASKED, None)
    assert graph.masks.shape == (2, 2, 2)
    assert not predicted


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ({**BARE, "objects": ["trea"]}, "'trea': expected one of .* nearest: tree"),
        (
            {"objects": ["trea", "dgo"], "relationships": [[0, "nearr", 1]]},
            r"known words, got 'trea' \(nearest: tree\); 'dgo' \(.*\); 'nearr' \(nearest: near",
        ),
        ({**BARE, "relationships": [[0, "near", 7]]}, "object indices from 0 to 0"),
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
        ({"samples": 0}, "samples: expected 1..10000, got 0"),
        ({"samples": 10**9}, "samples: expected 1..10000"),
        ({"temperature": -1.0}, "temperature: expected a number >= 0"),
        ({"temperature": float("nan")}, "temperature"),
        ({"seed": -1}, "seed: expected 0.."),
        ({"size": 0}, "size: expected 1..8192"),
    ],
)
def test_bad_options(options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        GenerateOptions(**options)
