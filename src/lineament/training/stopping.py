"""Stops at the next step boundary when asked to by a signal."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from lineament.errors import LineamentError


class TrainingInterrupted(LineamentError):  # noqa: N818 - it is a wish fulfilled, not an error
    """Training stopped on request with its checkpoint saved; the message says how to go on."""


class StopRequest:
    """Context in which Ctrl-C (SIGINT) or SIGTERM sets :attr:`wanted`; a second signal interrupts at once."""

    def __init__(self) -> None:
        self.wanted = False
        self._before: dict[int, Any] = {}

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

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
