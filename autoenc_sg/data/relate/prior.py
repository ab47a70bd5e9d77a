"""A prior over relations: probabilities of the predicates of two boxes with class names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoenc_sg.core.errors import require
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.relate.counts import (
    LabelledPairs,
    PredicateCounts,
    all_pairs,
    count_pairs,
    unit_boxes,
)
from autoenc_sg.data.relate.geometry import NUM_FEATURES, pair_features


@dataclass(frozen=True)
class PriorOptions:
    """How the prior is fitted; chosen on held-out graphs (docs/results.md).

    Attributes:
        class_weight: k_1 of `PredicateCounts`.
        pair_weight: k_2 of `PredicateCounts`.
        hidden: units of the geometry model; 0: counts alone.
        embedding: size of the classes' vectors in the geometry model.
        epochs: passes over the pairs.
        geometry_images: images whose pairs train the geometry model, at most.
        unknown: fraction of the classes hidden from the model in training.
        seed: of the model's weights, the order of the pairs and the hidden classes.
    """

    class_weight: float = 10.0
    pair_weight: float = 10.0
    hidden: int = 128
    embedding: int = 32
    epochs: int = 5
    geometry_images: int = 10_000
    unknown: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("class_weight", "pair_weight"):
            require(getattr(self, name) > 0, f"prior {name}", "> 0", getattr(self, name))
        for name in ("hidden", "embedding", "epochs", "geometry_images"):
            require(getattr(self, name) >= 0, f"prior {name}", ">= 0", getattr(self, name))
        require(0 <= self.unknown < 1, "prior unknown", "0 <= unknown < 1", self.unknown)


_BATCH = 2048
_RATE = 3e-3


class GeometryModel(nn.Module):
    """What the boxes add to the counts' logits: `[M, P]`, an MLP over geometry and both classes.

    Args:
        num_objects: C.
        num_predicates: P.
        options: sizes.
    """

    def __init__(self, num_objects: int, num_predicates: int, options: PriorOptions) -> None:
        super().__init__()
        self.subject = nn.Embedding(num_objects, options.embedding)
        self.object = nn.Embedding(num_objects, options.embedding)
        last = nn.Linear(options.hidden, num_predicates)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(
            nn.Linear(NUM_FEATURES + 2 * options.embedding, options.hidden),
            nn.ReLU(),
            nn.Linear(options.hidden, options.hidden),
            nn.ReLU(),
            last,
        )

    def forward(self, features: Tensor, subjects: Tensor, objects: Tensor) -> Tensor:
        """Logits; shapes: `[M, NUM_FEATURES], [M], [M] -> [M, P]`."""
        vectors = [features, self.subject(subjects), self.object(objects)]
        logits: Tensor = self.layers(torch.cat(vectors, 1))
        return logits


class RelationPrior:
    """`softmax(log P(p | s, o) + g(boxes, s, o))`: counts by classes, corrected by geometry.

    Attributes:
        vocabulary: the names of its classes and predicates.
    """

    def __init__(
        self, vocabulary: Vocabulary, counts: PredicateCounts, geometry: GeometryModel | None
    ) -> None:
        self.vocabulary = vocabulary
        self._counts = counts
        self._geometry = geometry

    @classmethod
    def fit(
        cls,
        graphs: Sequence[SceneGraph],
        vocabulary: Vocabulary,
        options: PriorOptions = PriorOptions(),
    ) -> RelationPrior:
        """Count and train on graphs; the same input and seed give the same prior.

        The global random state is not used.

        Raises:
            InputError: no graph has a relation.
        """
        counts = PredicateCounts(
            count_pairs(graphs, vocabulary), options.class_weight, options.pair_weight
        )
        geometry = _train(graphs, counts, vocabulary, options) if options.hidden else None
        return cls(vocabulary, counts, geometry)

    @torch.no_grad()
    def probabilities(self, labels: Tensor, boxes: Tensor) -> Tensor:
        """Probabilities of the predicates of all ordered pairs of an image's objects.

        Args:
            labels: `[N]` classes of the prior's vocabulary, 0: unknown.
            boxes: `[N, 4]` xyxy, fractions of the image.

        Returns:
            `[N (N - 1), P]` in the order of `counts.all_pairs`; rows sum to 1, 0 is no relation.
        """
        pairs = all_pairs(len(labels))
        subjects, objects = labels[pairs].unbind(1)
        log_prior = self._counts.probabilities(subjects, objects).log()
        if self._geometry is None:
            return log_prior.exp()
        features = pair_features(boxes[pairs], torch.full_like(subjects, len(labels)))
        logits: Tensor = log_prior + self._geometry(features, subjects, objects)
        return logits.softmax(1)

    def of_graph(self, graph: SceneGraph) -> Tensor:
        """`probabilities` of a graph whose labels are of the prior's vocabulary."""
        return self.probabilities(graph.labels, unit_boxes(graph))


def _train(
    graphs: Sequence[SceneGraph],
    counts: PredicateCounts,
    vocabulary: Vocabulary,
    options: PriorOptions,
) -> GeometryModel:
    generator = torch.Generator().manual_seed(options.seed)
    chosen = torch.randperm(len(graphs), generator=generator)[: options.geometry_images]
    pairs = LabelledPairs.of_graphs(graphs[i] for i in chosen.tolist())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = GeometryModel(vocabulary.num_objects, vocabulary.num_predicates, options)
    features = pair_features(pairs.boxes, pairs.num_objects)
    optimizer = torch.optim.Adam(model.parameters(), _RATE, weight_decay=1e-5)
    steps = options.epochs * -(-len(pairs) // _BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / max(steps, 1))
    for _ in range(options.epochs):
        for rows in torch.randperm(len(pairs), generator=generator).split(_BATCH):
            subjects, objects = (
                _hide(labels[rows], options.unknown, generator)
                for labels in (pairs.subjects, pairs.objects)
            )
            target = pairs.predicates[rows]
            log_prior = counts.probabilities(subjects, objects, target).log()
            logits = log_prior + model(features[rows], subjects, objects)
            optimizer.zero_grad()
            F.cross_entropy(logits, target).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return model.eval()


def _hide(labels: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """Some labels replaced by 0, the unknown class."""
    hidden = torch.rand(len(labels), generator=generator) < fraction
    return labels.masked_fill(hidden, 0)
