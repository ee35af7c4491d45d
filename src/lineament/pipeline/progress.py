"""A progress bar with rate and time left for work on many pictures; plain lines where there is no terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

SECONDS_BETWEEN_LINES = 15.0


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
        unit: What they are, for example ``"pictures"``.
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
    start = time.perf_counter()
    with Progress(*columns, console=console, refresh_per_second=4) as bar:
        task = bar.add_task(title, total=total, completed=done, rate=0.0)

        def advance() -> None:
            finished = bar.tasks[0].completed + 1 - done
            bar.update(task, advance=1, rate=finished / max(time.perf_counter() - start, 1e-9))

        yield advance


def _lines(title: str, total: int | None, unit: str, done: int) -> Callable[[], None]:
    """Print a line every few seconds: a log file shows life without filling up."""
    lock = threading.Lock()
    start = last = time.perf_counter()
    finished = 0

    def advance() -> None:
        nonlocal last, finished
        with lock:
            finished += 1
            now = time.perf_counter()
            if now - last < SECONDS_BETWEEN_LINES:
                return
            last = now
            rate = finished / (now - start)
        of, left = "", ""
        if total is not None:
            minutes, seconds = divmod(round(max(total - done - finished, 0) / rate), 60)
            of, left = f"/{total}", f", {minutes}:{seconds:02d} left"
        print(f"{title}: {done + finished}{of} {unit}, {rate:.1f}/s{left}", file=sys.stderr, flush=True)

    return advance
