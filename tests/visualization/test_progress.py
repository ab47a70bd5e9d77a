"""What a long command says, by a clock of ours."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from autoenc_sg.visualization.progress import Reporter, duration


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def reporter(clock: Clock, terminal: bool = False, width: int = 80) -> tuple[Reporter, io.StringIO]:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=width)
    plan = [("draw", 1.0), ("train", 3.0)]
    return Reporter(plan, console, clock, line_every=15.0), file


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.4, "59s"), (59.6, "1m00s"), (75, "1m15s"), (3599, "59m59s"), (7500, "2h05m")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_estimates_by_hand() -> None:
    clock = Clock()
    report, _ = reporter(clock)
    assert report.fraction == 0
    assert report.seconds_left() is None
    with report.stage("draw", 4):
        clock.now += 10
        report.advance()
        assert report.fraction == pytest.approx(1 / 16)
        assert report.seconds_left() == pytest.approx(150)
        report.advance(3)
        assert report.fraction == pytest.approx(0.25)
    assert report.fraction == pytest.approx(0.25)  # counted once
    with report.stage("train", 3):
        clock.now += 10
        report.advance(2)
        assert report.fraction == pytest.approx(0.75)
        assert report.seconds_left() == pytest.approx(20 / 3)
        report.advance(5)  # never more than all
        assert report.fraction == pytest.approx(1)
        assert report.seconds_left() == 0
    assert report.fraction == 1


def test_a_stage_outside_the_plan_weighs_nothing() -> None:
    report, file = reporter(Clock())
    with report.stage("other"):
        report.advance()
        assert report.fraction == 0
    assert "other: done in 0s" in file.getvalue()


def test_an_empty_plan_does_not_divide_by_zero() -> None:
    report = Reporter([], Console(file=io.StringIO()), Clock())
    with report.stage("one", 0):
        report.advance()
    assert report.seconds_left() is None


def test_lines_now_and_then_where_there_is_no_terminal() -> None:
    clock = Clock()
    report, file = reporter(clock)
    with report.stage("train", 100):
        for _ in range(50):
            clock.now += 1
            report.advance(note="loss 0.5")
    lines = file.getvalue().splitlines()
    assert lines[0] == "[  0%] train 0/100 · …"
    assert lines[1] == "[ 11%] train 15/100 loss 0.5 · 1m58s left in all"
    assert [line.split()[3] for line in lines[1:4]] == ["15/100", "30/100", "45/100"]
    assert lines[-1] == "train: done in 50s"
    assert len(lines) == 5


def test_a_line_is_one_line_and_brackets_are_text() -> None:
    report, file = reporter(Clock(), width=20)
    with report.stage("train [bold]x[/bold]"):
        report.advance(note="[/red] " + "a" * 60)
    lines = file.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[1] == "train [bold]x[/bold]: done in 0s"


def test_a_terminal_gets_a_bar_and_is_left_clean() -> None:
    clock = Clock()
    report, file = reporter(clock, terminal=True, width=100)
    with report.stage("draw", 2):
        clock.now += 4
        report.advance(note="[/no-markup].jpg")
    text = file.getvalue()
    assert "draw: done in 4s" in text
    assert text.endswith("done in 4s\n")
    assert "\x1b[?25h" in text  # the cursor is back


@pytest.mark.parametrize("terminal", [True, False])
def test_an_error_inside_a_stage_passes_and_closes_the_bar(terminal: bool) -> None:
    report, file = reporter(Clock(), terminal)
    with pytest.raises(KeyError), report.stage("draw"):
        raise KeyError("x")
    assert "done" not in file.getvalue()
    assert report._bar is None or not report._bar.live.is_started
    report.close()
