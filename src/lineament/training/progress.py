"""The progress bar of training: step, rate, time left, loss; plain lines where there is no terminal."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lineament.progress import Pace, say

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
        self.done = done
        self.enabled = enabled
        self.pace = Pace()
        self._last_line = time.perf_counter()
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

    def advance(self, step: int, loss: float) -> None:
        """Show that ``step`` steps are done."""
        self.pace.advance(step - self.done)
        self.done = step
        note = f"loss {loss:.4g}"
        if self._bar:
            self._bar.update(self._task, completed=step, rate=self.pace.rate or 0.0, note=note)
        elif self.enabled and time.perf_counter() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.perf_counter()
            rate, left = self.pace.rate, self.pace.left(self.total - step)
            speed = "" if rate is None else f", {rate:.1f} steps/s, {left} left"
            say(f"{self.title}: step {step}/{self.total}{speed}, {note}")
