"""Stops at the next step boundary when asked to by a signal."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from lineament.errors import Interrupted, Terminated


class TrainingInterrupted(Interrupted):
    """Training stopped on request with its checkpoint saved; the message says how to go on."""


class StopRequest:
    """Context in which Ctrl-C (SIGINT) or SIGTERM sets :attr:`wanted`; a second signal interrupts at once."""

    def __init__(self) -> None:
        self.wanted = False
        self._before: dict[int, Any] = {}
        self._process = os.getpid()
        self._number = 0

    def __enter__(self) -> StopRequest:
        # Python delivers signals to the main thread only; elsewhere the caller's handling stays as it is.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if isinstance(error, Interrupted) and self._number == signal.SIGTERM:
            error.exit_code = 143

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            # A data worker that was forked with this handler: Ctrl-C is the training process's business, and the
            # loader ends its workers with SIGTERM.
            if number == signal.SIGTERM:
                os._exit(0)
            return
        if self.wanted:
            os.write(2, b"\nstopped at once: nothing was saved since the last checkpoint.\n")
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        self.wanted = True
        self._number = number
        # Not print(): a handler may run in the middle of another write to the same buffer.
        os.write(2, b"\nstopping after this step with a checkpoint; once more stops at once.\n")
