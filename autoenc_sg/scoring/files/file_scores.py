"""Scores of files of predictions: their tables and their JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autoenc_sg.config.recall import RecallConventions
from autoenc_sg.eval import Ranges, Task, Value, further_names, table_names
from autoenc_sg.scoring.results import write_numbers
from autoenc_sg.visualization.tables import Cell, Table

_COMPARED = ("difference", "low", "high", "p")


@dataclass(frozen=True)
class FileScores:
    """Scores of a file of predictions.

    Attributes:
        tasks: fractions in [0, 1] by task and name; NaN for a mean over nothing.
        notes: remarks on the input, such as missing predictions, a sentence each.
        intervals: `[low, high]` of each figure, if asked for.
        comparison: `[difference, low, high, p]` to another file of predictions, if there is one.
    """

    tasks: Mapping[Task, Mapping[str, Value]]
    notes: Sequence[str]
    intervals: Mapping[Task, Ranges] = field(default_factory=dict)
    comparison: Mapping[Task, Ranges] = field(default_factory=dict)

    def write_json(self, path: Path) -> None:
        """`{"<task>": {"R@20": ...}}`, and `intervals` and `comparison` if there are any.

        NaN as null; atomically.
        """
        content: dict[str, object] = {str(task): values for task, values in self.tasks.items()}
        if self.intervals:
            content["intervals"] = self.intervals
        if self.comparison:
            content["comparison"] = {
                task: {name: dict(zip(_COMPARED, values)) for name, values in ranges.items()}
                for task, ranges in self.comparison.items()
            }
        write_numbers(path, content)

    def tables(self, conventions: RecallConventions) -> list[Table]:
        """The recalls, the further metrics and the comparison, where there are any."""
        names, further = table_names(conventions.ks), further_names(conventions)
        tables = [self.table(names)]
        if conventions.metrics == "all":
            tables.append(self.table(further, "Further metrics (PRank: places from 0)"))
        if self.comparison:
            tables.append(self.comparison_table([*names, *further]))
        return tables

    def table(self, names: Sequence[str], title: str = "Recall (fractions)") -> Table:
        """Those of these figures that were computed, a column for each task."""
        rows: list[list[Cell]] = [
            [name, *(self._cell(task, name) for task in self.tasks)] for name in self._known(names)
        ]
        note = "In brackets: 95 % intervals over images." if self.intervals else ""
        return Table(title, ["", *self.tasks], rows, note)

    def comparison_table(self, names: Sequence[str]) -> Table:
        """Differences with their intervals, and p."""
        columns = [head for task in self.tasks for head in (f"{task}, difference", "p")]
        rows: list[list[Cell]] = []
        for name in self._known(names):
            row: list[Cell] = [name]
            for task in self.tasks:
                difference, low, high, p = self.comparison[task].get(name, [math.nan] * 4)
                row += [_with_interval(difference, [low, high], "+.4f"), _number(p)]
            rows.append(row)
        note = "In brackets: 95 % intervals, paired bootstrap. p: paired permutation test."
        return Table("Difference to the other predictions", ["", *columns], rows, note)

    def _known(self, names: Sequence[str]) -> list[str]:
        return [n for n in names if any(n in values for values in self.tasks.values())]

    def _cell(self, task: Task, name: str) -> Cell:
        value = _number(self.tasks[task].get(name))
        if not self.intervals or value is None:
            return value
        return _with_interval(value, self.intervals[task][name], ".4f")


def _with_interval(value: Cell | Value, ends: Sequence[Value], form: str) -> str:
    return f"{value:{form}} [{ends[0]:{form}}, {ends[1]:{form}}]"


def _number(value: Value | None) -> float | None:
    return None if isinstance(value, list) else value
