"""Memory of the process between two training steps."""

from __future__ import annotations

import ctypes
import platform

# Names of glibc's <malloc.h>.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# Free bytes that may lie at the top of the heap before the system gets them back.
KEPT = 512 * 1024**2
# Larger pieces come from the system one by one; the most that glibc takes.
PIECE = 32 * 1024**2


def keep_freed_memory() -> bool:
    """Let glibc keep what a training step frees for the next one, in place of asking the system each time.

    A step on the CPU frees hundreds of megabytes and takes them again at once; every page given back costs a fault and
    is filled with zeros when it returns.

    Returns:
        Whether the process now does so; False where the C library is another one.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # Setting one of the two ends glibc's own adjustment of both.
    return bool(mallopt(_TRIM_THRESHOLD, KEPT)) and bool(mallopt(_MMAP_THRESHOLD, PIECE))
