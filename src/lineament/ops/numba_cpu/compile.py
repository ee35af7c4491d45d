"""How the CPU kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile on first call, release the interpreter lock, and keep the machine code on disk if there is a place."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        compiled: F = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        # numba raises this where neither the package's folder nor the user's cache folder can be written.
        compiled = numba.njit(**options)(function)
    return compiled
