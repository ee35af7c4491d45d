"""Rasterisation on the CPU: a loop over triangles with a z-buffer."""

from __future__ import annotations

import math

import numpy as np

from lineament.ops.numba_cpu.compile import kernel


@kernel
def pixel_range(a: float, b: float, c: float, first: int, last: int) -> tuple[int, int]:
    """First and last integer between the least and the greatest of three numbers, cut to ``first .. last``."""
    low, high = max(min(a, min(b, c)), first), min(max(a, max(b, c)), last)
    return math.ceil(low), math.floor(high)


@kernel
def owns(
    e0: float, e1: float, e2: float, x0: float, y0: float, x1: float, y1: float, x2: float, y2: float
) -> bool:
    """Whether a point for which no edge function is negative is drawn: the zero ones belong to top or left edges."""
    return (
        (e0 > 0.0 or y2 < y1 or (y2 == y1 and x2 > x1))
        and (e1 > 0.0 or y0 < y2 or (y0 == y2 and x0 > x2))
        and (e2 > 0.0 or y1 < y0 or (y1 == y0 and x1 > x0))
    )


@kernel
def rasterize_band(
    vertices: np.ndarray,  # [N, V, 3]
    faces: np.ndarray,  # [1 or N, F, 3] int32
    index: np.ndarray,  # [N, H, W] int32, written
    depth: np.ndarray,  # [N, H, W] float32, written
    view: int,
    first_row: int,
    end_row: int,
    first_face: int,
    end_face: int,
) -> int:
    """Draw some faces into rows ``first_row .. end_row - 1`` of one view; return how many have bad vertex ids.

    Where nothing is drawn the depth is 0 if these are all faces, else infinite: see :func:`merge_layer`.
    """
    width = index.shape[2]
    points = vertices[view]
    triangles = faces[view if faces.shape[0] > 1 else 0]
    ids = index[view]
    nearest = depth[view]
    ids[first_row:end_row] = -1
    nearest[first_row:end_row] = np.inf
    count = np.uint32(points.shape[0])
    bad = 0
    for face in range(first_face, end_face):
        # A negative id turns into a huge unsigned number: one comparison checks both ends, and unsigned indices spare
        # the test for Python's negative ones.
        i0, i1, i2 = (
            np.uint32(triangles[face, 0]),
            np.uint32(triangles[face, 1]),
            np.uint32(triangles[face, 2]),
        )
        if i0 >= count or i1 >= count or i2 >= count:
            bad += 1
            continue
        # float64 makes the edge tests of float32 vertices exact.
        x0, y0 = np.float64(points[i0, 0]), np.float64(points[i0, 1])
        x1, y1 = np.float64(points[i1, 0]), np.float64(points[i1, 1])
        x2, y2 = np.float64(points[i2, 0]), np.float64(points[i2, 1])
        area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
        x_first, x_last = pixel_range(x0, x1, x2, 0, width - 1)
        y_first, y_last = pixel_range(y0, y1, y2, first_row, end_row - 1)
        # One branch for all: many triangles of a fine mesh leave here, and a wrong guess costs more than the sums.
        drawn = (x_first <= x_last) & (y_first <= y_last) & (area != 0.0) & (abs(area) < np.inf)
        if not drawn:
            continue
        z0, z1, z2 = np.float64(points[i0, 2]), np.float64(points[i1, 2]), np.float64(points[i2, 2])
        if not (z0 > 1e-8 and z1 > 1e-8 and z2 > 1e-8):
            continue
        # Counter-clockwise from here on: inside is where no edge function is negative.
        if area < 0.0:
            x1, x2, y1, y2, z1, z2 = x2, x1, y2, y1, z2, z1
        # One loop over both axes: small triangles have boxes of a pixel or two, where the begin and end of an inner
        # loop cost more than its body.
        x, y = x_first, y_first
        while y <= y_last:
            dx0, dx1, dx2 = x0 - x, x1 - x, x2 - x
            dy0, dy1, dy2 = y0 - y, y1 - y, y2 - y
            # Swapping the ends of an edge flips the sign of these and changes nothing else, so that the two
            # triangles at a shared edge always agree.
            e0 = dx1 * dy2 - dy1 * dx2
            e1 = dx2 * dy0 - dy2 * dx0
            e2 = dx0 * dy1 - dy0 * dx1
            lowest = min(e0, min(e1, e2))
            if lowest > 0.0 or (lowest == 0.0 and owns(e0, e1, e2, x0, y0, x1, y1, x2, y2)):
                # (e0 + e1 + e2) / (e0 / z0 + e1 / z1 + e2 / z2) with one division
                z01 = z0 * z1
                z = np.float32((e0 + e1 + e2) * z01 * z2 / ((e0 * z1 + e1 * z0) * z2 + e2 * z01))
                if z < nearest[y, x]:
                    nearest[y, x] = z
                    ids[y, x] = face
            end = x == x_last
            x = x_first if end else x + 1
            y += end
    if end_face - first_face == triangles.shape[0]:
        for y in range(first_row, end_row):
            for x in range(width):
                if ids[y, x] < 0:
                    nearest[y, x] = 0.0
    return bad


@kernel
def merge_layer(
    index: np.ndarray,  # [N, H, W] int32, written
    depth: np.ndarray,  # [N, H, W] float32, written
    other_index: np.ndarray,  # [N, H, W] int32
    other_depth: np.ndarray,  # [N, H, W] float32
    last: bool,
) -> None:
    """Add an image of faces with higher ids; after the last one the depth is 0 where nothing is drawn."""
    ids, nearest = index.ravel(), depth.ravel()
    other_ids, other_nearest = other_index.ravel(), other_depth.ravel()
    for pixel in range(ids.size):
        # Strictly: at equal depth the lower id, which came first, stays. Choices instead of branches vectorise.
        nearer = other_nearest[pixel] < nearest[pixel]
        ids[pixel] = other_ids[pixel] if nearer else ids[pixel]
        z = other_nearest[pixel] if nearer else nearest[pixel]
        nearest[pixel] = 0.0 if last and ids[pixel] < 0 else z
