from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.graph_json import (
    graph_from_json,
    graph_to_json,
    read_graphs,
    write_graph,
    write_graphs,
)
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary

VOCABULARY = Vocabulary.from_names(["sky", "tree", "dog"], ["above", "left of", "on"])
FIELDS = (
    "labels",
    "boxes",
    "triples",
    "object_scores",
    "triple_scores",
    "masks",
    "appearance",
    "background",
)


def full_graph() -> SceneGraph:
    return SceneGraph(
        torch.tensor([1, 2, 2]),
        torch.tensor([[0, 0, 64, 20.5], [3.1, 4.2, 30, 40], [-5, 4, 70, 48]]),
        torch.tensor([[0, 1, 1], [0, 2, 1], [2, 3, 0]]),
        (48, 64),
        torch.tensor([0.1, 1 / 3, 1.0]),
        torch.tensor([0.0, 0.7, 0.123456789]),
        torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0)),
        torch.randn(3, 2, generator=torch.Generator().manual_seed(1)),
        background=torch.randn(4, 2, generator=torch.Generator().manual_seed(2)),
    )


def hand_made() -> dict[str, Any]:
    return {
        "objects": ["sky", "tree"],
        "relationships": [[0, "above", 1]],
        "boxes": [[0, 0, 10, 4], [2, 3, 8, 9]],
        "image_size": [10, 10],
    }


def assert_same(got: SceneGraph, expected: SceneGraph) -> None:
    assert got.image_size == expected.image_size
    for name in FIELDS:
        a, b = getattr(got, name), getattr(expected, name)
        assert (a is None) == (b is None), name
        if a is not None:
            assert_close(a, b, rtol=0, atol=0)


def test_json_is_sg2ims_with_more_keys() -> None:
    data = graph_to_json(full_graph(), VOCABULARY)
    assert data["objects"] == ["sky", "tree", "tree"]
    assert data["relationships"] == [[0, "above", 1], [0, "left of", 1], [2, "on", 0]]
    assert data["boxes"][1] == [3.1, 4.2, 30.0, 40.0]
    assert data["image_size"] == [48, 64]
    assert data["object_scores"] == [0.1, 0.33333334, 1.0]
    assert json.loads(json.dumps(data)) == data


def test_sg2im_file_without_boxes_covers_the_image() -> None:
    parsed = graph_from_json(
        {"objects": ["dog", "tree"], "relationships": [[0, "on", 1]]}, VOCABULARY
    )
    assert not parsed.has_boxes
    assert parsed.image_size == (256, 256)
    assert_close(parsed.labels, torch.tensor([3, 2]))
    assert_close(parsed.triples, torch.tensor([[0, 3, 1]]))
    assert_close(parsed.boxes, torch.tensor([[0.0, 0.0, 256.0, 256.0]]).repeat(2, 1))


def test_image_size_without_boxes_is_height_width() -> None:
    data = {"objects": ["dog"], "relationships": [], "image_size": [30, 50]}
    assert_close(graph_from_json(data, VOCABULARY).boxes, torch.tensor([[0.0, 0.0, 50.0, 30.0]]))


@pytest.mark.parametrize("keep", [[], [0, 1, 2], [2, 0]])
def test_round_trip_through_a_file_is_exact(tmp_path: Path, keep: list[int]) -> None:
    graph = full_graph().select(torch.tensor(keep, dtype=torch.int64))
    write_graph(tmp_path / "new" / "graph.json", graph, VOCABULARY)
    (parsed,) = read_graphs(tmp_path / "new" / "graph.json", VOCABULARY)
    assert parsed.has_boxes
    if not keep:  # a list without rows tells no width
        assert parsed.masks is None
        assert parsed.appearance is None
        graph = SceneGraph(
            graph.labels,
            graph.boxes,
            graph.triples,
            graph.image_size,
            graph.object_scores,
            graph.triple_scores,
            background=graph.background,
        )
    assert_same(parsed, graph)


