"""From files of boxes to VG150 files: each kind of file, the command, and bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from autoenc_sg.cli.main import main
from autoenc_sg.config.data import DataConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.inspect.verify import verify
from autoenc_sg.data.open import open_dataset
from autoenc_sg.data.relate.names import NameFiles
from autoenc_sg.data.relate.prior import PriorOptions, RelationPrior
from autoenc_sg.data.relate.propose import RelateOptions
from autoenc_sg.data.relate.relate import fit_prior, relate
from autoenc_sg.data.vg150.files import read_annotations
from autoenc_sg.data.vg150.writing import write_annotations
from tests.data.relate.test_prior import GRAPHS, NAMES

BOXES = [[0, 0, 20, 20], [20, 0, 40, 20]]
LINE: dict[str, Any] = {"image": "a.jpg", "labels": ["person", "horse"], "boxes": BOXES}
HUMAN = {**LINE, "triples": [[0, "feeding", 1]]}
PRIOR = RelationPrior.fit(GRAPHS, NAMES, PriorOptions(hidden=0))
LIKELY = RelateOptions(least_probability=0.3)


def photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (60, 40), "red").save(path)


def lines(folder: Path, rows: list[dict[str, Any]]) -> Path:
    photo(folder / "a.jpg")
    path = folder / "lines.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def prior_files(folder: Path, graphs: list[SceneGraph] = GRAPHS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_annotations(folder, graphs, range(len(graphs)), [0] * len(graphs), NAMES)
    return folder


def test_json_lines(tmp_path: Path) -> None:
    """Lines 1 to 3 train; the pair of line 2 is a human's, the third is a test image."""
    path = lines(tmp_path, [LINE, HUMAN, HUMAN])
    related = relate(path, PRIOR, tmp_path / "out", LIKELY)
    assert related.vocabulary.predicates[1:] == ("feeding", "riding")
    assert (related.human.tolist(), related.pseudo.tolist()) == ([0, 2, 0], [0, 0, 1])
    data = read_annotations(tmp_path / "out")
    assert data.predicates.tolist() == [2, 1, 1]
    assert data.split.tolist() == [0, 0, 2]
    expected = PRIOR.probabilities(torch.tensor([1, 2]), torch.rand(2, 4))[0, 1]  # man, horse
    assert data.relation_scores is not None
    assert_close(data.relation_scores[0], expected)
    assert data.is_pseudo.tolist() == [True, False, False]
    config = DataConfig("vg150", str(tmp_path / "out"), num_val=0)
    assert len(open_dataset(config, "train")) == 2
    assert verify(config).ready


def test_the_test_split_has_none(tmp_path: Path) -> None:
    path = lines(tmp_path, [{**LINE, "split": "train"}, {**LINE, "split": "test"}])
    relate(path, PRIOR, tmp_path / "out", LIKELY)
    assert read_annotations(tmp_path / "out").rel_ranges.tolist() == [[0, 1], [0, 0]]


def test_older_pseudo_relations_are_left_out(tmp_path: Path) -> None:
    old = {**HUMAN, "triples": [[1, "kicking", 0]], "triple_scores": [0.9]}
    related = relate(lines(tmp_path, [old, LINE]), PRIOR, tmp_path / "out", LIKELY)
    assert related.vocabulary.predicates[1:] == ("riding",)


def test_coco(tmp_path: Path) -> None:
    photo(tmp_path / "coco" / "images" / "x.jpg")
    photo(tmp_path / "coco" / "images" / "y.jpg")
    annotations = [
        {"id": 1, "image_id": 8, "category_id": 1, "bbox": [0, 0, 20, 20]},
        {"id": 2, "image_id": 8, "category_id": 5, "bbox": [20, 0, 20, 20]},
        {"id": 3, "image_id": 8, "category_id": 5, "bbox": [0, 0, 60, 40], "iscrowd": 1},
        {"id": 4, "image_id": 9, "category_id": 5, "bbox": [0, 0, 60, 40]},
    ]
    content = {
        "images": [
            {"id": 9, "file_name": "y.jpg", "height": 40, "width": 60},
            {"id": 8, "file_name": "x.jpg", "height": 40, "width": 60},
        ],
        "categories": [{"id": 1, "name": "person"}, {"id": 5, "name": "horse"}],
        "annotations": annotations,
    }
    (tmp_path / "coco" / "instances.json").write_text(json.dumps(content))
    relate(tmp_path / "coco", PRIOR, tmp_path / "out", LIKELY)
    data = read_annotations(tmp_path / "out")
    assert data.image_ids.tolist() == [8, 9]
    assert data.labels.tolist() == [1, 2, 2]
    assert data.split.tolist() == [0, 2]
    assert data.relationships.tolist() == [[0, 1]]
    assert data.is_pseudo.tolist() == [True]
    assert (tmp_path / "out/VG_100K/8.jpg").read_bytes() == (
        tmp_path / "coco/images/x.jpg"
    ).read_bytes()


