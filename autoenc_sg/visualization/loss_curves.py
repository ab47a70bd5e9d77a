"""Loss curves: a small panel for each loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, NullFormatter
from PIL import Image

from autoenc_sg.visualization.boxes import Floats
from autoenc_sg.visualization.graph import DPI, figure_image, sans

Points = Sequence[tuple[int, float]]

_WIDTH, _HEIGHT = 2.6, 1.9  # inches of a panel with its texts
_HEADING = 0.36  # inches above the first row of a phase
_BLUE, _INK = "#1f5fa8", "#333333"
_DECADES = 1.5  # curves that span more are drawn on a logarithmic scale


def loss_curves(history: Mapping[str, Points], columns: int = 4) -> Image.Image:
    """A panel for each loss, grouped by phase: values light, their running mean dark.

    Args:
        history: (step, value) points by name, `"phase/loss"` or `"loss"`; values that are not
            finite are left out.
        columns: panels in a row at most.
    """
    groups: dict[str, dict[str, Points]] = {}
    for name, points in history.items():
        phase, _, loss = name.rpartition("/")
        groups.setdefault(phase, {})[loss] = points
    columns = min(columns, max((len(group) for group in groups.values()), default=1))
    rows = [math.ceil(len(group) / columns) for group in groups.values()]
    headings = [_HEADING if phase else 0.1 for phase in groups]
    size = (_WIDTH * columns, max(_HEIGHT * sum(rows) + sum(headings), 1.0))
    figure = Figure(figsize=size, dpi=DPI, facecolor="white")
    top = 0.0
    for (phase, group), count, heading in zip(groups.items(), rows, headings):
        _write(figure, (0.16, top + 0.22), phase, 11)
        for k, (loss, points) in enumerate(group.items()):
            corner = (k % columns * _WIDTH, top + heading + k // columns * _HEIGHT)
            _draw(_panel(figure, corner), loss, points)
        top += heading + count * _HEIGHT
    if not groups:
        _write(figure, (0.9, 0.5), "no losses", 10)
    return figure_image(figure)


def running_mean(values: Floats, width: int) -> Floats:
    """The mean of each value and `width // 2` on both sides (fewer at the ends): `[n]`."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    place, half = np.arange(len(values)), width // 2
    first, past = (place - half).clip(0), (place + half + 1).clip(max=len(values))
    return np.asarray((total[past] - total[first]) / (past - first))


def _panel(figure: Figure, corner: tuple[float, float]) -> Axes:
    width, height = figure.get_size_inches().tolist()
    left, top = corner
    box = (left + 0.58, height - top - _HEIGHT + 0.42, _WIDTH - 0.8, _HEIGHT - 0.78)
    return figure.add_axes(
        (box[0] / width, box[1] / height, box[2] / width, box[3] / height), facecolor="white"
    )


def _write(figure: Figure, spot: tuple[float, float], text: str, size: float) -> None:
    width, height = figure.get_size_inches().tolist()
    figure.text(
        spot[0] / width,
        1 - spot[1] / height,
        text,
        fontproperties=sans(size),
        color="black",
        va="center",
        parse_math=False,
    )


def _draw(axes: Axes, title: str, points: Points) -> None:
    axes.set_title(title, fontproperties=sans(8.5), color=_INK, loc="left", parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7, colors=_INK, length=3, width=0.6)
    axes.grid(color="#e4e4e4", linewidth=0.5)
    axes.set_axisbelow(True)
    finite = np.array([(s, v) for s, v in points if math.isfinite(v)], dtype=np.float64)
    steps, values = finite.reshape(-1, 2).T
    if len(values) == 0:
        axes.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1))
        axes.text(0.5, 0.5, "no finite values", fontproperties=sans(7), color=_INK, ha="center")
        return
    few = len(values) < 20
    mean = values if few else running_mean(values, max(3, len(values) // 20))
    axes.plot(steps, values, color=_BLUE, alpha=0.28, linewidth=0.8)
    axes.plot(steps, mean, color=_BLUE, linewidth=1.4, marker="o" if few else "", markersize=2.5)
    _scale(axes, values)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("step", fontproperties=sans(7), color=_INK, labelpad=1)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_fontproperties(sans(7))


def _scale(axes: Axes, values: Floats) -> None:
    """A logarithmic axis for values that span decades; else from 0 if the values are near it."""
    low, high = float(values.min()), float(values.max())
    if low > 0 and math.log10(high / low) > _DECADES:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
        return
    axes.yaxis.set_major_locator(MaxNLocator(4))
    if 0 <= low < 0.5 * high:
        axes.set_ylim(bottom=0)
