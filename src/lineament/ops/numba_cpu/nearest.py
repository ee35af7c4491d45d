"""The nearest of many values to each of a few points, on the CPU: one sweep that stops at the first coordinate."""

from __future__ import annotations

import numpy as np

from lineament.ops.numba_cpu.compile import kernel


@kernel
def nearest_in_item(
    points: np.ndarray,  # [B, K, 2] float64
    values: np.ndarray,  # [B, 2, N] float32 or float64
    index: np.ndarray,  # [B, K] int64, written
    item: int,
) -> int:
    """Fill one row of ``index``; nothing can go wrong, so the count of errors is 0."""
    across, down = values[item, 0], values[item, 1]
    for k in range(points.shape[1]):
        x, y = points[item, k, 0], points[item, k, 1]
        best, found = np.inf, 0
        for j in range(across.shape[0]):
            right = x - np.float64(across[j])
            squared = right * right
            # Most values are further off in x alone: y is not even read for them.
            if squared < best:
                below = y - np.float64(down[j])
                squared += below * below
                # Strictly: of equally near ones the first stays.
                if squared < best:
                    best, found = squared, j
        index[item, k] = found
    return 0
