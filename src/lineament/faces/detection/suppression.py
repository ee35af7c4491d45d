"""Non-maximum suppression: of boxes that overlap, the best score stays."""

from __future__ import annotations

import numpy as np


def suppress(boxes: np.ndarray, scores: np.ndarray, overlap: float, over_smaller: bool = False) -> np.ndarray:
    """Greedy suppression.

    Args:
        boxes: ``[K, 4]`` x0 y0 x1 y1.
        scores: ``[K]``.
        overlap: A box goes when it overlaps a better one by more than this.
        over_smaller: Measure the overlap as a share of the smaller box instead of the union, which also removes boxes
            nested in another (the last stage of MTCNN).

    Returns:
        Indices of the boxes that stay, best first.
    """
    order = np.argsort(-scores, kind="stable")
    x0, y0, x1, y1 = boxes[order].T.astype(np.float64)
    areas = np.maximum(x1 - x0, 0) * np.maximum(y1 - y0, 0)
    alive = np.ones(len(order), dtype=bool)
    keep = []
    for i in range(len(order)):
        if not alive[i]:
            continue
        keep.append(order[i])
        rest = slice(i + 1, None)
        width = np.minimum(x1[i], x1[rest]) - np.maximum(x0[i], x0[rest])
        height = np.minimum(y1[i], y1[rest]) - np.maximum(y0[i], y0[rest])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        whole = np.minimum(areas[i], areas[rest]) if over_smaller else areas[i] + areas[rest] - shared
        alive[rest] &= shared <= overlap * whole
    return np.asarray(keep, dtype=np.int64)
