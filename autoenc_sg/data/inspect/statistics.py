"""Counts of classes, predicates and triples of a data set, and sizes of its graphs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.samples import GraphDataset
from autoenc_sg.visualization.tables import Cell, Table

Triple = tuple[int, int, int]  # classes of subject and object around the predicate
_TRIPLES = 25


@dataclass(frozen=True, eq=False)
class SplitStatistics:
    """The annotated graphs of one split, n images.

    Attributes:
        split: its name.
        objects: `[C]` objects of each class.
        predicates: `[P]` relations of each predicate.
        objects_per_image: `[n]`.
        relations_per_image: `[n]`.
        triples: relations of each (subject class, predicate, object class).
        repeated: relations whose (subject, object) has an earlier relation.
    """

    split: str
    objects: Tensor
    predicates: Tensor
    objects_per_image: Tensor
    relations_per_image: Tensor
    triples: Counter[Triple]
    repeated: int

    @property
    def images(self) -> int:
        """How many."""
        return len(self.objects_per_image)


def count_split(
    dataset: GraphDataset, split: str, advance: Callable[[], object] = lambda: None
) -> SplitStatistics:
    """Count a split's annotated graphs; no image is read.

    Args:
        dataset: the split.
        split: its name.
        advance: called after each graph.
    """
    objects = torch.zeros(dataset.vocabulary.num_objects, dtype=torch.int64)
    predicates = torch.zeros(dataset.vocabulary.num_predicates, dtype=torch.int64)
    sizes, triples, repeated = [], Counter[Triple](), 0
    for index in range(len(dataset)):
        graph = dataset.annotated(index)
        objects += graph.labels.bincount(minlength=len(objects))
        predicates += graph.triples[:, 1].bincount(minlength=len(predicates))
        sizes.append((len(graph), len(graph.triples)))
        repeated += len(graph.triples) - len(graph.triples[:, [0, 2]].unique(dim=0))
        subject, predicate, obj = graph.triples.unbind(1)
        classes = torch.stack([graph.labels[subject], predicate, graph.labels[obj]], 1)
        triples.update((s, p, o) for s, p, o in classes.tolist())
        advance()
    per_image = torch.tensor(sizes, dtype=torch.int64).reshape(-1, 2)
    return SplitStatistics(
        split, objects, predicates, per_image[:, 0], per_image[:, 1], triples, repeated
    )


def overview(splits: Sequence[SplitStatistics]) -> Table:
    """A column for each split."""
    lines: list[tuple[str, Callable[[SplitStatistics], Cell]]] = [
        ("images", lambda s: s.images),
        ("images without relations", lambda s: int((s.relations_per_image == 0).sum())),
        ("objects", lambda s: int(s.objects.sum())),
        ("objects an image", lambda s: _mean(s.objects_per_image)),
        ("relations", lambda s: int(s.predicates.sum())),
        ("relations an image", lambda s: _mean(s.relations_per_image)),
        ("relations that share a pair with another", lambda s: s.repeated),
        ("classes", lambda s: int((s.objects > 0).sum())),
        ("predicates", lambda s: int((s.predicates > 0).sum())),
    ]
    rows: list[list[Cell]] = [[name, *(value(s) for s in splits)] for name, value in lines]
    return Table("Splits", ["", *(s.split for s in splits)], rows)


def class_table(splits: Sequence[SplitStatistics], vocabulary: Vocabulary) -> Table:
    """Objects of each class, the commonest first."""
    return _counts("Classes", "class", vocabulary.objects, splits, [s.objects for s in splits])


def predicate_table(splits: Sequence[SplitStatistics], vocabulary: Vocabulary) -> Table:
    """Relations of each predicate, the commonest first."""
    counts = [s.predicates for s in splits]
    return _counts("Predicates", "predicate", vocabulary.predicates, splits, counts)


def pseudo_tables(graphs: Iterable[SceneGraph], vocabulary: Vocabulary) -> list[Table]:
    """Pseudo-relations by predicate, the commonest first; no table if there are none.

    Args:
        graphs: of the train split, which have scores for pseudo-relations, NaN for others.
        vocabulary: the names.
    """
    counts = torch.zeros(vocabulary.num_predicates, dtype=torch.int64)
    sums = torch.zeros(vocabulary.num_predicates, dtype=torch.float64)
    for graph in graphs:
        if graph.triple_scores is not None:
            is_pseudo = ~graph.triple_scores.isnan()
            predicates = graph.triples[is_pseudo, 1]
            counts += predicates.bincount(minlength=len(counts))
            sums.index_add_(0, predicates, graph.triple_scores[is_pseudo].double())
    order = sorted(counts.nonzero()[:, 0].tolist(), key=lambda i: (-int(counts[i]), i))
    rows: list[list[Cell]] = [
        [vocabulary.predicates[i], int(counts[i]), float(sums[i] / counts[i])] for i in order
    ]
    note = f"{int(counts.sum()):,} of the train split, one of each pair; in no other table"
    columns = ["predicate", "count", "mean score"]
    return [Table("Pseudo-relations", columns, rows, note)] if rows else []


def triple_table(splits: Sequence[SplitStatistics], vocabulary: Vocabulary) -> Table:
    """The commonest triples of all splits."""
    every = sum((s.triples for s in splits), Counter[Triple]())
    total = max(sum(every.values()), 1)
    rows: list[list[Cell]] = [
        [vocabulary.objects[s], vocabulary.predicates[p], vocabulary.objects[o], n, 100 * n / total]
        for (s, p, o), n in sorted(every.items(), key=lambda item: (-item[1], item[0]))[:_TRIPLES]
    ]
    note = f"of {len(every):,} different ones"
    return Table(
        "Commonest triples", ["subject", "predicate", "object", "count", "% of all"], rows, note
    )


def as_json(splits: Sequence[SplitStatistics], vocabulary: Vocabulary) -> dict[str, Any]:
    """All counts as JSON values; classes and predicates by name."""
    return {
        s.split: {
            "images": s.images,
            "objects": dict(zip(vocabulary.objects[1:], s.objects[1:].tolist())),
            "predicates": dict(zip(vocabulary.predicates[1:], s.predicates[1:].tolist())),
            "objects_per_image": s.objects_per_image.bincount().tolist(),
            "relations_per_image": s.relations_per_image.bincount().tolist(),
        }
        for s in splits
    }


def _counts(
    title: str,
    what: str,
    names: Sequence[str],
    splits: Sequence[SplitStatistics],
    counts: Sequence[Tensor],
) -> Table:
    """Rows of the reserved id 0 are left out."""
    table = torch.stack(list(counts), 1)
    total = table.sum(1)
    share = 100 * total.double() / total.sum().clamp(min=1)
    order = sorted(range(1, len(names)), key=lambda i: (-int(total[i]), names[i]))
    rows: list[list[Cell]] = [
        [place, names[i], *table[i].tolist(), float(share[i])]
        for place, i in enumerate(order, start=1)
    ]
    return Table(title, ["", what, *(s.split for s in splits), "% of all"], rows)


def _mean(counts: Tensor) -> float | None:
    return float(counts.double().mean()) if len(counts) else None
