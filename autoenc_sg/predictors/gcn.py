r"""The graph convolution network over objects and subgraphs (paper, section 3.2, eq. 3 and 4).

Every candidate pair (i, j) has a subgraph k: the feature map `s_k` of its union box. Objects `o_i`
are vectors. One round of message passing (the spatial message passing of Factorizable Net, with
means instead of attention):

    o_i <- o_i + relu(W_so mean_{k: subject i} pool(s_k) + W_oo mean_{k: object i} pool(s_k))
    s_k <- s_k + relu(W_s o_i + W_o o_j)                        at each of the S x S cells

Then

    R_ij = softmax( f_rel([o_i (x) s_k ; o_j (x) s_k ; s_k]) )          (3)
    O_i  = softmax( f_node(o_i) )                                      (4)

The paper calls `(x)` "the graph convolution operation" and does not define it. Equation 3 has the
form of Factorizable Net's (Li et al. 2018, the paper's [14]), where `(x)` is a convolution of the
subgraph map with the object vector as the kernel. It is read so here, with a depth-wise 1 x 1
kernel:

    (o_i (x) s_k)_c(x, y) = relu( (A o_i)_c  (B s_k)_c(x, y) )

with one A for subjects and one for objects. `s_k`, pooled over the union box, does not contain
where the two objects lie in it, so the shares of each cell that the two boxes cover
(`boxes.grid_coverage`) are added to it through two convolutions, like Neural Motifs' box masks.

Two options go further with Factorizable Net (`predictors.factorizable`). `shared_subgraphs`: pairs
whose union boxes overlap share a subgraph; messages to it are means over its pairs, and the shares
of cells are added to its map for each pair, after the rounds. `attention`: the rounds are those of
Factorizable Net, with attention over cells and objects in place of the means.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoenc_sg.config.predictor import PredictorConfig
from autoenc_sg.core.boxes import decode_deltas, to_unit_boxes
from autoenc_sg.core.graph_logits import GraphLogits
from autoenc_sg.core.layers import ImageRandom, as_maps, cells_first, in_parts, mlp, segment_mean
from autoenc_sg.core.structures import CandidatePairs, Regions
from autoenc_sg.predictors.contract import RelationPredictor, classify
from autoenc_sg.predictors.factorizable import SpatialMessagePassing, exchange, shared_subgraphs
from autoenc_sg.predictors.parts.cells import (
    linear_sum,
    mask_cells,
    parameters_of,
    pointwise,
    union_cells,
)
from autoenc_sg.predictors.parts.embeddings import masks_of


class GraphPredictor(RelationPredictor):
    """Message passing, then predicates, classes and refined boxes.

    Args:
        config: width, rounds, dropout.
        feature_dim: D of regions' and subgraphs' features.
        pooled_size: S of the subgraph maps.
        num_classes, num_predicates: C and P with the reserved 0.
    """

    def __init__(
        self,
        config: PredictorConfig,
        feature_dim: int,
        pooled_size: int,
        num_classes: int,
        num_predicates: int,
    ) -> None:
        super().__init__(config, num_classes, num_predicates)
        dim, self.pooled_size = config.dim, pooled_size
        self.object_in = nn.Linear(feature_dim + num_classes + 4, dim)
        self.subgraph_in = nn.Conv2d(feature_dim, dim, 1)
        self.coverage_in = nn.Sequential(
            nn.Conv2d(2, dim, 3, padding=1), nn.ReLU(), nn.Conv2d(dim, dim, 1)
        )
        self.rounds = nn.ModuleList(
            SpatialMessagePassing(dim, max(dim // 2, 1))
            if config.gcn.attention
            else MessagePassing(dim)
            for _ in range(config.rounds)
        )
        self.subject_kernel = nn.Linear(dim, dim)
        self.object_kernel = nn.Linear(dim, dim)
        self.subgraph_map = nn.Conv2d(dim, dim, 1)
        self.bottleneck = nn.Conv2d(3 * dim, max(dim // 4, 8), 1)
        hidden = max(dim // 4, 8) * pooled_size**2
        self.relation_classifier = mlp((hidden, dim, num_predicates), config.dropout)  # f_rel
        self.object_classifier = mlp((dim, dim, num_classes), config.dropout)  # f_node
        self.box_deltas = nn.Linear(dim, 4)
        nn.init.normal_(self.box_deltas.weight, std=1e-3)
        nn.init.zeros_(self.box_deltas.bias)

    def graph_logits(
        self, regions: Regions, pairs: CandidatePairs, unions: Tensor, random: ImageRandom | None
    ) -> GraphLogits:
        """Graph logits by the formulas above; `unions` are the subgraphs of `pairs`."""
        objects, maps = self._exchange(regions, pairs, cells_first(unions))
        # f_node is added to the detector's logits, so that a trained detector is kept at the start
        added = classify(self.object_classifier, objects, regions.image_index, random)
        object_logits = regions.class_logits + added
        pair_image = regions.image_index[pairs.pairs[:, 0]]
        joined = self._joined(objects, maps, pairs.pairs)
        return GraphLogits(
            object_logits,
            self._refine(regions, objects),
            pairs.pairs,
            classify(self.relation_classifier, joined, pair_image, random),
            pairs.relatedness,
            regions.image_index,
            regions.image_sizes,
            object_vectors=objects,
            pair_vectors=maps.means,
        )

    def _exchange(
        self, regions: Regions, pairs: CandidatePairs, unions: Tensor
    ) -> tuple[Tensor, PairMaps]:
        """Objects `[N, dim]` and the pairs' maps after the rounds; `unions` are `[S S, M, D]`."""
        options, objects = self.config.gcn, self._objects(regions)
        covered = masks_of(regions, pairs.pairs, self.pooled_size)
        if not options.shared_subgraphs:
            cells = union_cells(self.subgraph_in, self.coverage_in, unions, covered)
            return self._rounds(regions, objects, cells, pairs.pairs)
        threshold = options.subgraph_threshold
        chosen, subgraph = shared_subgraphs(regions, pairs.pairs, threshold)
        cells = F.relu(pointwise(self.subgraph_in, unions[:, chosen]))
        objects, maps = self._rounds(regions, objects, cells, pairs.pairs, subgraph)
        cells = (maps.cells + maps.shift)[:, subgraph] + mask_cells(self.coverage_in, covered)
        return objects, _unmoved(F.relu(cells))

    def _rounds(
        self,
        regions: Regions,
        objects: Tensor,
        cells: Tensor,
        pairs: Tensor,
        subgraph: Tensor | None = None,
    ) -> tuple[Tensor, PairMaps]:
        """Objects and maps of the K subgraphs after the rounds; `cells` are `[S S, K, dim]`.

        `subgraph [M]` is that of each pair, None: its own.
        """
        if self.config.gcn.attention:
            rows = torch.arange(len(pairs), device=pairs.device) if subgraph is None else subgraph
            maps = as_maps(cells)
            objects, maps = exchange(self.rounds, regions, objects, maps, pairs, rows)
            return objects, _unmoved(cells_first(maps))
        before = means = cells.mean(0)
        for message_passing in self.rounds:
            objects, means = message_passing(objects, means, pairs, subgraph)
        return objects, PairMaps(cells, means - before, means)

    def _objects(self, regions: Regions) -> Tensor:
        """The objects' vectors before any message."""
        unit = to_unit_boxes(regions.boxes, regions.image_sizes, regions.image_index)
        inputs = torch.cat([regions.features, regions.class_logits.softmax(-1), unit], 1)
        return F.relu(self.object_in(inputs))

    def _joined(self, objects: Tensor, maps: PairMaps, pairs: Tensor) -> Tensor:
        """The input of equation 3's classifier, flat: `[M, H]`."""
        subject = self.subject_kernel(objects)[pairs[:, 0]]
        object_ = self.object_kernel(objects)[pairs[:, 1]]
        weight, bias = parameters_of(self.bottleneck)
        weights = weight.chunk(3, 1)

        def joined(cells: Tensor, shift: Tensor, *ends: Tensor) -> Tensor:
            cells = cells + shift
            projected = pointwise(self.subgraph_map, cells)
            products = [F.relu(end * projected, inplace=True) for end in ends]
            sums = F.relu(linear_sum((*products, cells), weights, bias), inplace=True)
            return sums.permute(1, 2, 0).flatten(1)

        return in_parts(joined, maps.cells, maps.shift, subject, object_)

    def _refine(self, regions: Regions, objects: Tensor) -> Tensor:
        """Boxes moved by predicted deltas, in pixels: `[N, 4]`."""
        return decode_deltas(self.box_deltas(objects), regions.boxes)


