"""The `__image__` node and its triples."""

import torch

from autoenc_sg.core.relaxed_graph import RelaxedGraph
from autoenc_sg.generator.image_node import add_image_nodes


def _graph() -> RelaxedGraph:
    """Two objects in image 0, none in 1, one in 2; one relation."""
    return RelaxedGraph(
        objects=torch.tensor([[0.0, 1, 0], [0, 0, 1], [0, 0.5, 0.5]]),
        predicates=torch.tensor([[0.0, 1]]),
        pairs=torch.tensor([[1, 0]]),
        edge_weights=torch.tensor([0.7]),
        object_weights=torch.tensor([1.0, 0.2, 0.3]),
        boxes=torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.2, 0.3, 0.4, 0.5], [0.0, 0.0, 0.5, 0.5]]),
        image_index=torch.tensor([0, 0, 2]),
        num_images=3,
        masks=torch.full((3, 2, 2), 0.5),
        appearance=torch.ones(3, 4),
    )


def test_hand_computed_graph() -> None:
    got = add_image_nodes(_graph())
    full = got.graph
    assert got.object_rows.tolist() == [0, 1, 4]
    assert got.image_rows.tolist() == [2, 3, 5]
    assert full.image_index.tolist() == [0, 0, 0, 1, 2, 2]
    assert full.objects.tolist() == [
        [0, 1, 0], [0, 0, 1], [1, 0, 0], [1, 0, 0], [0, 0.5, 0.5], [1, 0, 0]
    ]  # fmt: skip
    assert full.pairs.tolist() == [[1, 0], [0, 2], [1, 2], [4, 5]]
    assert full.predicates.tolist() == [[0, 1], [1, 0], [1, 0], [1, 0]]
    torch.testing.assert_close(full.edge_weights, torch.tensor([0.7, 1.0, 0.2, 0.3]))
    torch.testing.assert_close(full.object_weights, torch.tensor([1.0, 0.2, 1, 1, 0.3, 1]))
    torch.testing.assert_close(full.boxes[got.object_rows], _graph().boxes)
    assert full.boxes[got.image_rows].tolist() == [[0, 0, 1, 1]] * 3
    assert full.masks is not None
    assert full.masks[:, 0, 0].tolist() == [0.5, 0.5, 1, 1, 0.5, 1]
    assert full.appearance is not None
    assert full.appearance[:, 0].tolist() == [1, 1, 0, 0, 1, 0]


def test_images_without_objects_have_only_their_node() -> None:
    empty = RelaxedGraph(
        torch.zeros(0, 3),
        torch.zeros(0, 2),
        torch.zeros(0, 2, dtype=torch.int64),
        torch.zeros(0),
        torch.zeros(0),
        torch.zeros(0, 4),
        torch.zeros(0, dtype=torch.int64),
        2,
    )
    full = add_image_nodes(empty).graph
    assert full.objects.tolist() == [[1, 0, 0], [1, 0, 0]]
    assert full.image_index.tolist() == [0, 1]
    assert full.pairs.shape == (0, 2)
    assert full.masks is None


def test_the_caller_s_graph_is_not_changed() -> None:
    graph, copy = _graph(), _graph()
    add_image_nodes(graph)
    torch.testing.assert_close(graph.objects, copy.objects)
    assert len(graph.pairs) == 1
