r"""The head `graph_rcnn`: attentional graph convolution (Yang et al. 2018, Graph R-CNN).

The graph has a node for each object i and each proposed relation k = (i, j), and edges between all
objects of an image ("skip") and from each relation to its two objects. One round on the vectors z:

    z_i <- relu( W_skip (z_i + \sum_j \alpha_ij z_j) + W_sr \sum_{k: subject i} \alpha_ik z_k
                 + W_or \sum_{k: object i} \alpha_ik z_k )
    z_k <- relu( z_k + W_rs z_i + W_ro z_j )

    u_ij = w_h^T relu(W_a [z_i ; z_j]),   \alpha_i = softmax of u_i over the neighbours

for each kind of edge, all vectors being read before any is written. \alpha_ii is 1 and lies outside
the softmax. A relation has one subject and one object: there the softmax is 1, and no weights are
learned. `predictor.steps` rounds on the vectors are followed by `score_steps` rounds on the logits.

The other half of the paper, relation proposals with suppression of pairs, is `relpn` with
`relpn.pair_nms: 0.7`, for every head.

Deviations: a round on logits adds the messages to the logits (jwyang/graph-rcnn.pytorch), and the
messages are of distributions, so that given classes with logits of 100 do not outweigh all else.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoenc_sg.config.predictor import PredictorConfig
from autoenc_sg.core.graph_logits import GraphLogits
from autoenc_sg.core.layers import ImageRandom, mlp, segment_softmax
from autoenc_sg.core.structures import CandidatePairs, Regions
from autoenc_sg.predictors.contract import RelationPredictor, classify
from autoenc_sg.predictors.parts.embeddings import RegionEmbedding, UnionEmbedding


class GraphRcnnPredictor(RelationPredictor):
    """Formulas in the module's docstring.

    Args:
        config: of the head.
        feature_dim: D of regions' and union features.
        num_classes, num_predicates: C and P with the reserved 0.
    """

    def __init__(
        self, config: PredictorConfig, feature_dim: int, num_classes: int, num_predicates: int
    ) -> None:
        super().__init__(config, num_classes, num_predicates)
        dim, options = config.dim, config.graph_rcnn
        self.object_in = RegionEmbedding(feature_dim, num_classes, dim)
        self.union_in = UnionEmbedding(feature_dim, dim)
        self.vector_rounds = nn.ModuleList(
            GraphConvolution(dim, dim, dim, options.attention) for _ in range(config.rounds)
        )
        self.score_rounds = nn.ModuleList(
            GraphConvolution(num_classes, num_predicates, dim, options.attention)
            for _ in range(options.score_steps)
        )
        self.relation_classifier = mlp((dim, dim, num_predicates), config.dropout)
        self.object_classifier = mlp((dim, dim, num_classes), config.dropout)

    def graph_logits(
        self, regions: Regions, pairs: CandidatePairs, unions: Tensor, random: ImageRandom | None
    ) -> GraphLogits:
        """The formulas above."""
        skip = same_image_pairs(regions.image_index)
        objects = F.relu(self.object_in(regions))
        relations = self.union_in(regions, pairs.pairs, unions).mean((2, 3))
        for layer in self.vector_rounds:
            to_objects, to_relations = layer(objects, relations, skip, pairs.pairs)
            objects, relations = F.relu(to_objects), F.relu(relations + to_relations)
        pair_image = regions.image_index[pairs.pairs[:, 0]]
        added = classify(self.object_classifier, objects, regions.image_index, random)
        object_logits = regions.class_logits + added
        predicate_logits = classify(self.relation_classifier, relations, pair_image, random)
        for layer in self.score_rounds:
            distributions = (object_logits.softmax(-1), predicate_logits.softmax(-1))
            to_objects, to_relations = layer(*distributions, skip, pairs.pairs)
            object_logits = object_logits + to_objects
            predicate_logits = predicate_logits + to_relations
        return GraphLogits(
            object_logits,
            regions.boxes,
            pairs.pairs,
            predicate_logits,
            pairs.relatedness,
            regions.image_index,
            regions.image_sizes,
            object_vectors=objects,
            pair_vectors=relations,
        )


class GraphConvolution(nn.Module):
    """The sums of one round, before the nonlinearity; formulas in the module's docstring.

    Args:
        object_dim, relation_dim: widths of the two kinds of nodes.
        hidden_dim: of the attention.
        attention: learned weights; without, 1 / number of neighbours.

    Shapes: `objects [N, object_dim], relations [M, relation_dim], skip [K, 2] (from, to),
    pairs [M, 2] -> [N, object_dim], [M, relation_dim]`.
    """

    def __init__(
        self, object_dim: int, relation_dim: int, hidden_dim: int, attention: bool = True
    ) -> None:
        super().__init__()
        hidden = hidden_dim if attention else 0
        self.skip = Neighbours(object_dim, object_dim, hidden)
        self.as_subject = Neighbours(object_dim, relation_dim, hidden)
        self.as_object = Neighbours(object_dim, relation_dim, hidden)
        self.from_skip = nn.Linear(object_dim, object_dim)  # W_skip
        self.from_subject_of = nn.Linear(relation_dim, object_dim)  # W_sr
        self.from_object_of = nn.Linear(relation_dim, object_dim)  # W_or
        self.to_subject = nn.Linear(object_dim, relation_dim)  # W_rs
        self.to_object = nn.Linear(object_dim, relation_dim)  # W_ro

    def forward(
        self, objects: Tensor, relations: Tensor, skip: Tensor, pairs: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What reaches the objects, and what reaches the relations from both objects."""
        rows = torch.arange(len(pairs), device=pairs.device)
        others = self.skip(objects, objects, skip[:, 1], skip[:, 0])
        as_subject = self.as_subject(objects, relations, pairs[:, 0], rows)
        as_object = self.as_object(objects, relations, pairs[:, 1], rows)
        to_objects = (
            self.from_skip(objects + others)
            + self.from_subject_of(as_subject)
            + self.from_object_of(as_object)
        )
        to_relations = self.to_subject(objects)[pairs[:, 0]] + self.to_object(objects)[pairs[:, 1]]
        return to_objects, to_relations