class MessagePassing(nn.Module):
    """One round between objects and subgraphs; formulas in the module's docstring.

    All cells of a subgraph move by the same vector, so its mean tells how.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.to_subject = nn.Linear(dim, dim)
        self.to_object = nn.Linear(dim, dim)
        self.from_subject = nn.Linear(dim, dim)
        self.from_object = nn.Linear(dim, dim)

    def forward(
        self, objects: Tensor, means: Tensor, pairs: Tensor, subgraph: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """`objects [N, D]` and means of maps `[K, D]` after the round.

        `subgraph [M]` is that of each of `pairs [M, 2]`; None: its own, so K = M.
        """
        pooled = means if subgraph is None else means[subgraph]
        n = len(objects)
        as_subject = self.to_subject(segment_mean(pooled, pairs[:, 0], n))
        as_object = self.to_object(segment_mean(pooled, pairs[:, 1], n))
        ends = self.from_subject(objects)[pairs[:, 0]] + self.from_object(objects)[pairs[:, 1]]
        to_maps = ends if subgraph is None else segment_mean(ends, subgraph, len(means))
        return objects + F.relu(as_subject + as_object), means + F.relu(to_maps)


class PairMaps(NamedTuple):
    """Maps after the rounds, with cells first.

    Attributes:
        cells: `[S S, M, dim]` without what all cells of a map moved by.
        shift: `[M, dim]`, that.
        means: `[M, dim]` of each map's cells, moved.
    """

    cells: Tensor
    shift: Tensor
    means: Tensor


def _unmoved(cells: Tensor) -> PairMaps:
    means = cells.mean(0)
    return PairMaps(cells, torch.zeros_like(means), means)
