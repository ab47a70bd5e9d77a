"""The graph that the generator reads."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from autoenc_sg.core.relaxed_graph import RelaxedGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from tests.support.graphs import random_batch, random_graph


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


def test_masks_and_codes_are_those_of_the_graphs() -> None:
    graphs = [random_graph(3, 2, 0, full=True), random_graph(1, 0, 1, full=True)]
    graph = RelaxedGraph.from_graph(SceneGraphBatch.collate(graphs), 5, 4)
    for name in ("masks", "appearance"):
        rows = torch.cat([getattr(one, name) for one in graphs])
        assert_close(getattr(graph, name), rows)
        assert rows.abs().sum() > 0
    codes = [one.background for one in graphs if one.background is not None]
    assert_close(graph.background, torch.stack(codes))
