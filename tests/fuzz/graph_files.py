"""Graph JSON: one graph, a list, or one a line."""

from __future__ import annotations

import json
import random
from pathlib import Path

from autoenc_sg.core.graph_json import graph_to_json, read_graphs
from tests.core.test_graph_json import VOCABULARY, full_graph, hand_made
from tests.support.mutations import mutated_bytes, mutated_json


class GraphFiles:
    """A full graph and one made by hand."""

    def __init__(self, root: Path) -> None:
        self.root = root
        full = graph_to_json(full_graph(), VOCABULARY)
        full["masks"] = [[[0.0, 1.0], [0.5, 0.25]]] * 3
        self.graphs = [full, hand_made()]

    def turn(self, rng: random.Random) -> None:
        graph = rng.choice(self.graphs)
        kind = rng.randrange(3)
        if kind == 0:
            path, content = self.root / "g.json", mutated_json(graph, rng)
        elif kind == 1:
            path, content = self.root / "g.json", mutated_json(self.graphs, rng)
        else:
            path = self.root / "g.jsonl"
            rows = [mutated_json(graph, rng), json.dumps(hand_made()).encode()]
            content = mutated_bytes(b"\n".join(rows), rng) if rng.random() < 0.3 else rows[0]
        path.write_bytes(content)
        for read in read_graphs(path, VOCABULARY):
            assert read.boxes.isfinite().all()
            assert len(read.labels) == 0 or int(read.labels.max()) < VOCABULARY.num_objects
            graph_to_json(read, VOCABULARY)  # what was read can be written
