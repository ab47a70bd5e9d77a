"""Waiting for other processes: for what they do, with a limit that only one that hangs reaches."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

LIMIT_S = 1200.0  # a busy machine is ten times slower; gloo itself gives up after 1800 s


def wait_until(is_true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for what the process is to do.

    Raises:
        AssertionError: the process ended before, or hangs.
    """
    end = time.monotonic() + LIMIT_S
    while True:
        status = process.poll()  # before the condition: it may do it and end
        if is_true():
            return
        if status is not None:
            error = "" if process.stderr is None else process.stderr.read()
            raise AssertionError(f"the process ended before, with status {status}: {error}")
        assert time.monotonic() < end, f"nothing happened within {LIMIT_S:.0f} s"
        time.sleep(0.05)
