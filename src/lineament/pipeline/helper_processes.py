"""Processes that do long pieces of work beside this one, and end when it does."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from typing import Any, TypeVar

import torch

from lineament.denormals import set_flush_denormals
from lineament.errors import LineamentError
from lineament.pipeline.processes import end_with_parent
from lineament.synthetic.dataset import single_threaded_children
from lineament.training.stopping import TrainingInterrupted

R = TypeVar("R")

_busy = False


class Helpers:
    """Processes that wait for work; see :func:`helpers`."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool

    def submit(self, work: Callable[..., R], *arguments: Any) -> Future[R]:
        """Have a helper compute ``work(*arguments)``, all of which is pickled, as soon as one is free."""
        return self._pool.submit(_do, work, arguments)


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
    pool = ProcessPoolExecutor(count, context, initializer=_begin, initargs=(watched,))
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


@contextmanager
def leaving_a_core() -> Iterator[None]:
    """Compute here with one thread less, where there is more than one: a helper needs a core."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before - 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _begin(watched: connection.Connection) -> None:
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


def _do(work: Callable[..., R], arguments: tuple[Any, ...]) -> R:
    global _busy
    _busy = True
    try:
        return work(*arguments)
    except (SystemExit, KeyboardInterrupt, TrainingInterrupted):
        # Only a signal does this. The pool would have the process wait for more work.
        os._exit(1)
    finally:
        _busy = False