def test_list_of_graphs_keeps_their_order(tmp_path: Path) -> None:
    graphs = [full_graph(), SceneGraph.empty((7, 9)), full_graph().select(torch.tensor([1]))]
    write_graphs(tmp_path / "graphs.json", graphs, VOCABULARY)
    parsed = read_graphs(tmp_path / "graphs.json", VOCABULARY)
    assert [len(p) for p in parsed] == [3, 0, 1]
    assert_same(parsed[0], graphs[0])
    assert_same(parsed[1], graphs[1])
    assert [path.name for path in tmp_path.iterdir()] == ["graphs.json"]


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_scores_survive_bit_for_bit(scores: list[float]) -> None:
    n = len(scores)
    graph = SceneGraph(
        torch.ones(n, dtype=torch.int64),
        torch.tensor([[0.0, 0.0, 8.0, 8.0]]).repeat(n, 1),
        torch.zeros(0, 3, dtype=torch.int64),
        (8, 8),
        torch.tensor(scores),
    )
    data = json.loads(json.dumps(graph_to_json(graph, VOCABULARY)))
    got = graph_from_json(data, VOCABULARY).object_scores
    assert got is not None
    assert np.array_equal(got.numpy(), np.array(scores, dtype=np.float32))


def test_input_is_not_changed() -> None:
    data = hand_made()
    before = copy.deepcopy(data)
    graph = graph_from_json(data, VOCABULARY)
    graph.boxes.zero_()
    assert data == before


