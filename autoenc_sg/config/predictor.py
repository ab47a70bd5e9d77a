"""Options of the relation heads: which one, what all of them share, and what only one has."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from autoenc_sg.config.limits import MAX_LAYERS, MAX_WIDTH
from autoenc_sg.config.predicate_loss import PredicateLossConfig
from autoenc_sg.core.errors import require, require_at_least, require_at_most

HeadName = Literal[
    "gcn", "imp", "motifs", "transformer", "graph_rcnn", "factorizable", "frequency", "vanilla"
]
HEADS: tuple[HeadName, ...] = get_args(HeadName)
STEPS = {"gcn": 2, "imp": 3, "transformer": 4, "graph_rcnn": 2, "factorizable": 1}  # as published


Effect = Literal["none", "tde", "nie", "te"]
CAUSAL_HEADS = ("motifs", "transformer")


@dataclass(frozen=True)
class GcnConfig:
    """The head `gcn`: the paper's graph convolution, and what Factorizable Net has beyond it.

    Attributes:
        shared_subgraphs: pairs whose union boxes overlap share a subgraph; without, each pair has
            its own.
        subgraph_threshold: IoU of union boxes above which they do.
        attention: attention over objects and cells; without, means.
    """

    shared_subgraphs: bool = False
    subgraph_threshold: float = 0.5
    attention: bool = False

    def __post_init__(self) -> None:
        threshold = self.subgraph_threshold
        require(0 <= threshold <= 1, "predictor.gcn.subgraph_threshold", "0..1", threshold)


@dataclass(frozen=True)
class ImpConfig:
    """The head `imp`: iterative message passing.

    Attributes:
        pooling: of the messages that reach an object: `sum` (the paper) or `mean`.
    """

    pooling: Literal["sum", "mean"] = "sum"


@dataclass(frozen=True)
class MotifsConfig:
    """The head `motifs`: LSTMs over the objects of an image.

    Attributes:
        order: in which objects are read, the first first: `leftright` (from the right to the left,
            as published), `size` (the largest first), `confidence` (the surest first) or `random`.
        lstm: `bidirectional`, PyTorch's, or `highway`, the published alternating highway LSTM,
            which takes a step of Python an object.
        recurrent_dropout: of the states of highway LSTMs and decoder, in training: one mask for all
            objects of an image (published: 0.1); 0 with `bidirectional`.
        object_layers: of the object context; 0: a linear layer instead, and no decoder.
        edge_layers: of the edge context; 0: an embedding of the labels instead.
        pair_dim: width of the product of subject, object and union box (published: 4096); 0:
            `predictor.dim`.
        vision: the product has the union box; true with `predictor.causal`.
        embedding_dim: width of the label embeddings.
        word_vectors: .npz file with `words` [W] and `vectors` [W, `embedding_dim`] that label
            embeddings start from; null: random ones.
        suppression_threshold: IoU from which a detection takes its class from others.
    """

    order: Literal["leftright", "size", "confidence", "random"] = "leftright"
    lstm: Literal["bidirectional", "highway"] = "bidirectional"
    object_layers: int = 2
    edge_layers: int = 4
    pair_dim: int = 0
    vision: bool = True
    embedding_dim: int = 200
    word_vectors: str | None = None
    suppression_threshold: float = 0.3
    recurrent_dropout: float = 0.0

    def __post_init__(self) -> None:
        where = "predictor.motifs"
        dropout = self.recurrent_dropout
        require(0 <= dropout < 1, f"{where}.recurrent_dropout", "0..1", dropout)
        has_cells = self.lstm == "highway" or dropout == 0
        expected = "0 unless predictor.motifs.lstm is highway"
        require(has_cells, f"{where}.recurrent_dropout", expected, dropout)
        require_at_least(0, self, where, "object_layers", "edge_layers", "pair_dim")
        require_at_least(1, self, where, "embedding_dim")
        require_at_most(MAX_LAYERS, self, where, "object_layers", "edge_layers")
        require_at_most(MAX_WIDTH, self, where, "pair_dim", "embedding_dim")
        threshold = self.suppression_threshold
        require(0 <= threshold <= 1, f"{where}.suppression_threshold", "0..1", threshold)


@dataclass(frozen=True)
class TransformerConfig:
    """The head `transformer`.

    Attributes:
        relation_layers: of the second encoder; `predictor.steps` are those of the first.
        heads: of the attention; a divisor of `predictor.dim`.
        hidden_dim: width between the two linear layers of a layer; 0: 4 `predictor.dim`.
    """

    relation_layers: int = 2
    heads: int = 8
    hidden_dim: int = 0

    def __post_init__(self) -> None:
        require_at_least(0, self, "predictor.transformer", "relation_layers", "hidden_dim")
        require_at_least(1, self, "predictor.transformer", "heads")
        require_at_most(MAX_LAYERS, self, "predictor.transformer", "relation_layers")
        require_at_most(MAX_WIDTH, self, "predictor.transformer", "hidden_dim")


@dataclass(frozen=True)
class GraphRcnnConfig:
    """The head `graph_rcnn`: attentional graph convolution over objects and relations.

    Attributes:
        score_steps: rounds on the classes' and predicates' logits, after `predictor.steps` on the
            vectors.
        attention: learned weights of the neighbours; without, their mean.
    """

    score_steps: int = 2
    attention: bool = True

    def __post_init__(self) -> None:
        require_at_least(0, self, "predictor.graph_rcnn", "score_steps")
        require_at_most(MAX_LAYERS, self, "predictor.graph_rcnn", "score_steps")


@dataclass(frozen=True)
class FactorizableConfig:
    """The head `factorizable`: pairs share subgraphs.

    Attributes:
        subgraph_threshold: IoU of union boxes above which pairs share a subgraph; 1: no sharing.
        object_relations: objects also exchange messages among themselves.
    """

    subgraph_threshold: float = 0.5
    object_relations: bool = False

    def __post_init__(self) -> None:
        threshold = self.subgraph_threshold
        expected = "predictor.factorizable.subgraph_threshold"
        require(0 <= threshold <= 1, expected, "0..1", threshold)


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
        name: `gcn` (the paper's graph convolution over objects and subgraphs), `imp` (iterative
            message passing), `motifs` (LSTMs), `transformer`, `graph_rcnn`, `factorizable`,
            `frequency` (counts of the training split) or `vanilla` (no context).
        dim: width of the vectors of objects and pairs, and of subgraph maps.
        steps: rounds of message passing, in heads that have some; null: as published (`gcn` and
            `graph_rcnn` 2, `imp` 3, `factorizable` 1, `transformer` 4 layers).
        dropout: of the classifiers' hidden layers.
        frequency_bias: add `log p(predicate | subject label, object label)` of the training split
            to the predicates' logits, as a table that is trained on.
        start_at_prior: the last layer of the predicates' classifier begins at zero, so that
            training starts from the scores of `frequency_bias`; for few relations.
        causal: branches of context, union box and labels that `effect` can tell apart (Tang et al.
            2020), in `motifs` and `transformer`: fused by a `gate` or as a `sum`.
        effect: what is used of the branches after training: all (`none`), `tde`, the total direct
            effect of the context, `nie` or `te`.
    """

    name: HeadName = "gcn"
    dim: int = 512
    steps: int | None = None
    dropout: float = 0.5
    frequency_bias: bool = False
    start_at_prior: bool = False
    causal: Literal["none", "gate", "sum"] = "none"
    effect: Effect = "none"
    loss: PredicateLossConfig = field(default_factory=PredicateLossConfig)
    gcn: GcnConfig = field(default_factory=GcnConfig)
    imp: ImpConfig = field(default_factory=ImpConfig)
    motifs: MotifsConfig = field(default_factory=MotifsConfig)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    graph_rcnn: GraphRcnnConfig = field(default_factory=GraphRcnnConfig)
    factorizable: FactorizableConfig = field(default_factory=FactorizableConfig)
    frequency: FrequencyConfig = field(default_factory=FrequencyConfig)

    def __post_init__(self) -> None:
        require(self.name in HEADS, "predictor.name", f"one of {', '.join(HEADS)}", self.name)
        require_at_least(1, self, "predictor", "dim")
        require_at_most(MAX_WIDTH, self, "predictor", "dim")
        if self.steps is not None:
            require_at_least(0, self, "predictor", "steps")
            require_at_most(MAX_LAYERS, self, "predictor", "steps")
        has_rounds = self.name != "imp" or self.rounds > 0
        expected = "1 or more with predictor.name imp (vanilla has no messages)"
        require(has_rounds, "predictor.steps", expected, self.steps)
        require(0 <= self.dropout < 1, "predictor.dropout", "0..1", self.dropout)
        for head, default in SECTIONS.items():
            section = getattr(self, head)
            expected = f"no options of that head (predictor.name is {self.name})"
            require(head == self.name or section == default, f"predictor.{head}", expected, section)
        causal = self.causal == "none" or self.name in CAUSAL_HEADS
        expected = f"none unless predictor.name is {' or '.join(CAUSAL_HEADS)}"
        require(causal, "predictor.causal", expected, self.causal)
        has_prior = self.frequency_bias and self.causal == "none"
        expected = "false without predictor.frequency_bias, or with predictor.causal"
        require(has_prior or not self.start_at_prior, "predictor.start_at_prior", expected, True)
        effect = self.effect == "none" or self.causal != "none"
        require(effect, "predictor.effect", "none if predictor.causal is none", self.effect)
        sees = self.motifs.vision or self.causal == "none"
        expected = "true with predictor.causal, which has a branch of the union box"
        require(sees, "predictor.motifs.vision", expected, self.motifs.vision)
        heads = self.transformer.heads
        divides = self.name != "transformer" or self.dim % heads == 0
        expected = f"a divisor of predictor.dim {self.dim}"
        require(divides, "predictor.transformer.heads", expected, heads)

    @property
    def rounds(self) -> int:
        """`steps`, or the head's published number of them; 0 in heads without rounds."""
        return STEPS.get(self.name, 0) if self.steps is None else self.steps

    def of_head(self, name: HeadName) -> PredictorConfig:
        """The options that all heads share, with another head and the defaults of its own ones."""
        if name == self.name:
            return self
        plain = {} if name in CAUSAL_HEADS else {"causal": "none", "effect": "none"}
        return replace(self, name=name, **SECTIONS, **plain)  # type: ignore[arg-type]


SECTIONS = {
    "gcn": GcnConfig(),
    "imp": ImpConfig(),
    "motifs": MotifsConfig(),
    "transformer": TransformerConfig(),
    "graph_rcnn": GraphRcnnConfig(),
    "factorizable": FactorizableConfig(),
    "frequency": FrequencyConfig(),
}
