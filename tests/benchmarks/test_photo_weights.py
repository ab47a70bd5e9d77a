"""How the thresholds of the weights for photographs are chosen, and whose photographs they saw."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from autoenc_sg.core.graph_logits import GraphLogits
from autoenc_sg.core.scene_graph import SceneGraph
from benchmarks.photo_weights.data_set import coco_rows, free_rows, in_splits, write_attribution
from benchmarks.photo_weights.thresholds import best, hits, matches

SQUARE, APART = [0.0, 0.0, 20.0, 20.0], [50.0, 50.0, 70.0, 70.0]


def graph_of(boxes: list[list[float]], labels: list[int], triples: list[list[int]]) -> SceneGraph:
    return SceneGraph(
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(boxes).reshape(-1, 4),
        torch.tensor(triples, dtype=torch.int64).reshape(-1, 3),
        (100, 100),
        torch.linspace(0.9, 0.5, len(labels)),
    )


def test_a_true_object_is_found_once_and_the_surest_counts() -> None:
    truth = graph_of([SQUARE, APART], [1, 2], [])
    found = graph_of([APART, SQUARE, SQUARE, APART], [1, 1, 1, 2], [])
    assert matches(found, truth) == [-1, 0, -1, 1]
    assert matches(found, graph_of([], [], [])) == [-1] * 4
    assert matches(graph_of([], [], []), truth) == []


def logits_of(scores: list[float], edges: list[float]) -> GraphLogits:
    """Objects of class 1 and 2 at the true boxes, a third elsewhere; relation 1 from 0 to 1, 2."""
    classes = torch.full((3, 3), 1e-6)
    for row, (label, score) in enumerate(zip((1, 2, 2), scores)):
        classes[row, label] = score
        classes[row, 0] = 1 - score
    predicates = torch.tensor([[1 - edge, edge, 1e-6] for edge in edges])
    return GraphLogits(
        classes.log(),
        torch.tensor([SQUARE, APART, [0.0, 70.0, 20.0, 90.0]]),
        torch.tensor([[0, 1], [0, 2]]),
        predicates.log(),
        torch.ones(2),
        torch.zeros(3, dtype=torch.int64),
        ((100, 100),),
    )


def test_objects_and_triples_are_counted_at_their_thresholds() -> None:
    truth = graph_of([SQUARE, APART], [1, 2], [[0, 1, 1], [1, 2, 0]])
    logits = logits_of([0.9, 0.8, 0.7], [0.6, 0.5])
    # all three objects, of which two are true; both triples, of which one is true
    assert hits(logits, truth, 0.5, 0.1).tolist() == [[2, 3, 2], [1, 2, 2]]
    assert hits(logits, truth, 0.75, 0.1).tolist() == [[2, 2, 2], [1, 1, 2]]
    assert hits(logits, truth, 0.5, 0.99).tolist() == [[2, 3, 2], [0, 0, 2]]


def test_the_threshold_with_the_largest_f1_is_chosen() -> None:
    low = [torch.tensor([[2, 6, 2], [0, 0, 0]]), torch.tensor([[1, 2, 2], [0, 0, 0]])]
    high = [torch.tensor([[2, 2, 2], [0, 0, 0]]), torch.tensor([[1, 1, 2], [0, 0, 0]])]
    choice = best((0.1, 0.6), [low, high], 0)
    assert (choice.threshold, choice.precision, choice.recall) == (0.6, 1.0, 0.75)
    assert choice.f1 == pytest.approx(6 / 7)


def test_every_photograph_is_in_one_split_and_attributed(tmp_path: Path) -> None:
    lines = [
        {
            "id": i,
            "image": f"{i}.jpg",
            "labels": ["cat", "dog"],
            "boxes": [SQUARE, APART],
            "relationships": [[0, "near", 1]] if i < 12 else [],
            "captions": [],
            "license": "CC BY 2.0",
            "flickr_url": f"http://photos/{i}",
        }
        for i in range(40)
    ]
    (tmp_path / "annotations.jsonl").write_text("\n".join(map(json.dumps, lines)))
    coco = {
        "licenses": [{"id": 4, "name": "Attribution License"}],
        "categories": [{"id": 7, "name": "cat"}],
        "images": [{"id": 99, "file_name": "99.jpg", "license": 4, "flickr_url": "http://photos"}],
        "annotations": [
            {"image_id": 99, "category_id": 7, "bbox": [1, 2, 3, 4], "iscrowd": 0},
            {"image_id": 99, "category_id": 7, "bbox": [1, 2, 9, 9], "iscrowd": 1},
        ],
    }
    (tmp_path / "instances.json").write_text(json.dumps(coco))
    rows = in_splits([*free_rows(tmp_path), *coco_rows(tmp_path)])
    assert sorted(row["id"] for row in rows) == [*range(40), 99]
    related_test = [row["id"] for row in rows if row["split"] == "test" and row["triples"]]
    assert related_test == [1, 4, 7, 10]  # every third of twelve
    (crowd_row,) = (row for row in rows if row["id"] == 99)
    assert crowd_row["boxes"] == [[1, 2, 4, 6]]
    write_attribution(rows, tmp_path / "attribution.csv")
    written = (tmp_path / "attribution.csv").read_text().splitlines()
    assert written[0] == "id,split,license,address"
    assert len(written) == 42
    assert written[-1].endswith(",Attribution License,http://photos")
