"""Rasterisation on the CPU: a loop over triangles with a z-buffer."""

from __future__ import annotations

import numpy as np

from lineament.ops.numba_cpu.compile import kernel


@kernel
def rasterize_band(
    vertices: np.ndarray,  # [N, V, 3]
    faces: np.ndarray,  # [1 or N, F, 3] int32
    index: np.ndarray,  # [N, H, W] int32, written
    depth: np.ndarray,  # [N, H, W] float32, written
    view: int,
    first_row: int,
    end_row: int,
) -> int:
    """Draw rows ``first_row .. end_row - 1`` of one view; return the number of faces with bad vertex ids."""
    width = index.shape[2]
    points = vertices[view]
    triangles = faces[view if faces.shape[0] > 1 else 0]
    ids = index[view]
    nearest = depth[view]
    ids[first_row:end_row] = -1
    nearest[first_row:end_row] = np.inf
    right, top, bottom = np.float64(width - 1), np.float64(first_row), np.float64(end_row - 1)
    count = np.uint32(points.shape[0])
    bad = 0
    for face in range(triangles.shape[0]):
        i0, i1, i2 = triangles[face, 0], triangles[face, 1], triangles[face, 2]
        # A negative id turns into a huge unsigned number, so that one comparison checks both ends.
        if np.uint32(i0) >= count or np.uint32(i1) >= count or np.uint32(i2) >= count:
            bad += 1
            continue
        # float64 makes the edge tests of float32 vertices exact.
        y0, y1, y2 = np.float64(points[i0, 1]), np.float64(points[i1, 1]), np.float64(points[i2, 1])
        low, high = y0 if y0 < y1 else y1, y1 if y0 < y1 else y0
        low, high = y2 if y2 < low else low, y2 if y2 > high else high
        low, high = low if low > top else top, high if high < bottom else bottom
        # Written so that NaN leaves, too.
        if not low <= high:
            continue
        y_first, y_last = int(np.ceil(low)), int(np.floor(high))
        if y_first > y_last:
            continue
        x0, x1, x2 = np.float64(points[i0, 0]), np.float64(points[i1, 0]), np.float64(points[i2, 0])
        low, high = x0 if x0 < x1 else x1, x1 if x0 < x1 else x0
        low, high = x2 if x2 < low else low, x2 if x2 > high else high
        low, high = low if low > 0.0 else 0.0, high if high < right else right
        if not low <= high:
            continue
        x_first, x_last = int(np.ceil(low)), int(np.floor(high))
        if x_first > x_last:
            continue
        area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
        z0, z1, z2 = np.float64(points[i0, 2]), np.float64(points[i1, 2]), np.float64(points[i2, 2])
        if not (z0 > 1e-8 and z1 > 1e-8 and z2 > 1e-8) or not (area < 0.0 or area > 0.0):
            continue
        if area < 0.0:
            x1, x2, y1, y2, z1, z2 = x2, x1, y2, y1, z2, z1
        w0, w1, w2 = 1.0 / z0, 1.0 / z1, 1.0 / z2
        for y in range(y_first, y_last + 1):
            fy = np.float64(y)
            dy0, dy1, dy2 = y0 - fy, y1 - fy, y2 - fy
            for x in range(x_first, x_last + 1):
                fx = np.float64(x)
                dx0, dx1, dx2 = x0 - fx, x1 - fx, x2 - fx
                # Swapping the ends of an edge flips the sign of these and changes nothing else, so that the two
                # triangles at a shared edge always agree.
                e0 = dx1 * dy2 - dy1 * dx2
                e1 = dx2 * dy0 - dy2 * dx0
                e2 = dx0 * dy1 - dy0 * dx1
                if e0 < 0.0 or e1 < 0.0 or e2 < 0.0:
                    continue
                if e0 == 0.0 and not (y2 < y1 or (y2 == y1 and x2 > x1)):
                    continue
                if e1 == 0.0 and not (y0 < y2 or (y0 == y2 and x0 > x2)):
                    continue
                if e2 == 0.0 and not (y1 < y0 or (y1 == y0 and x1 > x0)):
                    continue
                z = np.float32((e0 + e1 + e2) / (e0 * w0 + e1 * w1 + e2 * w2))
                if z < nearest[y, x]:
                    nearest[y, x] = z
                    ids[y, x] = face
    for y in range(first_row, end_row):
        for x in range(width):
            if ids[y, x] < 0:
                nearest[y, x] = 0.0
    return bad
