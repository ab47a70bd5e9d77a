"""The weights that come with the package: small, described, and they recognize what they should."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import matplotlib
import pytest
import torch

from autoenc_sg.config.data import DataConfig, ScenesConfig
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model import AutoEncoder
from autoenc_sg.weights.pretrained import SHIPPED, read_about, read_pretrained, shipped_models

MEBIBYTES = 20
NAMES = shipped_models()
FREE = (
    *("CC BY 2.0", "CC BY-SA 2.0", "Attribution License", "Attribution-ShareAlike License"),
    "no known copyright restrictions (Flickr Commons)",
    "No known copyright restrictions",
)


def test_both_come_with_the_package() -> None:
    assert {"photos", "scenes"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_files_are_small_and_in_half_precision(name: str) -> None:
    files = sorted(file.name for file in (SHIPPED / name).iterdir())
    assert {"model.json", "model.safetensors"} <= set(files)
    assert sum(file.stat().st_size for file in (SHIPPED / name).iterdir()) <= MEBIBYTES * 2**20
    weights = read_pretrained(SHIPPED / name).model  # the checksums are verified
    floats = [value for value in weights.values() if value.is_floating_point()]
    assert {value.dtype for value in floats} == {torch.float16}
    assert all(bool(value.isfinite().all()) for value in floats)


@pytest.mark.parametrize("name", NAMES)
def test_descriptions_say_what_was_measured_and_whose_data_it_was(name: str) -> None:
    about = read_about(SHIPPED / name)
    for key in ("summary", "knows", "data", "licences"):
        assert about[key], key
    assert len(about["measured"]) >= 4
    assert 0 <= about["least_mean_score"] < 1
    text = (SHIPPED / name / "model.json").read_text(encoding="utf-8")
    assert not re.search(r'": "/', text)  # no path of the machine that trained them


def test_every_photograph_is_attributed() -> None:
    with (SHIPPED / "photos" / "attribution.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    trained = [row for row in rows if row["split"] == "train"]
    assert f"{len(trained)} photographs" in read_about(SHIPPED / "photos")["data"]
    licences = read_about(SHIPPED / "photos")["licences"]["photographs"]
    assert sum(licences.values()) == len(trained)
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        assert row["address"].startswith("http"), row
        assert row["license"] in FREE, row


def test_a_portrait_is_a_person() -> None:
    model = AutoEncoder.from_pretrained("photos")
    portrait = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    graph = model.parse(portrait)
    people = [
        (score, box)
        for name, score, box in zip(
            graph.objects, graph.object_scores.tolist(), graph.boxes.tolist()
        )
        if name == "person"
    ]
    score, (left, top, right, bottom) = max(people)
    assert score > 0.5
    assert (right - left) * (bottom - top) > 0.4 * graph.image_size[0] * graph.image_size[1]
    picture = model.render(graph, seed=0)
    assert picture.size == (model.config.generator.image_size,) * 2


def test_drawn_scenes_are_understood_and_drawn_again(tmp_path: Path) -> None:
    """Scenes that it has not seen: most objects are found, and pictures come close."""
    model = AutoEncoder.from_pretrained("scenes")
    scenes = ScenesConfig(num_train=2, num_test=12, seed=987)
    test = open_dataset(DataConfig(format="scenes", root=str(tmp_path), scenes=scenes), "test")
    images = [test[i].image for i in range(len(test))]
    graphs = model.parse(images)
    true = [test.graph(i) for i in range(len(test))]
    named = sum(
        min(graph.labels.tolist().count(label), truth.labels.tolist().count(label))
        for graph, truth in zip(graphs, true)
        for label in set(truth.labels.tolist())
    )
    assert named >= 0.8 * sum(map(len, true))
    pictures = model.render_batch(graphs, list(range(len(graphs))))
    photos = torch.stack([image.float() / 255 for image in images])
    small = torch.nn.functional.adaptive_avg_pool2d(photos, pictures.shape[-1])
    distance = (pictures - small).abs().mean()
    shuffled = (pictures - small.roll(1, 0)).abs().mean()
    assert distance < 0.6 * shuffled
