"""A plot of several systems: mean and spread of each score, a panel for each task and metric."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from autoenc_sg.visualization.graph import DPI, figure_image, sans

_WIDTH, _NAMES = 2.4, 2.0  # inches of a panel, and of the rows' names
_ROW, _ROOM = 0.22, 0.75  # inches of a row, and of a panel's title and axis
_COLOURS = ("#1f5fa8", "#d08a3c", "#4a8f5c", "#8a5a9e")
_INK, _LIGHT = "#333333", "#e4e4e4"
_STYLES: tuple[Literal["--", ":", "-."], ...] = ("--", ":", "-.")


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of some runs; NaN of none, the latter also of one."""

    mean: float
    std: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread:
        """Of the finite ones of these values."""
        finite = [v for v in values if v is not None and math.isfinite(v)]
        mean = statistics.fmean(finite) if finite else math.nan
        return cls(mean, statistics.stdev(finite) if len(finite) > 1 else math.nan, len(finite))

    def text(self) -> str | None:
        """In percent, such as `71.2 ± 0.4`; None of no value."""
        if self.count == 0:
            return None
        plain = f"{100 * self.mean:.1f}"
        return plain if self.count == 1 else f"{plain} ± {100 * self.std:.1f}"


@dataclass(frozen=True)
class SystemScores:
    """One system of a comparison.

    Attributes:
        name: of its row; systems with equal names share one.
        group: of its colour.
        scores: by name, such as `PredCls R@50`; fractions.
    """

    name: str
    group: str
    scores: Mapping[str, Spread]


def comparison_plot(
    systems: Sequence[SystemScores],
    references: Mapping[str, Mapping[str, float]],
    panels: Sequence[Sequence[str]],
) -> Image.Image:
    """Points with bars of one standard deviation; references are vertical lines.

    Args:
        systems: what is compared.
        references: scores by name of what the systems are compared with, by their labels.
        panels: names of scores, row by row.
    """
    names = list(dict.fromkeys(system.name for system in systems))
    groups = list(dict.fromkeys(system.group for system in systems))
    columns = max((len(row) for row in panels), default=1)
    panel = _ROOM + _ROW * max(len(names), 1)
    size = (_NAMES + _WIDTH * columns, max(len(panels), 1) * panel + 0.4)
    figure = Figure(figsize=size, dpi=DPI, facecolor="white")
    for i, row in enumerate(panels):
        for k, score in enumerate(row):
            left, bottom = _NAMES + _WIDTH * k, size[1] - 0.4 - (i + 1) * panel + 0.4
            box = (left / size[0], bottom / size[1], (_WIDTH - 0.3) / size[0])
            axes = figure.add_axes((*box, (panel - _ROOM) / size[1]), facecolor="white")
            _draw(axes, score, systems, names, groups, references)
            axes.set_yticks(range(len(names)), names if k == 0 else [""] * len(names))
            _style(axes, len(names))
    _add_legend(figure, groups, list(references))
    return figure_image(figure)


def _draw(
    axes: Axes,
    score: str,
    systems: Sequence[SystemScores],
    names: Sequence[str],
    groups: Sequence[str],
    references: Mapping[str, Mapping[str, float]],
) -> None:
    axes.set_title(score, fontproperties=sans(8.5), color=_INK, loc="left", parse_math=False)
    for label, style in zip(references, _STYLES):
        value = references[label].get(score, math.nan)
        if math.isfinite(value):
            axes.axvline(100 * value, color=_INK, linewidth=0.9, linestyle=style)
    for system in systems:
        spread = system.scores.get(score)
        if spread is None or not math.isfinite(spread.mean):
            continue
        group = groups.index(system.group)
        place = names.index(system.name) + 0.24 * (group - (len(groups) - 1) / 2)
        bar = 0.0 if math.isnan(spread.std) else 100 * spread.std
        colour = _COLOURS[group % len(_COLOURS)]
        axes.errorbar(
            100 * spread.mean, place, xerr=bar, fmt="o", color=colour, markersize=3.5, capsize=2
        )


def _style(axes: Axes, count: int) -> None:
    axes.set_ylim(count - 0.5, -0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7, colors=_INK, length=3, width=0.6)
    axes.grid(axis="x", color=_LIGHT, linewidth=0.5)
    axes.set_axisbelow(True)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_fontproperties(sans(7))


def _add_legend(figure: Figure, groups: Sequence[str], references: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], marker="o", linestyle="", color=_COLOURS[i % len(_COLOURS)], label=group)
        for i, group in enumerate(groups)
    ]
    lines = [
        Line2D([], [], color=_INK, linewidth=0.9, linestyle=style, label=label)
        for label, style in zip(references, _STYLES)
    ]
    handles = [*marks, *lines]
    if handles:
        figure.legend(
            handles=handles, loc="upper left", ncols=len(handles), frameon=False, prop=sans(7.5)
        )
