"""A scene graph drawn as a graph: objects as nodes in class colours, predicates on the edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve
from PIL import Image

from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.visualization.boxes import Colour, Floats, class_colour, tint
from autoenc_sg.visualization.composition import text_font
from autoenc_sg.visualization.graph_layout import Ints, Shapes, edge_curve, overlap, place

DPI = 144  # a point, the unit of everything below, is two pixels
_NODE_FONT, _LABEL_FONT, _LEAST_SCALE = 11.0, 9.0, 0.55
_TRIES = 10
_FILL = 0.24  # largest share of a panel covered by text
_ASPECT = 1.6
_LEAST_WIDTH = 240.0
_INK = "#222222"


@dataclass(frozen=True, eq=False)
class _Content:
    """Texts of a panel: node names and edge labels, with colours, edges and box centres."""

    names: Sequence[str]
    colours: Sequence[Colour]
    labels: Sequence[str]
    edges: Ints
    centres: Floats
    note: str


@dataclass(frozen=True, eq=False)
class _Placement:
    """Result of the placement: the panel in points, the scale of all texts, their centres."""

    panel: Floats
    scale: float
    shapes: Shapes
    nodes: Floats
    labels: Floats


def draw_graph(
    graph: SceneGraph,
    vocabulary: Vocabulary,
    size: tuple[int, int] | None = None,
    max_objects: int = 20,
    max_relations: int = 30,
) -> Image.Image:
    """The graph as an image; objects are placed about where their boxes are.

    Several predicates from one object to another share an edge. Of larger graphs only the objects
    and relations of the highest scores are drawn, and a note has their numbers.

    Args:
        graph: any graph; without objects the panel reads "no objects".
        vocabulary: the names.
        size: (width, height) in pixels; None: as large as the text needs.
        max_objects: objects drawn at most.
        max_relations: relations drawn at most.
    """
    content = _content(graph, vocabulary, max_objects, max_relations)
    fixed = None if size is None else np.array(size, dtype=np.float64) * 72 / DPI
    placement = _place_all(content, fixed)
    panel = placement.panel
    figure = Figure(figsize=tuple((panel / 72).tolist()), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set(xlim=(0, panel[0]), ylim=(panel[1], 0))
    if content.names:
        _draw(axes, content, placement)
    else:
        _text(axes, panel / 2, "no objects", _NODE_FONT, "#777777")
    return figure_image(figure)


def figure_image(figure: Figure) -> Image.Image:
    """Render a matplotlib figure with Agg as an RGB image."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.array(canvas.buffer_rgba())).convert("RGB")


