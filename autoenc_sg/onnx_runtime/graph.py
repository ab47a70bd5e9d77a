"""The graph that an exported model parses and draws: arrays, and the JSON of graph files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autoenc_sg.onnx_runtime.photos import Array


@dataclass(frozen=True, eq=False)
class OnnxGraph:
    """The scene graph of a photo; the arrays of `core.scene_graph.SceneGraph`.

    Attributes:
        labels: `[N]` int64, class ids >= 1.
        boxes: `[N, 4]` float32, xyxy in pixels of the photo.
        triples: `[M, 3]` int64, (subject row, predicate id, object row).
        image_size: (height, width) of the photo.
        object_scores: `[N]` in [0, 1].
        triple_scores: `[M]` in [0, 1].
        objects, predicates: names by id.
        appearance: `[N, A]` appearance codes, or None.
        background: `[G G, A]` codes of what lies outside all boxes, or None.
    """

    labels: Array
    boxes: Array
    triples: Array
    image_size: tuple[int, int]
    object_scores: Array
    triple_scores: Array
    objects: tuple[str, ...]
    predicates: tuple[str, ...]
    appearance: Array | None = None
    background: Array | None = None

    def to_json(self) -> dict[str, Any]:
        """What a graph file holds; `autoenc-sg generate` and `read_graphs` read it."""
        data: dict[str, Any] = {
            "objects": [self.objects[label] for label in self.labels.tolist()],
            "relationships": [[s, self.predicates[p], o] for s, p, o in self.triples.tolist()],
            "boxes": self.boxes.tolist(),
            "image_size": list(self.image_size),
            "object_scores": self.object_scores.tolist(),
            "relationship_scores": self.triple_scores.tolist(),
        }
        for name, codes in (("appearance", self.appearance), ("background", self.background)):
            if codes is not None:
                data[name] = codes.tolist()
        return data
