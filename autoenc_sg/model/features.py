"""Vectors of a photo's objects, of its relations and of the whole, for users' own models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.model.parsing import ParsedBatch


@dataclass(frozen=True, eq=False)
class PhotoFeatures:
    """A photo's graph and the predictor's vectors after message passing, float32 on the CPU.

    Attributes:
        graph: what `parse` gives.
        objects: `[N, D]`, a row an object of the graph.
        relations: `[M, D]`, a row a relation of the graph: its pair's subgraph map, averaged.
        whole: `[2 D]`, the means of both, zeros where there are none.
    """

    graph: SceneGraph
    objects: Tensor
    relations: Tensor
    whole: Tensor


def features_of(parsed: ParsedBatch) -> Iterator[PhotoFeatures]:
    """The features of each image of a batch.

    Raises:
        InputError: the model's predictor has no such vectors.
    """
    logits, objects, pairs = parsed.logits, parsed.objects, parsed.pairs
    if logits.object_vectors is None or logits.pair_vectors is None:
        raise bad_input("features", "a predictor with vectors of objects and pairs", "one without")
    object_rows = logits.object_vectors[objects].float().cpu()
    pair_rows = logits.pair_vectors[pairs].float().cpu()
    graphs = parsed.graphs()
    parts = zip(
        graphs,
        object_rows.split([len(graph) for graph in graphs]),
        pair_rows.split([len(graph.triples) for graph in graphs]),
    )
    for graph, of_objects, of_pairs in parts:
        whole = torch.cat([_mean(of_objects), _mean(of_pairs)])
        yield PhotoFeatures(graph, of_objects, of_pairs, whole)


def as_arrays(features: Sequence[PhotoFeatures]) -> dict[str, NDArray[np.generic]]:
    """The features of photos in one table each, ready for `numpy.savez`.

    Returns:
        `whole [B, 2 D]`; `objects [sum N, D]` with `object_photo` (the row in `whole`),
        `object_label` and `object_box`; `relations [sum M, D]` with `relation_photo` and
        `relation_triple` (subject and object as rows of `objects`, and the predicate's id).
    """
    graphs = [item.graph for item in features]
    counts = np.array([len(graph) for graph in graphs])
    relation_counts = [len(graph.triples) for graph in graphs]
    starts = np.cumsum(counts) - counts
    shift = np.array([1, 0, 1])
    triples = [graph.triples.numpy() + start * shift for graph, start in zip(graphs, starts)]
    rows = np.arange(len(features))
    return {
        "whole": torch.stack([item.whole for item in features]).numpy(),
        "objects": torch.cat([item.objects for item in features]).numpy(),
        "object_photo": np.repeat(rows, counts),
        "object_label": torch.cat([graph.labels for graph in graphs]).numpy(),
        "object_box": torch.cat([graph.boxes for graph in graphs]).numpy(),
        "relations": torch.cat([item.relations for item in features]).numpy(),
        "relation_photo": np.repeat(rows, relation_counts),
        "relation_triple": np.concatenate(triples),
    }


def _mean(rows: Tensor) -> Tensor:
    return rows.sum(0) / max(len(rows), 1)
