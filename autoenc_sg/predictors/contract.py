"""What every relation head takes and gives, so that all of them fit the same places.

A head is a `RelationPredictor`: regions of detected or given objects, candidate pairs of them and
the features of the pairs' union boxes in, `GraphLogits` out. Which pairs there are (proposed ones
or all), what the losses are, and whether an image is drawn from the graph is decided outside.

What holds for every head:

- Class logits are the detector's plus the head's own, `regions.class_logits + added`: a trained
  detector is kept at the start, and given classes (PredCls), which come as logits of 100, stay.
- Images of a batch do not influence one another; random numbers are drawn per image.
- No region and no pair are valid inputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from autoenc_sg.config.predictor import PredictorConfig
from autoenc_sg.core.graph_logits import GraphLogits
from autoenc_sg.core.layers import ImageRandom, dropout
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import CandidatePairs, Regions
from autoenc_sg.predictors.parts.causal import CausalEffect
from autoenc_sg.predictors.parts.frequency_bias import FrequencyBias, count_predicates
from autoenc_sg.predictors.parts.long_tail import logit_adjustment


class RelationPredictor(nn.Module, ABC):
    """A relation head; a subclass says in `graph_logits` what it computes.

    Args:
        config: of the head.
        num_classes, num_predicates: C and P with the reserved 0.

    Attributes:
        frequency_bias: the table that is added to the predicates' logits, or None.
        predicate_counts: `[P]` training triples of each predicate, or None if
            `config.loss` does not look at them.
    """

    predicate_counts: Tensor | None

    def __init__(self, config: PredictorConfig, num_classes: int, num_predicates: int) -> None:
        super().__init__()
        self.config = config
        has_bias = config.frequency_bias or config.name == "frequency" or config.causal != "none"
        self.frequency_bias = FrequencyBias(num_classes, num_predicates) if has_bias else None
        counts = torch.ones(num_predicates) if config.loss.needs_counts else None
        self.register_buffer("predicate_counts", counts)
        self.num_classes, self.num_predicates = num_classes, num_predicates

    @abstractmethod
    def graph_logits(
        self, regions: Regions, pairs: CandidatePairs, unions: Tensor, random: ImageRandom | None
    ) -> GraphLogits:
        """The graph of `regions` on `pairs` without the frequency bias.

        Args:
            regions: N regions with features `[N, D]` and the detector's (or given) classes.
            pairs: M ordered pairs of regions of one image, images in order.
            unions: `[M, D, S, S]` features of the pairs' union boxes.
            random: for dropout; None in evaluation mode.
        """

    def forward(
        self,
        regions: Regions,
        pairs: CandidatePairs,
        unions: Tensor,
        random: ImageRandom | None = None,
    ) -> GraphLogits:
        """`graph_logits`, with the frequency bias of the graph's classes if there is one.

        The branches of `config.causal` have it in them.

        In evaluation mode the logits are adjusted if `config.loss.adjusted` is `use`. Without
        `random`, the seeds for dropout come from the global random state.
        """
        if random is None and self.training:
            random = ImageRandom.from_global_state(regions.num_images, unions.device)
        graph = self.graph_logits(regions, pairs, unions, random)
        logits, loss = graph.predicate_logits, self.config.loss
        if self.frequency_bias is not None and self.config.causal == "none":
            labels = best_classes(graph.object_logits)
            logits = logits + self.frequency_bias(labels, graph.pairs)
        if self.predicate_counts is not None and not self.training and loss.adjusted == "use":
            logits = logits - logit_adjustment(self.predicate_counts, loss.logit_adjustment)
        return replace(graph, predicate_logits=logits)

    def fit_frequency(self, graphs: Iterable[SceneGraph]) -> None:
        """Count a training split for the frequency bias and for the loss, if they are there.

        Raises:
            InputError: a label or predicate that the head does not know.
        """
        if self.frequency_bias is None and self.predicate_counts is None:
            return
        counts = count_predicates(graphs, self.num_classes, self.num_predicates, True, True)
        if self.frequency_bias is not None:
            self.frequency_bias.fit(counts)
        if self.predicate_counts is not None:
            self.predicate_counts.copy_(counts.sum((0, 1)))


def causal_branches(
    config: PredictorConfig, dim: int, num_classes: int, num_predicates: int
) -> CausalEffect | None:
    """The branches of `config.causal`, or None; `dim` is that of context and union vectors."""
    if config.causal == "none":
        return None
    return CausalEffect(config.causal, config.effect, dim, num_classes, num_predicates)


def best_classes(object_logits: Tensor) -> Tensor:
    """The most probable class of each object that is not the background: `[N, C] -> [N]`."""
    return object_logits[:, 1:].argmax(-1) + 1


def classify(
    layers: nn.Sequential, rows: Tensor, image_index: Tensor, random: ImageRandom | None
) -> Tensor:
    """`layers(rows)` with the dropout of each row's image: `[K, D] -> [K, *]`."""
    if random is None:  # in evaluation mode
        logits: Tensor = layers(rows)
        return logits
    return dropout(layers, rows, partial(random.uniform, image_index))
