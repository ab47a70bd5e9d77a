"""The best triplets of each image, in order, for recall at K.

A triplet's score is subject score x object score x predicate score (no renormalization). Only the
first K triplets of an image count, and these are among those of its K best pairs:

- the best triplet of a pair is that of its best predicate (rounding keeps the order), so the
  ranking under graph constraint needs only the largest predicate score of each pair;
- the K best of all (pair, predicate) are of the K pairs with the best triplet, as each of these
  pairs has a triplet that precedes all triplets of any other pair.

Ties are broken by the order of `GraphPrediction.pairs`, then by the lower predicate id (Motifs uses
an unstable `argsort` of the negative scores). Scores are multiplied in double precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from autoenc_sg.config.recall import Task
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction

_CHUNK = 32  # images ranked at a time, whose padded scores fit the cache
_LABEL_BITS = 21
_LARGEST = torch.finfo(torch.float32).max  # products of three stay finite in double precision


@dataclass(frozen=True, eq=False)
class Triplets:
    """Triplets of B images, best first, `K` a row.

    Attributes:
        codes: `[B, K]` int64, `triplet_codes` of the labels; -1 after an image's last triplet.
        boxes: `[B, K, 2, 4]` float64, subject and object box, xyxy pixels.
        scores: `[B, K]` float64, -inf after the last triplet.
    """

    codes: Tensor
    boxes: Tensor
    scores: Tensor


@dataclass(frozen=True, eq=False)
class RankedTriplets:
    """The ranking of B images under graph constraint and without.

    Attributes:
        constrained: one predicate of each ordered pair, the best.
        unconstrained: any number of predicates of a pair.
        has_pairs: `[B]` bool, the image has a candidate pair.
        depth: triplets ranked per image at most; R@K needs K <= depth.
    """

    constrained: Triplets
    unconstrained: Triplets
    has_pairs: Tensor
    depth: int

    def __len__(self) -> int:
        return len(self.has_pairs)


def triplet_codes(subjects: Tensor, predicates: Tensor, objects: Tensor) -> Tensor:
    """One int64 for (subject label, predicate, object label), each in 0 .. 2^21 - 1."""
    return (subjects << 2 * _LABEL_BITS) | (predicates << _LABEL_BITS) | objects


def rank_triplets(
    predictions: Sequence[GraphPrediction],
    depth: int = 100,
    ng_limit: int | None = 100,
    ng_predicates_per_pair: int | None = None,
    order: Literal["score", "given"] = "score",
) -> RankedTriplets:
    """Rank the candidate triplets of each image.

    Args:
        predictions: one or more, of images in any number and size.
        depth: triplets per image under graph constraint, and without it if `ng_limit` is larger.
        ng_limit: triplets per image without graph constraint (Motifs: 100); None: `depth`.
        ng_predicates_per_pair: best predicates of each pair that compete there; None: all.
        order: under graph constraint, sort by score or keep the order of the pairs.

    Raises:
        InputError: a score that is not finite or beyond float32, a negative object score, a pair
            out of range, or predictions with different numbers of predicates.
    """
    if not predictions:
        raise bad_input("predictions", "one or more", 0)
    width = min(depth, ng_limit or depth)
    parts = []
    for start in range(0, len(predictions), _CHUNK):
        chunk = predictions[start : start + _CHUNK]
        check_predictions(chunk, start)
        parts.append(_rank_chunk(chunk, depth, width, ng_predicates_per_pair, order))
    return RankedTriplets(
        _join([constrained for constrained, _ in parts]),
        _join([unconstrained for _, unconstrained in parts]),
        torch.tensor([len(p.pairs) > 0 for p in predictions], device=predictions[0].pairs.device),
        depth,
    )


def with_true_objects(
    prediction: GraphPrediction, truth: SceneGraph, task: Task
) -> GraphPrediction:
    """The prediction with the true boxes (SGCls), also the true labels (PredCls) that a task gives.

    Object rows of the prediction are then those of the truth. True pairs are not given in any task.

    Raises:
        InputError: prediction and truth have different numbers of objects.
    """
    if task in ("SGGen", "PhrDet"):
        return prediction
    if len(prediction.labels) != len(truth):
        raise bad_input(f"{task}: objects of a prediction", str(len(truth)), len(prediction.labels))
    boxes = truth.boxes.to(prediction.scores.device)
    if task == "SGCls":
        return replace(prediction, boxes=boxes)
    labels = truth.labels.to(boxes.device)
    return replace(
        prediction, boxes=boxes, labels=labels, scores=torch.ones_like(prediction.scores)
    )


def check_predictions(predictions: Sequence[GraphPrediction], first: int = 0) -> None:
    """Refuse predictions that cannot be ranked; `first`: index of the first one, for messages.

    Raises:
        InputError: see `rank_triplets`.
    """
    widths = {p.predicate_scores.shape[1] for p in predictions}
    if len(widths) > 1:
        raise bad_input("predicate scores", "one number of predicates", sorted(widths))
    # A sum is finite only if all its terms are: one cheap pass over each matrix; only predictions
    # with a suspicious sum are checked in full.
    totals = torch.stack([_total(p.predicate_scores) for p in predictions])
    totals += torch.stack([_total(p.scores) + _total(p.boxes) for p in predictions])
    totals += torch.stack([_total(_related(p)) for p in predictions])
    valid = totals.abs() <= _LARGEST
    valid &= torch.stack([_indices_valid(p) for p in predictions])
    for index in (~valid).nonzero().flatten().tolist():
        error = _error_of(predictions[index], f"prediction {first + index}")
        if error is not None:
            raise error


def _related(prediction: GraphPrediction) -> Tensor:
    return prediction.scores[:0] if prediction.relatedness is None else prediction.relatedness


def _total(values: Tensor) -> Tensor:
    return values.sum(dtype=torch.promote_types(values.dtype, torch.float32)).double()


def _indices_valid(prediction: GraphPrediction) -> Tensor:
    pairs, labels = prediction.pairs, prediction.labels
    last = len(labels) - 1
    inside = ((pairs >= 0) & (pairs <= last)).all()
    return inside & (prediction.scores >= 0).all() & (labels >> _LABEL_BITS == 0).all()


def _error_of(prediction: GraphPrediction, name: str) -> InputError | None:
    """An error that names the first invalid value of a prediction, or None."""
    for part in ("predicate_scores", "scores", "boxes", "relatedness"):
        values = _related(prediction) if part == "relatedness" else getattr(prediction, part)
        wrong = ~(values.abs() <= _LARGEST)  # also NaN
        if bool(wrong.any()):
            expected = f"finite numbers of at most {_LARGEST:.2g}"
            return bad_input(f"{name}: {part}", expected, values[wrong][0].item())
    if bool((prediction.scores < 0).any()):
        return bad_input(f"{name}: scores", "numbers >= 0", prediction.scores.min().item())
    rows = len(prediction.labels)
    if bool(((prediction.pairs < 0) | (prediction.pairs >= rows)).any()):
        got = [int(prediction.pairs.min()), int(prediction.pairs.max())]
        return bad_input(f"{name}: pairs", f"object rows 0..{rows - 1}", got)
    if bool((prediction.labels >> _LABEL_BITS != 0).any()):
        got = [int(prediction.labels.min()), int(prediction.labels.max())]
        return bad_input(f"{name}: labels", f"0..{2**_LABEL_BITS - 1}", got)
    return None


class _Candidates(NamedTuple):
    """Selected pairs of B images, K a row; entries after an image's last pair have score -inf.

    `labels [B, K, 2]`, `boxes [B, K, 2, 4]`, `objects [B, K]` the product of the two object scores,
    `predicates [B, K, P - 1]` float64, `scores [B, K]` of the pair's best triplet.
    """

    labels: Tensor
    boxes: Tensor
    objects: Tensor
    predicates: Tensor
    scores: Tensor


def _rank_chunk(
    predictions: Sequence[GraphPrediction],
    depth: int,
    width: int,
    per_pair: int | None,
    order: Literal["score", "given"],
) -> tuple[Triplets, Triplets]:
    scores = _pair_scores(predictions)
    best = _candidates(predictions, scores, _best_columns(scores, depth))
    if order == "score":
        rows = best.scores.argsort(dim=1, descending=True, stable=True)
        constrained = _constrained(best, rows)
    else:
        first = torch.arange(min(depth, scores.shape[1]), device=scores.device)
        first = first.expand(len(scores), -1)
        constrained = _constrained(_candidates(predictions, scores, first), first)
    return constrained, _unconstrained(best, width, per_pair)


def _candidates(
    predictions: Sequence[GraphPrediction], scores: Tensor, columns: Tensor
) -> _Candidates:
    pairs, predicates = _select(predictions, columns)
    return _Candidates(*_ends(predictions, pairs), predicates, scores.gather(1, columns))


def _constrained(best: _Candidates, rows: Tensor) -> Triplets:
    """The best predicate of each pair, in the order of `rows [B, K]`."""
    codes = _codes(best.labels, best.predicates.argmax(2) + 1, best.scores)
    boxes, scores = _take_rows(best.boxes, rows), best.scores.gather(1, rows)
    return Triplets(codes.gather(1, rows), boxes, scores)


def _unconstrained(best: _Candidates, width: int, per_pair: int | None) -> Triplets:
    """The `width` best of all (pair, predicate)."""
    out = (best.scores == -torch.inf)[:, :, None]
    if per_pair is not None:
        out = out | ~_among_best(best.predicates, per_pair)
    scores = best.objects[:, :, None] * best.predicates
    scores = scores.masked_fill(out, -torch.inf).flatten(1)
    flat = _best_columns(scores, width)
    chosen = scores.gather(1, flat)
    order = chosen.argsort(dim=1, descending=True, stable=True)
    flat, chosen = flat.gather(1, order), chosen.gather(1, order)
    rows, predicate = flat // best.predicates.shape[2], flat % best.predicates.shape[2] + 1
    codes = _codes(_take_rows(best.labels, rows), predicate, chosen)
    return Triplets(codes, _take_rows(best.boxes, rows), chosen)


def _pair_scores(predictions: Sequence[GraphPrediction]) -> Tensor:
    """Score of each pair's best triplet, -inf after an image's last pair: `[B, most pairs]`."""
    most = max(len(p.pairs) for p in predictions)
    shape = (len(predictions), most)
    scores = predictions[0].scores.new_full(shape, -torch.inf, dtype=torch.float64)
    for row, p in zip(scores, predictions):
        objects = p.scores.double()
        subjects, others = objects[p.pairs[:, 0]], objects[p.pairs[:, 1]]
        row[: len(p.pairs)] = subjects * others * p.predicate_scores.amax(1)
    return scores


def _best_columns(scores: Tensor, count: int) -> Tensor:
    """Columns of the `count` largest of each row, ascending; of equals the lower columns.

    Shapes: `[B, L] -> [B, min(count, L)]`. `topk` alone does not define which of equals it takes.
    """
    count = min(count, scores.shape[1])
    if count == 0:
        return scores.new_zeros(len(scores), 0, dtype=torch.int64)
    least = scores.topk(count, dim=1).values[:, -1:]
    above, tied = scores > least, scores == least
    num_tied = count - above.sum(1, keepdim=True)
    selected = above | (tied & (tied.cumsum(1) <= num_tied))
    return selected.nonzero()[:, 1].reshape(len(scores), count)


def _select(predictions: Sequence[GraphPrediction], columns: Tensor) -> tuple[Tensor, Tensor]:
    """The selected pairs, object rows over all images, and their predicate scores (float64).

    Shapes: `columns [B, K] -> [B, K, 2], [B, K, P - 1]`; both 0 after an image's last pair, which
    is at the end of its ascending columns.
    """
    shape = (*columns.shape, predictions[0].predicate_scores.shape[1])
    pairs = columns.new_zeros(*columns.shape, 2)
    predicates = columns.new_zeros(shape, dtype=torch.float64)
    start = 0
    for i, p in enumerate(predictions):
        count = min(len(p.pairs), columns.shape[1])
        rows = columns[i, :count]
        pairs[i, :count] = p.pairs[rows] + start
        predicates[i, :count] = p.predicate_scores[rows]
        start += len(p.labels)
    return pairs, predicates


def _ends(predictions: Sequence[GraphPrediction], pairs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Labels `[B, K, 2]`, boxes `[B, K, 2, 4]` and product of the scores `[B, K]` of the pairs."""
    labels = torch.cat([p.labels for p in predictions])
    boxes = torch.cat([p.boxes for p in predictions]).double()
    scores = torch.cat([p.scores for p in predictions]).double()
    return labels[pairs], boxes[pairs], scores[pairs[..., 0]] * scores[pairs[..., 1]]


