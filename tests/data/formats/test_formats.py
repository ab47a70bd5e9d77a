"""The same graphs through every format: drawn scenes, and real annotations where there are any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.testing import assert_close
from torchvision.ops import box_iou

from autoenc_sg.config.data import DataConfig, ScenesConfig
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.samples import Split
from autoenc_sg.data.inspect.verify import verify
from autoenc_sg.data.open import find_format, open_dataset
from autoenc_sg.data.vg150.dataset import open_vg150
from autoenc_sg.data.vg150.from_jsonl import convert_lines
from autoenc_sg.data.vg150.from_raw.build import BuildRules, build_vg150
from tests.support.files import foreign_files
from tests.support.files.foreign_files import Splits, annotated
from tests.support.real_data import ANNOTATIONS, needs_annotations

SPLITS: tuple[Split, ...] = ("train", "val", "test")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    open_dataset(DataConfig(root=str(root / "s"), scenes=ScenesConfig(20, 6, 64)), "train")
    return root / "s"


@pytest.fixture(params=["scenes", pytest.param("real", marks=needs_annotations)])
def source(request: pytest.FixtureRequest, scenes: Path) -> tuple[Splits, Vocabulary]:
    root = scenes if request.param == "scenes" else ANNOTATIONS
    data = {split: open_vg150(root, split, num_val=300) for split in SPLITS}
    return {s: annotated(d, 60) for s, d in data.items()}, data["train"].vocabulary


def equal(one: SceneGraph, other: SceneGraph, slack: float = 1e-3) -> None:
    assert one.labels.tolist() == other.labels.tolist()
    assert one.triples.tolist() == other.triples.tolist()
    assert one.image_size == other.image_size
    assert_close(one.boxes, other.boxes, atol=slack, rtol=0)


@pytest.mark.parametrize("write", [foreign_files.write_reltr, foreign_files.write_benchmark])
def test_coco_vg150(tmp_path: Path, source: tuple[Splits, Vocabulary], write: Any) -> None:
    splits, names = source
    write(tmp_path, splits, names)
    assert find_format(tmp_path) == "coco_vg150"
    for split, graphs in splits.items():
        data = open_dataset(DataConfig("coco_vg150", str(tmp_path)), split)
        assert data.vocabulary == names
        assert data.image_ids == tuple(graphs)
        for index, image_id in enumerate(data.image_ids):
            equal(data.annotated(index), graphs[image_id])
    verification = verify(DataConfig("coco_vg150", str(tmp_path)))
    errors = [finding.kind for finding in verification.findings if finding.severity == "error"]
    assert errors == ["no images at all"]  # the annotations alone are right


def test_psg(tmp_path: Path, source: tuple[Splits, Vocabulary]) -> None:
    splits, names = source
    foreign_files.write_psg(tmp_path, splits, names)
    plain = DataConfig(find_format(tmp_path), str(tmp_path), num_val=3)
    both = {**splits["train"], **splits["val"]}
    for split, wanted in (("train", both), ("val", both), ("test", splits["test"])):
        data = open_dataset(plain, split)  # type: ignore[arg-type]
        assert data.vocabulary == names
        for index, image_id in enumerate(data.image_ids):
            equal(data.annotated(index), wanted[image_id])
    ids = [open_dataset(plain, split).image_ids for split in SPLITS]
    assert 0 < len(ids[1]) <= 3
    assert ids[1] + ids[0] == tuple(both)
    assert ids[2] == tuple(splits["test"])


def test_vrd(tmp_path: Path, source: tuple[Splits, Vocabulary]) -> None:
    splits, names = source
    foreign_files.write_vrd(tmp_path, splits, names)
    data = open_dataset(DataConfig(find_format(tmp_path), str(tmp_path)), "test")
    assert data.vocabulary == names
    wanted = splits["test"]
    assert len(data) == len(wanted)
    for index, image_id in enumerate(sorted(wanted)):  # by name, numbered from 1
        got, true = data.annotated(index), wanted[image_id]
        rounded = replace(true, boxes=true.boxes.round())
        assert relations_with_boxes(got) == {
            row for row in relations_with_boxes(rounded) if row[:5] != row[6:]
        }


def relations_with_boxes(graph: SceneGraph) -> set[tuple[float, ...]]:
    """Each relation with the classes and boxes of its ends."""
    things = torch.cat([graph.labels[:, None].float(), graph.boxes], 1)
    subject, predicate, obj = graph.triples.unbind(1)
    rows = torch.cat([things[subject], predicate[:, None].float(), things[obj]], 1)
    return {tuple(row) for row in rows.tolist()}


def test_own_lines(tmp_path: Path, source: tuple[Splits, Vocabulary]) -> None:
    splits = {s: dict(list(g.items())[:4]) for s, g in source[0].items() if s != "val"}
    for image_id, graph in ((i, g) for graphs in splits.values() for i, g in graphs.items()):
        height, width = graph.image_size
        Image.new("RGB", (width, height)).save(tmp_path / f"{image_id}.jpg")
    path = tmp_path / "lines.jsonl"
    foreign_files.write_jsonl(path, splits, source[1], lambda i: Path(f"{i}.jpg"))
    convert_lines(path, tmp_path / "out", source[1])
    for split, graphs in splits.items():
        data = open_vg150(tmp_path / "out", split, 0)
        assert len(data) == len(graphs)
        for index, graph in enumerate(graphs.values()):
            unit = 3.1 * max(graph.image_size) / 1024
            equal(data.annotated(index), graph, unit)
            equal(data.sample(index).graph, data.graph(index), 1e-3)


def test_built_from_raw_files(tmp_path: Path, source: tuple[Splits, Vocabulary]) -> None:
    """After merging, the boxes have their names and relations still."""
    splits, names = source
    foreign_files.write_raw(tmp_path / "raw", splits, names)
    count = sum(map(len, splits.values()))
    counts = build_vg150(tmp_path / "raw", tmp_path / "out", BuildRules(0, 0, train_fraction=0.5))
    assert counts.raw_objects == sum(len(g) for s in splits.values() for g in s.values())
    train = open_vg150(tmp_path / "out", "train", 0, False)
    test = open_vg150(tmp_path / "out", "test", 0, False)
    assert train.image_ids + test.image_ids == tuple(i for s in splits.values() for i in s)[:count]
    graphs = {i: g for part in splits.values() for i, g in part.items()}
    exact = 0
    for data in (train, test):
        for index, image_id in enumerate(data.image_ids):
            got, true = data.annotated(index), graphs[image_id]
            got_words, true_words = words(got, data.vocabulary), words(true, names)
            assert {p for _, p, _ in got_words} <= {p for _, p, _ in true_words}
            if len(got) == len(true):  # else merged, and then of another name, maybe
                exact += 1
                assert got_words == true_words
                overlap = box_iou(got.boxes, true.boxes).diagonal()
                large = (true.boxes[:, 2:] - true.boxes[:, :2]).amin(1) > 20
                assert (overlap[large] > 0.8).all()
    assert exact > count / 4


def words(graph: SceneGraph, names: Vocabulary) -> set[tuple[str, str, str]]:
    labels = [names.objects[k] for k in graph.labels.tolist()]
    return {(labels[s], names.predicates[p], labels[o]) for s, p, o in graph.triples.tolist()}
