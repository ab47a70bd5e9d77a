"""Pseudo-relations: marked in the files, trained on, and never scored against."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import pytest
import torch
from torch.testing import assert_close

from autoenc_sg.config.data import DataConfig, PseudoUse
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.open import open_dataset
from autoenc_sg.data.vg150.dataset import check_human_relations, open_vg150
from autoenc_sg.data.vg150.files import read_annotations, use_pseudo_relations
from autoenc_sg.data.vg150.writing import write_annotations

NAMES = Vocabulary.from_names(["cat", "mat"], ["on", "near", "left of"])
NAN = float("nan")
HUMAN = SceneGraph(
    torch.tensor([1, 2, 1]),
    torch.tensor([[0.0, 0, 16, 16], [8, 8, 32, 24], [48, 0, 64, 16]]),
    torch.tensor([[0, 1, 1]]),
    (32, 64),
)
MIXED = replace(
    HUMAN,
    triples=torch.tensor([[0, 1, 1], [2, 2, 0], [0, 3, 2]]),
    triple_scores=torch.tensor([NAN, 0.25, 0.75]),
)
PSEUDO = replace(MIXED, triples=MIXED.triples[1:], triple_scores=MIXED.triple_scores[1:])  # type: ignore[index]


def write(root: Path, graphs: list[SceneGraph], split: list[int]) -> Path:
    root.mkdir(exist_ok=True)
    write_annotations(root, graphs, range(1, len(graphs) + 1), split, NAMES)
    return root


def test_marks_and_scores_survive_writing_and_reading(tmp_path: Path) -> None:
    data = read_annotations(write(tmp_path, [MIXED, HUMAN, PSEUDO], [0, 2, 2]))
    assert data.is_pseudo.tolist() == [False, True, True, False, True, True]
    expected = torch.tensor([NAN, 0.25, 0.75, NAN, 0.25, 0.75])
    assert_close(data.relation_scores, expected, equal_nan=True)
    with h5py.File(tmp_path / "VG-SGG.h5") as file:  # as other programs read it
        assert file["predicates"][:, 0].tolist() == [1, 2, 3, 1, 2, 3]
        assert file["relation_is_pseudo"][()].tolist() == [0, 1, 1, 0, 1, 1]


def test_files_without_pseudo_relations_are_as_before(tmp_path: Path) -> None:
    data = read_annotations(write(tmp_path, [HUMAN, HUMAN], [0, 2]))
    assert data.relation_scores is None
    assert not data.is_pseudo.any()
    with h5py.File(tmp_path / "VG-SGG.h5") as file:
        assert not [name for name in file if name.startswith("relation_")]
    assert open_vg150(tmp_path, "train", 0).graph(0).triple_scores is None


def test_only_the_train_split_has_pseudo_relations(tmp_path: Path) -> None:
    write(tmp_path, [PSEUDO, MIXED, MIXED, PSEUDO, MIXED, PSEUDO], [0, 0, 0, 0, 2, 2])
    train, val = (open_vg150(tmp_path, split, 1, False) for split in ("train", "val"))  # type: ignore[arg-type]
    assert (val.image_ids, train.image_ids) == ((1,), (2, 3, 4))
    assert len(val.graph(0).triples) == 0
    graph = train.graph(0)
    assert graph.triples.tolist() == MIXED.triples.tolist()
    assert_close(graph.triple_scores, MIXED.triple_scores, equal_nan=True)
    assert train.annotated(0).triples.tolist() == [[0, 1, 1]]
    assert train.annotated(0).triple_scores is None
    test = open_vg150(tmp_path, "test")
    assert test.image_ids == (5,)  # image 6 has no human relation
    assert test.graph(0).triples.tolist() == [[0, 1, 1]]
    assert open_vg150(tmp_path, "val", 1).image_ids == ()  # nor has image 1, the first


def test_a_pair_keeps_the_score_of_its_drawn_predicate(tmp_path: Path) -> None:
    triples = torch.tensor([[0, 1, 1], [0, 2, 1], [2, 3, 0]])
    graph = replace(HUMAN, triples=triples, triple_scores=torch.tensor([NAN, 0.5, 0.25]))
    train = open_vg150(write(tmp_path, [graph, HUMAN], [0, 2]), "train", 0)
    drawn = [train.graph(0, epoch) for epoch in range(20)]
    for one in drawn:
        expected = torch.tensor([NAN if one.triples[0, 1] == 1 else 0.5, 0.25])
        assert_close(one.triple_scores, expected, equal_nan=True)
    assert {int(one.triples[0, 1]) for one in drawn} == {1, 2}


def test_recall_wants_human_relations(tmp_path: Path) -> None:
    write(tmp_path, [MIXED, HUMAN, MIXED], [0, 0, 2])
    for split in ("train", "test"):
        check_human_relations(open_vg150(tmp_path, split, 0))  # type: ignore[arg-type]
    write(tmp_path, [PSEUDO, PSEUDO, replace(HUMAN, triples=HUMAN.triples[:0])], [0, 0, 2])
    message = "test: expected relations of humans, .* got pseudo-relations alone: annotate some"
    with pytest.raises(InputError, match=message):
        check_human_relations(open_vg150(tmp_path, "test"))


@pytest.mark.parametrize(
    ("use", "threshold", "triples", "scores"),
    [
        ("by_score", 0.0, [[0, 1, 1], [2, 2, 0], [0, 3, 2]], [NAN, 0.25, 0.75]),
        ("by_score", 0.5, [[0, 1, 1], [0, 3, 2]], [NAN, 0.75]),
        ("equal", 0.25, [[0, 1, 1], [2, 2, 0], [0, 3, 2]], [NAN, 1.0, 1.0]),
        ("none", 0.0, [[0, 1, 1]], None),
    ],
)
def test_which_are_used(
    tmp_path: Path,
    use: PseudoUse,
    threshold: float,
    triples: list[list[int]],
    scores: list[float] | None,
) -> None:
    write(tmp_path, [PSEUDO, MIXED, PSEUDO, HUMAN], [0, 0, 0, 2])
    config = DataConfig(
        "vg150", str(tmp_path), num_val=0, pseudo_relations=use, pseudo_threshold=threshold
    )
    train = open_dataset(config, "train")
    graph = train.graph(train.image_ids.index(2))
    assert graph.triples.tolist() == triples
    expected = None if scores is None else torch.tensor(scores)
    assert_close(graph.triple_scores, expected, equal_nan=True)
    assert train.image_ids == ((2,) if use == "none" else (1, 2, 3))


def test_ranges_follow_the_relations_that_are_left(tmp_path: Path) -> None:
    data = read_annotations(write(tmp_path, [MIXED, PSEUDO, MIXED, HUMAN], [0, 0, 0, 2]))
    used = use_pseudo_relations(data, "by_score", 0.5)
    assert used.rel_ranges.tolist() == [[0, 2], [2, 3], [3, 5], [5, 6]]
    assert use_pseudo_relations(data, "none").rel_ranges.tolist() == [
        [0, 1],
        [1, 1],
        [1, 2],
        [2, 3],
    ]


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("relation_is_pseudo", [0, 1], "integers of shape [3], got int64 [2]"),
        ("relation_is_pseudo", [0, 1, 2], "row 2: expected 0 or 1, got 2"),
        ("relation_scores", [0.5, 1.5, 0.5], "row 1: expected 0..1, got 1.5"),
        ("relation_scores", [1, 1, 1], "floats of shape [3], got int64 [3]"),
        ("relation_scores", None, "expected a data set 'relation_scores'"),
    ],
)
def test_bad_marks(tmp_path: Path, name: str, values: list[float] | None, message: str) -> None:
    write(tmp_path, [MIXED], [0])
    with h5py.File(tmp_path / "VG-SGG.h5", "a") as file:
        del file[name]
        if values is not None:
            file[name] = values
    with pytest.raises(InputError) as error:
        read_annotations(tmp_path)
    assert message in str(error.value)


def test_a_threshold_outside_of_0_to_1() -> None:
    with pytest.raises(InputError, match=r"data.pseudo_threshold: expected 0..1, got 1.5"):
        DataConfig(pseudo_threshold=1.5)
