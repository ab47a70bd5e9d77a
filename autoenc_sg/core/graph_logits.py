r"""What a predictor says of B images: logits of a graph, decoded or relaxed.

`relax` is where gradient crosses the graph. With softmax over the classes without the reserved 0,

    object embedding    = \sum_c p_ic E_obj[c],   p_i = softmax(object_logits_i[1:])
    predicate embedding = \sum_r q_kr E_pred[r],  q_k = softmax(predicate_logits_k[1:])
    edge weight   w_k = relatedness_k (1 - p(no relation)_k)
    object weight v_i = 1 - p(background)_i

so the image loss trains the relation proposals, the predicates and the classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import batched_nms

from autoenc_sg.core.boxes import ImageSize, clip_to_images, to_unit_boxes
from autoenc_sg.core.relaxed_graph import RelaxedGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.core.structures import GraphPrediction, take_rows

RelaxMode = Literal["soft", "straight_through", "detached"]


@dataclass(frozen=True, eq=False)
class GraphLogits:
    """A predictor's output for B images.

    Attributes:
        object_logits: `[N, C]`, class 0 is the background.
        boxes: `[N, 4]` refined boxes, xyxy in pixels.
        pairs: `[M, 2]` int64, (subject row, object row).
        predicate_logits: `[M, P]`, predicate 0 is no relation.
        relatedness: `[M]` in [0, 1].
        image_index: `[N]` int64, ascending.
        image_sizes: (height, width) of each image.
        appearance: `[N, A]` appearance codes, or None. `relax` passes them on unchanged in every
            mode, with their gradient, which trains the bottleneck they come from.
        object_vectors: `[N, D]` the predictor's object vectors after message passing, or None of a
            predictor without such vectors.
        pair_vectors: `[M, D]` the same of each pair, or None.
        background: `[B, G G, A]` codes of what lies outside an image's boxes, or None; passed on as
            `appearance` is.
        auxiliary_logits: `[M, P]` each, logits of predicates that are trained beside the others.
    """

    object_logits: Tensor
    boxes: Tensor
    pairs: Tensor
    predicate_logits: Tensor
    relatedness: Tensor
    image_index: Tensor
    image_sizes: tuple[ImageSize, ...]
    appearance: Tensor | None = None
    object_vectors: Tensor | None = None
    pair_vectors: Tensor | None = None
    background: Tensor | None = None
    auxiliary_logits: tuple[Tensor, ...] = ()

    def edge_weights(self) -> Tensor:
        """`relatedness x (1 - p(no relation))`: `[M]` in [0, 1]."""
        return self.relatedness * (1 - self.predicate_logits.softmax(-1)[:, 0])

    def relax(self, mode: RelaxMode = "soft") -> RelaxedGraph:
        """The differentiable graph.

        Args:
            mode: `soft` distributions; `straight_through`, one-hot forward with the soft backward
                (weights 1 above 1/2, else 0); or `detached`, soft values without gradient.
        """
        values = [
            _without_reserved(self.object_logits),
            _without_reserved(self.predicate_logits),
            self.edge_weights(),
            1 - self.object_logits.softmax(-1)[:, 0],
            to_unit_boxes(self.boxes, self.image_sizes, self.image_index),
        ]
        if mode == "straight_through":
            hard = [_one_hot(values[0]), _one_hot(values[1])]
            hard += [(values[2] > 0.5).to(values[2]), (values[3] > 0.5).to(values[3])]
            values = [_straight_through(h, s) for h, s in zip(hard, values)] + values[4:]
        elif mode == "detached":
            values = [value.detach() for value in values]
        objects, predicates, edge_weights, object_weights, boxes = values
        return RelaxedGraph(
            objects,
            predicates,
            self.pairs,
            edge_weights,
            object_weights,
            boxes,
            self.image_index,
            len(self.image_sizes),
            appearance=self.appearance,
            background=self.background,
        )

    def without_duplicates(self, nms_threshold: float) -> GraphLogits:
        """The logits without objects that repeat a better one of their class and image.

        Class-wise non-maximum suppression of the best classes and the refined, clipped boxes, as
        Neural Motifs' decoder has it after its own. The detector's suppression does not do: a
        region that is suppressed in its best class stays under its next one, and the predictor may
        give it its best class back. Pairs of suppressed objects go with them.

        Args:
            nms_threshold: IoU above which the object of the lower score goes; 1 keeps all.
        """
        scores, labels = self.object_logits.softmax(-1)[:, 1:].max(-1)
        group = labels * len(self.image_sizes) + self.image_index
        boxes = self._clipped_boxes().double()  # groups are told apart by shifting their boxes
        rows = batched_nms(boxes, scores.double(), group, nms_threshold).sort().values
        return self.select(rows)

    def select(self, rows: Tensor) -> GraphLogits:
        """The logits of these objects `[n]`, ascending, and of the pairs among them."""
        position = self.pairs.new_full((len(self.object_logits),), -1)
        position[rows] = torch.arange(len(rows), device=rows.device)
        pairs = position[self.pairs]
        kept_pairs = (pairs >= 0).all(1)
        return GraphLogits(
            self.object_logits[rows],
            self.boxes[rows],
            pairs[kept_pairs],
            self.predicate_logits[kept_pairs],
            self.relatedness[kept_pairs],
            self.image_index[rows],
            self.image_sizes,
            take_rows(self.appearance, rows),
            take_rows(self.object_vectors, rows),
            take_rows(self.pair_vectors, kept_pairs),
            self.background,
        )

    def selection(self, object_threshold: float, edge_threshold: float) -> tuple[Tensor, Tensor]:
        """Which objects `[N] bool` and pairs `[M] bool` the hard graph keeps; see `decode`."""
        scores = self.object_logits.softmax(-1)[:, 1:].amax(-1)
        boxes = self._clipped_boxes()
        objects = (scores >= object_threshold) & (boxes[:, 2:] - boxes[:, :2] >= 1).all(1)
        pairs = (self.edge_weights() >= edge_threshold) & objects[self.pairs].all(1)
        return objects, pairs

    def decode(self, object_threshold: float = 0.0, edge_threshold: float = 0.0) -> SceneGraphBatch:
        """The hard graph: argmax classes and predicates above the two thresholds.

        Boxes are clipped to their images. An object is kept if its best class score reaches
        `object_threshold` and its box has a pixel of width and height, a relation if both
        ends are kept and its edge weight reaches `edge_threshold`; ordered pairs have at most one
        predicate (graph constraint). `triple_scores` are subject x predicate x object scores.
        """
        return self.decode_selected(*self.selection(object_threshold, edge_threshold))

    def decode_selected(self, objects: Tensor, pairs: Tensor) -> SceneGraphBatch:
        """The hard graph of these objects `[N] bool` and pairs `[M] bool`, whose ends are kept."""
        scores, labels = self.object_logits.softmax(-1)[:, 1:].max(-1)
        predicate_scores, predicates = self.predicate_logits[pairs].softmax(-1)[:, 1:].max(-1)
        position = objects.cumsum(0) - 1
        ends = self.pairs[pairs]
        return SceneGraphBatch(
            labels[objects] + 1,
            self._clipped_boxes()[objects],
            torch.stack([position[ends[:, 0]], predicates + 1, position[ends[:, 1]]], 1),
            self.image_index[objects],
            self.image_sizes,
            scores[objects],
            predicate_scores * scores[ends].prod(1),
            appearance=take_rows(self.appearance, objects),
            background=self.background,
        )

    def _clipped_boxes(self) -> Tensor:
        return clip_to_images(self.boxes, self.image_sizes, self.image_index)

    def predictions(self) -> list[GraphPrediction]:
        """All objects and pairs of each image without thresholds, for evaluation."""
        scores, labels = self.object_logits.softmax(-1)[:, 1:].max(-1)
        predicate_scores = self.predicate_logits.softmax(-1)[:, 1:]
        boxes = self._clipped_boxes()
        owner = self.image_index[self.pairs[:, 0]]
        counts = torch.bincount(self.image_index, minlength=len(self.image_sizes)).tolist()
        parts, start = [], 0
        for i, count in enumerate(counts):
            rows, in_image = slice(start, start + count), owner == i
            parts.append(
                GraphPrediction(
                    boxes[rows],
                    labels[rows] + 1,
                    scores[rows],
                    self.pairs[in_image] - start,
                    predicate_scores[in_image],
                    self.relatedness[in_image],
                )
            )
            start += count
        return parts


def _without_reserved(logits: Tensor) -> Tensor:
    """Softmax over the real classes; column 0 is zero: `[K, C] -> [K, C]`."""
    return F.pad(logits[:, 1:].softmax(-1), (1, 0))


def _one_hot(distribution: Tensor) -> Tensor:
    return F.one_hot(distribution.argmax(-1), distribution.shape[-1]).to(distribution)


def _straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of `hard` with the gradient of `soft`."""
    return hard + (soft - soft.detach())
