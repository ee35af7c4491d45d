"""Runs compiled CPU kernels over views and row bands.

The kernels release the interpreter lock, so plain threads are enough. numba's own thread pools are not used: one of
them ends the process when a data loader forks after the first call, the other when two threads call at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

# Pixels or triangles per thread below which waking another one costs more than it saves (about 0.1 ms of work).
GRAIN = 8192

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def _pool(workers: int) -> ThreadPoolExecutor:
    # Keyed by process: threads do not survive a fork, a pool inherited by a data loader's worker would never answer.
    key = (os.getpid(), workers)
    if key not in _pools:
        for stale in [old for old in _pools if old[0] != key[0]]:
            del _pools[stale]
        _pools[key] = ThreadPoolExecutor(workers, thread_name_prefix="lineament-ops")
    return _pools[key]


def run_tasks(
    kernel: Callable[..., int], arguments: Sequence[Any], tasks: Sequence[tuple[int, ...]], work: int
) -> int:
    """Call ``kernel(*arguments, *task)`` for every task on at most ``torch.get_num_threads()`` threads.

    The tasks must write to disjoint memory. The caller's thread takes part.

    Args:
        kernel: A compiled function that releases the interpreter lock.
        arguments: First arguments of every call.
        tasks: Last arguments of each call.
        work: Pixels and triangles to go through; little work stays on the caller's thread.

    Returns:
        The sum of the kernels' return values (each counts the bad ids that it met).
    """
    threads = min(torch.get_num_threads(), len(tasks), 1 + work // GRAIN)
    if threads <= 1:
        return sum(kernel(*arguments, *task) for task in tasks)

    def share(first: int) -> int:
        return sum(kernel(*arguments, *task) for task in tasks[first::threads])

    others = [_pool(threads - 1).submit(share, first) for first in range(1, threads)]
    own = share(0)
    return own + sum(other.result() for other in others)


def row_bands(views: int, height: int) -> list[tuple[int, int, int]]:
    """Split ``views`` images of ``height`` rows into ``(view, first row, row after the last)`` tasks of equal share."""
    threads = torch.get_num_threads()
    bands = 1 if views % threads == 0 else threads
    edges = [height * band // bands for band in range(bands + 1)]
    return [(view, edges[band], edges[band + 1]) for view in range(views) for band in range(bands)]


def whole_views(views: int) -> list[tuple[int]]:
    """One task per view, for kernels that scatter to the vertices of a view."""
    return [(view,) for view in range(views)]
