"""The frequency prior: predicates predicted from the labels alone, a strong baseline.

Zellers et al. 2018 (Neural Motifs), section 3 and the FREQ baseline.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from autoenc_sg.core.boxes import paired_iou
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction

_EPSILON = 1e-3


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
        counts = torch.zeros(num_objects, num_objects, num_predicates, dtype=torch.int64)
        counts[:, :, 0] = 1
        for graph in graphs:
            _add(counts, graph.to("cpu"), overlapping_only, count_related)
        share = counts.double() / counts.sum(2, keepdim=True)
        return cls((share + _EPSILON).log().float())

    def predict(self, prediction: GraphPrediction) -> GraphPrediction:
        """The same detections with all ordered pairs and the prior's predicate scores.

        Raises:
            InputError: a label that the prior does not know.
        """
        labels = prediction.labels
        _check_ids("labels", labels, len(self.log_prior))
        pairs = _ordered_pairs(len(labels), labels.device)
        subjects, objects = labels[pairs].to(self.scores.device).unbind(1)
        scores = self.scores[subjects, objects]
        return GraphPrediction(
            prediction.boxes, labels, prediction.scores, pairs, scores.to(labels.device)
        )


def _add(counts: Tensor, graph: SceneGraph, overlapping_only: bool, count_related: bool) -> None:
    """Add a graph's triples and background pairs to `counts [C, C, P]`."""
    _check_ids("labels", graph.labels, len(counts))
    _check_ids("predicates", graph.triples[:, 1], counts.shape[2])
    subjects, predicates, objects = graph.triples.unbind(1)
    one = torch.ones(1, dtype=torch.int64)
    ends = (graph.labels[subjects], graph.labels[objects])
    counts.index_put_((*ends, predicates), one, accumulate=True)

    pairs = _ordered_pairs(len(graph), graph.labels.device)
    if not count_related:
        related = torch.zeros(len(graph), len(graph), dtype=torch.bool)
        related[subjects, objects] = True
        pairs = pairs[~related[pairs[:, 0], pairs[:, 1]]]
    if overlapping_only:
        boxes = graph.boxes[pairs]
        pairs = pairs[paired_iou(boxes[:, 0], boxes[:, 1]) > 0]
    labels = graph.labels[pairs]
    background = torch.zeros_like(labels[:, 0])
    counts.index_put_((labels[:, 0], labels[:, 1], background), one, accumulate=True)


def _ordered_pairs(count: int, device: torch.device) -> Tensor:
    """All (i, j), i != j, row by row: `[N (N - 1), 2]`."""
    return (~torch.eye(count, dtype=torch.bool, device=device)).nonzero()


def _check_ids(name: str, ids: Tensor, size: int) -> None:
    if ids.numel() and not 0 < int(ids.min()) <= int(ids.max()) < size:
        raise bad_input(
            f"frequency prior: {name}", f"1..{size - 1}", f"{int(ids.min())}..{int(ids.max())}"
        )
