"""Scene graphs by name: what they print, what edits return, and other forms of them."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.graph_json import graph_from_json
from autoenc_sg.core.scene_graph import Relation, SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.core.scene_graph_views import translate
from autoenc_sg.core.vocabulary import Vocabulary

WORDS = Vocabulary.from_names(["dog", "grass", "tree"], ["on", "near"])


def two_dogs() -> SceneGraph:
    return SceneGraph(
        torch.tensor([1, 2, 1]),
        torch.tensor([[10.0, 20, 30, 40.5], [0, 30, 64, 48], [40, 20, 60, 40]]),
        torch.tensor([[0, 1, 1], [0, 2, 2]]),
        (48, 64),
        torch.tensor([0.5, 0.75, 1.0]),
        torch.tensor([0.25, 0.125]),
        torch.full((3, 2, 2), 0.5),
        torch.tensor([[1.0], [2.0], [3.0]]),
        WORDS,
    )


def test_names_and_text_by_hand() -> None:
    graph = two_dogs()
    assert graph.objects == ("dog", "grass", "dog")
    assert graph.relations == (Relation(0, "on", 1), (0, "near", 2))
    assert str(graph) == (
        "scene graph of a 64 x 48 image (width x height): 3 objects, 2 relations\n"
        "  0 dog    (10, 20, 30, 40.5)  0.50\n"
        "  1 grass  (0, 30, 64, 48)  0.75\n"
        "  2 dog    (40, 20, 60, 40)  1.00\n"
        "  dog 0 on grass  0.25\n"
        "  dog 0 near dog 2  0.12"
    )
    assert repr(graph) == "SceneGraph(3 objects, 2 relations, 64 x 48)"


def test_without_vocabulary_ids_are_shown() -> None:
    graph = SceneGraph(
        torch.tensor([3, 1]), torch.tensor([[0.0, 0, 1, 1]] * 2), torch.tensor([[0, 2, 1]]), (4, 4)
    )
    assert graph.objects == ("class 3", "class 1")
    assert str(graph).splitlines()[-1] == "  class 3 predicate 2 class 1"
    with pytest.raises(InputError, match="a graph with a vocabulary"):
        graph.to_dict()
    assert graph.with_vocabulary(WORDS).objects == ("tree", "dog")
    assert str(SceneGraph.empty((4, 4))).endswith("0 objects, 0 relations")


def test_ids_outside_the_vocabulary_are_refused() -> None:
    with pytest.raises(InputError, match=r"labels: expected 1..3, got 4..4"):
        SceneGraph(
            torch.tensor([4]),
            torch.zeros(1, 4),
            torch.zeros(0, 3).long(),
            (4, 4),
            vocabulary=WORDS,
        )
    graph = two_dogs()
    with pytest.raises(InputError, match=r"triples' predicates: expected 1..1, got 1..2"):
        graph.with_vocabulary(Vocabulary.from_names(["a", "b"], ["c"]))


def test_add_and_relate_by_hand() -> None:
    before = two_dogs()
    graph = before.add("tree", (1, 2, 3, 4)).relate(3, "near", 1, 0.5).relate(2, 1, 1)
    assert len(before) == 3
    assert len(before.triples) == 2
    assert graph.objects[3] == "tree"
    assert_close(graph.boxes[3], torch.tensor([1.0, 2, 3, 4]))
    assert graph.relations[2:] == ((3, "near", 1), (2, "on", 1))
    assert graph.object_scores is not None
    assert graph.triple_scores is not None
    nan = math.nan
    assert_close(graph.object_scores, torch.tensor([0.5, 0.75, 1.0, nan]), equal_nan=True)
    assert_close(graph.triple_scores, torch.tensor([0.25, 0.125, 0.5, nan]), equal_nan=True)
    assert graph.masks is not None
    assert_close(graph.masks[3], torch.ones(2, 2))
    assert graph.appearance is not None
    assert_close(graph.appearance[:, 0], torch.tensor([1.0, 2, 3, 0]))


def test_edits_and_translation_keep_the_background() -> None:
    codes = torch.tensor([[0.25, -0.5]])
    graph = replace(two_dogs(), background=codes)
    others = Vocabulary.from_names(["tree", "dog", "grass"], ["near", "on"])
    for edited in (
        graph.add("tree", (1, 2, 3, 4)),
        graph.relate(2, "on", 1),
        graph.remove(0),
        graph.remove_relation(0),
        graph.relabel(0, "tree"),
        graph.move(0, (0, 0, 4, 4)),
        graph.replace_predicate(0, "near"),
        graph.select(torch.zeros(0, dtype=torch.int64)),
        translate(graph, others),
    ):
        assert edited.background is codes
    read = graph_from_json(graph.to_dict(), others)
    assert_close(read.background, codes)


def test_a_graph_is_built_by_name() -> None:
    graph = SceneGraph.empty((48, 64), WORDS).add("dog", [0, 0, 8, 8]).add(2, torch.ones(4) * 9)
    assert graph.object_scores is None
    assert graph.relate(0, "on", 1).relations == ((0, "on", 1),)
    scored = SceneGraph.empty((48, 64), WORDS).add("dog", [0, 0, 8, 8], score=0.5)
    assert_close(scored.object_scores, torch.tensor([0.5]))


def test_objects_without_boxes_are_for_the_generator_to_place() -> None:
    graph = SceneGraph.empty((48, 64), WORDS).add("dog").add("grass").relate(0, "on", 1)
    assert not graph.has_boxes
    assert "boxes" not in graph.to_dict()
    assert not graph.remove(0).has_boxes
    assert graph_from_json(graph.to_dict(), WORDS).relations == graph.relations
    with pytest.raises(InputError, match="box: expected none, as the other objects have, got a bo"):
        graph.add("dog", (0, 0, 1, 1))
    with pytest.raises(InputError, match="box: expected a box, as the other objects have, got non"):
        two_dogs().add("dog")


def test_remove_relabel_move_and_replace_by_hand() -> None:
    graph = two_dogs()
    fewer = graph.remove(1)
    assert fewer.objects == ("dog", "dog")
    assert fewer.relations == ((0, "near", 1),)
    assert_close(fewer.triple_scores, torch.tensor([0.125]))
    assert fewer.vocabulary is WORDS
    assert graph.remove_relation(0).relations == ((0, "near", 2),)
    cat = graph.relabel(0, "tree")
    assert cat.objects == ("tree", "grass", "dog")
    assert cat.object_scores is not None
    assert cat.object_scores.isnan().tolist() == [True, False, False]
    assert_close(graph.move(0, (1, 1, 2, 2)).boxes[:2, 0], torch.tensor([1.0, 0]))
    near = graph.replace_predicate(0, "near")
    assert near.relations == ((0, "near", 1), (0, "near", 2))
    assert near.triple_scores is not None
    assert near.triple_scores.isnan().tolist() == [True, False]
    assert graph.objects == ("dog", "grass", "dog")  # the edits left it as it was
    assert graph.relations[0].predicate == "on"
    assert_close(graph.boxes[0, 0], torch.tensor(10.0))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda g: g.add("dgo", (0, 0, 1, 1)), "object 'dgo': .*nearest: dog"),
        (lambda g: g.add(9, (0, 0, 1, 1)), r"labels: expected 1..3, got 1..9"),
        (lambda g: g.add(0, (0, 0, 1, 1)), r"labels: expected 1..3, got 0..2"),
        (lambda g: g.add(1.5, (0, 0, 1, 1)), "class id: expected a name or a whole number, got"),
        (lambda g: g.add("dog", (0, 0, 1)), r"box: expected \[x1, y1, x2, y2\], got \[3\]"),
        (lambda g: g.add("dog", (5, 0, 1, 1)), r"boxes: expected finite .*x1 <= x2"),
        (lambda g: g.add("dog", "box"), "box: expected four numbers"),
        (lambda g: g.add("dog", (0, 0, 1, 1), 2), "score: expected a number in 0..1, got 2"),
        (lambda g: g.relate(0, "nearby", 1), "predicate 'nearby': .*nearest"),
        (lambda g: g.relate(0, "on", 3), r"object row: expected 0..2, got 3"),
        (lambda g: g.relate(-1, "on", 1), r"object row: expected 0..2, got -1"),
        (
            lambda g: g.relate(0, "on", 1),
            "relation: expected one that the graph has not yet, got 0",
        ),
        (lambda g: g.remove(3), r"object row: expected 0..2, got 3"),
        (lambda g: g.remove("dog"), "object row: expected a whole number, got 'dog'"),
        (lambda g: g.remove_relation(2), r"relation row: expected 0..1, got 2"),
        (lambda g: g.relabel(7, "dog"), r"object row: expected 0..2, got 7"),
        (lambda g: g.move(0, (0, 0)), r"box: expected \[x1, y1, x2, y2\], got \[2\]"),
        (lambda g: g.replace_predicate(0, "o"), "predicate 'o'"),
        (lambda g: g.replace_predicate(True, "on"), "relation row: expected .*whole number"),
    ],
)
def test_bad_edits_are_input_errors(edit: Callable[[SceneGraph], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        edit(two_dogs())


def test_networkx_dict_and_dataframe_by_hand() -> None:
    graph = two_dogs()
    network = graph.to_networkx()
    assert network.nodes[1] == {
        "name": "grass",
        "label": 2,
        "box": (0.0, 30.0, 64.0, 48.0),
        "score": 0.75,
    }
    assert network.edges[0, 2, "near"] == {"predicate": "near", "label": 2, "score": 0.125}
    assert network.number_of_edges() == 2
    data = graph.to_dict()
    assert data["relationships"] == [[0, "on", 1], [0, "near", 2]]
    assert graph_from_json(data, WORDS).relations == graph.relations
    pytest.importorskip("pandas")
    table = graph.to_dataframe()
    assert table[["subject", "predicate", "object"]].to_numpy().tolist() == [
        ["dog", "on", "grass"],
        ["dog", "near", "dog"],
    ]
    assert table["score"].tolist() == [0.25, 0.125]
    assert table["object_box"][1] == (40.0, 20.0, 60.0, 40.0)
    assert table["subject_score"].tolist() == [0.5, 0.5]
    assert table["object_score"].tolist() == [0.75, 1.0]
    empty = SceneGraph.empty((4, 4), WORDS)
    assert list(empty.to_dataframe().columns) == list(table.columns)
    assert empty.to_networkx().number_of_nodes() == 0


def test_a_dataframe_without_pandas_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def without_pandas(name: str, *rest: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pandas)
    with pytest.raises(InputError, match=r"expected pandas \(pip install pandas\)"):
        two_dogs().to_dataframe()


def test_batches_keep_a_vocabulary_that_all_graphs_share() -> None:
    graph = two_dogs()
    batch = SceneGraphBatch.collate([graph, graph.remove(0)])
    assert batch.vocabulary == WORDS
    assert [part.objects for part in batch.split()] == [("dog", "grass", "dog"), ("grass", "dog")]
    other = graph.with_vocabulary(Vocabulary.from_names(["a", "b"], ["c", "d"]))
    assert SceneGraphBatch.collate([graph, other]).vocabulary is None
