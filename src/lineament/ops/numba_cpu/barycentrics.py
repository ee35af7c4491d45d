"""Barycentric coordinates on the CPU, forward and backward.

With ``e_i`` the edge function opposite to corner ``i`` and ``w_i = 1 / z_i``: ``S = sum e_j w_j``,
``bary_i = e_i w_i / S`` and ``depth = sum e_j / S``. The winding cancels.
"""

from __future__ import annotations

import numpy as np

from lineament.ops.numba_cpu.compile import kernel


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
    corners = np.uint32(points.shape[0])
    bad = 0
    for y in range(first_row, end_row):
        for x in range(index.shape[2]):
            face = index[view, y, x]
            d = b0 = b1 = b2 = 0.0
            if face >= triangles.shape[0]:
                bad += 1
            elif face >= 0:
                i0, i1, i2 = triangles[face, 0], triangles[face, 1], triangles[face, 2]
                if np.uint32(i0) >= corners or np.uint32(i1) >= corners or np.uint32(i2) >= corners:
                    bad += 1
                    continue
                x0, y0 = np.float64(points[i0, 0]) - x, np.float64(points[i0, 1]) - y
                x1, y1 = np.float64(points[i1, 0]) - x, np.float64(points[i1, 1]) - y
                x2, y2 = np.float64(points[i2, 0]) - x, np.float64(points[i2, 1]) - y
                z0, z1, z2 = np.float64(points[i0, 2]), np.float64(points[i1, 2]), np.float64(points[i2, 2])
                e0, e1, e2 = x1 * y2 - y1 * x2, x2 * y0 - y2 * x0, x0 * y1 - y0 * x1
                # Multiplied through by z0 z1 z2: two divisions become none.
                u0, u1, u2 = e0 * z1 * z2, e1 * z0 * z2, e2 * z0 * z1
                total = u0 + u1 + u2
                if total != 0.0 and z0 > 1e-8 and z1 > 1e-8 and z2 > 1e-8:
                    scale = 1.0 / total
                    d = (e0 + e1 + e2) * z0 * z1 * z2 * scale
                    b0, b1, b2 = u0 * scale, u1 * scale, u2 * scale
            depth[view, y, x] = d
            bary[view, 0, y, x], bary[view, 1, y, x], bary[view, 2, y, x] = b0, b1, b2
    return bad


@kernel
def barycentrics_backward_view(
    depth_gradient: np.ndarray,  # [N, H, W]
    bary_gradient: np.ndarray,  # [N, 3, H, W]
    vertices: np.ndarray,  # [N, V, 3]
    faces: np.ndarray,  # [1 or N, F, 3] int32
    index: np.ndarray,  # [N, H, W] int32, ids already checked by the forward pass
    gradient: np.ndarray,  # [N, V, 3], added to
    view: int,
) -> int:
    """Add one view's gradient with respect to its vertices."""
    points, into = vertices[view], gradient[view]
    triangles = faces[view if faces.shape[0] > 1 else 0]
    for y in range(index.shape[1]):
        for x in range(index.shape[2]):
            face = index[view, y, x]
            if face < 0:
                continue
            i0, i1, i2 = triangles[face, 0], triangles[face, 1], triangles[face, 2]
            x0, y0 = np.float64(points[i0, 0]) - x, np.float64(points[i0, 1]) - y
            x1, y1 = np.float64(points[i1, 0]) - x, np.float64(points[i1, 1]) - y
            x2, y2 = np.float64(points[i2, 0]) - x, np.float64(points[i2, 1]) - y
            z0, z1, z2 = np.float64(points[i0, 2]), np.float64(points[i1, 2]), np.float64(points[i2, 2])
            if not (z0 > 1e-8 and z1 > 1e-8 and z2 > 1e-8):
                continue
            e0, e1, e2 = x1 * y2 - y1 * x2, x2 * y0 - y2 * x0, x0 * y1 - y0 * x1
            w0, w1, w2 = 1.0 / z0, 1.0 / z1, 1.0 / z2
            total = e0 * w0 + e1 * w1 + e2 * w2
            if total == 0.0:
                continue
            scale = 1.0 / total
            b0, b1, b2 = e0 * w0 * scale, e1 * w1 * scale, e2 * w2 * scale
            gd = depth_gradient[view, y, x] * scale
            g0, g1, g2 = (
                bary_gradient[view, 0, y, x],
                bary_gradient[view, 1, y, x],
                bary_gradient[view, 2, y, x],
            )
            common = (g0 * b0 + g1 * b1 + g2 * b2) * scale + gd * (e0 + e1 + e2) * scale
            # Towards u_i = e_i w_i, then the edge functions, then the corners.
            u0, u1, u2 = g0 * scale - common, g1 * scale - common, g2 * scale - common
            t0, t1, t2 = u0 * w0 + gd, u1 * w1 + gd, u2 * w2 + gd
            into[i0, 0] += t2 * y1 - t1 * y2
            into[i0, 1] += t1 * x2 - t2 * x1
            into[i0, 2] -= u0 * e0 * w0 * w0
            into[i1, 0] += t0 * y2 - t2 * y0
            into[i1, 1] += t2 * x0 - t0 * x2
            into[i1, 2] -= u1 * e1 * w1 * w1
            into[i2, 0] += t1 * y0 - t0 * y1
            into[i2, 1] += t0 * x1 - t1 * x0
            into[i2, 2] -= u2 * e2 * w2 * w2
    return 0
