"""The option `--task`, and tables on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from autoenc_sg.config.recall import Task
from autoenc_sg.core.errors import bad_input

if TYPE_CHECKING:
    from autoenc_sg.visualization.tables import Table

TASKS: dict[str, Task] = {
    "predcls": "PredCls",
    "sgcls": "SGCls",
    "sggen": "SGGen",
    "sgdet": "SGGen",  # another name of it
    "phrdet": "PhrDet",
}


def named_tasks(names: Iterable[str]) -> tuple[Task, ...]:
    """The tasks with these names, without repetition; upper or lower case.

    Raises:
        InputError: a name is not that of a task.
    """
    for name in names:
        if name.lower() not in TASKS:
            raise bad_input("--task", f"one of {', '.join(TASKS)}", repr(name))
    return tuple(dict.fromkeys(TASKS[name.lower()] for name in names))


def print_tables(tables: Sequence[Table]) -> None:
    """Print tables to standard output."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = 120  # a file or a pipe has no width of its own
    for table in tables:
        console.print(table.to_rich())