def test_vg150_boxes_and_human_relations_stay_as_they_are(tmp_path: Path) -> None:
    names = Vocabulary.from_names(["horse", "man"], ["feeding"])
    boxes = torch.tensor([[0.0, 0, 11, 17], [19.5, 3, 37, 29]])
    human = SceneGraph(torch.tensor([2, 1]), boxes, torch.tensor([[1, 1, 0]]), (40, 61))
    root = tmp_path / "in"
    photo(root / "VG_100K" / "7.jpg")
    write_annotations(root, [human, human], [7, 9], [0, 2], names)
    relate(root, PRIOR, tmp_path / "out", LIKELY)
    with h5py.File(root / "VG-SGG.h5") as old, h5py.File(tmp_path / "out" / "VG-SGG.h5") as new:
        for name in ("labels", "boxes_1024", "boxes_512", "split", "img_to_first_box"):
            assert (old[name][()] == new[name][()]).all(), name
        assert new["relationships"][()].tolist() == [[1, 0], [0, 1], [3, 2]]
        assert new["predicates"][:, 0].tolist() == [1, 2, 1]
        assert new["relation_is_pseudo"][()].tolist() == [0, 1, 0]
    dicts = json.loads((tmp_path / "out" / "VG-SGG-dicts.json").read_text())
    assert dicts["predicate_to_idx"] == {"feeding": 1, "riding": 2}
    assert [p.name for p in (tmp_path / "out" / "VG_100K").iterdir()] == ["7.jpg"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unknown = {**LINE, "labels": ["person", "zeppelin"], "captions": ["person riding horse"]}
    path = lines(tmp_path, [{**LINE, "captions": ["person riding horse"]}, unknown, LINE])
    prior = prior_files(tmp_path / "vg")
    command = ["data", "relate", str(path), "--prior", str(prior), "--out", str(tmp_path / "out")]
    assert main([*command, "--captions", "--least-probability", "1"]) == 0
    output = capsys.readouterr().out
    assert "classes that map to nothing: zeppelin" in output
    data = read_annotations(tmp_path / "out")
    assert data.relation_scores is not None
    assert data.relation_scores.tolist() == [1.0]
    assert (
        main(["data", "stats", "--root", str(tmp_path / "out"), "--out", str(tmp_path / "s")]) == 0
    )
    assert "Pseudo-relations" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--least-probability", "1.5"], "least probability: expected 0..1, got 1.5"),
        (["--predicates", "rding"], "expected names of the prior, got 'rding' (riding"),
        (["--prior", "nowhere"], "nowhere: expected the folder of a data set with relations"),
        (["--prior", "empty"], "expected a prior with relations of humans, got a data set without"),
        (["--mapping", "map.json"], "map.json: expected classes of the boxes"),
        (["--train-fraction", "2"], "train_fraction: expected 0..1, got 2"),
        (["--least-probability", "1"], "expected relations of 1 or more (--least-probability)"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    lines(tmp_path, [LINE, LINE])
    prior_files(tmp_path / "vg")
    nothing = GRAPHS[0].triples[:0]
    prior_files(tmp_path / "empty", [replace(graph, triples=nothing) for graph in GRAPHS])
    (tmp_path / "map.json").write_text('{"house": "man"}')
    before = sorted(tmp_path.rglob("*"))
    command = ["data", "relate", "lines.jsonl", "--prior", "vg", "--out", "out"]
    assert main([*command, *options]) == 2
    error = capsys.readouterr().err
    assert [message in line for line in error.splitlines() if "autoenc-sg:" in line] == [True]
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_wrong_is_said_before_the_prior_is_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RelationPrior, "fit", lambda *_: pytest.fail("fitted"))
    prior_files(tmp_path / "vg")
    file, out = lines(tmp_path, [LINE, LINE]), tmp_path / "out"
    with pytest.raises(InputError, match="--predicates: expected names of the prior"):
        relate(file, tmp_path / "vg", out, RelateOptions(predicates=("ridng",)))
    with pytest.raises(InputError, match="expected a JSON file"):
        relate(file, tmp_path / "vg", out, files=NameFiles(mapping=tmp_path / "none.json"))
    out.mkdir()
    (out / "old").touch()
    with pytest.raises(InputError, match="expected a new or empty folder"):
        relate(file, tmp_path / "vg", out)


def test_other_boxes_and_priors_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected VG150 files, instances.json"):
        relate(tmp_path, PRIOR, tmp_path / "out")
    (tmp_path / "instances.json").write_text("{}")
    with pytest.raises(InputError, match="expected a prior with relations of humans, got format"):
        fit_prior(tmp_path)
    nothing = lines(tmp_path, [{"image": "a.jpg", "labels": ["rock"], "boxes": [[0, 0, 9, 9]]}])
    with pytest.raises(InputError, match="classes: expected names of the prior"):
        relate(nothing, PRIOR, tmp_path / "out")
    assert not (tmp_path / "out").exists()
