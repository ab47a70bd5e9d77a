r"""A mean teacher of the relation head, and the losses against it on unannotated images.

The teacher is an exponential average a of the head's weights w, after every step t = 1, 2, …

    a <- d a + (1 - d) w,    d = min(decay, 1 - 1 / (t + 1))

The head is the predictor and the detector's layers that only scene graphs need. The teacher looks
at the pairs that the relation proposals give the head, in evaluation mode, without gradient:

    pseudo_label = mean over chosen pairs k of the predicates' loss(k, argmax_p t_k),
                   where max_p t_k >= the threshold; p = 0, no relation, is one of the predicates,
                   and of the pairs with that label as many are chosen as in annotated images
    consistency  = mean over all pairs k of \sum_p t_kp log(t_kp / s_kp)

t are the teacher's probabilities, s the head's. Neither trains classes, boxes or proposals.

Source: mean teacher and its decay, Tarvainen & Valpola (NeurIPS 2017); hard labels above a
threshold, Lee (2013) and FixMatch (Sohn et al., NeurIPS 2020). Unlike there both see the same
view: the head's dropout is what disturbs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from autoenc_sg.config.phases import JointPhase
from autoenc_sg.core.graph_logits import GraphLogits
from autoenc_sg.core.layers import ImageRandom
from autoenc_sg.core.structures import CandidatePairs
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.model.modes import eval_mode
from autoenc_sg.model.region_reader import SeenRegions
from autoenc_sg.predictors.parts.long_tail import logit_adjustment, predicate_losses
from autoenc_sg.training.losses.graph import sample_predicates
from autoenc_sg.training.parallel.loss_terms import Term, Terms


class Teacher:
    """The average of a model's relation head; see above.

    Args:
        model: whose head is averaged; all other weights are shared.
        decay: of the average, in [0, 1).

    Attributes:
        weights: the averages by the names of the model's parameters.
        updates: steps done.
    """

    def __init__(self, model: AutoEncoder, decay: float) -> None:
        self.model = model
        self.decay = decay
        self.updates = 0
        self._pass = _PredicatePass(model)
        self.weights = {name: p.detach().clone() for name, p in self._averaged().items()}

    def _averaged(self) -> dict[str, nn.Parameter]:
        model = self.model
        layers = tuple(f"detector.{prefix}" for prefix in model.detector.graph_layers)
        names = ("predictor.", *layers)
        return {n: p for n, p in model.named_parameters() if n.startswith(names)}

    @torch.no_grad()
    def update(self) -> None:
        """Include the weights after a step."""
        self.updates += 1
        decay = min(self.decay, 1 - 1 / (self.updates + 1))
        for name, parameter in self._averaged().items():
            self.weights[name].lerp_(parameter.to(self.weights[name]), 1 - decay)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        return {"teacher": {"weights": self.weights, "updates": self.updates}}

    def load(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`; of a state without a teacher it starts from the head as it is."""
        saved = state.get("teacher")
        current = self._averaged()
        weights = current if saved is None else saved["weights"]
        self.updates = 0 if saved is None else saved["updates"]
        for name, weight in self.weights.items():
            weight.copy_(weights[name].detach())

    @torch.no_grad()
    def predicate_logits(self, seen: SeenRegions, rows: Tensor, pairs: CandidatePairs) -> Tensor:
        """The logits `[M, P]` of pairs of the regions `rows` of `seen`.

        They are not adjusted to the predicates' numbers where only use adjusts them.
        """
        model = self.model
        weights = {f"model.{name}": weight for name, weight in self.weights.items()}
        with eval_mode(model.detector), eval_mode(model.predictor):
            logits: Tensor = functional_call(self._pass, weights, (seen, rows, pairs))
        loss, counts = model.predictor.config.loss, model.predictor.predicate_counts
        if counts is not None and loss.adjusted == "use":
            logits = logits + logit_adjustment(counts, loss.logit_adjustment)
        return logits


class _PredicatePass(nn.Module):
    """From regions and pairs to the predicates' logits, as `functional_call` wants it."""

    def __init__(self, model: AutoEncoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, seen: SeenRegions, rows: Tensor, pairs: CandidatePairs) -> Tensor:
        regions = seen.regions(rows)
        unions = self.model.detector.union_features(regions, pairs.pairs)
        graph: GraphLogits = self.model.predictor(regions, pairs, unions)
        return graph.predicate_logits


def teacher_terms(
    teacher: Teacher,
    seen: SeenRegions,
    rows: Tensor,
    graph: GraphLogits,
    annotated: Tensor,
    config: JointPhase,
    random: ImageRandom,
) -> Terms:
    """`pseudo_label` and `consistency`, weighted, each if it is asked for.

    Args:
        teacher: of the head that gave the graph.
        seen: the regions of the batch.
        rows: those of the graph's N objects.
        graph: of the batch.
        annotated: `[B]` bool, the images that these losses leave out.
        config: weights and options.
        random: for the choice of unrelated pairs.
    """
    objects = ~annotated[graph.image_index]
    chosen = objects[graph.pairs[:, 0]].nonzero()[:, 0]
    pairs = (objects.cumsum(0) - 1)[graph.pairs[chosen]]
    proposed = CandidatePairs(pairs, graph.relatedness[chosen].detach())
    target = teacher.predicate_logits(seen, rows[objects], proposed)
    options, terms = config.unannotated, {}
    if options.pseudo_labels == "teacher":
        model = teacher.model
        terms["pseudo_label"] = [_pseudo_label_term(model, graph, chosen, target, config, random)]
    if options.consistency_weight > 0:
        divergence = mean_divergence(target, graph.predicate_logits[chosen])
        terms["consistency"] = [Term(options.consistency_weight * divergence, len(chosen))]
    return terms


def _pseudo_label_term(
    model: AutoEncoder,
    graph: GraphLogits,
    pairs: Tensor,
    teacher_logits: Tensor,
    config: JointPhase,
    random: ImageRandom,
) -> Term:
    """The predicates' loss of those of `pairs` (rows `[m]`) of which the teacher is sure."""
    confidence, labels = teacher_logits.softmax(-1).max(-1)
    sure = (confidence >= config.unannotated.pseudo_threshold).nonzero()[:, 0]
    image = graph.image_index[graph.pairs[pairs[sure], 0]]
    sure = sure[sample_predicates(labels[sure], image, config.background_ratio, random)]
    rows, target = pairs[sure], labels[sure]
    options, counts = model.predictor.config.loss, model.predictor.predicate_counts
    losses = predicate_losses(graph.predicate_logits[rows], target, options, counts)
    for logits in graph.auxiliary_logits:
        losses = losses + predicate_losses(logits[rows], target, options, counts)
    weight = config.predicate_weight * config.unannotated.pseudo_weight
    return Term(weight * losses.sum() / max(len(rows), 1), len(rows))


def mean_divergence(target: Tensor, logits: Tensor) -> Tensor:
    """The mean of KL(softmax(target), softmax(logits)) over rows `[m, P]`; 0 without rows."""
    log_probabilities = (logits.log_softmax(-1), target.log_softmax(-1))
    total = F.kl_div(*log_probabilities, reduction="sum", log_target=True)
    return total / max(len(logits), 1)
