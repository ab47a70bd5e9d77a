"""The thresholds of the hard graph, chosen on validation photographs by F1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchvision.ops import box_iou

from autoenc_sg.core.graph_logits import GraphLogits
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.data.base.samples import GraphDataset
from autoenc_sg.data.loading import batches
from autoenc_sg.model.autoencoder import AutoEncoder

OBJECT_GRID = tuple(0.05 * step for step in range(2, 19))
EDGE_GRID = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


@dataclass(frozen=True)
class Choice:
    """A threshold and what it gives on the validation photographs.

    Attributes:
        threshold: the one with the largest F1.
        f1, precision, recall: with it, fractions.
    """

    threshold: float
    f1: float
    precision: float
    recall: float


@torch.no_grad()
def choose(model: AutoEncoder, val: GraphDataset) -> tuple[Choice, Choice]:
    """The object threshold (classes and boxes), then the edge threshold (triples).

    A detected object is right if a true one of its class, of which each counts once, overlaps it by
    an IoU of 0.5. Triples are predicted for the true objects: too few of their detected ends are
    right to choose by. They are counted on photographs with relations of humans, which name few of
    all relations, so that their precision is a lower bound.
    """
    detected: list[tuple[GraphLogits, SceneGraph]] = []
    related: list[tuple[GraphLogits, SceneGraph]] = []
    for batch in batches(val, 1):
        truth = batch.graphs.split()[0]
        detected.append((model.graph_logits(list(batch.images)), truth))
        if len(truth.triples):
            maps = model.detector.encode(list(batch.images))
            given = (batch.graphs.boxes, batch.graphs.image_index, batch.graphs.labels)
            related.append((model.graph_logits_of(maps, *given), truth))
    objects = [[hits(g, t, at, 1.1) for g, t in detected] for at in OBJECT_GRID]
    edges = [[hits(g, t, 0.0, at) for g, t in related] for at in EDGE_GRID]
    return best(OBJECT_GRID, objects, 0), best(EDGE_GRID, edges, 1)


def hits(logits: GraphLogits, truth: SceneGraph, least: float, least_edge: float) -> Tensor:
    """(right, predicted, true) of objects and of triples of an image: `[2, 3]`."""
    graph = logits.decode(least, least_edge).split()[0]
    match = matches(graph, truth)
    triples = {(match[s], p, match[o]) for s, p, o in graph.triples.tolist()}
    true_triples = {tuple(row) for row in truth.triples.tolist()}
    right = len(triples & true_triples)
    found = sum(place >= 0 for place in match)
    return torch.tensor(
        [[found, len(graph), len(truth)], [right, len(graph.triples), len(true_triples)]]
    )


def matches(graph: SceneGraph, truth: SceneGraph) -> list[int]:
    """The true object of each detected one, the surest first, -1 for none."""
    overlap = box_iou(graph.boxes, truth.boxes)
    overlap[graph.labels[:, None] != truth.labels] = 0
    result = [-1] * len(graph)
    scores = torch.ones(len(graph)) if graph.object_scores is None else graph.object_scores
    for row in scores.argsort(descending=True).tolist():
        if len(truth) and float(overlap[row].max()) >= 0.5:
            result[row] = int(overlap[row].argmax())
            overlap[:, result[row]] = 0
    return result


def best(grid: Sequence[float], counts: Sequence[Sequence[Tensor]], row: int) -> Choice:
    """The threshold with the largest F1 of the summed counts of this row."""
    choices = []
    for threshold, images in zip(grid, counts):
        right, predicted, true = torch.stack(list(images)).sum(0)[row].tolist()
        precision, recall = right / max(predicted, 1), right / max(true, 1)
        f1 = 2 * right / max(predicted + true, 1)
        choices.append(Choice(round(threshold, 2), f1, precision, recall))
    return max(choices, key=lambda choice: choice.f1)


def with_thresholds(model: AutoEncoder, objects: Choice, edges: Choice) -> None:
    """Put the thresholds into the model's configuration."""
    decode = replace(
        model.config.decode, object_threshold=objects.threshold, edge_threshold=edges.threshold
    )
    model.config = replace(model.config, decode=decode)
