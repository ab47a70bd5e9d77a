"""Tables of results, for the terminal and for the HTML report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import rich.box
import rich.table
from rich.text import Text

from autoenc_sg.core.errors import bad_input

Cell = str | int | float | None

_HUGE = 1e9


@dataclass(frozen=True)
class Table:
    """Rows of names and numbers.

    Attributes:
        title: what the table shows.
        columns: headings.
        rows: a cell for each column; None is shown as a dash.
        note: a line below the table, or "".

    Raises:
        InputError: a row does not have one cell for each column.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def __post_init__(self) -> None:
        for i, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise bad_input(f"{self.title}, row {i}", f"{len(self.columns)} cells", len(row))

    def to_rich(self) -> rich.table.Table:
        """The table for `rich.console.Console.print`."""
        table = rich.table.Table(
            title=Text(self.title),
            caption=Text(self.note),
            box=rich.box.SIMPLE,
            title_justify="left",
        )
        for i, (name, numeric) in enumerate(zip(self.columns, self._numeric())):
            side: Literal["right", "left"] = "right" if numeric else "left"
            table.add_column(Text(name), justify=side, no_wrap=i == 0)
        for row in self.texts():
            table.add_row(*(Text(cell) for cell in row))
        return table

    def to_markdown(self) -> str:
        """The table as GitHub's Markdown, below its title and above its note."""
        sides = ["---:" if numeric else "---" for numeric in self._numeric()]
        lines = [_markdown_row(cells) for cells in (self.columns, sides, *self.texts())]
        parts = [f"## {self.title}", "\n".join(lines), self.note]
        return "\n\n".join(part for part in parts if part) + "\n"

    def column_classes(self) -> list[str | None]:
        """For HTML: `number` for a column of numbers, None for any other."""
        return ["number" if numeric else None for numeric in self._numeric()]

    def texts(self) -> list[list[str]]:
        """The cells as they are shown, row by row."""
        columns = [format_column([row[k] for row in self.rows]) for k in range(len(self.columns))]
        return [[column[i] for column in columns] for i in range(len(self.rows))]

    def _numeric(self) -> list[bool]:
        """Whether a column holds numbers (and dashes) only."""
        return [
            any(row[k] is not None for row in self.rows)
            and not any(isinstance(row[k], str) for row in self.rows)
            for k in range(len(self.columns))
        ]


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def format_column(cells: Sequence[Cell]) -> list[str]:
    """The cells of a column as text.

    Floats get as many decimals as the largest of them needs for four digits; huge ones and those
    that this would show as 0 are written with an exponent. Integers have commas; None and NaN are
    a dash.
    """
    sizes = [abs(cell) for cell in cells if isinstance(cell, float) and abs(cell) < _HUGE]
    largest = max(sizes, default=0.0)
    digits = 4 if largest < 1 else max(0, 3 - math.floor(math.log10(largest)))
    return [_format(cell, digits) for cell in cells]


def _format(cell: Cell, digits: int) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "–"
    if isinstance(cell, (str, bool)):
        return str(cell)
    if isinstance(cell, int):
        return f"{cell:,}"
    tiny = 0 < abs(cell) <= 0.5 * 10**-digits
    return f"{cell:.1e}" if tiny or abs(cell) >= _HUGE else f"{cell:,.{digits}f}"
