"""Counts on the processor itself: whether any operation met or made a subnormal number."""

from __future__ import annotations

import ctypes
import platform
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

# Sticky bits of the SSE control and status register: an operand was subnormal, a result was too small.
DENORMAL, UNDERFLOW = 0x02, 0x10
# Where glibc's fenv_t of x86-64 holds that register, and its size.
OFFSET, SIZE = 28, 32

needs_the_register = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or platform.libc_ver()[0] != "glibc",
    reason="reads the status register of x86-64 by way of glibc",
)


def _register() -> tuple[ctypes.Array[ctypes.c_char], int]:
    state = ctypes.create_string_buffer(SIZE)
    ctypes.CDLL("libm.so.6").fegetenv(state)
    return state, struct.unpack_from("<I", state, OFFSET)[0]


@contextmanager
def watched() -> Iterator[list[str]]:
    """Yield a list that at the end of the block names what this thread's operations met, single-threaded torch only."""
    assert torch.get_num_threads() == 1, "other threads have registers of their own"
    state, value = _register()
    struct.pack_into("<I", state, OFFSET, value & ~(DENORMAL | UNDERFLOW))
    ctypes.CDLL("libm.so.6").fesetenv(state)
    met: list[str] = []
    yield met
    _, value = _register()
    met += [name for bit, name in ((DENORMAL, "operand"), (UNDERFLOW, "result")) if value & bit]
