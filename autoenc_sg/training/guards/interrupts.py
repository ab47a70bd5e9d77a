"""SIGINT and SIGTERM in training: the step is finished and a checkpoint written before the end."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType

from lightning.fabric import Fabric

from autoenc_sg.core.errors import TrainingInterrupted
from autoenc_sg.training.parallel.fabric import any_process

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_NOTICE = b"\nautoenc-sg: finishing the step, then writing a checkpoint; once more ends at once\n"


class StopSignals:
    """Context manager: the first signal is noted, the second raises KeyboardInterrupt at once.

    The handlers of before are restored at its end. Outside the main thread, where Python has no
    handlers, it does nothing.

    Args:
        fabric: of the run.

    Attributes:
        received: the number of the first signal, or None.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.received: int | None = None
        self._handlers: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopSignals:
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Restore the handlers of before."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise TrainingInterrupted(number, "interrupted before the checkpoint was written")
        self.received = number
        if self.fabric.is_global_zero:
            os.write(2, _NOTICE)  # print may be what was interrupted

    def is_due(self) -> bool:
        """Whether any process has received a signal; all of them have to ask."""
        return any_process(self.fabric, self.received is not None)

    def interruption(self, place: str, checkpoint: object) -> TrainingInterrupted:
        """The exception to raise once the checkpoint is written."""
        number = self.received or signal.SIGTERM
        return TrainingInterrupted(number, f"interrupted after {place}; checkpoint: {checkpoint}")
