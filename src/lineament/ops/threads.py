"""Runs compiled CPU kernels over views and row bands.

The kernels release the interpreter lock, so plain threads are enough. numba's own thread pools are not used: one of
them ends the process when a data loader forks after the first call, the other when two threads call at once.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lineament.denormals import flushes_denormals

# Pixels or triangles per thread below which waking another one costs more than it saves (about 0.1 ms of work).
GRAIN = 8192
# Pixels in one part of a scattering kernel, and the most parts of a view.
PART, MOST_PARTS = 4096, 8

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
    kernel: Callable[..., int], arguments: Sequence[Any], tasks: Sequence[tuple[Any, ...]], work: int
) -> int:
    """Call ``kernel(*arguments, *task)`` for every task on at most ``torch.get_num_threads()`` threads.

    The tasks must write to disjoint memory. Every thread, the caller's among them, takes the next task when it is done
    with one: a thread that wakes late, or never, holds nobody up.

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
    waiting = deque(tasks)
    flush = flushes_denormals()

    def share() -> int:
        # The pool's threads may have begun under another setting than the caller's; a result must not depend on it.
        torch.set_flush_denormal(flush)
        total = 0
        while True:
            try:
                task = waiting.popleft()
            except IndexError:
                return total
            total += kernel(*arguments, *task)

    others = [_pool(threads - 1).submit(share) for _ in range(threads - 1)]
    total = share()
    # A helper that has not begun has nothing left to do, and is not waited for.
    return total + sum(other.result() for other in others if not other.cancel())


def shares(views: int) -> int:
    """How many tasks to make of each view: enough to keep all threads busy to the end, and no more."""
    threads = torch.get_num_threads()
    return 1 if threads == 1 or views >= 4 * threads else threads


def spans(length: int, parts: int) -> list[tuple[int, int]]:
    """Cut ``0 .. length`` into ``(first, end)`` of nearly equal length."""
    edges = [length * part // parts for part in range(parts + 1)]
    return list(itertools.pairwise(edges))


def row_bands(views: int, height: int) -> list[tuple[int, int, int]]:
    """Split ``views`` images of ``height`` rows into tasks ``(view, first row, row after last)`` for all threads."""
    bands = spans(height, shares(views))
    return [(view, *band) for view in range(views) for band in bands]


def scatter(
    kernel: Callable[..., int], arguments: Sequence[Any], into: Tensor, views: int, height: int, width: int
) -> int:
    """Run a kernel that adds what it finds at the pixels to entries of ``into`` that any pixel may touch.

    The rows of a view are cut into parts by the sizes alone; each part adds to memory of its own, and the parts are
    added up in their order. So the sums have the same bits whatever the number of threads.

    Args:
        kernel: Called as ``kernel(*arguments, sums, view, first row, row after the last)``; fills ``sums[view]`` with
            zeros and adds to it what it finds in these rows.
        arguments: First arguments of every call.
        into: ``[N, ...]`` the result; what it held is lost.
        views: Views N.
        height: Rows.
        width: Columns.

    Returns:
        See :func:`run_tasks`.
    """
    pixels, entries = height * width, max(1, into.numel() // max(1, views))
    parts = max(1, min(MOST_PARTS, pixels // PART, MOST_PARTS * pixels // entries))
    sums = into.numpy()
    buffers = [sums, *(np.empty_like(sums) for _ in range(parts - 1))]
    rows = list(zip(buffers, spans(height, parts), strict=True))
    tasks = [(buffer, view, *band) for view in range(views) for buffer, band in rows]
    total = run_tasks(kernel, arguments, tasks, views * pixels)
    for buffer in buffers[1:]:
        sums += buffer
    return total
