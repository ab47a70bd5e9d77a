"""Damage of every kind, planted one at a time, is found and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from autoenc_sg.config.data import DataConfig
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.inspect.findings import Finding, findings_of, merged, worst_first
from autoenc_sg.data.inspect.verify import verify
from autoenc_sg.data.vg150.writing import write_annotations
from tests.data.test_open import KINDS, config
from tests.data.vg150.test_dataset import graph
from tests.data.vg150.test_files import change, put

NAMES = Vocabulary.from_names(["a cat", "b mat"], ["c on", "d near"])
SIZE = (32, 64)


def write(root: Path, vocabulary: Vocabulary = NAMES) -> Path:
    """Six images of 64 x 32 pixels, 11..16, four of them to train on; nothing is wrong."""
    first = graph([[0.0, 0, 16, 16], [8.0, 8, 32, 24]], [[0, 1, 1], [1, 2, 0]])
    first.labels[1] = 2
    ids = range(11, 17)
    (root / "VG_100K").mkdir(parents=True)
    write_annotations(root, [first] * 6, ids, [0, 0, 0, 0, 2, 2], vocabulary)
    rng = np.random.default_rng(0)
    for image_id in ids:
        pixels = rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"VG_100K/{image_id}.jpg")
    return root


def kinds(root: Path, decode: bool = True) -> dict[str, Finding]:
    return {f.kind: f for f in verify(DataConfig("vg150", str(root)), decode).findings}


def edit_json(root: Path, name: str, edit: Callable[[Any], Any]) -> None:
    path = root / name
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


def tables(name: str, edit: Callable[[Any], Any]) -> Callable[[Path], None]:
    return lambda root: change(root, name, edit)


def dicts(edit: Callable[[Any], Any]) -> Callable[[Path], None]:
    return lambda root: edit_json(root, "VG-SGG-dicts.json", edit)


def sizes(edit: Callable[[Any], Any]) -> Callable[[Path], None]:
    return lambda root: edit_json(root, "image_data.json", edit)


def photo(image_id: int, edit: Callable[[Path], Any]) -> Callable[[Path], None]:
    return lambda root: edit(root / f"VG_100K/{image_id}.jpg")


def same_as(other: int) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes((path.parent / f"{other}.jpg").read_bytes())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def truncate(root: Path) -> None:
    path = root / "VG-SGG.h5"
    path.write_bytes(path.read_bytes()[:3000])


DAMAGE = [
    ("no h5", lambda r: (r / "VG-SGG.h5").unlink(), "absent file", "error", "VG-SGG.h5"),
    ("no sizes", lambda r: (r / "image_data.json").unlink(), "absent file", "error", "image_data"),
    ("truncated h5", truncate, "damaged file", "error", "VG-SGG.h5: expected a complete HDF5 file"),
    ("no table", tables("split", lambda d: None), "damaged file", "error", "data set 'split'"),
    ("JSON cut off", lambda r: cut(r / "image_data.json"), "damaged file", "error", "image_data"),
    ("JSON of another shape", sizes(lambda d: d[2].pop("width")), "damaged file", "error", "width"),
    ("ids with a gap", dicts(lambda d: d["label_to_idx"].update({"a cat": 7})), "damaged file",
     "error", "expected ids 1..2"),
    ("label outside", tables("labels", put(3, 3)), "labels outside of the dicts", "error", "row 3"),
    ("predicate outside", tables("predicates", put(5, 0)), "predicates outside of the dicts",
     "error", "row 5"),
    ("names contradict", dicts(lambda d: d["idx_to_label"].update({"1": "dog"})),
     "idx_to_label that contradicts", "error", "1"),
    ("another image's box", tables("relationships", put(2, [2, 9])),
     "relations to boxes of another image", "error", "image 12, row 2: [2, 9]"),
    ("self relation", tables("relationships", put(2, [2, 2])),
     "relations of a thing to itself", "error", "image 12, row 2"),
    ("no area", tables("boxes_1024", put(4, [9, 9, 0, 5])), "boxes without area", "error", "row 4"),
    ("out of bounds", tables("boxes_1024", put(4, [900, 300, 400, 100])), "boxes out of bounds",
     "warning", "image 13, row 4: [700, 250, 1100, 350]"),
    ("box twice", lambda r: [tables(n, lambda d: put(5, d[4])(d))(r) for n in
     ("boxes_1024", "labels")], "boxes twice", "warning", "image 13, row 5"),
    ("relation twice", lambda r: [tables(n, lambda d: put(3, d[2])(d))(r) for n in
     ("relationships", "predicates")], "relations twice", "note", "image 12, row 3"),
    ("split", tables("split", put(1, 1)), "split that is neither 0 nor 2", "error", "row 1"),
    ("no test", tables("split", put(slice(None), 0)), "empty split", "error", "test"),
    ("no relations", lambda r: [tables(f"img_to_{n}_rel", lambda d: put(slice(4, 6), -1)(d))(r)
     for n in ("first", "last")], "split without relations", "error", "test"),
    ("no test images", lambda r: [(r / f"VG_100K/{i}.jpg").unlink() for i in (15, 16)],
     "split without images", "error", "test"),
    ("range", tables("img_to_last_box", put(5, 12)), "impossible ranges", "error", "row 5"),
    ("range of two", tables("img_to_last_box", put(0, 2)), "rows of two images", "error", "row 2"),
    ("rows of none", tables("img_to_last_rel", put(5, 10)), "rows of no image", "note", "row 11"),
    ("id twice", sizes(lambda d: d[1].update(image_id=11)), "image ids twice", "error", "11"),
    ("one image more", sizes(lambda d: d.append({**d[0], "image_id": 99})),
     "numbers of images that differ", "error", "7 in image_data.json, 6 in the h5"),
    ("absent", photo(12, lambda p: p.unlink()), "absent images", "warning", "12"),
    ("no image", photo(12, lambda p: p.write_text("no")), "unreadable images", "error", "12.jpg"),
    ("cut off", photo(12, cut), "unreadable images", "error", "12.jpg"),
    ("turned", photo(12, lambda p: Image.open(p).transpose(Image.Transpose.ROTATE_90).save(p)),
     "turned images", "error", "12.jpg: 32 x 64, annotated 64 x 32"),
    ("another shape", photo(12, lambda p: Image.new("RGB", (64, 50)).save(p)),
     "images of another shape", "warning", "12.jpg: 64 x 50, annotated 64 x 32"),
    ("leak", photo(15, same_as(11)), "pictures in several splits", "warning", "15.jpg"),
    ("twice", photo(12, same_as(11)), "pictures twice", "note", "12.jpg"),
    ("no images", lambda r: (r / "VG_100K").rename(r / "elsewhere"), "no images at all",
     "error", "6 annotated"),
    ("zip", lambda r: (r / "a.zip").write_bytes(b"PK\x03\x04"), "damaged container of images",
     "error", "a.zip"),
    ("unlearnable", tables("labels", lambda d: put(slice(None), 1)(d)),
     "classes without a train example", "note", "b mat"),
]  # fmt: skip


def test_nothing_is_wrong(tmp_path: Path) -> None:
    outcome = verify(DataConfig("vg150", str(write(tmp_path))))
    assert outcome.findings == []
    assert outcome.verdict == "ready: nothing is wrong"
    rows = {row[0]: tuple(row[1:]) for row in outcome.counts.rows}
    assert rows["train split"] == (4, 4, None)
    assert rows["test, filtered"] == (2, 2, None)


@pytest.mark.parametrize(
    ("plant", "kind", "severity", "where"),
    [d[1:] for d in DAMAGE],
    ids=[str(d[0]).replace(" ", "-") for d in DAMAGE],
)
def test_planted_damage_is_named(
    tmp_path: Path, plant: Callable[[Path], Any], kind: str, severity: str, where: str
) -> None:
    plant(write(tmp_path))
    outcome = verify(DataConfig("vg150", str(tmp_path)))
    finding = next(f for f in outcome.findings if f.kind == kind)
    assert finding.severity == severity
    assert any(where in example for example in finding.examples)
    assert finding.count == 1
    assert finding.remedy
    assert outcome.ready == (severity != "error")
    others = {f.kind for f in outcome.findings} - {kind}
    assert not others & {str(d[2]) for d in DAMAGE if d[3] == "error"}, others


def test_files_of_no_image_are_not_ready(tmp_path: Path) -> None:
    root = write(tmp_path)
    for name in ("first_box", "last_box", "first_rel", "last_rel"):
        change(root, f"img_to_{name}", lambda data: data * 0 - 1)
    by_kind = kinds(root)
    assert by_kind["split without boxes"].examples == ("train", "test")
    assert by_kind["split without relations"].count == 2
    for name in ("img_to_first_box", "img_to_last_box", "img_to_first_rel", "img_to_last_rel"):
        change(root, name, lambda data: data[:0])
    change(root, "split", lambda data: data[:0])
    (root / "image_data.json").write_text("[]")
    by_kind = kinds(root)
    assert by_kind["empty split"].examples == ("train", "test")
    assert "split without boxes" not in by_kind


def test_without_decoding_headers_are_still_looked_at(tmp_path: Path) -> None:
    root = write(tmp_path)
    cut(root / "VG_100K/11.jpg")  # cannot be seen in a header
    (root / "VG_100K/12.jpg").write_text("no")
    Image.new("RGB", (32, 64)).save(root / "VG_100K/13.jpg")
    by_kind = kinds(root, decode=False)
    assert by_kind["unreadable images"].count == 1
    assert by_kind["turned images"].count == 1


def test_order_of_a_vocabulary_of_vg150s_size(tmp_path: Path) -> None:
    names = [f"{i:03}" for i in range(150)], [f"{i:02}" for i in range(50)]
    by_kind = kinds(write(tmp_path / "a", Vocabulary.from_names(*names)))
    assert by_kind["another vocabulary than VG150's"].severity == "note"
    names[0][3], names[0][4] = names[0][4], names[0][3]
    by_kind = kinds(write(tmp_path / "b", Vocabulary.from_names(*names)))
    assert by_kind["vocabulary out of order"].examples == ("'003' after '004'",)
    outcome = verify(DataConfig("vg150", str(tmp_path / "b")))
    published = [row[3] for row in outcome.counts.rows]
    assert published == [None] * 6  # names of as many classes as VG150's, but not its own


def test_findings() -> None:
    many = [*findings_of("note", "a", range(9), "do"), *findings_of("error", "b", "xy", "do")]
    assert many[0] == Finding("note", "a", 9, ("0", "1", "2", "3", "4"), "do")
    assert not list(findings_of("note", "a", [], "do"))
    both = merged([*many, *findings_of("note", "a", [7], "do")])
    assert [f.count for f in both] == [10, 2]
    assert [f.kind for f in worst_first(both)] == ["b", "a"]


@pytest.mark.parametrize("kind", KINDS)
def test_other_formats(tmp_path: Path, kind: str) -> None:
    plain = config(tmp_path, kind)
    outcome = verify(plain)
    assert len(outcome.counts.rows) in (3, 6)
    assert not {f.kind for f in outcome.findings} & {"damaged annotations", "unreadable images"}
    if kind in ("scenes", "vg150"):
        assert outcome.ready
        return
    photos = [*tmp_path.rglob("3.jpg"), *tmp_path.rglob("b é.jpg"), *tmp_path.rglob("7.jpg")]
    for path in photos:
        path.write_text("no image")
    assert "unreadable images" in {f.kind for f in verify(plain).findings}
    for path in photos:
        path.unlink()
    names = {f.kind for f in verify(plain).findings}
    assert names & {"absent images", "no images at all"}
    for path in tmp_path.rglob("*.json"):
        path.write_text("[]")
    assert "damaged annotations" in {f.kind for f in verify(plain).findings}


def test_bounds_and_repetitions_of_other_formats(tmp_path: Path) -> None:
    edits = {
        "coco": ("instances.json", lambda d: d["annotations"][0].update(bbox=[20, 5, 20, 30])),
        "vrd": (
            "annotations_test.json",
            lambda d: d["b é.jpg"][0]["object"].update(bbox=[5, 30, 20, 40]),
        ),
        "psg": ("psg.json", lambda d: d["data"][0]["annotations"][0].update(bbox=[20, 5, 40, 30])),
        "coco_vg150": ("test.json", lambda d: d["annotations"][0].update(bbox=[20, 5, 20, 30])),
    }
    for kind, (name, edit) in edits.items():
        plain = config(tmp_path / kind, kind)
        assert "boxes out of bounds" not in {f.kind for f in verify(plain).findings}
        edit_json(tmp_path / kind, name, edit)
        assert "boxes out of bounds" in {f.kind for f in verify(plain).findings}
    root = tmp_path / "coco_vg150"
    edit_json(root, "rel.json", lambda d: d["test"]["3"].append([1, 0, 2]))
    edit_json(
        root, "val.json", lambda d: d["annotations"].append({**d["annotations"][0], "id": 99})
    )
    names = {f.kind: f for f in verify(DataConfig("coco_vg150", str(root))).findings}
    assert names["relations twice"].count == 1
    assert names["boxes twice"].count == 1
    assert names["images in several splits"].severity == "error"  # as in the small files of tests


def with_pseudo(root: Path, human: bool) -> Path:
    """Six images whose train images have a pseudo-relation each, beside a human one if `human`."""
    write(root)
    data = graph([[0.0, 0, 16, 16], [8.0, 8, 32, 24]], [[0, 1, 1], [1, 2, 0]][not human :])
    train = replace(data, triple_scores=torch.tensor([float("nan"), 0.5][not human :]))
    test = replace(data, triples=data.triples[:1] if human else data.triples[:0])
    write_annotations(root, [train] * 4 + [test] * 2, range(11, 17), [0] * 4 + [2] * 2, NAMES)
    return root


def test_pseudo_relations_are_noted(tmp_path: Path) -> None:
    found = kinds(with_pseudo(tmp_path, True))
    assert (found["pseudo-relations"].severity, found["pseudo-relations"].count) == ("note", 4)
    assert "split without human relations" not in found


def test_only_pseudo_relations_can_be_trained_on_but_not_scored(tmp_path: Path) -> None:
    outcome = verify(DataConfig("vg150", str(with_pseudo(tmp_path, False))))
    found = {f.kind: f for f in outcome.findings}
    assert outcome.ready
    assert found["split without human relations"].severity == "warning"
    assert "annotate some of the test images" in found["split without human relations"].remedy


def test_damaged_marks_of_pseudo_relations(tmp_path: Path) -> None:
    root = with_pseudo(tmp_path, True)
    change(root, "relation_scores", put(1, 2.0))
    finding = kinds(root)["damaged file"]
    assert "'relation_scores' row 1: expected 0..1, got 2.0" in finding.examples[0]
