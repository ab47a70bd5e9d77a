"""The graph that the generator reads."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from autoenc_sg.core.relaxed_graph import RelaxedGraph
from tests.support.graphs import random_batch


def test_a_hard_graph_is_the_one_hot_case() -> None:
    batch = random_batch([(3, 2), (0, 0), (2, 3)])
    graph = RelaxedGraph.from_graph(batch, 5, 4)
    assert_close(graph.objects.argmax(1), batch.labels)
    assert_close(graph.objects.sum(1), torch.ones(5))
    assert_close(graph.predicates.argmax(1), batch.triples[:, 1])
    assert_close(graph.pairs, batch.triples[:, [0, 2]])
    assert_close(graph.edge_weights, torch.ones(5))
    assert_close(graph.object_weights, torch.ones(5))
    assert_close(graph.boxes, batch.unit_boxes())
    assert graph.num_images == 3
    assert_close(graph.to("cpu").objects, graph.objects)
