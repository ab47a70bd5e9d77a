"""Progress of long commands: the stage, the share done, and the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn


class Reporter:
    """Progress over stages with estimated shares of the whole.

    On a terminal a live bar, elsewhere (a log file) a line every `line_every` seconds.

    Args:
        plan: (stage name, estimated share) in order; shares need not sum to 1.
        clock: seconds; replaced in tests.
        line_every: seconds between lines without a terminal.
    """

    def __init__(
        self,
        plan: Sequence[tuple[str, float]],
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
        line_every: float = 15.0,
    ) -> None:
        self.shares = dict(plan)
        self.console = console or Console(file=sys.stderr)
        self.clock = clock
        self.line_every = line_every
        self.started = clock()
        self.finished_share = 0.0
        self._last_line = -line_every
        self._stage, self._total, self._done, self._note = "", 1, 0, ""
        self._bar = _bar(self.console) if self.console.is_terminal else None
        self._task = (
            None if self._bar is None else self._bar.add_task("", total=1, note="", left="")
        )

    @contextmanager
    def stage(self, name: str, total: int = 1) -> Iterator[Reporter]:
        """One stage of `total` steps; call `advance` inside."""
        self._stage, self._total, self._done, self._note = name, max(total, 1), 0, ""
        self._last_line = -self.line_every
        if self._bar is not None and not self._bar.live.is_started:
            self._bar.start()
        self._show()
        start = self.clock()
        try:
            yield self
        except BaseException:
            self.close()
            raise
        self.finished_share += self.shares.get(name, 0.0)
        self._stage, self._done = "", 0
        self._stop_bar()
        self._print(f"{name}: done in {duration(self.clock() - start)}")

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count steps of the stage that are done."""
        self._done, self._note = min(self._done + steps, self._total), note
        self._show()

    def close(self) -> None:
        """Stop the bar and restore the terminal."""
        self._stop_bar()

    @property
    def fraction(self) -> float:
        """How much of the plan is done, in [0, 1]."""
        inside = self.shares.get(self._stage, 0.0) * self._done / self._total
        return min(1.0, (self.finished_share + inside) / max(sum(self.shares.values()), 1e-9))

    def seconds_left(self) -> float | None:
        """Estimate from the time so far; None before any step is done."""
        done = self.fraction
        return None if done <= 0 else (self.clock() - self.started) * (1 - done) / done

    def _show(self) -> None:
        left = self.seconds_left()
        remaining = "…" if left is None else f"{duration(left)} left in all"
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task,
                description=self._stage,
                total=self._total,
                completed=self._done,
                left=remaining,
                note=self._note,
            )
            return
        now = self.clock() - self.started
        if now - self._last_line >= self.line_every:
            self._last_line = now
            text = f"[{self.fraction:4.0%}] {self._stage} {self._done}/{self._total} {self._note}"
            self._print(f"{text.rstrip()} · {remaining}")

    def _print(self, text: str) -> None:
        """One line without wrapping or markup."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _stop_bar(self) -> None:
        if self._bar is not None and self._bar.live.is_started:
            self._bar.stop()


def duration(seconds: float) -> str:
    """`75 -> "1m15s"`, `7500 -> "2h05m"`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TextColumn("{task.fields[left]}", markup=False),
        console=console,
        transient=True,
    )
