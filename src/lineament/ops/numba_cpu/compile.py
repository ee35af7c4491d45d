"""How the CPU kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable, Set
from functools import partial
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile on first call, release the interpreter lock, and keep the machine code on disk if there is a place."""
    return _compiled(function, frozenset())


def kernel_with(*fastmath: str) -> Callable[[F], F]:
    """The same, with liberties for arithmetic, named as LLVM names its flags (``"contract"``: fused multiply-add)."""
    return partial(_compiled, fastmath=frozenset(fastmath))


def _compiled(function: F, fastmath: Set[str]) -> F:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": set(fastmath)}
    try:
        compiled: F = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        # numba raises this where neither the package's folder nor the user's cache folder can be written.
        compiled = numba.njit(**options)(function)
    return compiled
