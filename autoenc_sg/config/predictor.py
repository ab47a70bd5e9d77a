"""Options of the relation heads: which one, what all of them share, and what only one has."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from autoenc_sg.config.limits import MAX_LAYERS, MAX_WIDTH
from autoenc_sg.core.errors import require, require_at_least, require_at_most

HeadName = Literal["gcn", "frequency", "vanilla"]
HEADS: tuple[HeadName, ...] = get_args(HeadName)


@dataclass(frozen=True)
class FrequencyConfig:
    """The head `frequency`: predicates from the labels of both objects alone.

    Attributes:
        overlap: boxes that do not overlap are not related (FREQ+overlap; without, FREQ).
    """

    overlap: bool = False


@dataclass(frozen=True)
class PredictorConfig:
    """The relation head; docs/heads.md describes all of them.

    Attributes:
        name: `gcn` (the paper's graph convolution over objects and subgraphs), `frequency` (counts
            of the training split) or `vanilla` (no context).
        dim: width of the vectors of objects and pairs, and of subgraph maps.
        steps: rounds of message passing, in heads that have some.
        dropout: of the classifiers' hidden layers.
        frequency_bias: add `log p(predicate | subject label, object label)` of the training split
            to the predicates' logits, as a table that is trained on.
    """

    name: HeadName = "gcn"
    dim: int = 512
    steps: int = 2
    dropout: float = 0.5
    frequency_bias: bool = False
    frequency: FrequencyConfig = field(default_factory=FrequencyConfig)

    def __post_init__(self) -> None:
        require(self.name in HEADS, "predictor.name", f"one of {', '.join(HEADS)}", self.name)
        require_at_least(1, self, "predictor", "dim")
        require_at_least(0, self, "predictor", "steps")
        require_at_most(MAX_WIDTH, self, "predictor", "dim")
        require_at_most(MAX_LAYERS, self, "predictor", "steps")
        require(0 <= self.dropout < 1, "predictor.dropout", "0..1", self.dropout)
        for head, default in SECTIONS.items():
            section = getattr(self, head)
            expected = f"no options of that head (predictor.name is {self.name})"
            require(head == self.name or section == default, f"predictor.{head}", expected, section)

    def of_head(self, name: HeadName) -> PredictorConfig:
        """The options that all heads share, with another head and the defaults of its own ones."""
        return self if name == self.name else replace(self, name=name, **SECTIONS)  # type: ignore[arg-type]


SECTIONS = {"frequency": FrequencyConfig()}
