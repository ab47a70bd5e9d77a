"""Mistakes in making, editing and writing graphs are one line each, never another exception."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from autoenc_sg.core.errors import InputError, is_fraction
from autoenc_sg.core.graph_json import read_graphs, write_graphs
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.core.vocabulary import Vocabulary

WORDS = Vocabulary.from_names(["dog", "grass", "tree"], ["on", "near"])
EMPTY = SceneGraph.empty((48, 64), WORDS)
GRAPH = (
    EMPTY.add("dog", (1, 2, 30, 40)).add("grass", (0, 30, 64, 48)).relate(0, "on", 1)
)  # dog on grass
BOX = (0, 0, 1, 1)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda: GRAPH.add(10**30, BOX), "class id: expected a name or a whole number"),
        (lambda: GRAPH.add(2**63, BOX), "class id: expected"),
        (lambda: GRAPH.add("dog", BOX, score="x"), "score: expected a number in 0..1, got 'x'"),
        (lambda: GRAPH.add("dog", (0, 0, 10**400, 1)), "box: expected four numbers"),
        (lambda: GRAPH.relate(0, 10**30, 1), "predicate id: expected"),
        (lambda: GRAPH.relate(0.0, "on", 1), "object row: expected a whole number, got 0.0"),
        (lambda: GRAPH.relate(torch.tensor([1, 0]), "on", 1), "object row: expected a whole"),
        (lambda: GRAPH.relate(1, "on", 0, score="x"), "score: expected a number in 0..1"),
        (lambda: GRAPH.select(torch.tensor([True, False])), r"object rows: expected int64 \[n\]"),
        (lambda: GRAPH.select([0, 1]), r"object rows: expected int64 \[n\]"),
        (lambda: GRAPH.select(torch.tensor([5])), "object rows: expected 0..1, got 5..5"),
        (lambda: GRAPH.select(torch.tensor([0, 0])), "object rows: expected each row once"),
        (lambda: SceneGraph([1], torch.zeros(1, 4), GRAPH.triples, (4, 4)), "labels: expected a t"),
        (lambda: SceneGraph.empty("ab"), "image_size: expected .height, width., whole numbers"),
        (lambda: SceneGraph.empty(64), "image_size: expected"),
        (lambda: SceneGraph.empty((3, 48, 64)), "image_size: expected"),
        (lambda: SceneGraph.empty((64.5, 3)), "image_size: expected"),
        (lambda: SceneGraph.empty((0, 3)), "image_size: expected a height and a width of 1 or"),
        (lambda: GRAPH.with_vocabulary("words"), "vocabulary: expected a Vocabulary, got str"),
        (lambda: Vocabulary.from_names("dog", ["on"]), "vocabulary objects: expected a list of n"),
        (lambda: Vocabulary.from_names(["dog"], None), "vocabulary predicates: expected a list"),
        (lambda: Vocabulary.from_names([1], ["on"]), "vocabulary objects: expected a list of n"),
        (lambda: Vocabulary.from_dict([1]), "vocabulary: expected a mapping"),
        (lambda: write_graphs("x.json", GRAPH, WORDS), "graphs: expected a list of SceneGraphs"),
        (lambda: write_graphs("x.json", ["x"], WORDS), r"graphs\[0\]: expected a SceneGraph"),
        (lambda: read_graphs("a\0b", WORDS), "expected a graph JSON file"),
    ],
)
def test_a_mistake_is_one_line(edit: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        edit()
    assert "\n" not in str(caught.value)


def test_a_graph_without_boxes_is_not_moved() -> None:
    placed = EMPTY.add("dog").add("grass")
    with pytest.raises(InputError, match="move: expected a graph with boxes"):
        placed.move(0, (0, 0, 10, 10))


def test_a_predicate_is_not_replaced_by_one_that_is_there() -> None:
    graph = GRAPH.relate(0, "near", 1)
    with pytest.raises(InputError, match=r"relation: expected one .* got 0 on 1"):
        graph.replace_predicate(1, "on")
    assert graph.replace_predicate(1, "near").relations == graph.relations


def test_whole_numbers_of_numpy_and_lists_of_names_are_taken() -> None:
    graph = SceneGraph.empty([np.int64(48), np.int64(64)], WORDS)  # type: ignore[arg-type]
    assert graph.image_size == (48, 64)
    assert type(graph.image_size[0]) is int
    assert GRAPH.relate(torch.tensor(1), "on", np.int64(0)).relations[1] == (1, "on", 0)  # type: ignore[arg-type]
    assert Vocabulary(list(WORDS.objects), list(WORDS.predicates)) == WORDS  # type: ignore[arg-type]


def test_fractions() -> None:
    assert [is_fraction(v) for v in (0, 1, 0.5, np.float32(1), torch.tensor(0.5))] == [True] * 5
    wrong = (-0.1, 1.1, float("nan"), None, "0.5", [0.5], torch.ones(2))
    assert [is_fraction(v) for v in wrong] == [False] * len(wrong)


def test_large_boxes_are_printed_in_pixels() -> None:
    graph = SceneGraph.empty((20000, 20000), WORDS).add("dog", (12345.6, 0.25, 19999, 3))
    assert "(12346, 0.25, 19999, 3)" in str(graph)


def test_graphs_of_another_vocabulary_are_written_by_name(tmp_path: Path) -> None:
    other = Vocabulary.from_names(["tree", "dog", "grass"], ["near", "on"])
    write_graphs(tmp_path / "graphs.json", [GRAPH], other)
    (again,) = read_graphs(tmp_path / "graphs.json", other)
    assert again.objects == ("dog", "grass")
    assert again.labels.tolist() == [2, 3]
    assert again.relations == ((0, "on", 1),)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_jsonl_files_are_read_back(tmp_path: Path, count: int) -> None:
    write_graphs(tmp_path / "graphs.jsonl", [GRAPH] * count, WORDS)
    lines = (tmp_path / "graphs.jsonl").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line]) == count
    again = read_graphs(tmp_path / "graphs.jsonl", WORDS)
    assert [graph.objects for graph in again] == [GRAPH.objects] * count


def test_a_name_may_hold_a_line_separator(tmp_path: Path) -> None:
    odd = Vocabulary.from_names(["a\u2028b", "c\x85"], ["on"])
    graph = SceneGraph.empty((4, 4), odd).add(1, BOX).add(2, BOX)
    write_graphs(tmp_path / "graphs.jsonl", [graph], odd)
    (again,) = read_graphs(tmp_path / "graphs.jsonl", odd)
    assert again.objects == ("a\u2028b", "c\x85")


def test_masks_of_two_sizes_are_no_batch() -> None:
    def masked(side: int) -> SceneGraph:
        none = torch.zeros(0, 3, dtype=torch.int64)
        boxes = torch.tensor([[0.0, 0, 5, 5]])
        return SceneGraph(torch.tensor([1]), boxes, none, (9, 9), masks=torch.ones(1, side, side))

    with pytest.raises(InputError, match="masks of a batch: expected one size"):
        SceneGraphBatch.collate([masked(4), masked(8)])
