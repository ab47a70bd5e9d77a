"""The `__image__` node: one object that stands for the whole image, related to all its objects."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from autoenc_sg.core.relaxed_graph import RelaxedGraph

IMAGE_OBJECT = 0
IN_IMAGE_PREDICATE = 0
WHOLE_IMAGE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class GraphWithImages:
    """A graph with an `__image__` node for each image, and the rows of its nodes.

    Attributes:
        graph: N + B objects, each image's node after its objects; the `__in_image__` relations
            follow the M others.
        object_rows: `[N]`, row of each object in `graph`.
        image_rows: `[B]`, row of each image's node in `graph`.
    """

    graph: RelaxedGraph
    object_rows: Tensor
    image_rows: Tensor

    def without_image_relations(self) -> RelaxedGraph:
        """The same nodes with the M other relations alone."""
        count = len(self.graph.pairs) - len(self.object_rows)
        return replace(
            self.graph,
            predicates=self.graph.predicates[:count],
            pairs=self.graph.pairs[:count],
            edge_weights=self.graph.edge_weights[:count],
        )


def add_image_nodes(graph: RelaxedGraph) -> GraphWithImages:
    """Add a node `__image__` to each image, and from each of its objects an `__in_image__` triple.

    The node is object 0 with box [0, 0, 1, 1], weight 1 and a mask of ones; a triple's weight is
    its object's, so an object of weight 0 has no influence on the node.

    Source: google/sg2im, whose data loaders add this object and these triples to every image.
    """
    images = torch.arange(graph.num_images, device=graph.image_index.device)
    owner = torch.cat([graph.image_index, images])
    order = torch.argsort(owner, stable=True)  # an image's node comes after its objects
    rows = torch.argsort(order)
    n = len(graph.image_index)
    object_rows, image_rows = rows[:n], rows[n:]

    def merge(values: Tensor, node: Tensor) -> Tensor:
        return torch.cat([values, node.to(values).expand(len(images), *values.shape[1:])])[order]

    merged = RelaxedGraph(
        objects=merge(graph.objects, _one_hot(IMAGE_OBJECT, graph.objects)),
        predicates=torch.cat([graph.predicates, _in_image(n, graph.predicates)]),
        pairs=_join_pairs(graph, object_rows, image_rows),
        edge_weights=torch.cat([graph.edge_weights, graph.object_weights.to(graph.edge_weights)]),
        object_weights=merge(graph.object_weights, torch.ones(())),
        boxes=merge(graph.boxes, torch.tensor(WHOLE_IMAGE)),
        image_index=owner[order],
        num_images=graph.num_images,
        masks=None if graph.masks is None else merge(graph.masks, torch.ones(())),
        appearance=None if graph.appearance is None else merge(graph.appearance, torch.zeros(())),
        background=graph.background,
    )
    return GraphWithImages(merged, object_rows, image_rows)


def with_image_boxes(
    labels: Tensor, boxes: Tensor, image_index: Tensor, num_images: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Labels `[N + B]`, boxes `[N + B, 4]` and image index of objects and `__image__` nodes.

    `image_index` is ascending before and after; boxes are fractions of the image.
    """
    images = torch.arange(num_images, device=image_index.device)
    owner = torch.cat([image_index, images])
    order = torch.argsort(owner, stable=True)
    all_labels = torch.cat([labels, torch.full_like(images, IMAGE_OBJECT)])
    all_boxes = torch.cat([boxes, boxes.new_tensor(WHOLE_IMAGE).expand(num_images, 4)])
    return all_labels[order], all_boxes[order], owner[order]


def with_image_relations(
    predicates: Tensor, pair_boxes: Tensor, image_index: Tensor, num_images: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Relations of a batch, and one of each image to itself, `__in_image__`.

    So there is a relation in every image. `image_index` is ascending afterwards.

    Shapes: predicates `[M]`, boxes of subject and object `[M, 2, 4]` as fractions of the image and
    image index `[M]` -> `[M + B]`, `[M + B, 2, 4]`, `[M + B]`.
    """
    images = torch.arange(num_images, device=image_index.device)
    owner = torch.cat([image_index, images])
    order = torch.argsort(owner, stable=True)
    whole = pair_boxes.new_tensor(WHOLE_IMAGE).expand(num_images, 2, 4)
    all_predicates = torch.cat([predicates, torch.full_like(images, IN_IMAGE_PREDICATE)])
    return all_predicates[order], torch.cat([pair_boxes, whole])[order], owner[order]


def _join_pairs(graph: RelaxedGraph, object_rows: Tensor, image_rows: Tensor) -> Tensor:
    in_image = torch.stack([object_rows, image_rows[graph.image_index]], 1)
    return torch.cat([object_rows[graph.pairs], in_image])


def _one_hot(index: int, like: Tensor) -> Tensor:
    return F.one_hot(torch.tensor(index, device=like.device), like.shape[1])


def _in_image(count: int, predicates: Tensor) -> Tensor:
    return _one_hot(IN_IMAGE_PREDICATE, predicates).to(predicates).expand(count, -1)