def sans(size: float) -> FontProperties:
    """The figures' font at a size in points, independent of the user's matplotlib settings."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return FontProperties(fname=str(path), size=size)


def _content(
    graph: SceneGraph, vocabulary: Vocabulary, max_objects: int, max_relations: int
) -> _Content:
    full = graph.to("cpu")
    graph = _best(full, max_objects, max_relations)
    height, width = graph.image_size
    boxes = graph.boxes.detach().double().numpy()
    edges: dict[tuple[int, int], list[str]] = {}
    for subject, predicate, other in graph.triples.tolist():
        names = edges.setdefault((subject, other), [])
        if vocabulary.predicates[predicate] not in names:
            names.append(vocabulary.predicates[predicate])
    return _Content(
        [vocabulary.objects[i] for i in graph.labels.tolist()],
        [class_colour(i) for i in graph.labels.tolist()],
        [",\n".join(names) for names in edges.values()],
        np.array(list(edges), dtype=np.int64).reshape(-1, 2),
        (boxes[:, :2] + boxes[:, 2:]) / 2 / np.array([width, height]),
        _note(full, graph),
    )


def _best(graph: SceneGraph, max_objects: int, max_relations: int) -> SceneGraph:
    """The subgraph of the objects, then of the relations, with the highest scores, in order."""
    objects = _highest(graph.object_scores, len(graph), max_objects)
    graph = graph.select(objects)
    rows = _highest(graph.triple_scores, len(graph.triples), max_relations)
    return replace(graph, triples=graph.triples[rows], triple_scores=None)


def _highest(scores: torch.Tensor | None, count: int, limit: int) -> torch.Tensor:
    rank = torch.zeros(count) if scores is None else scores
    return rank.argsort(descending=True, stable=True)[:limit].sort().values


def _note(full: SceneGraph, drawn: SceneGraph) -> str:
    parts = [
        f"{shown} of {all_} {what}"
        for shown, all_, what in (
            (len(drawn), len(full), "objects"),
            (len(drawn.triples), len(full.triples), "relations"),
        )
        if shown < all_
    ]
    return ", ".join(parts)


def _place_all(content: _Content, fixed: Floats | None) -> _Placement:
    """Place all texts; while they overlap, enlarge the panel, or shrink them if it is fixed."""
    panel = _panel(content) if fixed is None else fixed
    scale = _scale(content, panel) if content.names else 1.0
    for _ in range(_TRIES):
        placement = _placed(content, panel, scale)
        if overlap(placement.nodes, placement.labels, placement.shapes) < 1.0:
            break
        if fixed is None:
            panel = panel * 1.1
        else:
            scale = max(_LEAST_SCALE, 0.92 * scale)
    return placement


def _placed(content: _Content, panel: Floats, scale: float) -> _Placement:
    note = np.array([0.0, 1.8 * _LABEL_FONT if content.note else 0.0])
    shapes = Shapes(
        _extent(content.names, _NODE_FONT * scale, 18 * scale, 13 * scale),
        _extent(content.labels, _LABEL_FONT * scale, 5 * scale, 2 * scale),
        content.edges,
        panel - note,
    )
    return _Placement(panel, scale, shapes, *place(content.centres, shapes))


def _draw(axes: Axes, content: _Content, placement: _Placement) -> None:
    nodes, labels, scale = placement.nodes, placement.labels, placement.scale
    for i, (start, end) in enumerate(content.edges.tolist()):
        curve = edge_curve(nodes[start], labels[i], nodes[end])
        ends = (nodes[[start, end]], placement.shapes.nodes[[start, end]])
        colour = content.colours[start]
        _draw_edge(axes, _outside(curve, *ends), colour, scale)
        ink = _hex(_shade(colour, 0.45))
        _text(axes, labels[i], content.labels[i], _LABEL_FONT * scale, ink, background=True)
    for i, name in enumerate(content.names):
        _draw_node(axes, nodes[i], placement.shapes.nodes[i], content.colours[i], scale)
        _text(axes, nodes[i], name, _NODE_FONT * scale, _INK)
    if content.note:
        spot = placement.panel * np.array([0.5, 1.0]) - np.array([0.0, 0.8 * _LABEL_FONT])
        _text(axes, spot, content.note, 0.85 * _LABEL_FONT, "#777777")


def _extent(texts: Sequence[str], font: float, wider: float, higher: float) -> Floats:
    """Width and height in points of each text with its margin: `[len(texts), 2]`."""
    pen = text_font(64)
    sizes = [
        (max(pen.getlength(row) for row in text.split("\n")) / 64, 1.2 * (1 + text.count("\n")))
        for text in texts
    ]
    plain = np.array(sizes, dtype=np.float64).reshape(-1, 2)
    return np.asarray(plain * font + np.array([wider, higher]))


def _area(content: _Content) -> float:
    """The square points that all texts take at full size."""
    nodes = _extent(content.names, _NODE_FONT, 18, 13)
    labels = _extent(content.labels, _LABEL_FONT, 5, 2)
    return float(nodes.prod(1).sum() + labels.prod(1).sum())


def _panel(content: _Content) -> Floats:
    """A panel of which text covers the share `_FILL`, and in which every name fits."""
    names = _extent([*content.names, *content.labels], _NODE_FONT, 24, 13)
    width = max(
        _LEAST_WIDTH,
        math.sqrt(_ASPECT * _area(content) / _FILL),
        1.5 * float(names[:, 0].max(initial=0.0)),
    )
    return np.array([width, width / _ASPECT])


def _scale(content: _Content, panel: Floats) -> float:
    """Factor of the text sizes, at most 1, for which the text fits the panel."""
    names = _extent([*content.names, *content.labels], _NODE_FONT, 24, 13)
    crowd = math.sqrt(1.35 * _FILL * float(panel.prod()) / _area(content))
    widest = 0.95 * panel[0] / float(names[:, 0].max())
    return min(1.0, max(_LEAST_SCALE, crowd), float(widest))


def _outside(curve: Floats, centres: Floats, sizes: Floats) -> Floats:
    """The part of a curve between its two nodes' rectangles; the whole curve if they touch."""
    inside = (np.abs(curve[None] - centres[:, None]) < sizes[:, None] / 2 - 1).all(-1).any(0)
    return curve if inside.sum() > len(curve) - 3 else curve[~inside]


def _draw_edge(axes: Axes, curve: Floats, colour: Colour, scale: float) -> None:
    arrow = FancyArrowPatch(
        path=Curve(curve),
        arrowstyle=f"-|>,head_length={3.2 * scale},head_width={1.7 * scale}",
        mutation_scale=1.6,
        color=_hex(tint(colour, 0.15)),
        linewidth=1.1 * scale,
        shrinkA=0,
        shrinkB=0,
        zorder=1,
    )
    axes.add_patch(arrow)


def _draw_node(axes: Axes, centre: Floats, size: Floats, colour: Colour, scale: float) -> None:
    width, height = (size - 5 * scale).tolist()
    left, top = (centre - np.array([width, height]) / 2).tolist()
    axes.add_patch(
        FancyBboxPatch(
            (left, top),
            width,
            height,
            boxstyle=f"round,pad=0,rounding_size={5 * scale}",
            facecolor=_hex(tint(colour, 0.72)),
            edgecolor=_hex(colour),
            linewidth=1.3 * scale,
            zorder=3,
        )
    )


def _text(
    axes: Axes, spot: Floats, text: str, size: float, colour: str, background: bool = False
) -> None:
    plate = {"facecolor": "white", "edgecolor": "none", "pad": 0.8} if background else None
    axes.text(
        float(spot[0]),
        float(spot[1]),
        text,
        fontproperties=sans(size),
        color=colour,
        ha="center",
        va="center_baseline" if "\n" not in text else "center",
        linespacing=1.1,
        zorder=4 if plate is None else 2,
        bbox=plate,
        parse_math=False,
    )


def _shade(colour: Colour, amount: float) -> Colour:
    """The colour mixed with black; `amount` 0: the colour, 1: black."""
    red, green, blue = (round(c * (1 - amount)) for c in colour)
    return red, green, blue


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