class Neighbours(nn.Module):
    r"""`\sum_j \alpha_ij z_j` over the neighbours j of each node i; 0 without any.

    Args:
        target_dim, source_dim: widths of z_i and z_j.
        hidden_dim: of the attention; 0: the mean.

    Shapes: `targets [N, target_dim], sources [M, source_dim]`, rows `to [K], of [K]` of the edges
    `-> [N, source_dim]`.
    """

    def __init__(self, target_dim: int, source_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim
        if hidden_dim:
            self.of_target = nn.Linear(target_dim, hidden_dim)  # W_a, left half
            self.of_source = nn.Linear(source_dim, hidden_dim, bias=False)  # W_a, right half
            self.score = nn.Linear(hidden_dim, 1, bias=False)  # w_h

    def forward(self, targets: Tensor, sources: Tensor, to: Tensor, of: Tensor) -> Tensor:
        """The weighted sums."""
        scores = targets.new_zeros(len(to))
        if self.hidden_dim:
            hidden = self.of_target(targets)[to] + self.of_source(sources)[of]
            scores = self.score(F.relu(hidden))[:, 0]
        weights = segment_softmax(scores, to, len(targets)).to(sources)
        empty = sources.new_zeros(len(targets), sources.shape[1])
        return empty.index_add(0, to, weights[:, None] * sources[of])


def same_image_pairs(image_index: Tensor) -> Tensor:
    """All ordered pairs of different objects of one image: `[N] -> [K, 2]`."""
    same = image_index[:, None] == image_index
    same.fill_diagonal_(False)
    return same.nonzero()
