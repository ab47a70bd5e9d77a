"""Options of the predicates' loss: what rare predicates count in it, and which pairs it is of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from autoenc_sg.core.errors import require, require_at_least


@dataclass(frozen=True)
class PredicateLossConfig:
    """The loss of the predicates; n is the number of a predicate's training triples.

    Attributes:
        class_weights: of the cross entropy: `none`, `inverse_sqrt` (1 / sqrt(n), Factorizable Net)
            or `balanced` ((1 - beta) / (1 - beta^n), Cui et al. 2019). Their mean over the training
            triples is 1; no relation has weight 1.
        beta: of `balanced`.
        focal: gamma of the factor (1 - p)^gamma, p the probability of the true predicate (Lin et
            al. 2017); 0: none.
        label_smoothing: share of the target that is spread over all predicates.
        logit_adjustment: tau of Menon et al. 2021: tau log(share of the training triples) is added
            to the predicates' logits in training, or taken from them in use; 0: neither. It is
            centred, so that relations as a whole become neither more nor less likely.
        adjusted: whether `logit_adjustment` is of `training` or of `use`.
        pairs_per_image: pairs in the loss, drawn for each image, at most (Neural Motifs: 64 in
            SGGen, 256 in SGCls); 0: all related ones and `joint.background_ratio` times as many.
        positive_fraction: at most this fraction of `pairs_per_image` is related.
        ignored_iou: an unrelated pair is left out if each of its boxes overlaps that of the same
            end of a true relation by this IoU or more; 1: none is.
    """

    class_weights: Literal["none", "inverse_sqrt", "balanced"] = "none"
    beta: float = 0.999
    focal: float = 0.0
    label_smoothing: float = 0.0
    logit_adjustment: float = 0.0
    adjusted: Literal["training", "use"] = "training"
    pairs_per_image: int = 0
    positive_fraction: float = 0.25
    ignored_iou: float = 1.0

    def __post_init__(self) -> None:
        where = "predictor.loss"
        require_at_least(0, self, where, "focal", "logit_adjustment", "pairs_per_image")
        for name in ("beta", "label_smoothing"):
            require(0 <= getattr(self, name) < 1, f"{where}.{name}", "0..1", getattr(self, name))
        for name in ("positive_fraction", "ignored_iou"):
            require(0 < getattr(self, name) <= 1, f"{where}.{name}", "0..1", getattr(self, name))

    @property
    def needs_counts(self) -> bool:
        """Whether the numbers of training triples matter."""
        return self.class_weights != "none" or self.logit_adjustment > 0
