"""Placement of nodes and edge labels of a drawn graph, so that no text covers another.

Nodes start at the centres of their boxes (or, if all boxes are at about the same place, at the
positions of a force-directed layout), edge labels half-way between their ends. Then overlapping
rectangles are pushed apart while labels are pulled back to their edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from autoenc_sg.visualization.boxes import Floats

Ints = NDArray[np.int64]

_STEPS = 400
_FREE_STEPS = 120  # of these, the last ones, which only push apart
_NODE_GAP = 10.0  # points between nodes that are not related
_ARROW = 11.0  # points between a label and a node of its edge
_LABEL_GAP = (
    7.0  # points between a label and other nodes, so that it does not hide their arrow heads
)
_SPREAD = 0.12  # of the image; box centres closer together than this are not used


@dataclass(frozen=True, eq=False)
class Shapes:
    """Sizes of the rectangles to be placed in a panel, and the edges between them.

    Attributes:
        nodes: `[n, 2]` width and height of each node.
        labels: `[m, 2]` width and height of each edge's label.
        edges: `[m, 2]` the edge's nodes, each ordered pair at most once.
        panel: `[2]` width and height of the panel.
    """

    nodes: Floats
    labels: Floats
    edges: Ints
    panel: Floats

    @property
    def sizes(self) -> Floats:
        """`[n + m, 2]`: of the nodes, then of the labels."""
        return np.concatenate([self.nodes, self.labels])


def place(centres: Floats, shapes: Shapes) -> tuple[Floats, Floats]:
    """Positions of the nodes `[n, 2]` and of the labels `[m, 2]` in the panel, y downwards.

    Args:
        centres: `[n, 2]` box centres as fractions of the image.
        shapes: sizes and edges; deterministic in them.
    """
    n = len(centres)
    sizes, loose, tight = shapes.sizes, _least_distances(shapes, 1.0), _least_distances(shapes, 0.3)
    goal = _anchors(centres, shapes.edges) * (shapes.panel - shapes.nodes) + shapes.nodes / 2
    spots = np.concatenate([goal, _label_goals(goal, shapes.edges)])
    spots += np.random.default_rng(0).uniform(-1, 1, spots.shape)  # no two at the same point
    for step in range(_STEPS):
        settling = step >= _STEPS - _FREE_STEPS
        if not settling:
            spots[:n] += 0.03 * (goal - spots[:n])
            spots[n:] += 0.15 * (_label_goals(spots[:n], shapes.edges) - spots[n:])
            spots[n:] += 0.5 * _away_from_nodes(spots, shapes)
        spots += 0.5 * _separation(spots, tight if settling else loose, n)
        spots = np.clip(spots, sizes / 2, np.maximum(shapes.panel - sizes / 2, sizes / 2))
    return spots[:n], spots[n:]


def overlap(nodes: Floats, labels: Floats, shapes: Shapes) -> float:
    """The largest overlap of two rectangles in points, across or down; 0: none overlap."""
    spots, sizes = np.concatenate([nodes, labels]), shapes.sizes
    depth = (sizes[:, None] + sizes[None]) / 2 - np.abs(spots[:, None] - spots[None])
    least = depth.min(-1)
    np.fill_diagonal(least, 0.0)
    return float(least.max(initial=0.0))


def edge_curve(start: Floats, label: Floats, end: Floats, points: int = 81) -> Floats:
    """The quadratic Bezier curve from `start` to `end` whose middle is `label`: `[points, 2]`."""
    t = np.linspace(0.0, 1.0, points)[:, None]
    control = 2 * label - (start + end) / 2
    return (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end


def _anchors(centres: Floats, edges: Ints) -> Floats:
    """`[n, 2]` in [0, 1]: mean of the box centre and its rank, which spreads dense regions."""
    n = len(centres)
    if n > 1 and (np.ptp(centres, axis=0) < _SPREAD).all():
        graph = nx.DiGraph(edges.tolist())
        graph.add_nodes_from(range(n))
        positions = nx.spring_layout(graph, k=2.0 / np.sqrt(n), iterations=200, seed=0)
        centres = np.array([positions[i] for i in range(n)])
        centres = (centres - centres.min(0)) / np.ptp(centres, axis=0).clip(1e-9)
    rank = (np.argsort(np.argsort(centres, axis=0, kind="stable"), axis=0) + 0.5) / n
    return (0.5 * centres.clip(0, 1) + 0.5 * rank).astype(np.float64)


def _label_goals(nodes: Floats, edges: Ints) -> Floats:
    """The middle of each edge, shifted to its right, so that a pair's two directions differ."""
    start, end = nodes[edges[:, 0]], nodes[edges[:, 1]]
    along = end - start
    length = np.linalg.norm(along, axis=1, keepdims=True).clip(1e-9)
    right = np.stack([-along[:, 1], along[:, 0]], 1) / length
    return np.asarray((start + end) / 2 + right * np.minimum(0.08 * length, 12.0))


