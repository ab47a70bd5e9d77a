"""The head `vanilla`: no context, each object and each pair for itself.

    o_i = relu(W [f_i ; softmax(class logits_i) ; box_i])
    s_k = mean over the cells of relu(V u_k + masks_k)
    R_ij = softmax( f_rel([o_i ; o_j ; s_k]) )
    O_i  = softmax( class logits_i + f_node(o_i) )

The baseline that Graph R-CNN (Yang et al. 2018) and others call by this name: relations from the
features of both objects and of the union box, no message between them. Boxes stay the detector's.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from autoenc_sg.config.predictor import PredictorConfig
from autoenc_sg.core.graph_logits import GraphLogits
from autoenc_sg.core.layers import ImageRandom, mlp
from autoenc_sg.core.structures import CandidatePairs, Regions
from autoenc_sg.predictors.contract import RelationPredictor, classify
from autoenc_sg.predictors.parts.embeddings import RegionEmbedding, UnionEmbedding


class VanillaPredictor(RelationPredictor):
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
        self.relation_classifier = mlp((3 * dim, dim, num_predicates), config.dropout)  # f_rel
        self.object_classifier = mlp((dim, dim, num_classes), config.dropout)  # f_node

    def graph_logits(
        self, regions: Regions, pairs: CandidatePairs, unions: Tensor, random: ImageRandom | None
    ) -> GraphLogits:
        """The formulas above."""
        objects = F.relu(self.object_in(regions))
        relations = self.union_in(regions, pairs.pairs, unions).mean((2, 3))
        subject, object_ = objects[pairs.pairs].unbind(1)
        joined = torch.cat([subject, object_, relations], 1)
        pair_image = regions.image_index[pairs.pairs[:, 0]]
        added = classify(self.object_classifier, objects, regions.image_index, random)
        return GraphLogits(
            regions.class_logits + added,
            regions.boxes,
            pairs.pairs,
            classify(self.relation_classifier, joined, pair_image, random),
            pairs.relatedness,
            regions.image_index,
            regions.image_sizes,
            object_vectors=objects,
            pair_vectors=relations,
        )
