r"""The graph that the generator reads: distributions over classes and predicates, and weights.

A scene graph is the one-hot case with unit weights (`RelaxedGraph.from_graph`), where the generator
equals sg2im's; `GraphLogits.relax` makes the soft one, through which gradient flows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.core.structures import to_device


@dataclass(frozen=True, eq=False)
class RelaxedGraph:
    """The generator's input for B images.

    Attributes:
        objects: `[N, C]` class distribution, column 0 is zero for real objects.
        predicates: `[M, P]` predicate distribution, column 0 is zero for real relations.
        pairs: `[M, 2]` int64, (subject row, object row).
        edge_weights: `[M]` in [0, 1].
        object_weights: `[N]` in [0, 1], factor of each object in the layout.
        boxes: `[N, 4]` xyxy as fractions of the image.
        image_index: `[N]` int64, ascending.
        num_images: B.
        masks: `[N, S, S]` in [0, 1] over each box, or None.
        appearance: `[N, A]` appearance codes, or None.
        background: `[B, G G, A]` codes of what lies outside an image's boxes, or None.
    """

    objects: Tensor
    predicates: Tensor
    pairs: Tensor
    edge_weights: Tensor
    object_weights: Tensor
    boxes: Tensor
    image_index: Tensor
    num_images: int
    masks: Tensor | None = None
    appearance: Tensor | None = None
    background: Tensor | None = None

    def to(self, device: torch.device | str) -> RelaxedGraph:
        """The same on another device."""
        return to_device(self, device)

    @classmethod
    def from_graph(
        cls, graph: SceneGraphBatch, num_objects: int, num_predicates: int
    ) -> RelaxedGraph:
        """A hard graph as one-hot distributions; `num_objects` and `num_predicates` are C and P."""
        boxes = graph.unit_boxes().float()  # users' boxes may be of another precision
        return cls(
            F.one_hot(graph.labels, num_objects).to(boxes.dtype),
            F.one_hot(graph.triples[:, 1], num_predicates).to(boxes.dtype),
            graph.triples[:, [0, 2]],
            boxes.new_ones(len(graph.triples)),
            boxes.new_ones(len(graph.labels)),
            boxes,
            graph.image_index,
            graph.num_images,
            graph.masks,
            graph.appearance,
            graph.background,
        )
