"""SIGINT and SIGTERM in training: the step is finished and a checkpoint written before the end."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from lightning.fabric import Fabric

from autoenc_sg.core.errors import TrainingInterrupted
from autoenc_sg.training.parallel.fabric import any_process

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 120.0  # seconds that a step may take after a signal, where there are several processes
_NOTICE = b"\nautoenc-sg: finishing the step, then writing a checkpoint; once more ends at once\n"
_GIVEN_UP = b"\nautoenc-sg: the step does not end (a process hangs?); ended without a checkpoint\n"


class StopSignals:
    """Context manager: the first signal is noted, the second raises KeyboardInterrupt at once.

    The handlers of before are restored at its end. Outside the main thread, where Python has no
    handlers, it does nothing.

    With several processes a step may wait for one that hangs, for ever. So the first process, once
    it has received a signal, is ended if `is_due` is not reached within `PATIENCE` seconds, except
    inside `unhurried`; it ends those that it has started, also the one that hangs.

    Args:
        fabric: of the run.

    Attributes:
        received: the number of the first signal, or None.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.received: int | None = None
        self._timer: threading.Timer | None = None
        self._writer: socket.socket | None = None
        self._wakeup = -1
        self._is_unhurried = False
        self._handlers: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopSignals:
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._handle) for number in SIGNALS}
            if self.fabric.is_global_zero and self.fabric.world_size > 1:
                self._watch()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Restore the handlers of before."""
        self._end_watch()
        self._stop_timer()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise TrainingInterrupted(number, "interrupted before the checkpoint was written")
        self.received = number
        if self.fabric.is_global_zero:
            os.write(2, _NOTICE)  # print may be what was interrupted

    def _watch(self) -> None:
        """Have the system write the numbers of signals to a socket, which a thread reads."""
        reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._await_signal, args=(reader,), daemon=True).start()

    def _await_signal(self, reader: socket.socket) -> None:
        """In a thread: Python runs no handler while the main one waits in a collective."""
        with reader:
            while numbers := reader.recv(64):
                if self._timer is None and any(number in SIGNALS for number in numbers):
                    self._start_timer()

    def _end_watch(self) -> None:
        if self._writer is not None:
            signal.set_wakeup_fd(self._wakeup)
            self._writer.close()
            self._writer = None

    def _start_timer(self) -> None:
        self._timer = threading.Timer(PATIENCE, self._give_up)
        self._timer.daemon = True
        self._timer.start()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _give_up(self) -> None:
        """In the timer's thread: the main thread may wait in a collective operation, for ever."""
        if self._writer is None:  # training has ended meanwhile
            return
        if self._is_unhurried:
            self._start_timer()
            return
        os.write(2, _GIVEN_UP)
        launcher: Any = self.fabric.strategy.launcher
        for process in getattr(launcher, "procs", ()):  # none if torchrun has started them
            process.kill()
        os._exit(128 + (self.received or signal.SIGTERM))

    @contextmanager
    def unhurried(self) -> Iterator[None]:
        """Inside, what the first process does alone may take longer: validation, a checkpoint."""
        self._is_unhurried = True
        try:
            yield
        finally:
            self._is_unhurried = False

    def is_due(self) -> bool:
        """Whether any process has received a signal; all of them have to ask."""
        is_due = self._any_received()
        self._is_unhurried = is_due  # the checkpoint may take longer
        self._stop_timer()
        return is_due

    def _any_received(self) -> bool:
        return any_process(self.fabric, self.received is not None)

    def interruption(self, place: str, checkpoint: object) -> TrainingInterrupted:
        """The exception to raise once the checkpoint is written."""
        number = self.received or signal.SIGTERM
        return TrainingInterrupted(number, f"interrupted after {place}; checkpoint: {checkpoint}")
