"""Triplet recall in nested loops over Python numbers: the reference implementation."""

from itertools import chain, product
from math import inf, nan


def iou(a, b, one):
    width = max(min(a[2], b[2]) - max(a[0], b[0]) + one, 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]) + one, 0)
    area_a, area_b = ((x[2] - x[0] + one) * (x[3] - x[1] + one) for x in (a, b))
    union = area_a + area_b - width * height
    return width * height / union if union > 0 else 0.0


def close(pred, true, c):  # two boxes each: subject's and object's
    if c.task == "PhrDet":
        pred, true = ([[*map(min, s[:2], o[:2]), *map(max, s[2:], o[2:])]] for s, o in (pred, true))
    return all(iou(a, b, int(c.plus_one)) >= c.iou_threshold for a, b in zip(pred, true))


def ranking(p, scores, c, free):
    """(subject, predicate, object) rows of the prediction, best first."""
    triplets = []
    for m, (s, o) in enumerate(p.pairs.tolist()):
        row = p.predicate_scores[m].tolist()
        best = sorted(range(len(row)), key=lambda k: (-row[k], k))
        for k in best[: c.ng_predicates_per_pair] if free else best[:1]:
            triplets.append((-(scores[s] * scores[o] * row[k]), m, k, (s, k + 1, o)))
    triplets = triplets if c.order == "given" and not free else sorted(triplets)
    return [triple for *_, triple in triplets][: c.ng_per_image_limit if free else None]


def ranks(p, t, c, free):
    """The place of the first triplet that is each true triple, infinite where there is none."""
    labels, scores, boxes = p.labels.tolist(), p.scores.tolist(), p.boxes.tolist()
    true_labels, true_boxes, places = t.labels.tolist(), t.boxes.tolist(), []
    boxes = true_boxes if c.task in ("PredCls", "SGCls") else boxes
    if c.task == "PredCls":
        labels, scores = true_labels, [1.0] * len(true_labels)
    ranked = ranking(p, scores, c, free)
    for ts, tq, to in t.triples.tolist():
        places.append(inf)
        for i, (s, q, o) in reversed(list(enumerate(ranked))):
            same = (labels[s], q, labels[o]) == (true_labels[ts], tq, true_labels[to])
            if same and close((boxes[s], boxes[o]), (true_boxes[ts], true_boxes[to]), c):
                places[-1] = i
    return places


def mean(hits, kind):  # of lists of hits, one an image; images without an entry do not count
    each = [sum(x) / len(x) for x in ([[*chain(*hits)]] if kind == "micro" else hits) if x]
    return sum(each) / len(each) if each else nan


def slow_recall(predictions, truths, num_predicates, c, seen, groups):
    skip, every = c.images_without_predictions == "skip", range(1, num_predicates)
    both = [(p, t) for p, t in zip(predictions, truths) if len(p.pairs) or not skip]
    graphs = [(t.labels.tolist(), t.triples.tolist()) for _, t in both]
    names = [[(x[s], q, x[o]) for s, q, o in triples] for x, triples in graphs]
    ranks_by_constraint, results = (
        {n: [ranks(p, t, c, n == "ng") for p, t in both] for n in ("", "ng")},
        {},
    )
    for kind, k, ng in product(c.averages, c.ks, ("", "ng")):
        end, dash = f"@{k}" + ("" if kind == c.averages[0] else f"/{kind}"), ng and "ng-"
        hits = [[r < k for r in x] for x in ranks_by_constraint[ng]]
        zero = [[], [False]][c.images_without_relations == "zero" and kind == "macro"]
        rows = list(zip(hits, names))
        each = [mean([[h for h, n in zip(*x) if n[1] == q] for x in rows], kind) for q in every]
        results[f"{ng}R{end} per predicate"] = each
        results[f"{ng}R{end}"] = r = mean([x or zero for x in hits], kind)
        new = [[h for h, n in zip(*x) if n not in seen] for x in rows]
        results[f"{dash}zR{end}"] = mean(new, kind)
        for group, ids in {**groups, "": every}.items():
            x = [each[i - 1] for i in ids if each[i - 1] == each[i - 1]]
            zeros = c.absent_predicates == "zero" and any(e == e for e in each)
            m = sum(x) / (len(ids) if zeros else len(x)) if x or zeros else nan
            results[f"{group}{dash}mR{end}"] = m
        results[f"{dash}F1{end}"] = 2 * r * m / (r + m) if r + m else 0.0
    return results