def _among_best(predicates: Tensor, count: int) -> Tensor:
    """Whether a predicate is one of the `count` best of its pair: `[B, K, P - 1]` bool."""
    flat = predicates.flatten(0, 1)
    none = torch.zeros_like(flat, dtype=torch.bool)
    return none.scatter(1, _best_columns(flat, count), True).reshape(predicates.shape)


def _codes(labels: Tensor, predicates: Tensor, scores: Tensor) -> Tensor:
    codes = triplet_codes(labels[..., 0], predicates, labels[..., 1])
    return codes.masked_fill(scores == -torch.inf, -1)


def _take_rows(values: Tensor, rows: Tensor) -> Tensor:
    """`values [B, K, ...]` at `rows [B, J]` of each image: `[B, J, ...]`."""
    return values[torch.arange(len(rows), device=rows.device)[:, None], rows]


def _pad(triplets: Triplets, width: int) -> Triplets:
    """The triplets padded to `width` a row."""
    missing = width - triplets.codes.shape[1]
    codes = torch.nn.functional.pad(triplets.codes, (0, missing), value=-1)
    boxes = torch.nn.functional.pad(triplets.boxes, (0, 0, 0, 0, 0, missing))
    scores = torch.nn.functional.pad(triplets.scores, (0, missing), value=-torch.inf)
    return Triplets(codes, boxes, scores)


def _join(parts: Sequence[Triplets]) -> Triplets:
    """The parts concatenated, padded to the width of the widest."""
    width = max(part.codes.shape[1] for part in parts)
    padded = [_pad(part, width) for part in parts]
    return Triplets(*(torch.cat([getattr(p, f.name) for p in padded]) for f in fields(Triplets)))
