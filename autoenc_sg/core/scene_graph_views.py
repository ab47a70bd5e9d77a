"""A scene graph as text, as a networkx graph, as a table, and with the ids of other names."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd


def as_text(graph: SceneGraph) -> str:
    """A line an object and a line a relation: `dog on grass`.

    Objects whose class others share have their row beside the name: `person 0 near person 2`.
    """
    height, width = graph.image_size
    counts = f"{_count(len(graph), 'object')}, {_count(len(graph.triples), 'relation')}"
    lines = [f"scene graph of a {width} x {height} image (width x height): {counts}"]
    names, titles = graph.objects, _titles(graph.objects)
    longest = max(map(len, names), default=0)
    scores = _scores(graph.object_scores, len(graph))
    for i, (name, box, score) in enumerate(zip(names, graph.boxes.tolist(), scores)):
        corners = ", ".join(_pixels(value) for value in box)
        lines.append(f"  {i:>{len(str(len(names)))}} {name:<{longest}}  ({corners}){_shown(score)}")
    for relation, score in zip(graph.relations, _scores(graph.triple_scores, len(graph.triples))):
        ends = titles[relation.subject], titles[relation.object]
        lines.append(f"  {ends[0]} {relation.predicate} {ends[1]}{_shown(score)}")
    return "\n".join(lines)


def as_networkx(graph: SceneGraph) -> nx.MultiDiGraph:
    """See `SceneGraph.to_networkx`."""
    import networkx as nx

    result = nx.MultiDiGraph(image_size=graph.image_size)
    scores = _scores(graph.object_scores, len(graph))
    columns = zip(graph.objects, graph.labels.tolist(), graph.boxes.tolist(), scores)
    for i, (name, label, box, score) in enumerate(columns):
        result.add_node(i, name=name, label=label, box=tuple(box), score=score)
    triple_scores = _scores(graph.triple_scores, len(graph.triples))
    for relation, triple, score in zip(graph.relations, graph.triples.tolist(), triple_scores):
        ends, predicate = (relation.subject, relation.object), relation.predicate
        result.add_edge(*ends, predicate, predicate=predicate, label=triple[1], score=score)
    return result


def as_dataframe(graph: SceneGraph) -> pd.DataFrame:
    """See `SceneGraph.to_dataframe`.

    Raises:
        InputError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise bad_input("to_dataframe", "pandas (pip install pandas)", "none installed") from error
    names, boxes = graph.objects, graph.boxes.tolist()
    scores = _scores(graph.object_scores, len(graph))
    rows: list[dict[str, Any]] = []
    for (s, predicate, o), score in zip(
        graph.relations, _scores(graph.triple_scores, len(graph.triples))
    ):
        row: dict[str, Any] = {"subject": names[s], "predicate": predicate, "object": names[o]}
        row |= {"score": score, "subject_row": s, "object_row": o}
        row |= {"subject_score": scores[s], "object_score": scores[o]}
        row |= {"subject_box": tuple(boxes[s]), "object_box": tuple(boxes[o])}
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


COLUMNS = [
    "subject",
    "predicate",
    "object",
    "score",
    "subject_row",
    "object_row",
    "subject_score",
    "object_score",
    "subject_box",
    "object_box",
]


def translate(graph: SceneGraph, vocabulary: Vocabulary) -> SceneGraph:
    """The graph with the ids that its names have in another vocabulary.

    A graph without a vocabulary of its own keeps its ids. Ignored regions are left out.

    Raises:
        InputError: a name is unknown there; the message has the nearest known ones.
    """
    if graph.vocabulary is None or graph.vocabulary == vocabulary:
        return graph
    labels = [vocabulary.object_id(name) for name in graph.objects]
    triples = [(s, vocabulary.predicate_id(name), o) for s, name, o in graph.relations]
    return replace(
        graph,
        labels=graph.labels.new_tensor(labels),
        triples=graph.triples.new_tensor(triples).reshape(-1, 3),
        vocabulary=vocabulary,
        ignored=None,
    )


def _titles(names: tuple[str, ...]) -> list[str]:
    """Names; with the row where several objects share one."""
    shared = Counter(names)
    return [name if shared[name] == 1 else f"{name} {i}" for i, name in enumerate(names)]


def _scores(values: Tensor | None, count: int) -> list[float | None]:
    """Scores as numbers, None for those that are unknown (NaN)."""
    if values is None:
        return [None] * count
    return [None if math.isnan(value) else value for value in values.tolist()]


def _pixels(value: float) -> str:
    """Four digits, all of those before the point."""
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"


def _shown(score: float | None) -> str:
    return "" if score is None else f"  {score:.2f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
