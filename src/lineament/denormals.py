"""Flush-to-zero: whether the processor computes with subnormal numbers or takes them for zero.

Numbers below the smallest normal one (1.2e-38 in single precision) are kept with fewer digits, and many processors need
some hundred cycles for each operation that meets one. Gradients, softmax tails and moving averages of training hold
plenty of them and none of them matters. Processors of the x86-64 and ARM families have a flag that takes them for zero.

The flag belongs to a thread. A thread or a forked process starts with that of its creator; what runs already must be
told. :func:`flush_denormals` and :func:`set_flush_denormals` therefore also tell the threads with which torch computes
for the calling thread, :mod:`lineament.ops.threads` tells its own, and each worker process calls
:func:`set_flush_denormals` when it begins. Where the processor has no such flag nothing happens, and
:func:`flushes_denormals` goes on to say False.

Importing this module imports no torch.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

# The smallest normal number in double precision; half of it is subnormal.
_SMALLEST = sys.float_info.min
# What `#pragma omp parallel` compiles to: (function, its argument, threads, flags).
_PARALLEL = "GOMP_parallel"
_OPENMP_NAMES = ("libgomp", "libiomp5", "libomp")


def flushes_denormals() -> bool:
    """Tell, by an actual multiplication, whether the calling thread takes subnormal results for zero."""
    return _SMALLEST * 0.5 == 0.0


def set_flush_denormals(on: bool = True) -> bool:
    """Set the flag of the calling thread and of the threads with which torch computes for it.

    For the start of a process that is ours; code that runs in somebody else's process uses :func:`flush_denormals`.

    Args:
        on: True takes subnormal numbers for zero.

    Returns:
        Whether the calling thread now does so; False on a processor that has no such flag.
    """
    import torch

    torch.set_flush_denormal(on)
    if torch.get_num_threads() > 1:
        _tell_openmp_threads(on)
    return flushes_denormals()


@contextmanager
def flush_denormals(on: bool = True) -> Iterator[bool]:
    """Set the flag inside the context, and put the caller's back afterwards.

    Args:
        on: True takes subnormal numbers for zero.

    Yields:
        Whether the calling thread does so.
    """
    before = flushes_denormals()
    try:
        yield set_flush_denormals(on)
    finally:
        set_flush_denormals(before)


@contextmanager
def denormals_restored() -> Iterator[None]:
    """Put back at the end whatever the code inside makes of the flag; imports no torch unless it was changed."""
    before = flushes_denormals()
    try:
        yield
    finally:
        if flushes_denormals() != before:
            set_flush_denormals(before)


def _tell_openmp_threads(on: bool) -> None:
    """Set the flag in each thread of the calling thread's OpenMP team, which may have begun under another one.

    Results would otherwise depend on whether the process computed anything before, and a resumed training would not
    repeat an uninterrupted one bit for bit.
    """
    import torch

    def tell(_: int | None) -> None:
        torch.set_flush_denormal(on)

    told = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(tell)
    for library in _openmp_libraries():
        getattr(library, _PARALLEL)(told, None, torch.get_num_threads(), 0)


@cache
def _openmp_libraries() -> tuple[ctypes.CDLL, ...]:
    """OpenMP libraries of this process, torch's own if it brought one; none where they cannot be found.

    Only Linux lists what a process has loaded. Elsewhere the threads of torch keep the flag they began with.
    """
    import torch

    try:
        mapped = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    paths = {line.split(maxsplit=5)[5] for line in mapped.splitlines() if len(line.split(maxsplit=5)) == 6}
    found = sorted(path for path in paths if Path(path).name.startswith(_OPENMP_NAMES))
    # Other packages may bring a copy of their own, with threads of its own.
    beside_torch = str(Path(torch.__file__).resolve().parent)
    own = [path for path in found if path.startswith(beside_torch)]
    libraries = [ctypes.CDLL(path) for path in own or found]
    return tuple(library for library in libraries if hasattr(library, _PARALLEL))
