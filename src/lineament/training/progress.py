"""The progress bar of training: step, rate, time left, loss; plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 20.0


class TrainingProgress:
    """Shows how far training is.

    Args:
        title: Name to show.
        total: Steps in all.
        done: Steps already done.
        enabled: False shows nothing (tests, other processes than the first).
    """

    def __init__(self, title: str, total: int, done: int, enabled: bool) -> None:
        self.title = title
        self.total = total
        self.first = done
        self.done = done
        self.enabled = enabled
        self.start = time.perf_counter()
        self._last_line = self.start
        self._bar: Progress | None = None

    def __enter__(self) -> TrainingProgress:
        console = Console(stderr=True)
        if self.enabled and console.is_terminal:
            columns = (
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]:.1f} steps/s"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bar = Progress(*columns, console=console, refresh_per_second=4)
            self._bar.start()
            self._task = self._bar.add_task(
                self.title, total=self.total, completed=self.done, rate=0.0, note=""
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    @property
    def rate(self) -> float:
        """Steps per second since the start of this process."""
        return (self.done - self.first) / max(time.perf_counter() - self.start, 1e-9)

    def advance(self, step: int, loss: float) -> None:
        """Show that ``step`` steps are done."""
        self.done = step
        note = f"loss {loss:.4g}"
        if self._bar:
            self._bar.update(self._task, completed=step, rate=self.rate, note=note)
        elif self.enabled and time.perf_counter() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.perf_counter()
            left = (self.total - step) / max(self.rate, 1e-9)
            minutes, seconds = divmod(round(left), 60)
            say(
                f"{self.title}: step {step}/{self.total}, {self.rate:.1f} steps/s, {minutes}:{seconds:02d} left, {note}"
            )


def say(text: str) -> None:
    """Print one line for the user on the error stream, which keeps standard output for results."""
    print(text, file=sys.stderr, flush=True)
