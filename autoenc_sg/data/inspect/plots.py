"""Plots of a data set's statistics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.inspect.statistics import SplitStatistics
from autoenc_sg.visualization.graph import DPI, figure_image, sans

_BLUE, _INK = "#1f5fa8", "#333333"
_WIDTH, _HEIGHT = 7.6, 3.0  # inches
_NAMED = 60  # bars that have room for a name


def long_tail(splits: Sequence[SplitStatistics], vocabulary: Vocabulary) -> Image.Image:
    """Counts of classes and of predicates in all splits, the commonest first, logarithmic."""
    figure = Figure(figsize=(_WIDTH, 2 * _HEIGHT), dpi=DPI, layout="constrained")
    panels = figure.subplots(2, 1)
    for axes, names, counts, what in (
        (panels[0], vocabulary.objects, [s.objects for s in splits], "objects"),
        (panels[1], vocabulary.predicates, [s.predicates for s in splits], "relations"),
    ):
        _tail(axes, names, torch.stack(counts).sum(0), what)
    return figure_image(figure)


def sizes(splits: Sequence[SplitStatistics]) -> Image.Image:
    """How many images have how many objects and relations, in all splits."""
    figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=DPI, layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, counts, what in (
        (panels[0], [s.objects_per_image for s in splits], "objects an image"),
        (panels[1], [s.relations_per_image for s in splits], "relations an image"),
    ):
        _histogram(axes, torch.cat(counts), what)
    return figure_image(figure)


def _tail(axes: Axes, names: Sequence[str], counts: Tensor, what: str) -> None:
    order = counts[1:].argsort(descending=True, stable=True) + 1
    values = counts[order].tolist()
    axes.bar(range(len(values)), values, width=0.85 if len(values) <= _NAMED else 1, color=_BLUE)
    least = min((value for value in values if value), default=0)
    if least:
        axes.set_yscale("log")
        axes.set_ylim(bottom=least / 2)
    axes.set_xlim(-0.6, len(values) - 0.4)
    step = -(-len(values) // _NAMED)  # so that names do not overlap
    places = range(0, len(values), step)
    axes.set_xticks(list(places))
    axes.set_xticklabels(
        [names[int(order[i])] for i in places], rotation=90, fontproperties=sans(6.5)
    )
    every = "" if step == 1 else f" (one of {step} is named)"
    _style_axes(axes, f"{what} of each of {len(values)} names{every}", "")


def _histogram(axes: Axes, counts: Tensor, what: str) -> None:
    most = int(counts.max()) if len(counts) else 0
    width = max(1, -(-(most + 1) // 40))
    edges = np.arange(0, most + width + 1, width) - 0.5
    axes.hist(counts.numpy(), bins=edges.tolist(), color=_BLUE, rwidth=0.9)
    median = float(counts.double().median()) if len(counts) else 0.0
    axes.axvline(median, color=_INK, linewidth=1, linestyle="--")
    _style_axes(axes, f"{what} (median {median:g})", "images")


def _style_axes(axes: Axes, title: str, vertical: str) -> None:
    axes.set_title(title, fontproperties=sans(9), color=_INK, loc="left")
    axes.set_ylabel(vertical, fontproperties=sans(7.5), color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=6.5, colors=_INK, length=2)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
