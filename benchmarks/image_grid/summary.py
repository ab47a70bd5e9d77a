"""Tables and the figure: means over seeds, and paired differences with 95 % intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from autoenc_sg.visualization.comparison import Spread, SystemScores, comparison_plot
from autoenc_sg.visualization.tables import Cell as TableCell
from autoenc_sg.visualization.tables import Table
from benchmarks.image_grid.run import KS, Scores
from benchmarks.image_grid.ways import (
    BASELINE,
    REGISTERED,
    REGISTERED_SCORE,
    REGISTERED_WAY,
    Cell,
    Setting,
)

_METRICS = [f"{metric}@{k}" for metric in ("R", "mR", "ngR") for k in KS]
RECALLS = tuple(f"{task} {metric}" for task in ("PredCls", "SGGen") for metric in _METRICS)
PICTURES = ("predicted graph L1", "round trip of predicted graph R@50")
AIM = 3.0  # points

# 97.5 % quantiles of Student's t by degrees of freedom
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
)  # fmt: skip

Results = Mapping[Cell, Scores]


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences and half the width of its 95 % interval (NaN of one pair)."""

    mean: float
    half: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Difference | None:
        """Student's t over the pairs; None of no pair."""
        if not values:
            return None
        half = math.nan
        if len(values) > 1:
            t = _T[min(len(values) - 1, len(_T)) - 1]
            half = t * statistics.stdev(values) / math.sqrt(len(values))
        return cls(statistics.fmean(values), half, len(values))

    def text(self) -> str:
        """In points, such as `+1.2 [-0.3, +2.7]`."""
        plain = f"{100 * self.mean:+.1f}"
        if math.isnan(self.half):
            return plain
        low, high = 100 * (self.mean - self.half), 100 * (self.mean + self.half)
        return f"{plain} [{low:+.1f}, {high:+.1f}]"


def difference(results: Results, setting: Setting, way: str, score: str) -> Difference | None:
    """A way's score minus that of the baseline, over the seeds that have both."""
    pairs = []
    for cell, scores in results.items():
        if (cell.setting, cell.way) == (setting, way):
            other = results.get(Cell(setting, BASELINE, cell.seed), {}).get(score)
            own = scores.get(score)
            if own is not None and other is not None:
                pairs.append(own - other)
    return Difference.of(pairs)


def tables(results: Results) -> list[Table]:
    """Of each setting: scores of all ways, and their differences from the baseline."""
    made = []
    for setting in dict.fromkeys(cell.setting for cell in results):
        ways = list(dict.fromkeys(c.way for c in results if c.setting == setting))
        seeds = {way: _scores(results, setting, way) for way in ways}
        rows: list[list[TableCell]] = [
            [way, len(seeds[way]), *(_mean(seeds[way], name) for name in (*RECALLS, *PICTURES))]
            for way in ways
        ]
        names = (*RECALLS, *PICTURES)
        note = "%, mean ± standard deviation over seeds; L1: 100 times."
        made.append(Table(f"{setting}: scores", ["way", "seeds", *names], rows, note))
        rows = []
        for way in ways:
            if way != BASELINE:
                found = [difference(results, setting, way, name) for name in names]
                rows.append([way, *(None if d is None else d.text() for d in found)])
        note = f"Points, paired over seeds, from {BASELINE}; 95 % interval (t)."
        made.append(Table(f"{setting}: differences", ["way", *names], rows, note))
    return made


def _scores(results: Results, setting: Setting, way: str) -> list[Scores]:
    return [s for c, s in results.items() if (c.setting, c.way) == (setting, way)]


def _mean(seeds: Sequence[Scores], name: str) -> str | None:
    return Spread.of(scores.get(name) for scores in seeds).text()


def registered_line(results: Results) -> str:
    """What became of the comparison that was named in advance."""
    name = f"{REGISTERED}: {REGISTERED_SCORE} of {REGISTERED_WAY} minus {BASELINE}"
    found = difference(results, REGISTERED, REGISTERED_WAY, REGISTERED_SCORE)
    if found is None:
        return f"Named in advance, {name}: not run."
    reached = 100 * found.mean >= AIM and found.mean - found.half > 0
    seeds = f"{found.count} seed{'s' if found.count > 1 else ''}"
    aim = f"aim: {AIM:g} points or more, interval above 0"
    return f"Named in advance, {name}: {found.text()}, {seeds}; {aim}: {_reached(reached)}."


def _reached(reached: bool) -> str:
    return "reached" if reached else "not reached"


def figure(results: Results, score: str = REGISTERED_SCORE) -> Image.Image:
    """Differences of a score from the baseline and intervals, a panel for each annotation."""
    settings = list(dict.fromkeys(cell.setting for cell in results))
    panels = list(dict.fromkeys(_annotation(s) for s in settings))
    systems = []
    for way in dict.fromkeys(cell.way for cell in results if cell.way != BASELINE):
        for head in dict.fromkeys(s.head for s in settings):
            scores = {}
            for setting in settings:
                found = difference(results, setting, way, score)
                if setting.head == head and found is not None:
                    scores[_annotation(setting)] = Spread(found.mean, found.half, found.count)
            systems.append(SystemScores(way, head, scores))
    rows = [panels[i : i + 3] for i in range(0, len(panels), 3)]
    zeros = {f"{BASELINE} ({score}, points)": dict.fromkeys(panels, 0.0)}
    return comparison_plot(systems, zeros, rows)


def _annotation(setting: Setting) -> str:
    return f"{100 * setting.fraction:g} % {setting.noise}"
