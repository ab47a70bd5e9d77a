"""Graphs, batches of them, and boxes."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.core.structures import GraphPrediction
from tests.support.graphs import random_graph

OPTIONAL = ("object_scores", "triple_scores", "masks", "appearance")


def same_graph(a: SceneGraph, b: SceneGraph) -> None:
    assert a.image_size == b.image_size
    for field in fields(a):
        if field.name != "image_size":
            assert_close(getattr(a, field.name), getattr(b, field.name), rtol=0, atol=0)


def graph() -> SceneGraph:
    return SceneGraph(
        torch.tensor([3, 1, 2]),
        torch.tensor([[0.0, 0, 4, 2], [1, 1, 3, 3], [0, 0, 8, 8]]),
        torch.tensor([[0, 5, 1], [1, 6, 2], [2, 7, 0]]),
        (8, 10),
        torch.tensor([0.9, 0.8, 0.7]),
        torch.tensor([0.3, 0.2, 0.1]),
    )


def test_collate_by_hand_with_an_empty_image_between() -> None:
    batch = SceneGraphBatch.collate([graph(), SceneGraph.empty((5, 6)), graph()])
    assert len(batch) == batch.num_images == 3
    assert_close(batch.image_index, torch.tensor([0, 0, 0, 2, 2, 2]))
    assert_close(batch.triples[3:], torch.tensor([[3, 5, 4], [4, 6, 5], [5, 7, 3]]))
    assert_close(batch.triple_image_index, torch.tensor([0, 0, 0, 2, 2, 2]))
    assert batch.image_sizes == ((8, 10), (5, 6), (8, 10))
    assert batch.object_scores is not None  # the empty graph lacks none
    assert_close(batch.object_scores, torch.tensor([0.9, 0.8, 0.7] * 2))
    assert SceneGraphBatch.collate([SceneGraph.empty((5, 6))]).triple_scores is None
    assert_close(batch.unit_boxes()[4], torch.tensor([0.1, 0.125, 0.3, 0.375]))


counts = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(counts, st.booleans(), st.integers(0, 1000))
def test_split_inverts_collate(sizes: list[tuple[int, int]], full: bool, seed: int) -> None:
    graphs = [
        random_graph(n, m if n else 0, seed + i, (20 + i, 30), full)
        for i, (n, m) in enumerate(sizes)
    ]
    batch = SceneGraphBatch.collate(graphs)
    parts = batch.split()
    assert len(parts) == len(graphs)
    for part, one in zip(parts, graphs):
        same_graph(part, one)
    again = SceneGraphBatch.collate(parts)
    assert again.image_sizes == batch.image_sizes
    for field in fields(batch):
        if field.name != "image_sizes":
            assert_close(getattr(again, field.name), getattr(batch, field.name))


def test_split_keeps_triples_in_order_when_images_are_mixed() -> None:
    batch = SceneGraphBatch(
        torch.tensor([1, 2, 3]),
        torch.zeros(3, 4),
        torch.tensor([[2, 9, 2], [0, 8, 1], [2, 7, 2], [1, 6, 0]]),
        torch.tensor([0, 0, 1]),
        ((2, 2), (3, 3)),
        triple_scores=torch.tensor([0.1, 0.2, 0.3, 0.4]),
    )
    first, second = batch.split()
    assert_close(first.triples, torch.tensor([[0, 8, 1], [1, 6, 0]]))
    assert_close(first.triple_scores, torch.tensor([0.2, 0.4]))
    assert_close(second.triples, torch.tensor([[0, 9, 0], [0, 7, 0]]))


def test_an_optional_field_is_kept_only_if_all_have_it() -> None:
    full, bare = random_graph(2, 1, 0, full=True), random_graph(2, 1, 1)
    mixed = SceneGraphBatch.collate([full, bare])
    assert all(getattr(mixed, name) is None for name in OPTIONAL[:3])


def test_appearance_is_kept_if_any_graph_has_it() -> None:
    full, bare = random_graph(2, 1, 0, full=True), random_graph(1, 0, 1)
    mixed = SceneGraphBatch.collate([bare, SceneGraph.empty((4, 4)), full, bare])
    assert full.appearance is not None
    zeros = torch.zeros(1, 2)
    torch.testing.assert_close(mixed.appearance, torch.cat([zeros, full.appearance, zeros]))
    split = mixed.split()
    torch.testing.assert_close(split[2].appearance, full.appearance)
    torch.testing.assert_close(split[3].appearance, zeros)
    wide = SceneGraph(
        bare.labels, bare.boxes, bare.triples, bare.image_size, appearance=torch.ones(1, 3)
    )
    with pytest.raises(InputError, match=r"codes of a batch: expected one width, got \[2, 3\]"):
        SceneGraphBatch.collate([full, wide])
    both = SceneGraphBatch.collate([full, random_graph(1, 1, 1, full=True)])
    assert both.masks is not None
    assert both.masks.shape == (3, 3, 3)
    assert both.triple_scores is not None
    assert both.triple_scores.shape == (2,)


def test_background_is_kept_if_any_graph_has_it() -> None:
    full, bare = random_graph(2, 1, 0, full=True), random_graph(1, 0, 1)
    assert full.background is not None
    mixed = SceneGraphBatch.collate([bare, full, SceneGraph.empty((4, 4))])
    assert mixed.background is not None
    assert mixed.background.shape == (3, 4, 2)
    first, second, third = mixed.to("cpu").split()
    torch.testing.assert_close(second.background, full.background)
    for part in (first, third):
        torch.testing.assert_close(part.background, torch.zeros(4, 2))
    assert SceneGraphBatch.collate([bare, bare]).background is None
    other = replace(bare, background=torch.zeros(1, 2))
    with pytest.raises(InputError, match=r"background codes of a batch: expected one shape, got"):
        SceneGraphBatch.collate([full, other])


def test_select_by_hand() -> None:
    part = graph().select(torch.tensor([2, 0]))
    assert_close(part.labels, torch.tensor([2, 3]))
    assert_close(part.triples, torch.tensor([[0, 7, 1]]))
    assert_close(part.object_scores, torch.tensor([0.7, 0.9]))
    assert_close(part.triple_scores, torch.tensor([0.1]))
    none = graph().select(torch.zeros(0, dtype=torch.int64))
    assert len(none) == len(none.triples) == 0


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(4)), st.integers(0, 100))
def test_select_of_a_permutation_renumbers(order: list[int], seed: int) -> None:
    one = random_graph(4, 6, seed, full=True)
    other = one.select(torch.tensor(order))
    position = {old: new for new, old in enumerate(order)}
    expected = [[position[s], p, position[o]] for s, p, o in one.triples.tolist()]
    assert other.triples.tolist() == expected
    same_graph(other.select(torch.tensor([position[i] for i in range(4)])), one)


def test_moving_keeps_everything() -> None:
    one = random_graph(3, 2, 0, full=True)
    same_graph(one.to("cpu"), one)
    batch = SceneGraphBatch.collate([one]).to("cpu")
    same_graph(batch.split()[0], one)
    prediction = GraphPrediction(
        one.boxes, one.labels, torch.rand(3), torch.zeros(0, 2), torch.zeros(0, 3)
    )
    assert_close(prediction.to("cpu").boxes, one.boxes)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"labels": torch.tensor([1, 2])}, "boxes: expected shape [2, 4], got [3, 4]"),
    ({"labels": torch.tensor(1)}, "labels: expected shape [1], got []"),
    ({"boxes": torch.zeros(3, 5)}, "boxes: expected shape [3, 4], got [3, 5]"),
    (
        {"triples": torch.zeros(2, 2, dtype=torch.int64)},
        "triples: expected shape [2, 3], got [2, 2]",
    ),
    ({"object_scores": torch.zeros(2)}, "object_scores: expected shape [3], got [2]"),
    ({"triple_scores": torch.zeros(3, 1)}, "triple_scores: expected shape [3], got [3, 1]"),
    ({"masks": torch.zeros(3, 4)}, "masks: expected shape [3, 'any', 'any'], got [3, 4]"),
    ({"appearance": torch.zeros(2, 4)}, "appearance: expected shape [3, 'any'], got [2, 4]"),
    ({"background": torch.zeros(4)}, r"background: expected shape ['any', 'any'], got [4]"),
    ({"background": torch.zeros(3, 2)}, "background: expected G x G rows: 1, 4, 9, ..., got 3"),
    ({"background": torch.zeros(0, 2)}, "background: expected G x G rows: 1, 4, 9, ..., got 0"),
    (
        {"background": torch.zeros(1, 2).long()},
        "background: expected a floating-point tensor, or None, got torch.int64",
    ),
    ({"labels": torch.tensor([1, 0, 2])}, "labels: expected >= 1, got 0..2"),
    ({"labels": torch.tensor([1.0, 1, 2])}, "labels: expected int64, got torch.float32"),
    ({"triples": torch.zeros(3, 3)}, "triples: expected int64, got torch.float32"),
    ({"triples": torch.tensor([[0, 1, 3]])}, "triples' objects: expected 0..2, got 0..3"),
    ({"triples": torch.tensor([[-1, 1, 0]])}, "triples' objects: expected 0..2, got -1..0"),
    ({"triples": torch.tensor([[0, 0, 1]])}, "triples' predicates: expected >= 1, got 0..0"),
    (
        {"boxes": torch.zeros(3, 4, dtype=torch.int64)},
        "boxes: expected floating-point pixels, got torch.int64",
    ),
    (
        {"boxes": torch.tensor([[0.0, 0, 1, 1], [5, 0, 1, 1], [0, 0, 1, 1]])},
        "boxes: expected finite (x1, y1, x2, y2), x1 <= x2 and y1 <= y2, got [5.0, 0.0, 1.0, 1.0]",
    ),
    (
        {"boxes": torch.tensor([[0.0, 0, 1, 1]] * 2 + [[0, 0, 1, float("nan")]])},
        "boxes: expected finite (x1, y1, x2, y2), x1 <= x2 and y1 <= y2, got [0.0, 0.0, 1.0, nan]",
    ),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_graphs_are_named_in_one_line(change: dict[str, Any], message: str) -> None:
    changed = replace(
        graph(),
        **({"triple_scores": None} if "triples" in change else {}),
    )
    with pytest.raises(InputError) as error:
        replace(changed, **change)
    assert str(error.value) == message


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="graphs of a batch: expected one or more, got none"):
        SceneGraphBatch.collate([])
