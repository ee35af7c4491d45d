"""The same work on many things in several processes; results come in order, and no process outlives this one."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, parent_process
from typing import Any, TypeVar

import torch

from lineament.data.loader import one_thread, worker_context
from lineament.denormals import flush_denormals, set_flush_denormals
from lineament.errors import LineamentError

T = TypeVar("T")
R = TypeVar("R")

# Results that may wait for their turn, for each process.
_AHEAD = 3
_work: Callable[[Any], Any] | None = None


@contextmanager
def ordered_map(
    work: Callable[[T], R], things: Iterable[T], workers: int, remedy: str
) -> Iterator[Iterator[R]]:
    """Give an iterator over ``work(thing)`` for each thing, in their order, each computed with one thread.

    Args:
        work: What to do. Processes are forked where that is safe, and else receive it pickled.
        things: What to do it on; sent to the processes, at most a few ahead of what was taken.
        workers: Processes; 1 works in this one.
        remedy: What a user is to do when a process dies, the end of the message.

    Raises:
        LineamentError: If a process dies. What ``work`` raises comes through.
    """
    if workers == 1:
        yield _here(work, things)
        return
    pool = ProcessPoolExecutor(workers, worker_context(), initializer=_begin, initargs=(work,))
    try:
        # All processes start now, before the caller has threads, whose locks a forked process would inherit.
        pool.submit(os.getpid).result()
        yield _in_order(pool, things, _AHEAD * workers)
    except BrokenProcessPool as error:
        raise LineamentError(
            f"one of the {workers} worker processes died, perhaps for want of memory: {remedy}."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _here(work: Callable[[T], R], things: Iterable[T]) -> Iterator[R]:
    for thing in things:
        with one_thread(), flush_denormals():
            result = work(thing)
        yield result


def _in_order(pool: ProcessPoolExecutor, things: Iterable[Any], ahead: int) -> Iterator[Any]:
    waiting: deque[Future[Any]] = deque()
    for thing in things:
        waiting.append(pool.submit(_do, thing))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _begin(work: Callable[[Any], Any]) -> None:
    global _work
    _work = work
    torch.set_num_threads(1)
    set_flush_denormals()
    # A terminal sends Ctrl-C to every process: the first one alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Leave when the first process is killed: waiting for work would never end."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _do(thing: Any) -> Any:
    assert _work is not None
    return _work(thing)
