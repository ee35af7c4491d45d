"""Weighted sums of many rows, the same to the last bit whatever the number of threads."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def weighted_rows(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """``weights @ rows`` for ``[B, K]`` and ``[K, N]`` float32, summed in the order of the rows.

    Matrix libraries split the work by the number of threads and so round differently on another machine; an image must
    not depend on that. Rows of weight zero cost nothing.
    """
    result = np.zeros((weights.shape[0], rows.shape[1]), np.float32)
    for batch in range(weights.shape[0]):
        total = result[batch]
        for row in range(rows.shape[0]):
            weight = weights[batch, row]
            if weight != 0.0:
                values = rows[row]
                for column in range(rows.shape[1]):
                    total[column] += weight * values[column]
    return result
