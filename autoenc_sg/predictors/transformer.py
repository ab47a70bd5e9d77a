r"""The head `transformer`: a transformer over objects, then one for relations (Tang et al. 2020).

The baseline of Scene-Graph-Benchmark, which later benchmarks kept. Objects of an image attend to
one another in two encoders, of which the second knows the labels that follow from the first:

    o = Encoder_1( W_1 [f_i ; softmax(class logits_i) ; box_i] )
    O_i = softmax( class logits_i + f_node(o_i) )
    c = Encoder_2( W_2 [o_i ; O_i E] )
    [s_i ; t_i] = W_3 c_i
    R_ij = softmax( f_rel( (W_4 [s_i ; t_j]) * relu(W_5 u_k) ) )          * element by element

An encoder is a stack of layers as in Vaswani et al. 2017 (normalization after the sum):

    x <- n(x + W_o attention(x));   x <- n(x + W_2 relu(W_1 x))

Deviations: label embeddings E are learned and weighted by the distribution, not of the best label,
so that gradient reaches the classes; W_2 does not read f_i again; f_rel has a hidden layer, where
the published code adds a linear layer of [s_i ; t_j] to one of the product; classes of overlapping
detections are not suppressed; u_k is averaged over the cells and has box masks; dropout is in the
classifiers alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoenc_sg.config.predictor import PredictorConfig
from autoenc_sg.core.graph_logits import GraphLogits
from autoenc_sg.core.layers import ImageRandom, mlp
from autoenc_sg.core.structures import CandidatePairs, Regions
from autoenc_sg.predictors.contract import RelationPredictor, causal_branches, classify
from autoenc_sg.predictors.parts.embeddings import ByImage, RegionEmbedding, UnionEmbedding


class TransformerPredictor(RelationPredictor):
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
        dim, options = config.dim, config.transformer
        hidden = options.hidden_dim or 4 * dim
        self.object_in = RegionEmbedding(feature_dim, num_classes, dim)
        self.union_in = UnionEmbedding(feature_dim, dim)
        self.object_layers = nn.ModuleList(
            EncoderLayer(dim, options.heads, hidden) for _ in range(config.rounds)
        )
        self.labels = nn.Linear(num_classes, dim, bias=False)  # E
        self.relation_in = nn.Linear(2 * dim, dim)  # W_2
        self.relation_layers = nn.ModuleList(
            EncoderLayer(dim, options.heads, hidden) for _ in range(options.relation_layers)
        )
        self.ends = nn.Linear(dim, 2 * dim)  # W_3
        self.join = nn.Linear(2 * dim, dim)  # W_4
        self.causal = causal_branches(config, dim, num_classes, num_predicates)
        if self.causal is None:
            self.relation_classifier = mlp((dim, dim, num_predicates), config.dropout)  # f_rel
        self.object_classifier = mlp((dim, dim, num_classes), config.dropout)  # f_node

    def graph_logits(
        self, regions: Regions, pairs: CandidatePairs, unions: Tensor, random: ImageRandom | None
    ) -> GraphLogits:
        """The formulas above."""
        by_image = ByImage(regions.image_index, regions.num_images)
        objects = encode(self.object_layers, self.object_in(regions), by_image)
        added = classify(self.object_classifier, objects, regions.image_index, random)
        object_logits = regions.class_logits + added
        labels = self.labels(object_logits.softmax(-1))
        context = self.relation_in(torch.cat([objects, labels], 1))
        context = encode(self.relation_layers, context, by_image)
        subject, object_ = self.ends(context).chunk(2, 1)
        ends = torch.cat([subject[pairs.pairs[:, 0]], object_[pairs.pairs[:, 1]]], 1)
        visual = self.union_in(regions, pairs.pairs, unions).mean((2, 3))
        relations, branches = self.join(ends), ()
        if self.causal is not None:
            assert self.frequency_bias is not None
            bias = self.frequency_bias
            predicate_logits, branches = self.causal(
                relations, visual, bias, object_logits, pairs.pairs
            )
        else:
            pair_image = regions.image_index[pairs.pairs[:, 0]]
            joined = relations * visual
            predicate_logits = classify(self.relation_classifier, joined, pair_image, random)
        return GraphLogits(
            object_logits,
            regions.boxes,
            pairs.pairs,
            predicate_logits,
            pairs.relatedness,
            regions.image_index,
            regions.image_sizes,
            object_vectors=objects,
            pair_vectors=relations * visual,
            auxiliary_logits=branches,
        )


class EncoderLayer(nn.Module):
    """Self-attention among the rows of each image, then two linear layers.

    Args:
        dim: width of the rows.
        heads: of the attention; a divisor of `dim`.
        hidden_dim: width between the two linear layers.

    Shapes: `[B, n, dim], sees [B, 1, n, n] bool -> [B, n, dim]`; a row sees at least one.
    """

    def __init__(self, dim: int, heads: int, hidden_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.inputs = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)
        self.feed_forward = mlp((dim, hidden_dim, dim))
        self.norms = nn.ModuleList([nn.LayerNorm(dim), nn.LayerNorm(dim)])

    def forward(self, table: Tensor, sees: Tensor) -> Tensor:
        """The rows after the layer."""
        parts = self.inputs(table).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        queries, keys, values = parts.unbind(0)
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=sees)
        table = self.norms[0](table + self.output(attended.transpose(1, 2).flatten(2)))
        result: Tensor = self.norms[1](table + self.feed_forward(table))
        return result


def encode(layers: nn.ModuleList, rows: Tensor, by_image: ByImage) -> Tensor:
    """The rows `[N, dim]` after the layers, each among those of its image."""
    if len(layers) == 0:
        return rows
    table, is_row = by_image.table(rows), by_image.is_row
    itself = torch.eye(is_row.shape[1], dtype=torch.bool, device=rows.device)  # also of no row
    sees = (is_row[:, None, :] | itself)[:, None]
    for layer in layers:
        table = layer(table, sees)
    return by_image.rows(table)
