r"""Relations in the layout: each adds its predicate's vector over the union box of its two objects.

    layout(x, y) = \sum_i v_i m_i(x, y) + \sum_k w_k p_k m_k(x, y)
    m_k = sigmoid(C_2 relu((1 + g_k) C_1 f_k + b_k)),   [g_k; b_k] = A [p_k; box_s; box_o] + a

`p_k` is the vector of relation k after the graph convolutions, `w_k` its edge weight, and `m_k` a
mask of S x S over its union box, warped as an object's. `f_k` are five maps of S x S over the union
box: 1, which cells the subject's box covers and which the object's (in [0, 1]), and each cell's x
and y in [-1, 1]. `C_1` and `C_2` are 3x3 convolutions, boxes are fractions of the image.

sg2im draws objects alone: a predicate reaches the pixels through the vectors of its two objects,
and what lies between their boxes (a rope, an outstretched arm) is in neither. Here it depends on
the predicate directly, so the image loss has a gradient for the predicate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoenc_sg.core.boxes import enclosing_boxes, grid_coverage
from autoenc_sg.core.relaxed_graph import RelaxedGraph
from autoenc_sg.generator.layout.factors import Layout, factor_layout

MASK_SIZE = 16  # S
HIDDEN = 32  # channels between the two convolutions
MAPS = 5
MASKS_AT_ONCE = 1024  # in evaluation mode


class RelationLayout(nn.Module):
    """The relations' part of the layout, formula above.

    Args:
        dim: D, width of the predicates' vectors.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.condition = nn.Linear(dim + 8, 2 * HIDDEN)
        self.conv1 = nn.Conv2d(MAPS, HIDDEN, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(HIDDEN, 1, 3, padding=1)

    def forward(self, vectors: Tensor, boxes: Tensor, graph: RelaxedGraph, size: int) -> Layout:
        """The layout of all relations, to be joined to that of the objects.

        Differentiable in vectors, boxes and edge weights.

        Args:
            vectors: `[M, D]`, the p_k.
            boxes: `[N, 4]` of the objects, xyxy as fractions of the image.
            graph: its pairs and edge weights (M of them) are read, and the image of each object.
            size: side of the full layout in pixels.
        """
        subject, object_ = graph.pairs.unbind(1)
        image_index, order = torch.sort(graph.image_index[subject], stable=True)
        subject_boxes, object_boxes = boxes[subject[order]], boxes[object_[order]]
        vectors = vectors[order]
        masks = self.masks(vectors, subject_boxes, object_boxes)
        weighted = vectors * graph.edge_weights[order, None]
        union = enclosing_boxes(subject_boxes, object_boxes)
        return factor_layout(weighted, union, masks, image_index, graph.num_images, size)

    def masks(self, vectors: Tensor, subject_boxes: Tensor, object_boxes: Tensor) -> Tensor:
        """The masks m_k over the union boxes: `[M, D], [M, 4], [M, 4] -> [M, S, S]`, in [0, 1].

        In evaluation mode in chunks, so that memory stays bounded.
        """
        inputs = (vectors, subject_boxes, object_boxes)
        if self.training or len(vectors) <= MASKS_AT_ONCE:
            return self._masks(*inputs)
        parts = zip(*(each.split(MASKS_AT_ONCE) for each in inputs))
        return torch.cat([self._masks(*part) for part in parts])

    def _masks(self, vectors: Tensor, subject_boxes: Tensor, object_boxes: Tensor) -> Tensor:
        given = torch.cat([vectors, subject_boxes.to(vectors), object_boxes.to(vectors)], 1)
        gate, bias = self.condition(given)[:, :, None, None].chunk(2, 1)
        maps = self.conv1(_box_maps(subject_boxes, object_boxes))
        logits: Tensor = self.conv2(F.relu((1 + gate) * maps + bias))
        return logits.squeeze(1).sigmoid()


def _box_maps(subject_boxes: Tensor, object_boxes: Tensor) -> Tensor:
    """The maps f_k: `[M, 4], [M, 4] -> [M, 5, S, S]`."""
    union = enclosing_boxes(subject_boxes, object_boxes)
    covered = [grid_coverage(boxes, union, MASK_SIZE) for boxes in (subject_boxes, object_boxes)]
    axis = torch.linspace(-1, 1, MASK_SIZE, dtype=union.dtype, device=union.device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    constant = torch.stack([torch.ones_like(x), x, y]).expand(len(union), 3, -1, -1)
    return torch.cat([torch.stack(covered, 1), constant], 1)