def test_unknown_keys_and_null_are_passed_over() -> None:
    data = hand_made() | {"attributes": {"size": [1]}, "object_scores": None, "masks": None}
    assert graph_from_json(data, VOCABULARY).object_scores is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objects": None}, "g, objects: expected a list, got null"),
        ({"objects": "sky"}, "g, objects: expected a list, got str 'sky'"),
        ({"objects": ["sky", 3]}, r"g, objects\[1\]: expected a name, got 3"),
        ({"objects": ["sky", "trexe"]}, r"g, objects\[1\]: object 'trexe': .*nearest: tree"),
        ({"relationships": [[0, "abovve", 1]]}, r"relationships\[0\]: predicate 'abovve'.*: above"),
        ({"relationships": [[0, "above"]]}, r'expected \[subject, "predicate", object\], got \[0'),
        ({"relationships": [[0, "above", 2]]}, "expected object indices from 0 to 1, got 2"),
        ({"relationships": [[-1, "above", 1]]}, "expected object indices from 0 to 1, got -1"),
        ({"relationships": [[True, "above", 0]]}, "expected object indices from 0 to 1, got True"),
        ({"boxes": [[0, 0, 1, 1]]}, "g, boxes: expected a list of 2, got a list of 1"),
        ({"boxes": [[0, 0, 1, 1], [0, 0, 1]]}, r"g, boxes\[1\]: expected a list of 4, got a list"),
        ({"boxes": [[0, 0, 1, 1], [5, 0, 5, 1]]}, r"g, boxes\[1\]: expected .* x1 < x2 .*\[5, 0"),
        ({"boxes": [[0, 0, 1, 1], [0, 5, 1, 4]]}, r"g, boxes\[1\]: expected .* y1 < y2"),
        (
            {"boxes": [[0, 0, 1, 1], [10, 0, 12, 1]]},
            r"boxes\[1\]: expected a box that meets the im",
        ),
        ({"boxes": [[0, 0, 1, 1], [0, -3, 2, 0]]}, r"boxes\[1\]: expected a box that meets the im"),
        ({"boxes": [[0, 0, 1, 1], [0, "x", 2, 0]]}, r"boxes\[1\]\[1\]: expected a finite number"),
        ({"boxes": [[0, 0, 1, 1], [0, 0, 1e39, 2]]}, r"boxes\[1\]\[2\]: expected a finite number"),
        ({"boxes": [[0, 0, 1, 1], [0, 0, float("nan"), 2]]}, "expected a finite number, got nan"),
        ({"image_size": None}, r"g, image_size: expected \[height, width\] beside boxes, got none"),
        (
            {"image_size": [10]},
            r"g, image_size: expected \[height, width\] in 1..100000, got \[10\]",
        ),
        ({"image_size": [0, 10]}, r"in 1..100000, got \[0, 10\]"),
        ({"image_size": [10, 1e3]}, r"in 1..100000, got \[10, 1000.0\]"),
        ({"image_size": [10, 100_001]}, r"in 1..100000, got \[10, 100001\]"),
        ({"object_scores": [0.5] * 3}, "object_scores: expected a list of 2, got a list of 3"),
        ({"object_scores": [0.5, 1.5]}, r"object_scores\[1\]: expected a number in 0..1, or null"),
        ({"object_scores": ["x"]}, r"object_scores\[0\]: expected a number in 0..1, or null, got"),
        ({"object_scores": 0.5}, "object_scores: expected a list of 2, got float 0.5"),
        ({"relationship_scores": [0.5, 1]}, "relationship_scores: expected a list of 1"),
        ({"masks": []}, "masks: expected a list of 2, got a list of 0"),
        ({"masks": [[[0, 0], [0, 0]], [[0, 0], [0]]]}, r"masks\[1\]\[1\]: expected a list of 2"),
        ({"appearance": [[1], [1], [1]]}, "appearance: expected a list of 2, got a list of 3"),
        ({"appearance": [[1, 2], [1]]}, r"appearance\[1\]: expected a list of 2, got a list of 1"),
        ({"appearance": 4}, "appearance: expected a list of 2, got int 4"),
        ({"background": 4}, "background: expected a list of G x G codes: 1, 4, 9, ..., got int 4"),
        ({"background": []}, "background: expected a list of G x G codes: .*, got a list of 0"),
        ({"background": [[1]] * 3}, "background: expected a list of G x G .*, got a list of 3"),
        ({"background": [1]}, r"background\[0\]: expected a list of 1, got int 1"),
        ({"background": [[1, 2], [1], [1, 2], [1, 2]]}, r"background\[1\]: expected a list of 2, "),
        ({"background": [[1, "x"]]}, r"background\[0\]\[1\]: expected a finite number, got 'x'"),
        ({"background": [[1, 1e39]]}, r"background\[0\]\[1\]: expected a finite number, got 1e"),
    ],
)
def test_bad_graphs_are_named_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        graph_from_json(hand_made() | change, VOCABULARY, "g")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("g, ")


def test_parts_of_the_background_without_a_code_are_null() -> None:
    data = hand_made() | {"background": [[0.5, 1], None, None, [-1, 0]]}
    codes = graph_from_json(data, VOCABULARY).background
    assert_close(codes, torch.tensor([[0.5, 1], [0, 0], [0, 0], [-1, 0]]))
    for nothing in (None, [None]):
        data = hand_made() | {"background": nothing}
        assert graph_from_json(data, VOCABULARY).background is None


def test_all_unknown_words_are_named() -> None:
    words = ["sky", "trexe", "dig", "trexe"]
    data = {"objects": words, "relationships": [[0, "abovve", 1], [1, "on", 2]]}
    with pytest.raises(InputError) as caught:
        graph_from_json(data, VOCABULARY, "g")
    assert str(caught.value) == (
        "g: expected known words, got 'trexe' (nearest: tree); 'dig' (nearest: dog); "
        "'abovve' (nearest: above)"
    )
    data = {"objects": [f"w{i}" for i in range(12)], "relationships": []}
    with pytest.raises(InputError, match=r"'w9' \(nearest: \w+\) and 2 more$"):
        graph_from_json(data, VOCABULARY, "g")


def test_missing_key_names_those_present() -> None:
    with pytest.raises(InputError, match=r"g: expected the key 'objects', got the keys"):
        graph_from_json({"relationships": []}, VOCABULARY, "g")


