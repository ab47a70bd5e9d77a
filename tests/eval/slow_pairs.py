"""Recall of pairs and pair accuracy in nested loops over Python numbers."""

from dataclasses import replace
from math import inf

from tests.eval.slow_recall import close, mean, ranks

CLASSIFYING = ("PredCls", "SGCls")


def pair_ranks(p, t, c):
    """The place of the first proposed pair that is each true pair, infinite where there is none."""
    true_boxes, boxes = t.boxes.tolist(), p.boxes.tolist()
    if c.task in CLASSIFYING:
        boxes = true_boxes
    related = [sum(row) for row in p.predicate_scores.tolist()]
    if p.relatedness is not None:
        related = p.relatedness.tolist()
    order = sorted(range(len(related)), key=lambda m: (-related[m], m))
    places = {(s, o): inf for s, _, o in t.triples.tolist()}
    for s, o in places:
        for i, m in reversed(list(enumerate(order))):
            first, second = p.pairs[m].tolist()
            if close((boxes[first], boxes[second]), (true_boxes[s], true_boxes[o]), c):
                places[s, o] = i
    return list(places.values())


def only_true_pairs(p, t):
    true = [[s, o] for s, _, o in t.triples.tolist()]
    rows = [m for m, pair in enumerate(p.pairs.tolist()) if pair in true]
    return replace(p, pairs=p.pairs[rows], predicate_scores=p.predicate_scores[rows])


def slow_pairs(predictions, truths, c):
    skip = c.images_without_predictions == "skip"
    both = [(p, t) for p, t in zip(predictions, truths) if len(p.pairs) or not skip]
    places = [pair_ranks(p, t, c) for p, t in both]
    given = [ranks(only_true_pairs(p, t), t, c, False) for p, t in both if c.task in CLASSIFYING]
    results = {}
    for kind in c.averages:
        zero = [[], [False]][c.images_without_relations == "zero" and kind == "macro"]
        for k in c.ks:
            hits = [[r < k for r in x] or zero for x in places]
            suffix = "" if kind == c.averages[0] else f"/{kind}"
            results[f"pair R@{k}{suffix}"] = mean(hits, kind)
            if c.task in CLASSIFYING:
                results[f"A@{k}"] = mean([[r < k for r in x] for x in given], "micro")
    return results
