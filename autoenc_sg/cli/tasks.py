"""The option `--task`, and tables on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from autoenc_sg.config.recall import Task, task_named

if TYPE_CHECKING:
    from autoenc_sg.visualization.tables import Table


def named_tasks(names: Iterable[str]) -> tuple[Task, ...]:
    """The tasks with these names, without repetition; see `config.recall.task_named`.

    Raises:
        InputError: a name is not that of a task.
    """
    return tuple(dict.fromkeys(task_named(name, "--task") for name in names))


def print_tables(tables: Sequence[Table]) -> None:
    """Print tables to standard output."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = 120  # a file or a pipe has no width of its own
    for table in tables:
        console.print(table.to_rich())