def _separation(spots: Floats, least: Floats, n: int) -> Floats:
    """Displacement of each rectangle by those too close to it, along the shorter axis."""
    apart = spots[:, None] - spots[None]
    depth = least - np.abs(apart)
    depth[np.arange(len(spots)), np.arange(len(spots))] = 0
    hit = (depth > 0).all(-1, keepdims=True)
    shorter = np.stack([depth[..., 0] < depth[..., 1], depth[..., 0] >= depth[..., 1]], -1)
    push = np.where(hit & shorter, np.sign(apart) * depth, 0.0)
    movable = np.where(np.arange(len(spots)) < n, 0.4, 1.0)
    share = movable[:, None] / (movable[:, None] + movable[None])
    return np.asarray((push * share[..., None]).sum(1))


def _least_distances(shapes: Shapes, share: float) -> Floats:
    """`[n + m, n + m, 2]`: the least distance of each two centres across or down.

    The two nodes of an edge keep space for its label and an arrow head on both sides. All gaps are
    multiplied by `share`.
    """
    n, m = len(shapes.nodes), len(shapes.labels)
    sizes = shapes.sizes
    gap = np.zeros((n + m, n + m, 2))
    gap[:n, :n] = _NODE_GAP
    gap[:n, n:] = gap[n:, :n] = _LABEL_GAP
    start, end, label = shapes.edges[:, 0], shapes.edges[:, 1], n + np.arange(m)
    np.maximum.at(gap, (start, end), shapes.labels + 2 * _ARROW)
    gap = np.maximum(gap, gap.transpose(1, 0, 2))
    for node in (start, end):
        gap[node, label] = gap[label, node] = _ARROW
    return np.asarray((sizes[:, None] + sizes[None]) / 2 + share * gap)


def _away_from_nodes(spots: Floats, shapes: Shapes) -> Floats:
    """Displacement of each edge's label if its curve runs through another node."""
    n = len(shapes.nodes)
    nodes, edges, m = spots[:n], shapes.edges, len(shapes.edges)
    if m == 0:
        return np.zeros((0, 2))
    start, end, label = nodes[edges[:, 0]], nodes[edges[:, 1]], spots[n:]
    t = np.linspace(0.15, 0.85, 9)[:, None, None]
    control = 2 * label - (start + end) / 2
    curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end  # [9, m, 2]
    apart = curve[:, :, None] - nodes[None, None]
    depth = shapes.nodes / 2 + 2.0 - np.abs(apart)
    is_end = (edges[:, :1] == np.arange(n)) | (edges[:, 1:] == np.arange(n))
    hit = (depth > 0).all(-1) & ~is_end[None]
    direction = apart / np.linalg.norm(apart, axis=-1, keepdims=True).clip(1e-9)
    push = direction * depth.min(-1, keepdims=True) * hit[..., None]
    return np.asarray(push.sum(2).mean(0) * 3)
