r"""Scene graphs as JSON, a superset of that of sg2im (whose `run_model.py` reads two of the keys).

    {"objects": ["sky", "tree"], "relationships": [[0, "above", 1]],
     "boxes": [[x1, y1, x2, y2], ...], "image_size": [height, width],
     "object_scores": [...], "relationship_scores": [...],
     "masks": [[[...]]], "appearance": [[...]], "background": [[...]]}

A file holds one such graph, a list of them, or one a line (`.jsonl`). Only `objects` is required; a
key that is null counts as absent, no `relationships` as none, and unknown keys are passed over
(files of sg2im's descendants have some). An object or relation without a score, or an object
without an appearance code, has null for it; scores and codes that a list lacks at its end count as
null, so that objects and relations can be added by hand. `background` has the codes of a grid of
1, 4, 9, ... parts of the image, row by row, null for a part without one. A relation of an object to
itself is read as sg2im reads it: an edge like others. Numbers are written with the fewest digits
that give the same float32 back.
"""

from autoenc_sg.core.graph_json.files import (
    read_graphs,
    read_json_entries,
    write_graph,
    write_graphs,
)
from autoenc_sg.core.graph_json.graphs import graph_from_json, graph_to_json

__all__ = [
    "graph_from_json",
    "graph_to_json",
    "read_graphs",
    "read_json_entries",
    "write_graph",
    "write_graphs",
]
