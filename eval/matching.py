"""The rank of each true triple among the predicted triplets; all recalls are computed from it.

The rank of a true triple is the index (from 0) of the first triplet of the ranking with the same
three labels and boxes that overlap enough; R@K counts ranks below K. By default the matching is not
one to one: a triplet may match several true triples (also duplicates), and several triplets the
same one (as in Neural Motifs). With another `matching` the objects of both sides have identities in
place of labels (`further.objects`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autoenc_sg.config.recall import RecallConventions
from autoenc_sg.core.boxes import enclosing_boxes, paired_iou
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.eval.further.objects import distinct_triples, identity_graph
from autoenc_sg.eval.ranking import RankedTriplets, Triplets, triplet_codes

MISSED = torch.iinfo(torch.int64).max


@dataclass(frozen=True, eq=False)
class TrueTriples:
    """The triples of B true graphs, in the form that matching needs.

    Attributes:
        codes: `[T]` int64, `triplet_codes` of the labels.
        boxes: `[T, 2, 4]` float64, subject and object box, xyxy pixels.
        predicates: `[T]` int64, ids >= 1.
        image_index: `[T]` int64, ascending.
        num_images: B.
    """

    codes: Tensor
    boxes: Tensor
    predicates: Tensor
    image_index: Tensor
    num_images: int


@dataclass(frozen=True, eq=False)
class Matches:
    """The ranks of all true triples of a batch, `MISSED` if not in the ranking.

    Attributes:
        ranks: `[T]` int64, under graph constraint.
        ng_ranks: `[T]` int64, without it.
        truth: the triples.
        has_pairs: `[B]` bool, the image has a candidate pair.
    """

    ranks: Tensor
    ng_ranks: Tensor
    truth: TrueTriples
    has_pairs: Tensor


def true_triples(truths: Sequence[SceneGraph], device: torch.device | str) -> TrueTriples:
    """Gather the triples of one or more graphs on a device."""
    batch = SceneGraphBatch.collate(truths).to(device)
    ends, predicates = batch.triples[:, [0, 2]], batch.triples[:, 1]
    labels = batch.labels[ends]
    return TrueTriples(
        triplet_codes(labels[:, 0], predicates, labels[:, 1]),
        batch.boxes.double()[ends],
        predicates,
        batch.triple_image_index,
        len(truths),
    )


def match(
    ranked: RankedTriplets, truths: Sequence[SceneGraph], conventions: RecallConventions
) -> Matches:
    """The rank of every true triple, under graph constraint and without.

    Args:
        ranked: from `rank_triplets`, of the same images in the same order.
        truths: one or more graphs.
        conventions: `task`, `iou_threshold` and `plus_one` are used.

    Raises:
        InputError: the numbers of images differ.
    """
    if len(ranked) != len(truths):
        raise bad_input("predictions", f"one for each of {len(truths)} graphs", len(ranked))
    device = ranked.has_pairs.device
    if conventions.matching != "each":
        truths = [distinct_triples(truth) for truth in truths]
    truth = true_triples(truths, device)
    comparable = truth
    if conventions.matching != "each":
        comparable = true_triples([identity_graph(t) for t in truths], device)
    return Matches(
        triple_ranks(ranked.constrained, comparable, conventions),
        triple_ranks(ranked.unconstrained, comparable, conventions),
        truth,
        ranked.has_pairs,
    )


def triple_ranks(triplets: Triplets, truth: TrueTriples, conventions: RecallConventions) -> Tensor:
    """The rank of every true triple, `MISSED` if it has none: `[T]` int64."""
    rows, places = matching_triplets(triplets, truth, conventions)
    ranks = torch.full_like(truth.codes, MISSED)
    return ranks.scatter_reduce(0, rows, places, "amin")


def matching_triplets(
    triplets: Triplets, truth: TrueTriples, conventions: RecallConventions
) -> tuple[Tensor, Tensor]:
    """All matches: rows of the true triples, and places of the triplets in their image's order."""
    same = triplets.codes[truth.image_index] == truth.codes[:, None]
    rows, places = same.nonzero(as_tuple=True)  # few: only their boxes are compared
    boxes = triplets.boxes[truth.image_index[rows], places]
    matched = _overlap(boxes, truth.boxes[rows], conventions) >= conventions.iou_threshold
    return rows[matched], places[matched]


def _overlap(first: Tensor, second: Tensor, conventions: RecallConventions) -> Tensor:
    """IoU of the union boxes (PhrDet), or the lesser of the two IoUs: `[R, 2, 4] x 2 -> [R]`."""
    if conventions.task == "PhrDet":
        first, second = (enclosing_boxes(boxes[:, 0], boxes[:, 1]) for boxes in (first, second))
        return paired_iou(first, second, conventions.plus_one)
    return paired_iou(first, second, conventions.plus_one).amin(1)
