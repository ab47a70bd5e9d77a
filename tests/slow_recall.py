"""Triplet recall in nested loops over Python numbers: slow, obvious, the judge of the fast one."""

from __future__ import annotations

import itertools

from autoenc_sg.eval import RecallConventions


def iou(a, b, one):
    width = min(a[2], b[2]) - max(a[0], b[0]) + one
    height = min(a[3], b[3]) - max(a[1], b[1]) + one
    inter = max(width, 0) * max(height, 0)
    area_a, area_b = ((x[2] - x[0] + one) * (x[3] - x[1] + one) for x in (a, b))
    union = area_a + area_b - inter
    return inter / union if union > 0 else 0.0


def overlap(pred, true, task, one):
    if task == "PhrDet":
        first, second = (
            [*map(min, s[:2], o[:2]), *map(max, s[2:], o[2:])] for s, o in (pred, true)
        )
        return iou(first, second, one)
    return min(iou(pred[0], true[0], one), iou(pred[1], true[1], one))


def ranking(p, scores, c: RecallConventions, free: bool):
    """(subject, predicate, object) rows of the prediction, best first."""
    found = []
    for m, (s, o) in enumerate(p.pairs.tolist()):
        row = p.predicate_scores[m].tolist()
        best = sorted(range(len(row)), key=lambda k: (-row[k], k))
        kept = best[: c.ng_predicates_per_pair] if free else best[:1]
        found += [(-(scores[s] * scores[o] * row[k]), m, k, (s, k + 1, o)) for k in kept]
    ordered = [triple for *_, triple in sorted(found)]
    return ordered[: c.ng_per_image_limit] if free else ordered


def hits(p, t, c: RecallConventions, free: bool, k: int):
    """For each true triple, whether one of the first k triplets is it."""
    labels, scores, boxes = p.labels.tolist(), p.scores.tolist(), p.boxes.tolist()
    true_labels, true_boxes = t.labels.tolist(), t.boxes.tolist()
    if c.task in ("PredCls", "SGCls"):
        boxes = true_boxes
    if c.task == "PredCls":
        labels, scores = true_labels, [1.0] * len(true_labels)
    result, ranked = [], ranking(p, scores, c, free)
    for ts, tp, to in t.triples.tolist():
        hit = False
        for s, q, o in ranked[:k]:
            if (labels[s], q, labels[o]) == (true_labels[ts], tp, true_labels[to]):
                pair, true = (boxes[s], boxes[o]), (true_boxes[ts], true_boxes[to])
                hit = hit or overlap(pair, true, c.task, int(c.plus_one)) >= c.iou_threshold
        result.append(hit)
    return result


def average(per_image, kind):
    """Mean recall of lists of hits, one list an image; images without an entry do not count."""
    lists = [x for x in per_image if x]
    if kind == "micro":
        lists = [[hit for x in lists for hit in x]] if lists else []
    return sum(sum(x) / len(x) for x in lists) / len(lists) if lists else float("nan")


def slow_recall(predictions, truths, num_predicates, c: RecallConventions, seen):
    images = list(zip(predictions, truths))
    if c.images_without_predictions == "skip":
        images = [(p, t) for p, t in images if len(p.pairs)]
    labels = [
        [(t.labels[s].item(), p, t.labels[o].item()) for s, p, o in t.triples.tolist()]
        for _, t in images
    ]
    results = {}
    for kind, free, k in itertools.product(c.averages, (False, True), c.ks):
        end = f"@{k}" + ("" if kind == c.averages[0] else f"/{kind}")
        found = [hits(p, t, c, free, k) for p, t in images]

        def recall_of(wanted, found=found, kind=kind):
            some = [[h for h, x in zip(*rows) if wanted(x)] for rows in zip(found, labels)]
            return average(some, kind)

        padded = c.images_without_relations == "zero" and kind == "macro"
        r = average([x or [False] for x in found] if padded else found, kind)
        each = [recall_of(lambda x, p=p: x[1] == p) for p in range(1, num_predicates)]
        present = [x for x in each if x == x]
        count = len(each) if c.absent_predicates == "zero" else len(present)
        mean = sum(present) / count if present else float("nan")
        ng, dash = ("ng", "ng-") if free else ("", "")
        results[f"{ng}R{end}"] = r
        results[f"{ng}R{end} per predicate"] = each
        results[f"{dash}mR{end}"] = mean
        results[f"{dash}F1{end}"] = 2 * r * mean / (r + mean) if r + mean else 0.0
        results[f"{dash}zR{end}"] = recall_of(lambda x: x not in seen)
    return results