@pytest.mark.parametrize("relationships", [{}, {"relationships": None}])
def test_no_relationships_are_none(relationships: dict[str, Any]) -> None:
    graph = graph_from_json({"objects": ["sky"]} | relationships, VOCABULARY)
    assert graph.objects == ("sky",)
    assert graph.relations == ()


def test_an_object_related_to_itself_is_read_as_sg2im_reads_it() -> None:
    data = hand_made() | {"relationships": [[1, "above", 1]]}
    graph = graph_from_json(data, VOCABULARY)
    assert graph.relations == ((1, "above", 1),)
    assert graph_to_json(graph, VOCABULARY)["relationships"] == [[1, "above", 1]]


def test_objects_and_relations_added_by_hand_need_no_scores() -> None:
    data = hand_made() | {"object_scores": [0.25], "relationship_scores": [None]}
    graph = graph_from_json(data, VOCABULARY)
    assert graph.object_scores is not None
    assert_close(graph.object_scores, torch.tensor([0.25, math.nan]), equal_nan=True)
    assert graph.triple_scores is None
    assert graph_to_json(graph, VOCABULARY)["object_scores"] == [0.25, None]


def test_codes_that_are_missing_at_the_end_are_none() -> None:
    graph = graph_from_json(hand_made() | {"appearance": [[0.5, 1.0]]}, VOCABULARY)
    assert graph.appearance is not None
    assert_close(graph.appearance, torch.tensor([[0.5, 1.0], [0.0, 0.0]]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected valid JSON in UTF-8, got an error"),
        ("{", "expected valid JSON in UTF-8, got an error"),
        ("3", "expected a graph or a list of graphs, got int 3"),
        ('{"objects": [], "relationships": [], "x": NaN}', "the number NaN"),
        ("[" * 200_000, "expected valid JSON"),
        ("[[]]", "graph 1 of 1: expected a graph"),
        ('[{"objects": [], "relationships": []}, {}]', "graph 2 of 2: expected the key 'objects'"),
    ],
)
def test_bad_files_name_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "graph.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_graphs(path, VOCABULARY)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"none.json: expected a graph JSON file, got No such file"
    ):
        read_graphs(tmp_path / "none.json", VOCABULARY)
    with pytest.raises(InputError, match="expected a graph JSON file, got Is a directory"):
        read_graphs(tmp_path, VOCABULARY)
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(InputError, match="expected valid JSON in UTF-8"):
        read_graphs(tmp_path / "binary.json", VOCABULARY)


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    (tmp_path / "bom.json").write_text(json.dumps(hand_made()), encoding="utf-8-sig")
    assert len(read_graphs(tmp_path / "bom.json", VOCABULARY)) == 1


def test_what_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "graph.json"
    path.write_text("before")
    foreign = SceneGraph(torch.tensor([4]), torch.ones(1, 4), torch.zeros(0, 3).long(), (8, 8))
    with pytest.raises(InputError, match=r"object id: expected 1..3 of the vocabulary, got 4"):
        write_graph(path, foreign, VOCABULARY)
    flat = SceneGraph(torch.tensor([1]), torch.ones(1, 4), torch.zeros(0, 3).long(), (8, 8))
    with pytest.raises(InputError, match=r"graph to write, boxes\[0\]"):
        write_graphs(path, [flat], VOCABULARY)
    assert path.read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 1


def test_unwritable_path_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="expected a path that can be written"):
        write_graph(tmp_path / "file" / "graph.json", SceneGraph.empty((4, 4)), VOCABULARY)


def test_two_unknown_words_are_both_named() -> None:
    words = Vocabulary.from_names(["sky", "tree"], ["above"])
    with pytest.raises(InputError, match=r"known words, got 'trexe' .*'skey' "):
        graph_from_json({"objects": ["trexe", "skey"]}, words)
