"""Barycentric coordinates on the CPU, forward and backward; the per-pixel formulas also serve the GPU kernels.

With ``e_i`` the edge function opposite to corner ``i`` and ``w_i = 1 / z_i``: ``S = sum e_j w_j``,
``bary_i = e_i w_i / S`` and ``depth = sum e_j / S``. The winding cancels.
"""

from __future__ import annotations

import numpy as np

from lineament.ops.numba_cpu.compile import kernel

Four = tuple[float, float, float, float]
Nine = tuple[float, float, float, float, float, float, float, float, float]


@kernel
def valid_corners(corner: np.ndarray, count: int) -> bool:
    """Whether all three vertex ids are in ``0 .. count - 1``."""
    return 0 <= corner[0] < count and 0 <= corner[1] < count and 0 <= corner[2] < count


@kernel
def pixel_barycentrics(points: np.ndarray, corner: np.ndarray, x: int, y: int) -> Four:
    """Depth and barycentric coordinates at one pixel; zeros for a triangle that is never drawn."""
    # Corners relative to the pixel, in double precision: edge functions are differences of nearly equal products.
    i0, i1, i2 = corner[0], corner[1], corner[2]
    x0, y0, z0 = np.float64(points[i0, 0]) - x, np.float64(points[i0, 1]) - y, np.float64(points[i0, 2])
    x1, y1, z1 = np.float64(points[i1, 0]) - x, np.float64(points[i1, 1]) - y, np.float64(points[i1, 2])
    x2, y2, z2 = np.float64(points[i2, 0]) - x, np.float64(points[i2, 1]) - y, np.float64(points[i2, 2])
    e0, e1, e2 = x1 * y2 - y1 * x2, x2 * y0 - y2 * x0, x0 * y1 - y0 * x1
    # Multiplied through by z0 z1 z2, which saves three divisions.
    u0, u1, u2 = e0 * z1 * z2, e1 * z0 * z2, e2 * z0 * z1
    total = u0 + u1 + u2
    if total == 0.0 or not (z0 > 1e-8 and z1 > 1e-8 and z2 > 1e-8):
        return 0.0, 0.0, 0.0, 0.0
    scale = 1.0 / total
    return (e0 + e1 + e2) * z0 * z1 * z2 * scale, u0 * scale, u1 * scale, u2 * scale


@kernel
def pixel_gradient(
    points: np.ndarray, corner: np.ndarray, x: int, y: int, gd: float, g0: float, g1: float, g2: float
) -> Nine:
    """Gradient of ``gd * depth + g . bary`` at one pixel: x, y, z of the three corners in turn."""
    i0, i1, i2 = corner[0], corner[1], corner[2]
    x0, y0, z0 = np.float64(points[i0, 0]) - x, np.float64(points[i0, 1]) - y, np.float64(points[i0, 2])
    x1, y1, z1 = np.float64(points[i1, 0]) - x, np.float64(points[i1, 1]) - y, np.float64(points[i1, 2])
    x2, y2, z2 = np.float64(points[i2, 0]) - x, np.float64(points[i2, 1]) - y, np.float64(points[i2, 2])
    if not (z0 > 1e-8 and z1 > 1e-8 and z2 > 1e-8):
        return 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    e0, e1, e2 = x1 * y2 - y1 * x2, x2 * y0 - y2 * x0, x0 * y1 - y0 * x1
    w0, w1, w2 = 1.0 / z0, 1.0 / z1, 1.0 / z2
    s0, s1, s2 = e0 * w0, e1 * w1, e2 * w2
    total = s0 + s1 + s2
    if total == 0.0:
        return 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    scale = 1.0 / total
    gd *= scale
    common = (g0 * s0 + g1 * s1 + g2 * s2) * scale + gd * (e0 + e1 + e2)
    # Towards s_i = e_i w_i, then the edge functions, then the corners.
    u0, u1, u2 = (g0 - common) * scale, (g1 - common) * scale, (g2 - common) * scale
    t0, t1, t2 = u0 * w0 + gd, u1 * w1 + gd, u2 * w2 + gd
    return (
        *(t2 * y1 - t1 * y2, t1 * x2 - t2 * x1, -u0 * s0 * w0),
        *(t0 * y2 - t2 * y0, t2 * x0 - t0 * x2, -u1 * s1 * w1),
        *(t1 * y0 - t0 * y1, t0 * x1 - t1 * x0, -u2 * s2 * w2),
    )


@kernel
def barycentrics_band(
    vertices: np.ndarray,  # [N, V, 3]
    faces: np.ndarray,  # [1 or N, F, 3] int32
    index: np.ndarray,  # [N, H, W] int32
    depth: np.ndarray,  # [N, H, W], written
    bary: np.ndarray,  # [N, 3, H, W], written
    view: int,
    first_row: int,
    end_row: int,
) -> int:
    """Fill rows ``first_row .. end_row - 1`` of one view; return the number of pixels with bad ids."""
    points = vertices[view]
    triangles = faces[view if faces.shape[0] > 1 else 0]
    bad = 0
    for y in range(first_row, end_row):
        for x in range(index.shape[2]):
            face = index[view, y, x]
            d = b0 = b1 = b2 = 0.0
            if face >= triangles.shape[0] or (
                face >= 0 and not valid_corners(triangles[face], points.shape[0])
            ):
                bad += 1
            elif face >= 0:
                d, b0, b1, b2 = pixel_barycentrics(points, triangles[face], x, y)
            depth[view, y, x] = d
            bary[view, 0, y, x], bary[view, 1, y, x], bary[view, 2, y, x] = b0, b1, b2
    return bad


@kernel
def barycentrics_backward_band(
    depth_gradient: np.ndarray,  # [N, H, W]
    bary_gradient: np.ndarray,  # [N, 3, H, W]
    vertices: np.ndarray,  # [N, V, 3]
    faces: np.ndarray,  # [1 or N, F, 3] int32
    index: np.ndarray,  # [N, H, W] int32, ids already checked by the forward pass
    gradient: np.ndarray,  # [N, V, 3], written
    view: int,
    first_row: int,
    end_row: int,
) -> int:
    """Gradient of rows ``first_row .. end_row - 1`` of one view with respect to its vertices."""
    points, into, slope = vertices[view], gradient[view], bary_gradient[view]
    into[:] = 0
    triangles = faces[view if faces.shape[0] > 1 else 0]
    for y in range(first_row, end_row):
        for x in range(index.shape[2]):
            face = index[view, y, x]
            if face < 0:
                continue
            corner = triangles[face]
            g = pixel_gradient(
                points,
                corner,
                x,
                y,
                depth_gradient[view, y, x],
                slope[0, y, x],
                slope[1, y, x],
                slope[2, y, x],
            )
            for k in range(3):
                for axis in range(3):
                    into[corner[k], axis] += g[3 * k + axis]
    return 0
