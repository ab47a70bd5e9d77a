"""The benchmark of the background's codes: masks, edits and what they change, by hand."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from autoenc_sg.core.scene_graph import SceneGraph
from benchmarks.evaluation.background import change, edited, edited_row, inside, variants

BOXES = torch.tensor([[0.0, 0, 40, 20], [20, 10, 40, 20], [0, 0, 10, 5]])  # all, a quarter, 1/16
GRAPH = SceneGraph(
    torch.tensor([1, 3, 2]),
    BOXES,
    torch.zeros(0, 3, dtype=torch.int64),
    (20, 40),
    appearance=torch.ones(3, 2),
    background=torch.ones(4, 2),
)


def test_pixels_of_boxes() -> None:
    masks = inside(GRAPH, 4)
    assert masks.sum((1, 2)).tolist() == [16, 4, 1]
    assert masks[1, 2:, 2:].all()
    assert masks[2, 0, 0]


def test_the_largest_object_of_at_most_half_the_picture_is_edited() -> None:
    assert edited_row(GRAPH, 4) == 1
    assert edited_row(GRAPH.select(torch.tensor([0])), 4) is None
    assert edited_row(GRAPH.select(torch.tensor([], dtype=torch.int64)), 4) is None
    other = edited(GRAPH, 1, 4)  # classes 1 to 3
    assert other.labels.tolist() == [1, 1, 2]
    assert other.appearance is not None
    assert other.appearance.any(1).tolist() == [True, False, True]
    assert GRAPH.labels.tolist() == [1, 3, 2]


def test_change_in_the_box_and_elsewhere() -> None:
    before, after = torch.zeros(3, 2, 2), torch.zeros(3, 2, 2)
    after[:, 0, 0], after[:, 1, 1] = 0.6, 0.2
    mask = torch.tensor([[True, False], [False, False]])
    assert_close(change(before, after, mask), (0.6, 0.2 / 3, 0.75))
    assert change(before, before, mask) == (0.0, 0.0, 1.0)


def test_variants_leave_out_what_they_say() -> None:
    other = GRAPH.select(torch.tensor([0]))
    given = {
        name: (graphs[0].appearance is not None, graphs[0].background is not None)
        for name, graphs in variants([GRAPH, other]).items()
    }
    assert given == {
        "all codes": (True, True),
        "objects' codes": (True, False),
        "background's codes": (False, True),
        "another image's background": (True, True),
        "no codes": (False, False),
    }
    swapped = variants([GRAPH, SceneGraph.empty((20, 40))])["another image's background"]
    assert swapped[0].background is None
    assert swapped[1].background is GRAPH.background
