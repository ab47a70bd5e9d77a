"""`autoenc-sg bank build` and `bank paste` as users meet them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from autoenc_sg.cli.main import main
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.graph_json import write_graphs
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.retrieval.bank import PatchBank
from autoenc_sg.retrieval.features import DetectorFeatures, GraphVectors, TimmFeatures
from autoenc_sg.retrieval.search import PatchSearch
from autoenc_sg.retrieval.selection import nearest_selection
from tests.cli.test_main import one_line


@pytest.fixture(scope="module")
def run(tiny_run: Path) -> str:
    return str(tiny_run / "run")


@pytest.fixture(scope="module")
def folder(tiny_run: Path, run: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of the scenes, with features and graph vectors of the tiny run."""
    out = tmp_path_factory.mktemp("bank") / "bank ü"
    command = ["bank", "build", str(tiny_run / "scenes"), "--out", str(out), "--features", run]
    assert main([*command, "--graph", run, "--crop-size", "8", "--canvas-size", "16"]) == 0
    return out


@pytest.fixture(scope="module")
def model(run: str) -> AutoEncoder:
    return AutoEncoder.from_checkpoint(run)


def test_the_bank_holds_the_train_split(folder: Path, model: AutoEncoder) -> None:
    bank = PatchBank(folder, model.vocabulary)
    images = open_dataset(model.config.data, "train")
    graphs = [images.graph(i) for i in range(len(images))]
    assert len(bank) == sum(len(graph) + 1 for graph in graphs)
    assert sorted(set(bank.image_ids.tolist())) == sorted(images.image_ids)
    held_out = open_dataset(model.config.data, "test").image_ids
    assert not set(held_out) & set(bank.image_ids.tolist())


def test_vectors_are_those_of_the_networks(folder: Path, model: AutoEncoder) -> None:
    bank, image_id = PatchBank(folder), open_dataset(model.config.data, "train").image_ids[3]
    images = open_dataset(model.config.data, "train")
    images.flip = False
    image, graph, _ = images.sample(3)
    rows = np.flatnonzero((bank.image_ids == image_id) & (bank.labels > 0))
    assert bank.labels[rows].tolist() == graph.labels.tolist()
    features = DetectorFeatures(model)
    assert bank.manifest.features == features.source
    assert_close(bank.vectors(rows), features(image, graph.boxes), rtol=2e-3, atol=1e-3)
    objects, photo = GraphVectors(model)(graph)
    assert_close(bank.vectors(rows, "graph"), objects, rtol=2e-3, atol=1e-3)
    whole = np.flatnonzero((bank.image_ids == image_id) & (bank.labels == 0))
    assert_close(bank.vectors(whole, "graph"), photo, rtol=2e-3, atol=1e-3)
    assert features(image, graph.boxes[:0]).shape == (0, features.source.width)


def test_a_graphs_own_patches_are_nearest_and_never_taken(folder: Path, model: AutoEncoder) -> None:
    images = open_dataset(model.config.data, "train")
    graph, image_id = images.graph(2), images.image_ids[2]
    search, vectors = PatchSearch(PatchBank(folder), "graph"), GraphVectors(model)
    own = nearest_selection(search, vectors, graph, canvas=True)
    objects, _ = vectors(graph)
    found = search.nearest(graph.labels, objects, [None] * len(graph), 1)
    assert (found.distances < 1e-2).all()
    assert search.bank.image_ids[own.canvas] == image_id
    other = nearest_selection(search, vectors, graph, image_id, canvas=True)
    rows = [row for row in [*other.rows.tolist(), other.canvas] if row >= 0]
    assert rows
    assert image_id not in search.bank.image_ids[rows]


