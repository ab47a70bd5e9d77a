"""The further metrics in nested loops over Python numbers: the reference implementation."""

from itertools import product
from math import inf, nan

from tests.eval.slow_recall import close, iou, ranking


def identities(p, t, c):
    """For each detection the set of the true objects that it is."""
    found, taken = [set() for _ in p.labels], set()
    labels, scores, boxes = p.labels.tolist(), p.scores.tolist(), p.boxes.tolist()
    if c.task in ("PredCls", "SGCls"):
        boxes = t.boxes.tolist()
    if c.task == "PredCls":
        labels, scores = t.labels.tolist(), [1.0] * len(labels)
    for d in sorted(range(len(labels)), key=lambda i: (-scores[i], i)):
        overlaps = [
            (iou(boxes[d], b, int(c.plus_one)), -i)
            for i, b in enumerate(t.boxes.tolist())
            if labels[d] == int(t.labels[i])
        ]
        overlaps = [x for x in overlaps if x[0] >= c.iou_threshold]
        if c.matching == "each":
            found[d] = {-i for _, i in overlaps}
        elif c.task in ("PredCls", "SGCls"):
            found[d] = {d} if labels[d] == int(t.labels[d]) else set()
        else:
            free = [x for x in overlaps if c.matching == "best" or -x[1] not in taken]
            found[d] = {-max(free)[1]} if free else set()
            taken |= found[d]
    return found


def ranked(p, t, c, free):
    """The ranked triplets of an image with their scores, as rows of the prediction."""
    scores = [1.0] * len(p.labels) if c.task == "PredCls" else p.scores.tolist()
    best = {}
    for m, (s, o) in enumerate(p.pairs.tolist()):
        for k, x in enumerate(p.predicate_scores[m].tolist()):
            best.setdefault((s, k + 1, o), scores[s] * scores[o] * x)
    return ranking(p, scores, c, free), best


def matches(p, t, c, triplet, triple, found):
    (s, q, o), (a, r, b) = triplet, triple
    if c.matching == "each":
        labels, boxes = p.labels.tolist(), p.boxes.tolist()
        if c.task in ("PredCls", "SGCls"):
            boxes = t.boxes.tolist()
        labels = t.labels.tolist() if c.task == "PredCls" else labels
        true = [int(t.labels[a]), int(t.labels[b])]
        places = (boxes[s], boxes[o]), (t.boxes[a].tolist(), t.boxes[b].tolist())
        return q == r and [labels[s], labels[o]] == true and close(*places, c)
    return q == r and a in found[s] and b in found[o]


def mean(values):
    values = [v for v in values if v == v]
    return sum(values) / len(values) if values else nan


def slow_further(predictions, truths, c):
    """InstR, PRank, PR, precision, recall and F1 of the first average, and R-rel."""
    rows = {name: [] for name in ("InstR", "R-rel", "PRank")}
    for p, t in zip(predictions, truths):
        triples = [tuple(x) for x in t.triples.tolist()]
        triples = triples if c.matching == "each" else sorted(set(triples))
        if not triples and c.images_without_relations == "skip":
            continue
        if not len(p.pairs) and c.images_without_predictions == "skip":
            continue
        found = identities(p, t, c)
        objects = set().union(*found) if found else set()
        rows["InstR"].append(len(objects) / len(t) if len(t) else nan)
        order, scores = ranked(p, t, c, False)
        hits = [[matches(p, t, c, x, y, found) for y in triples] for x in order]
        of = max(len(triples), 1)
        part = [any(h[i] for h in hits[: len(triples)]) for i in range(len(triples))]
        rows["R-rel"].append(sum(part) / of)
        hits, order = hits[: max(c.ks)], order[: max(c.ks)]
        seen = set()
        right = []
        for h in hits:
            new = {i for i, x in enumerate(h) if x} - (
                seen if c.matching == "one_to_one" else set()
            )
            right.append(bool(new))
            seen |= new
        values = [scores[x] for x in order]
        for threshold in c.thresholds:
            kept = [i for i, x in enumerate(values) if x >= threshold]
            precision = sum(right[i] for i in kept) / len(kept) if kept else nan
            recall = sum(any(hits[i][j] for i in kept) for j in range(len(triples))) / of
            both = (precision if kept else 0) + recall
            f1 = 2 * precision * recall / both if both else 0.0
            names = ("precision", "recall", "F1")
            for name, value in zip(names, (precision, recall, f1)):
                rows.setdefault(f"{name}>={threshold:g}", []).append(value)
        pairs = {(a, b) for a, _, b in triples}
        for k in c.ks:
            got = {
                (a, b)
                for (a, b), (s, _, o) in product(pairs, order[:k])
                if matches(p, t, c, (s, 1, o), (a, 1, b), found)
            }
            rows.setdefault(f"PR@{k}", []).append(len(got) / max(len(pairs), 1))
        rows["PRank"] += predicate_ranks(p, t, c, set(triples), found)
    return {name: mean(values) for name, values in rows.items()}


def predicate_ranks(p, t, c, triples, found):
    """The mean rank of each true predicate of an image."""
    scores = [1.0] * len(p.labels) if c.task == "PredCls" else p.scores.tolist()
    every = []
    for m, (s, o) in enumerate(p.pairs.tolist()):
        for k, x in enumerate(p.predicate_scores[m].tolist()):
            every.append((-(scores[s] * scores[o] * x), m, k + 1, s, o))
    ranks = {}
    for a, q, b in triples:
        order = []
        for *_, k, s, o in sorted(every):
            if a in found[s] and b in found[o] and k not in order:
                order.append(k)
        if order:
            ranks.setdefault(q, []).append(order.index(q) if q in order else inf)
    return [sum(x) / len(x) for x in ranks.values()]
