"""The relation head of a configuration."""

from __future__ import annotations

import torch
from torch import nn

from autoenc_sg.config.predictor import PredictorConfig
from autoenc_sg.predictors.contract import RelationPredictor
from autoenc_sg.predictors.factorizable import FactorizablePredictor
from autoenc_sg.predictors.frequency import FrequencyPredictor
from autoenc_sg.predictors.gcn import GraphPredictor
from autoenc_sg.predictors.graph_rcnn import GraphRcnnPredictor
from autoenc_sg.predictors.imp import ImpPredictor
from autoenc_sg.predictors.motifs import MotifsPredictor
from autoenc_sg.predictors.transformer import TransformerPredictor
from autoenc_sg.predictors.vanilla import VanillaPredictor


def build_predictor(
    config: PredictorConfig,
    feature_dim: int,
    pooled_size: int,
    num_classes: int,
    num_predicates: int,
) -> RelationPredictor:
    """The head `config.name` with fresh weights; `config.start_at_prior` zeroes its last ones.

    Args:
        config: of the head.
        feature_dim: D of regions' and union features.
        pooled_size: S of the union features.
        num_classes: C with the reserved 0.
        num_predicates: P with the reserved 0.
    """
    head: RelationPredictor
    match config.name:
        case "gcn":
            head = GraphPredictor(config, feature_dim, pooled_size, num_classes, num_predicates)
        case "imp":
            head = ImpPredictor(config, feature_dim, num_classes, num_predicates)
        case "motifs":
            head = MotifsPredictor(config, feature_dim, pooled_size, num_classes, num_predicates)
        case "transformer":
            head = TransformerPredictor(config, feature_dim, num_classes, num_predicates)
        case "graph_rcnn":
            head = GraphRcnnPredictor(config, feature_dim, num_classes, num_predicates)
        case "factorizable":
            head = FactorizablePredictor(
                config, feature_dim, pooled_size, num_classes, num_predicates
            )
        case "frequency":
            head = FrequencyPredictor(config, num_classes, num_predicates)
        case "vanilla":
            head = VanillaPredictor(config, feature_dim, num_classes, num_predicates)
    if config.start_at_prior and config.name != "frequency":  # which has its counts alone
        _zero_predicate_logits(head)
    return head


@torch.no_grad()
def _zero_predicate_logits(head: RelationPredictor) -> None:
    classifier = head.get_submodule("relation_classifier")
    last = [layer for layer in classifier.modules() if isinstance(layer, nn.Linear)][-1]
    last.weight.zero_()
    last.bias.zero_()
