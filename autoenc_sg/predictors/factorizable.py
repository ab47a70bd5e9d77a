r"""The head `factorizable`: pairs share subgraphs (Li et al. 2018, Factorizable Net).

Union boxes are suppressed greedily, by the product of both objects' 1 - p(background): a pair whose
union box overlaps a better one by more than `subgraph_threshold` shares that one's subgraph k, a
map s_k of S x S cells c. An object and a subgraph are linked if a pair of the object has the
subgraph. In each round both kinds are read before any is written:

    o_i <- o_i + W_v relu( \sum_{k, c} a_ikc s_kc )      a_i = softmax of <Q o_i, K s_kc> / sqrt(d)
                                                             over all cells of all linked subgraphs
    s_kc <- s_kc + U_v relu( \sum_i b_ikc o_i )        b_kc = softmax of <Q' o_i, K' s_kc> / sqrt(d)
                                                             over all linked objects
    R_ij = softmax( f_rel( B relu(A_s o_i + A_o o_j + A_r s_kc)  at all cells c of k = k(i, j) ) )
    O_i = softmax( class logits_i + f_node(o_i) )

Q, K, Q', K', A_s, A_o, A_r and the classifiers read relu(o) and relu(s); d is half of `dim`, B
makes a quarter of it. Refined boxes come from relu(o_i) before any message. With
`object_relations` objects also exchange messages among themselves, first in each round:

    o_i <- o_i + T relu( \sum_{j != i} w_ij o_j )
    w_ij = relu(g(geometry_ij)) exp(<Q'' o_i, K'' o_j> / sqrt(d)), divided by their sum over j

Deviations: the overlap has no added pixel and must exceed the threshold; boxes are refined once,
not once a class; no learned duplicate removal; class logits are added to the detector's; one round
unless `steps` says more.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import batched_nms, box_iou

from autoenc_sg.config.predictor import PredictorConfig
from autoenc_sg.core.boxes import decode_deltas, union_boxes
from autoenc_sg.core.graph_logits import GraphLogits
from autoenc_sg.core.layers import ImageRandom, mlp
from autoenc_sg.core.structures import CandidatePairs, Regions
from autoenc_sg.predictors.contract import RelationPredictor, classify
from autoenc_sg.predictors.parts.embeddings import ByImage, RegionEmbedding

_GEOMETRY_DIM = 256


class FactorizablePredictor(RelationPredictor):
    """Formulas in the module's docstring.

    Args:
        config: of the head.
        feature_dim: D of regions' and union features.
        pooled_size: S of the union features.
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
        dim, half, quarter = config.dim, max(config.dim // 2, 1), max(config.dim // 4, 1)
        self.object_in = nn.Sequential(
            RegionEmbedding(feature_dim, num_classes, dim), nn.ReLU(), nn.Linear(dim, dim)
        )
        self.subgraph_in = nn.Sequential(
            nn.Conv2d(feature_dim, dim, 3, padding=1), nn.ReLU(), nn.Conv2d(dim, dim, 3, padding=1)
        )
        self.rounds = nn.ModuleList(
            SpatialMessagePassing(dim, half, config.factorizable.object_relations)
            for _ in range(config.rounds)
        )
        self.subject_part = nn.Linear(dim, half)  # A_s
        self.object_part = nn.Linear(dim, half)  # A_o
        self.subgraph_part = nn.Conv2d(dim, half, 1)  # A_r
        self.bottleneck = nn.Conv2d(half, quarter, 1)  # B
        hidden = quarter * pooled_size**2
        self.relation_classifier = mlp((hidden, dim, num_predicates), config.dropout)  # f_rel
        self.object_classifier = mlp((dim, dim, num_classes), config.dropout)  # f_node
        self.box_deltas = nn.Linear(dim, 4)
        nn.init.normal_(self.box_deltas.weight, std=1e-3)
        nn.init.zeros_(self.box_deltas.bias)

    def graph_logits(
        self, regions: Regions, pairs: CandidatePairs, unions: Tensor, random: ImageRandom | None
    ) -> GraphLogits:
        """The formulas above."""
        pair_image = regions.image_index[pairs.pairs[:, 0]]
        threshold = self.config.factorizable.subgraph_threshold
        chosen, subgraph = shared_subgraphs(regions, pairs.pairs, threshold)
        objects, maps = self.object_in(regions), self.subgraph_in(unions[chosen])
        boxes = decode_deltas(self.box_deltas(F.relu(objects)), regions.boxes)
        objects, maps = exchange(self.rounds, regions, objects, maps, pairs.pairs, subgraph)
        added = classify(self.object_classifier, F.relu(objects), regions.image_index, random)
        return GraphLogits(
            regions.class_logits + added,
            boxes,
            pairs.pairs,
            classify(
                self.relation_classifier,
                self._joined(objects, maps, pairs.pairs, subgraph),
                pair_image,
                random,
            ),
            pairs.relatedness,
            regions.image_index,
            regions.image_sizes,
            object_vectors=objects,
            pair_vectors=maps.mean((2, 3))[subgraph],
        )

    def _joined(self, objects: Tensor, maps: Tensor, pairs: Tensor, subgraph: Tensor) -> Tensor:
        """The input of f_rel, flat: `[M, H]`."""
        objects, maps = F.relu(objects), F.relu(maps)
        ends = self.subject_part(objects)[pairs[:, 0]] + self.object_part(objects)[pairs[:, 1]]
        joined = self.subgraph_part(maps)[subgraph] + ends[:, :, None, None]
        flat: Tensor = self.bottleneck(F.relu(joined)).flatten(1)
        return flat


@torch.no_grad()
def shared_subgraphs(regions: Regions, pairs: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Rows `[K]` of the pairs whose union boxes are kept, and the subgraph `[M]` of each pair."""
    certainty = 1 - regions.class_logits.softmax(-1)[:, 0].double()
    image = regions.image_index[pairs[:, 0]]
    return clusters(union_boxes(regions.boxes, pairs), certainty[pairs].prod(1), image, threshold)


def exchange(
    rounds: nn.ModuleList,
    regions: Regions,
    objects: Tensor,
    maps: Tensor,
    pairs: Tensor,
    subgraph: Tensor,
) -> tuple[Tensor, Tensor]:
    """Objects `[N, dim]` and maps `[K, dim, S, S]` after rounds of `SpatialMessagePassing`.

    An object is linked to the subgraphs `subgraph [M]` of its pairs `[M, 2]`; each has a pair.
    """
    by_object = ByImage(regions.image_index, regions.num_images)
    owner = regions.image_index.new_zeros(len(maps))
    owner[subgraph] = regions.image_index[pairs[:, 0]]
    by_subgraph = ByImage(owner, regions.num_images)
    lines = (regions.num_images, by_object.is_row.shape[1], by_subgraph.is_row.shape[1])
    linked = torch.zeros(lines, dtype=torch.bool, device=pairs.device)
    for end in pairs.unbind(1):
        linked[owner[subgraph], by_object.place[end], by_subgraph.place[subgraph]] = True
    object_table, map_table = by_object.table(objects), by_subgraph.table(maps)
    boxes = by_object.table(regions.boxes)
    for layer in rounds:
        assert isinstance(layer, SpatialMessagePassing)
        if layer.among_objects is not None:
            object_table = layer.among_objects(object_table, boxes, by_object.is_row)
        object_table, map_table = layer(object_table, map_table, linked)
    return by_object.rows(object_table), by_subgraph.rows(map_table)


def clusters(
    boxes: Tensor, scores: Tensor, image_index: Tensor, threshold: float
) -> tuple[Tensor, Tensor]:
    """Boxes that greedy suppression within the images keeps, and which one each box goes to.

    Each box goes to the best kept one of its image that it overlaps by more than `threshold`.

    Shapes: `boxes [M, 4], scores [M], image_index [M] -> [K] rows of boxes, [M]` in 0..K - 1.
    """
    boxes = boxes.double()
    kept = batched_nms(boxes, scores.double(), image_index, threshold)  # the best first
    goes_to = torch.empty_like(image_index)
    for image in image_index.unique():
        rows, choices = (image_index == image).nonzero()[:, 0], image_index[kept] == image
        choices = choices.nonzero()[:, 0]
        overlap = box_iou(boxes[rows], boxes[kept[choices]])
        first = (overlap > threshold).int().argmax(1)  # the first of those that are 1
        goes_to[rows] = choices[first]
    goes_to[kept] = torch.arange(len(kept), device=kept.device)
    return kept, goes_to


class SpatialMessagePassing(nn.Module):
    """One round between objects and subgraphs; formulas in the module's docstring.

    Args:
        dim: width of objects and maps.
        query_dim: d.
        object_relations: objects also exchange messages among themselves.

    Shapes: `objects [B, n, dim], maps [B, K, dim, S, S], linked [B, n, K] bool` to the same shapes.
    """

    def __init__(self, dim: int, query_dim: int, object_relations: bool = False) -> None:
        super().__init__()
        self.among_objects = ObjectRelations(dim, query_dim) if object_relations else None
        self.to_objects = Attention(dim, query_dim)  # Q, K
        self.to_maps = Attention(dim, query_dim)  # Q', K'
        self.object_out = nn.Linear(dim, dim)  # W_v
        self.map_out = nn.Linear(dim, dim)  # U_v, a 1 x 1 convolution
        _start_small(self.object_out, self.map_out)

    def forward(self, objects: Tensor, maps: Tensor, linked: Tensor) -> tuple[Tensor, Tensor]:
        """Both after the round."""
        cells = maps.flatten(3).transpose(2, 3)  # [B, K, S S, dim]
        num_cells = cells.shape[2]
        sees = linked.repeat_interleave(num_cells, 2)
        flat = cells.flatten(1, 2)
        of_cells = masked_softmax(self.to_objects(objects, flat), sees, 2)
        of_objects = masked_softmax(self.to_maps(objects, flat), sees, 1)
        new_objects = objects + self.object_out(F.relu(of_cells @ flat))
        new_cells = flat + self.map_out(F.relu(of_objects.transpose(1, 2) @ objects))
        return new_objects, new_cells.unflatten(1, cells.shape[1:3]).transpose(2, 3).reshape(
            maps.shape
        )


class Attention(nn.Module):
    """`<Q relu(x), K relu(y)> / sqrt(d)`: `x [B, n, dim], y [B, m, dim] -> [B, n, m]`.

    Args:
        dim: width of x and y.
        query_dim: d.
    """

    def __init__(self, dim: int, query_dim: int) -> None:
        super().__init__()
        self.query = nn.Linear(dim, query_dim)
        self.key = nn.Linear(dim, query_dim)
        _start_small(self.query, self.key)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The scores."""
        queries, keys = self.query(F.relu(x)), self.key(F.relu(y))
        scores: Tensor = queries @ keys.transpose(1, 2) / queries.shape[2] ** 0.5
        return scores


class ObjectRelations(nn.Module):
    """Messages among the objects of an image, weighted by vectors and by geometry.

        geometry_ij = log |dx| / w_i, log |dy| / h_i, log w_i / w_j, log h_i / h_j     (log 0 is 0)

    Args:
        dim: width of the objects.
        query_dim: d.

    Shapes: `objects [B, n, dim], boxes [B, n, 4], is_row [B, n] bool -> [B, n, dim]`.
    """

    def __init__(self, dim: int, query_dim: int) -> None:
        super().__init__()
        self.attention = Attention(dim, query_dim)
        self.geometry = mlp((4, _GEOMETRY_DIM, 1), final_activation=True)
        self.output = nn.Linear(dim, dim)
        _start_small(self.output)

    def forward(self, objects: Tensor, boxes: Tensor, is_row: Tensor) -> Tensor:
        """The objects after the messages."""
        sees = is_row[:, :, None] & is_row[:, None, :]
        sees = sees & ~torch.eye(sees.shape[1], dtype=torch.bool, device=sees.device)
        weights = masked_softmax(self.attention(objects, objects), sees, 2)
        weights = weights * self.geometry(geometry(boxes))[:, :, :, 0]
        weights = weights / weights.sum(2, keepdim=True).clamp(min=1e-6)
        updated: Tensor = objects + self.output(F.relu(weights.to(objects) @ objects))
        return updated


def geometry(boxes: Tensor) -> Tensor:
    """The four logarithms of `ObjectRelations`: `[B, n, 4] -> [B, n, n, 4]`."""
    size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1e-3)
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    distance = (centre[:, :, None] - centre[:, None]).abs() / size[:, :, None]
    logs = torch.where(distance > 0, distance.clamp(min=1e-6).log(), 0)
    return torch.cat([logs, (size[:, :, None] / size[:, None]).log()], 3)


def masked_softmax(scores: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Softmax over the places where `mask` is true; 0 elsewhere, also where there are none."""
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~mask, lowest).softmax(dim) * mask


def _start_small(*layers: nn.Linear) -> None:
    for layer in layers:
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
