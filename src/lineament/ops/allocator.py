"""How the C library's allocator treats what torch frees."""

from __future__ import annotations

from functools import cache

import torch

# The largest block that moves the limit of the GNU allocator is one of 32 MiB.
_KEPT_BYTES = 31 * 2**20


@cache
def reuse_freed_blocks() -> None:
    """Let freed blocks of up to 31 MiB be used again instead of going back to the system.

    The GNU allocator gives freed memory back above a limit that grows with what was freed before. Without this each
    call of a network gets its few megabytes anew, page by page, which can take as long as the network itself. Once for
    a process; no other allocator is changed by it.
    """
    torch.empty(_KEPT_BYTES, dtype=torch.uint8)
