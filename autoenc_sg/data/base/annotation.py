"""Which images of a data set count as annotated: a share that is chosen, or all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.data.base.samples import GraphDataset


def choose_unannotated(image_ids: Sequence[int], fraction: float, seed: int) -> frozenset[int]:
    """The indices of the images that are not annotated.

    Images are ranked by a digest of seed and id, and the first `fraction` of them, rounded, but at
    least one, is annotated: a smaller share is part of a larger one.

    Args:
        image_ids: of the data set.
        fraction: in (0, 1].
        seed: of the choice.
    """
    if fraction >= 1:
        return frozenset()
    rank = sorted(range(len(image_ids)), key=lambda index: _digest(seed, image_ids[index]))
    return frozenset(rank[max(1, round(fraction * len(image_ids))) :])


def _digest(seed: int, image_id: int) -> bytes:
    return hashlib.blake2b(f"annotated/{seed}/{image_id}".encode(), digest_size=8).digest()


def unannotated_rows(dataset: GraphDataset) -> frozenset[int]:
    """The indices of the images whose relations are not annotated.

    They are the attribute `unannotated` of the data sets that have it; of others none.
    """
    rows: frozenset[int] = getattr(dataset, "unannotated", frozenset())
    return rows


def annotated_graphs(dataset: GraphDataset) -> Iterator[SceneGraph]:
    """`annotated` of all images but the unannotated ones."""
    left_out = unannotated_rows(dataset)
    return (dataset.annotated(i) for i in range(len(dataset)) if i not in left_out)


def without_relations(graph: SceneGraph) -> SceneGraph:
    """The graph's objects alone."""
    scores = None if graph.triple_scores is None else graph.triple_scores[:0]
    return replace(graph, triples=graph.triples[:0], triple_scores=scores)
