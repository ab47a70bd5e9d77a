r"""The head `imp`: iterative message passing (Xu et al. 2017).

Objects i and relations k = (i, j) have states, first from their inputs:

    h_i = GRU_o(W_o x_i, 0)                     e_k = GRU_e(relu(W_e u_k), 0)

In each round all states are read before any is written:

    m_k = \sigma(g_s [h_i ; e_k]) h_i + \sigma(g_o [h_j ; e_k]) h_j
    m_i = \sum_{k: subject i} \sigma(g_out [h_i ; e_k]) e_k
        + \sum_{k: object i} \sigma(g_in [h_i ; e_k]) e_k
    e_k <- GRU_e(m_k, e_k)                      h_i <- GRU_o(m_i, h_i)

    R_ij = softmax(V_e e_k)                     O_i = softmax(class logits_i + V_o h_i)

The form is that of Zellers et al. 2018 (Neural Motifs), who re-implemented it: 3 rounds (the
original has 2), sums. `predictor.imp.pooling: mean` divides m_i by the number of messages.

Deviations: x_i holds the detector's classes and the box beside the feature; u_k are union features
with box masks, averaged over the cells; the classifiers have dropout and a hidden layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autoenc_sg.config.predictor import PredictorConfig
from autoenc_sg.core.graph_logits import GraphLogits
from autoenc_sg.core.layers import ImageRandom, mlp
from autoenc_sg.core.structures import CandidatePairs, Regions
from autoenc_sg.predictors.contract import RelationPredictor, classify
from autoenc_sg.predictors.parts.embeddings import RegionEmbedding, UnionEmbedding


class ImpPredictor(RelationPredictor):
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
        dim = config.dim
        self.object_in = RegionEmbedding(feature_dim, num_classes, dim)
        self.union_in = UnionEmbedding(feature_dim, dim)
        self.object_gru = nn.GRUCell(dim, dim)
        self.relation_gru = nn.GRUCell(dim, dim)
        self.messages = Messages(dim, config.imp.pooling == "mean")
        self.relation_classifier = mlp((dim, dim, num_predicates), config.dropout)
        self.object_classifier = mlp((dim, dim, num_classes), config.dropout)

    def graph_logits(
        self, regions: Regions, pairs: CandidatePairs, unions: Tensor, random: ImageRandom | None
    ) -> GraphLogits:
        """The formulas above."""
        objects = self.object_gru(self.object_in(regions))
        unions = self.union_in(regions, pairs.pairs, unions).mean((2, 3))
        relations = self.relation_gru(unions)
        for _ in range(self.config.rounds):
            to_objects, to_relations = self.messages(objects, relations, pairs.pairs)
            objects = self.object_gru(to_objects, objects)
            relations = self.relation_gru(to_relations, relations)
        pair_image = regions.image_index[pairs.pairs[:, 0]]
        added = classify(self.object_classifier, objects, regions.image_index, random)
        return GraphLogits(
            regions.class_logits + added,
            regions.boxes,
            pairs.pairs,
            classify(self.relation_classifier, relations, pair_image, random),
            pairs.relatedness,
            regions.image_index,
            regions.image_sizes,
            object_vectors=objects,
            pair_vectors=relations,
        )


class Messages(nn.Module):
    """The gated messages of one round; formulas in the module's docstring.

    Args:
        dim: width of the states.
        mean: an object's messages are averaged instead of added up.

    Shapes: `objects [N, dim], relations [M, dim], pairs [M, 2] -> [N, dim], [M, dim]`.
    """

    def __init__(self, dim: int, mean: bool = False) -> None:
        super().__init__()
        self.mean = mean
        self.subject_gate = nn.Linear(2 * dim, 1)  # g_s
        self.object_gate = nn.Linear(2 * dim, 1)  # g_o
        self.outgoing_gate = nn.Linear(2 * dim, 1)  # g_out
        self.incoming_gate = nn.Linear(2 * dim, 1)  # g_in

    def forward(self, objects: Tensor, relations: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """m_i and m_k."""
        subject, object_ = objects[pairs].unbind(1)
        with_subject = torch.cat([subject, relations], 1)
        with_object = torch.cat([object_, relations], 1)
        to_relations = (
            self.subject_gate(with_subject).sigmoid() * subject
            + self.object_gate(with_object).sigmoid() * object_
        )
        outgoing = self.outgoing_gate(with_subject).sigmoid() * relations
        incoming = self.incoming_gate(with_object).sigmoid() * relations
        to_objects = torch.zeros_like(objects).index_add(0, pairs[:, 0], outgoing)
        to_objects = to_objects.index_add(0, pairs[:, 1], incoming)
        if self.mean:
            count = torch.bincount(pairs.flatten(), minlength=len(objects)).clamp(min=1)
            to_objects = to_objects / count[:, None]
        return to_objects, to_relations
