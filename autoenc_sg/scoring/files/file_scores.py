"""Scores of files of predictions: their tables and their JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autoenc_sg.eval import Ranges, Task, Value, table_names
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

    def tables(self, ks: Sequence[int]) -> list[Table]:
        """The scores, and the comparison if there is one."""
        tables = [self.table(ks)]
        if self.comparison:
            tables.append(self.comparison_table(ks))
        return tables

    def table(self, ks: Sequence[int]) -> Table:
        """Recalls with graph constraint and without (ng), a column for each task."""
        rows: list[list[Cell]] = [
            [name, *(self._cell(task, name) for task in self.tasks)] for name in self._names(ks)
        ]
        note = "In brackets: 95 % intervals over images." if self.intervals else ""
        return Table("Recall (fractions)", ["", *self.tasks], rows, note)

    def comparison_table(self, ks: Sequence[int]) -> Table:
        """Differences with their intervals, and p."""
        columns = [head for task in self.tasks for head in (f"{task}, difference", "p")]
        rows: list[list[Cell]] = []
        for name in self._names(ks):
            row: list[Cell] = [name]
            for task in self.tasks:
                difference, low, high, p = self.comparison[task].get(name, [math.nan] * 4)
                row += [_with_interval(difference, [low, high], "+.4f"), _number(p)]
            rows.append(row)
        note = "In brackets: 95 % intervals, paired bootstrap. p: paired permutation test."
        return Table("Difference to the other predictions", ["", *columns], rows, note)

    def _names(self, ks: Sequence[int]) -> list[str]:
        return [n for n in table_names(ks) if any(n in values for values in self.tasks.values())]

    def _cell(self, task: Task, name: str) -> Cell:
        value = _number(self.tasks[task].get(name))
        if not self.intervals or value is None:
            return value
        return _with_interval(value, self.intervals[task][name], ".4f")


def _with_interval(value: Cell | Value, ends: Sequence[Value], form: str) -> str:
    return f"{value:{form}} [{ends[0]:{form}}, {ends[1]:{form}}]"


def _number(value: Value | None) -> float | None:
    return None if isinstance(value, list) else value
