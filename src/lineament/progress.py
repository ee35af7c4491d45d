"""A progress bar with rate and time left for work on many images; plain lines where there is no terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

SECONDS_BETWEEN_LINES = 15.0
# Steady work that an estimate needs: so many things, or so many seconds of it.
STEADY_COUNT, STEADY_SECONDS = 5, 2.0


class Pace:
    """How fast steady work goes.

    The first thing done is not counted: it compiles kernels, reads models and fills caches, and would be taken for the
    pace of all that follow.

    Args:
        clock: Tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._start: float | None = None
        self._count = 0

    def advance(self, count: int = 1) -> None:
        """Count things that were just done."""
        if self._start is None:
            self._start = self._clock()
        else:
            self._count += count

    @property
    def rate(self) -> float | None:
        """Things per second; None before there was steady work enough to tell."""
        if self._start is None or not self._count:
            return None
        seconds = self._clock() - self._start
        if self._count < STEADY_COUNT and seconds < STEADY_SECONDS:
            return None
        return self._count / max(seconds, 1e-9)

    def left(self, count: int) -> str:
        """Time for ``count`` more things as ``minutes:seconds``; "" while the rate is not known."""
        if self.rate is None:
            return ""
        minutes, seconds = divmod(round(max(count, 0) / self.rate), 60)
        return f"{minutes}:{seconds:02d}"


def say(text: str) -> None:
    """Print one line for the user on the error stream, which keeps standard output for results."""
    print(text, file=sys.stderr, flush=True)


class Progress(Protocol):
    """How a long piece of work shows its progress; see :func:`progress`."""

    def __call__(
        self, title: str, total: int | None, unit: str, done: int = 0
    ) -> AbstractContextManager[Callable[[], None]]:
        """Begin to show progress; the value of the context is called after each thing done."""
        ...


@contextmanager
def silent(title: str, total: int | None, unit: str, done: int = 0) -> Iterator[Callable[[], None]]:
    """Show nothing."""
    yield lambda: None


@contextmanager
def progress(title: str, total: int | None, unit: str, done: int = 0) -> Iterator[Callable[[], None]]:
    """Show progress on the error stream.

    Args:
        title: What is being done, for example ``"cropping"``.
        total: Number of things to do in all, or about; None where that is not known.
        unit: What they are, for example ``"images"``.
        done: How many were done before.

    Yields:
        A function to call after each thing; threads may call it.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(title, total, unit, done)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[rate]:.1f}/s"),
        TimeRemainingColumn(),
    )
    pace = Pace()
    with Progress(*columns, console=console, refresh_per_second=4) as bar:
        task = bar.add_task(title, total=total, completed=done, rate=0.0)

        def advance() -> None:
            pace.advance()
            bar.update(task, advance=1, rate=pace.rate or 0.0)

        yield advance


def _lines(title: str, total: int | None, unit: str, done: int) -> Callable[[], None]:
    """Print a line every few seconds: a log file shows life without filling up."""
    lock = threading.Lock()
    last = time.perf_counter()
    finished = 0
    pace = Pace()

    def advance() -> None:
        nonlocal last, finished
        with lock:
            finished += 1
            pace.advance()
            now = time.perf_counter()
            if now - last < SECONDS_BETWEEN_LINES:
                return
            last = now
            rate, left = pace.rate, "" if total is None else pace.left(total - done - finished)
        of = "" if total is None else f"/{total}"
        speed = "" if rate is None else f", {rate:.1f}/s"
        say(f"{title}: {done + finished}{of} {unit}{speed}{f', {left} left' if left else ''}")

    return advance
