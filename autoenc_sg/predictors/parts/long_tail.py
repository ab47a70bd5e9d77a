"""What the loss and the logits of predicates make of how often each one occurs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from autoenc_sg.config.predicate_loss import PredicateLossConfig


def class_weights(counts: Tensor, config: PredicateLossConfig) -> Tensor:
    """The weight of each predicate in the cross entropy; see `PredicateLossConfig`.

    Shapes: `counts [P]` of the training triples, predicate 0 not looked at, `-> [P]`.
    """
    n = counts[1:].clamp(min=1)
    match config.class_weights:
        case "none":
            weights = torch.ones_like(n)
        case "inverse_sqrt":
            weights = n.rsqrt()
        case "balanced":
            weights = (1 - config.beta) / (1 - config.beta**n)
    weights = weights / (weights * n / n.sum()).sum()
    return torch.cat([torch.ones_like(weights[:1]), weights])


def logit_adjustment(counts: Tensor, tau: float) -> Tensor:
    r"""`tau (log q_p - \sum_r q_r log q_r)` with the shares q of the training triples; 0 for p = 0.

    Shapes: `counts [P] -> [P]`; a predicate that never occurs counts as if it did once.
    """
    n = counts[1:].clamp(min=1)
    shares = n / n.sum()
    logs = shares.log()
    return tau * torch.cat([torch.zeros_like(logs[:1]), logs - (shares * logs).sum()])


def predicate_losses(
    logits: Tensor, target: Tensor, config: PredicateLossConfig, counts: Tensor | None = None
) -> Tensor:
    """The loss of each pair: `logits [m, P], target [m] -> [m]`.

    `counts [P]` are the numbers of training triples, wanted if `config.needs_counts`.
    """
    if counts is not None and config.logit_adjustment > 0 and config.adjusted == "training":
        logits = logits + logit_adjustment(counts, config.logit_adjustment)
    losses = F.cross_entropy(
        logits, target, reduction="none", label_smoothing=config.label_smoothing
    )
    if config.focal > 0:
        p = logits.softmax(-1).gather(1, target[:, None])[:, 0]
        losses = (1 - p).clamp(min=1e-6) ** config.focal * losses
    if counts is not None and config.class_weights != "none":
        losses = class_weights(counts, config)[target] * losses
    return losses