def test_paste_writes_canvases_and_what_they_are_of(
    folder: Path, run: str, model: AutoEncoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = open_dataset(model.config.data, "train")
    ids = [str(image_id) for image_id in images.image_ids[:2]]
    file = tmp_path / "two.json"
    write_graphs(file, [images.graph(0), images.graph(1)], model.vocabulary)
    command = ["bank", "paste", str(file), "--bank", str(folder), "--image-ids", *ids]
    for name, options in (("near", ["--model", run, "--canvas"]), ("any", ["--seed", "5"])):
        out = tmp_path / name
        assert main([*command, "--out", str(out), "--size", "48", *options]) == 0
        printed = capsys.readouterr().out.splitlines()
        expected = [str(out / name) for name in ("two-0000.png", "two-0001.png", "patches.json")]
        assert [line for line in printed if not line.startswith("note: class")] == expected
        with Image.open(out / "two-0000.png") as picture:
            assert max(picture.size) == 48
        taken = json.loads((out / "patches.json").read_text())
        for number, graph in enumerate(taken):
            sources = {entry["image_id"] for entry in graph["objects"]}
            sources.add(graph["canvas_image_id"])
            assert int(ids[number]) not in sources
    again = tmp_path / "again"
    assert main([*command, "--out", str(again), "--size", "48", "--seed", "5"]) == 0
    assert (again / "two-0001.png").read_bytes() == (out / "two-0001.png").read_bytes()


def test_bad_input(
    folder: Path, run: str, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes, out = str(tiny_run / "scenes"), str(tmp_path / "out")
    build = ["bank", "build", scenes, "--out", str(folder), "--features", run, "--graph", run]
    error = one_line(capsys, *build, "--crop-size", "9", "--canvas-size", "16")
    assert "crop_size: expected 9, got 8: a bank of something else; choose another" in error
    error = one_line(capsys, *build, "--weights", "x.pth")
    assert "--weights: expected a network timm/NAME in --features" in error
    error = one_line(capsys, "bank", "build", "/no", "--out", out, "--features", run)
    assert "/no: expected the folder of a data set, got no such folder" in error
    graph = tmp_path / "graph.json"
    graph.write_text('{"objects": ["sky"], "relationships": []}')
    paste = ["bank", "paste", str(graph), "--bank", str(folder), "--out", out]
    names = PatchBank(folder).vocabulary.objects
    assert "graph" in one_line(capsys, *paste)
    graph.write_text(json.dumps({"objects": [names[1]], "relationships": []}))
    assert "boxes: expected boxes in the file, got none" in one_line(capsys, *paste)
    boxes = {"boxes": [[0, 0, 5, 5]], "image_size": [10, 10]}
    graph.write_text(json.dumps({"objects": [names[1]], "relationships": [], **boxes}))
    error = one_line(capsys, *paste, "--image-ids", "1", "2")
    assert "--image-ids: expected 1, one for each graph, got 2" in error
    assert "manifest of a patch bank" in one_line(
        capsys, *paste[:3], "--bank", str(tmp_path), "--out", out
    )
    assert "expected 1..4096, got 0" in one_line(capsys, *paste, "--size", "0")
    assert not Path(out).exists()


def test_vectors_of_other_weights(folder: Path, model: AutoEncoder, run: str) -> None:
    other = AutoEncoder.from_checkpoint(run)
    with torch.no_grad():
        other.generator.obj_embeddings.weight[1, 0] += 1
    search = PatchSearch(PatchBank(folder), "graph")
    graph = open_dataset(model.config.data, "train").graph(0)
    with pytest.raises(InputError, match=r"of this generator \(\w+\), got those of another"):
        nearest_selection(search, GraphVectors(other), graph)


def test_timm_features_see_the_box(tmp_path: Path) -> None:
    import timm

    file = tmp_path / "weights.pth"
    torch.manual_seed(0)
    torch.save(timm.create_model("resnet10t").state_dict(), file)
    features = TimmFeatures("resnet10t", str(file))
    image = torch.zeros(3, 40, 80, dtype=torch.uint8)
    image[:, :, 40:] = torch.randint(256, (3, 40, 40), dtype=torch.uint8)
    left, right = [0.0, 0.0, 30.0, 40.0], [50.0, 0.0, 80.0, 40.0]
    both = features(image, torch.tensor([left, right]))
    assert both.shape == (2, features.source.width)
    assert both.isfinite().all()
    assert (both[0] - both[1]).abs().max() > 0.05
    assert_close(features(image, torch.tensor([right]))[0], both[1])
    assert features(image, torch.zeros(0, 4)).shape == (0, features.source.width)
