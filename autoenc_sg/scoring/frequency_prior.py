"""The frequency prior: predicates predicted from the labels alone, a strong baseline.

Zellers et al. 2018 (Neural Motifs), section 3 and the FREQ baseline.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction
from autoenc_sg.predictors.parts.frequency_bias import (
    check_ids,
    count_predicates,
    log_prior,
    ordered_pairs,
)


@dataclass(frozen=True, eq=False)
class FrequencyPrior:
    """`log(count(s, o, p) / sum_p count(s, o, p) + 1e-3)`, with predicate 0 for unrelated pairs.

    Attributes:
        log_prior: `[C, C, P]` float32 by subject label, object label and predicate: the logits of
            Motifs' FREQ, which a relation head may also add to its logits.
    """

    log_prior: Tensor

    @cached_property
    def scores(self) -> Tensor:
        """Softmax of `log_prior` over the predicates, the first left out: `[C, C, P - 1]`."""
        return self.log_prior.softmax(2)[:, :, 1:]

    @classmethod
    def fit(
        cls,
        graphs: Iterable[SceneGraph],
        num_objects: int,
        num_predicates: int,
        overlapping_only: bool = False,
        count_related: bool = False,
    ) -> FrequencyPrior:
        """Count the triples of training graphs.

        Predicate 0 of two labels counts the ordered pairs of different objects without a
        relation, plus 1. Motifs counts overlapping pairs, also related ones (`overlapping_only` and
        `count_related`), plus 1.

        Args:
            graphs: the training graphs, with all triples.
            num_objects: C, with the reserved 0.
            num_predicates: P, with the reserved 0.
            overlapping_only: a background pair must overlap (IoU > 0, +1 pixel).
            count_related: pairs with a relation count as background, too.

        Raises:
            InputError: a label or predicate is out of range.
        """
        counts = count_predicates(
            graphs, num_objects, num_predicates, overlapping_only, count_related
        )
        return cls(log_prior(counts))

    def predict(self, prediction: GraphPrediction) -> GraphPrediction:
        """The same detections with all ordered pairs and the prior's predicate scores.

        Raises:
            InputError: a label that the prior does not know.
        """
        labels = prediction.labels
        check_ids("labels", labels, len(self.log_prior))
        pairs = ordered_pairs(len(labels), labels.device)
        subjects, objects = labels[pairs].to(self.scores.device).unbind(1)
        scores = self.scores[subjects, objects]
        return GraphPrediction(
            prediction.boxes, labels, prediction.scores, pairs, scores.to(labels.device)
        )
