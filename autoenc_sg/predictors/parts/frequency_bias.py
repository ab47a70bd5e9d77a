"""The frequency bias (Zellers et al. 2018, Neural Motifs): predicates by the labels alone.

    bias[s, o, p] = log( n(s, o, p) / sum_p n(s, o, p) + 1e-3 )

n(s, o, p) is the number of training triples with subject label s, predicate p and object label o;
a triple that was proposed, not annotated, counts as much as its score says (ours).
Predicate 0, no relation, counts pairs of objects, plus 1; Motifs counts the ordered pairs whose
boxes overlap (IoU > 0, a pixel being added to sides), also related ones.

Deviation: if no boxes of an image overlap, Motifs counts all of its pairs, this none.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from autoenc_sg.core.boxes import paired_iou
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.scene_graph import SceneGraph

_EPSILON = 1e-3


class FrequencyBias(nn.Module):
    """The bias as a table that is trained on, zero (no opinion) until `fit`.

    Args:
        num_classes, num_predicates: C and P with the reserved 0.

    Shapes: `labels [N], pairs [M, 2] -> [M, P]`.
    """

    def __init__(self, num_classes: int, num_predicates: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.table = nn.Embedding(num_classes**2, num_predicates)
        nn.init.zeros_(self.table.weight)

    @torch.no_grad()
    def fit(self, counts: Tensor) -> None:
        """Take the bias of counts `[C, C, P]` of training triples (`count_predicates`)."""
        self.table.weight.copy_(log_prior(counts).flatten(0, 1))

    def forward(self, labels: Tensor, pairs: Tensor) -> Tensor:
        """The bias of each pair's labels."""
        ends = labels[pairs]
        bias: Tensor = self.table(ends[:, 0] * self.num_classes + ends[:, 1])
        return bias

    def expected(self, classes: Tensor, pairs: Tensor) -> Tensor:
        """The bias of labels that are only known as distributions `[N, C]`: its mean, `[M, P]`."""
        table = self.table.weight.reshape(self.num_classes, self.num_classes, -1)
        by_object = torch.einsum("mo,sop->msp", classes[pairs[:, 1]], table)
        return torch.einsum("ms,msp->mp", classes[pairs[:, 0]], by_object)


def log_prior(counts: Tensor) -> Tensor:
    """The bias of counts `[C, C, P]`, none of which sums to 0: the same shape, float32."""
    share = counts.double() / counts.sum(2, keepdim=True)
    return (share + _EPSILON).log().float()


def count_predicates(
    graphs: Iterable[SceneGraph],
    num_classes: int,
    num_predicates: int,
    overlapping_only: bool,
    count_related: bool,
) -> Tensor:
    """How often each predicate stands between two labels: `[C, C, P]` float64.

    Args:
        graphs: with all triples; of `triple_scores` those that are not NaN weigh their triples.
        num_classes: C with the reserved 0.
        num_predicates: P with the reserved 0.
        overlapping_only: a pair that counts for predicate 0 must overlap.
        count_related: pairs with a relation count for predicate 0, too.

    Raises:
        InputError: a label or predicate is out of range.
    """
    counts = torch.zeros(num_classes, num_classes, num_predicates, dtype=torch.float64)
    counts[:, :, 0] = 1
    for graph in graphs:
        _add(counts, graph.to("cpu"), overlapping_only, count_related)
    return counts


def _add(counts: Tensor, graph: SceneGraph, overlapping_only: bool, count_related: bool) -> None:
    """Add a graph's triples and background pairs to `counts`."""
    check_ids("labels", graph.labels, len(counts))
    check_ids("predicates", graph.triples[:, 1], counts.shape[2])
    subjects, predicates, objects = graph.triples.unbind(1)
    one = torch.ones(1, dtype=torch.float64)
    scores = graph.triple_scores
    weights = one if scores is None else scores.double().nan_to_num(nan=1.0)
    ends = (graph.labels[subjects], graph.labels[objects])
    counts.index_put_((*ends, predicates), weights, accumulate=True)

    pairs = ordered_pairs(len(graph), graph.labels.device)
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


def ordered_pairs(count: int, device: torch.device) -> Tensor:
    """All (i, j), i != j, row by row: `[N (N - 1), 2]`."""
    return (~torch.eye(count, dtype=torch.bool, device=device)).nonzero()


def check_ids(name: str, ids: Tensor, size: int) -> None:
    """Raise InputError unless all ids are in 1..size - 1."""
    if ids.numel() and not 0 < int(ids.min()) <= int(ids.max()) < size:
        raise bad_input(
            f"frequency prior: {name}", f"1..{size - 1}", f"{int(ids.min())}..{int(ids.max())}"
        )
