"""Processes beside this one, and how many threads each computes with.

:func:`ordered_map` does the same work on many things; :func:`helpers` starts processes for a few long pieces of work.
No process outlives the one that started it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, parent_process
from multiprocessing.context import BaseContext
from typing import Any, TypeVar

import torch

from lineament.denormals import flush_denormals, set_flush_denormals
from lineament.errors import Interrupted, LineamentError

T = TypeVar("T")
R = TypeVar("R")

# Results of ordered_map that may wait for their turn, for each process.
_AHEAD = 3
# What the processes of ordered_map do.
_work: Callable[[Any], Any] | None = None
# Whether this helper computes something.
_busy = False


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread, as worker processes do: sums split over threads round differently."""
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def single_threaded_children() -> Iterator[None]:
    """Processes started inside inherit one thread each: the images are drawn side by side already."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def leaving_a_core() -> Iterator[None]:
    """Compute here with one thread less, where there is more than one: a helper needs a core."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before - 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def worker_context() -> BaseContext | None:
    """Choose how workers start: fork is quick, but a numba kernel on GNU OpenMP ends a process forked after it ran."""
    if "fork" not in multiprocessing.get_all_start_methods():
        return None
    if "numba" in sys.modules:
        import numba

        try:
            layer = numba.threading_layer()
        # Numba says with this error that no parallel kernel has run yet.
        except ValueError:
            layer = None
        if layer == "omp":
            context = multiprocessing.get_context("forkserver")
            # Imported once by the server and not by each worker: these take seconds.
            context.set_forkserver_preload(["torch", "numba"])
            return context
    return multiprocessing.get_context("fork")


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
    pool = ProcessPoolExecutor(workers, worker_context(), initializer=_begin_worker, initargs=(work,))
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
        waiting.append(pool.submit(_work_on, thing))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _begin_worker(work: Callable[[Any], Any]) -> None:
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


def _work_on(thing: Any) -> Any:
    assert _work is not None
    return _work(thing)


class Helpers:
    """Processes that wait for work; see :func:`helpers`."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool

    def submit(self, work: Callable[..., R], *arguments: Any) -> Future[R]:
        """Have a helper compute ``work(*arguments)``, all of which is pickled, as soon as one is free."""
        return self._pool.submit(_help, work, arguments)


@contextmanager
def helpers(count: int, remedy: str) -> Iterator[Helpers]:
    """Start processes that compute with one thread each; leaving the context ends what they still do.

    A helper that trains stops after its step with a checkpoint, one that does something else stops at once; either way
    its temporary files are removed. Ctrl-C is this process's business: what it raises here ends the helpers. What the
    work raises comes out of its future. The processes are started afresh and not forked: torch cannot train in a fork
    of a process that has trained.

    Args:
        count: How many processes.
        remedy: What a user is to do when one dies, the end of the message.

    Raises:
        LineamentError: If one dies.
    """
    context = multiprocessing.get_context("spawn")
    # Helpers watch the pipe and never read it. (An event of multiprocessing waits for watchers that died.)
    watched, stop = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(count, context, initializer=_begin_helper, initargs=(watched,))
    try:
        with single_threaded_children():
            for _ in range(count):
                pool.submit(os.getpid)
        yield Helpers(pool)
    except BrokenProcessPool as error:
        raise LineamentError(
            f"one of the {count} helper processes died, perhaps for want of memory: {remedy}."
        ) from error
    finally:
        stop.send_bytes(b"stop")
        pool.shutdown(wait=True, cancel_futures=True)
        stop.close()
        watched.close()


def _begin_helper(watched: connection.Connection) -> None:
    torch.set_num_threads(1)
    set_flush_denormals()
    # Blocked and not ignored: training sets handlers of its own.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=end_with_parent, daemon=True).start()
    threading.Thread(target=_stop_when, args=(watched,), daemon=True).start()


def _leave(number: int, frame: object) -> None:
    raise SystemExit(1)


def _stop_when(watched: connection.Connection) -> None:
    connection.wait([watched])
    if _busy:
        os.kill(os.getpid(), signal.SIGTERM)


def _help(work: Callable[..., R], arguments: tuple[Any, ...]) -> R:
    global _busy
    _busy = True
    try:
        return work(*arguments)
    except (SystemExit, KeyboardInterrupt, Interrupted):
        # Only a signal does this. The pool would have the process wait for more work.
        os._exit(1)
    finally:
        _busy = False
