"""Fused passes over a block of scores on the CPU (see `exchange_blocked.Passes` for what each one does).

Each pass reads and writes a block once, with an exponential that vectorises: tensor operations need five to ten sweeps
and a slower exponential. Import this module only where it is used: it brings in the numba compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from numba import njit, types
from numba.extending import overload
from torch import Tensor

from lineament.ops.exchange_blocked import NEGLIGIBLE, TENSOR_PASSES, Passes

# No reassociation here: it would undo the two-part subtraction of k ln 2.
EXACT = {"contract"}
# Sums in any order, but no assumption that infinities and NaN are absent: they must reach the loss.
RELAXED = {"contract", "reassoc", "nsz"}
# Below this many elements a block is not worth handing to several threads.
PARALLEL_ELEMENTS = 1 << 16


@njit(fastmath=EXACT, error_model="numpy")
def _exp_single(x: np.float32) -> np.float32:
    """``exp(x)`` for x <= 0 to 1e-7 relative; 0 below the negligible limit, NaN stays NaN."""
    k = np.floor(x * np.float32(1.4426950408889634) + np.float32(0.5))
    f = x - k * np.float32(0.693359375)
    f = f - k * np.float32(-2.12194440e-4)
    p = np.float32(1 / 5040) * f + np.float32(1 / 720)
    p = p * f + np.float32(1 / 120)
    p = p * f + np.float32(1 / 24)
    p = p * f + np.float32(1 / 6)
    p = p * f + np.float32(0.5)
    p = p * (f * f) + f + np.float32(1.0)
    bits = (np.int32(max(k, np.float32(-126.0))) + np.int32(127)) << np.int32(23)
    value = p * np.int32(bits).view(np.float32)
    return np.float32(0.0) if x < np.float32(NEGLIGIBLE) else value


def _exp(x):  # type: ignore[no-untyped-def]
    """Stand-in that numba replaces by the exponential of x's precision."""
    raise TypeError("only callable from compiled code")


@overload(_exp, inline="never")
def _exp_for(x):  # type: ignore[no-untyped-def]
    if x == types.float32:
        return lambda x: _exp_single(x)
    return lambda x: np.exp(x)
