"""Edge gradient on the CPU: every pair of neighbouring pixels with different ids is looked at once."""

from __future__ import annotations

import numpy as np

from lineament.ops.numba_cpu.compile import kernel

Six = tuple[float, float, float, float, float, float]


@kernel
def covers(points: np.ndarray, corner: np.ndarray, x: float, y: float) -> bool:
    """Whether the triangle covers ``(x, y)`` by the drawing rule of the rasterizer."""
    i0, i1, i2 = corner[0], corner[1], corner[2]
    x0, y0 = np.float64(points[i0, 0]) - x, np.float64(points[i0, 1]) - y
    x1, y1 = np.float64(points[i1, 0]) - x, np.float64(points[i1, 1]) - y
    x2, y2 = np.float64(points[i2, 0]) - x, np.float64(points[i2, 1]) - y
    e0, e1, e2 = x1 * y2 - y1 * x2, x2 * y0 - y2 * x0, x0 * y1 - y0 * x1
    if (e0 < 0.0 or e1 < 0.0 or e2 < 0.0) and (e0 > 0.0 or e1 > 0.0 or e2 > 0.0):
        return False
    total = e0 + e1 + e2
    if e0 != 0.0 and e1 != 0.0 and e2 != 0.0:
        return True
    # On an edge: it is a top or left one (for this winding) or the pixel belongs to the neighbour.
    s = 1.0 if total > 0.0 else -1.0
    dx0, dx1, dx2 = (x2 - x1) * s, (x0 - x2) * s, (x1 - x0) * s
    dy0, dy1, dy2 = (y2 - y1) * s, (y0 - y2) * s, (y1 - y0) * s
    return bool(
        total != 0.0
        and (e0 != 0.0 or dy0 < 0.0 or (dy0 == 0.0 and dx0 > 0.0))
        and (e1 != 0.0 or dy1 < 0.0 or (dy1 == 0.0 and dx1 > 0.0))
        and (e2 != 0.0 or dy2 < 0.0 or (dy2 == 0.0 and dx2 > 0.0))
    )


@kernel
def inverse_depth(points: np.ndarray, corner: np.ndarray, x: float, y: float) -> float:
    """1 / depth of the triangle's plane at ``(x, y)``, inside or outside of it."""
    i0, i1, i2 = corner[0], corner[1], corner[2]
    x0, y0, z0 = np.float64(points[i0, 0]) - x, np.float64(points[i0, 1]) - y, np.float64(points[i0, 2])
    x1, y1, z1 = np.float64(points[i1, 0]) - x, np.float64(points[i1, 1]) - y, np.float64(points[i1, 2])
    x2, y2, z2 = np.float64(points[i2, 0]) - x, np.float64(points[i2, 1]) - y, np.float64(points[i2, 2])
    e0, e1, e2 = x1 * y2 - y1 * x2, x2 * y0 - y2 * x0, x0 * y1 - y0 * x1
    volume = (e0 + e1 + e2) * z0 * z1 * z2
    return (e0 * z1 * z2 + e1 * z0 * z2 + e2 * z0 * z1) / volume if volume != 0.0 else 0.0


@kernel
def share_corner(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two triangles have a vertex in common."""
    first = a[0] == b[0] or a[0] == b[1] or a[0] == b[2]
    second = a[1] == b[0] or a[1] == b[1] or a[1] == b[2]
    return bool(first or second or a[2] == b[0] or a[2] == b[1] or a[2] == b[2])


@kernel
def micro_edge(
    points: np.ndarray, a: np.ndarray, b: np.ndarray, x: int, y: int, axis: int, flat: bool, limit: float
) -> tuple[float, float, float, float]:
    """How far the edge between pixel A at ``(x, y)`` and its right or lower neighbour B follows the two triangles.

    Returns:
        Motion of the edge along the axis per motion of A and of B along it, then per motion of A and of B in depth.
    """
    xb, yb = x + 1 - axis, y + axis
    # Whoever covers the other's pixel without being covered lies in front and moves the edge alone.
    a_in_b, b_in_a = covers(points, b, x, y), covers(points, a, xb, yb)
    if a_in_b != b_in_a:
        return (1.0, 0.0, 0.0, 0.0) if a_in_b else (0.0, 1.0, 0.0, 0.0)
    surface = (0.5, 0.5, 0.0, 0.0) if flat else (0.0, 0.0, 0.0, 0.0)
    # Neighbours in one surface: colours go on across the edge, nothing is hidden by it.
    if not a_in_b and share_corner(a, b):
        return surface
    wa, wa_at_b = inverse_depth(points, a, x, y), inverse_depth(points, a, xb, yb)
    wb, wb_at_a = inverse_depth(points, b, xb, yb), inverse_depth(points, b, x, y)
    slope_a, slope_b = wa_at_b - wa, wb - wb_at_a
    gap_at_a, gap_at_b = wa - wb_at_a, wa_at_b - wb
    if not a_in_b:
        # 1 / depth is linear in the image. A gap no larger than what the planes themselves change within a pixel is no
        # jump in depth.
        gap = 0.5 * (gap_at_a + gap_at_b)
        shallow, bend = min(abs(slope_a), abs(slope_b)), abs(slope_a - slope_b)
        if abs(gap) <= shallow + 0.5 * bend:
            return surface
        return (1.0, 0.0, 0.0, 0.0) if gap > 0.0 else (0.0, 1.0, 0.0, 0.0)
    # Each covers the other's pixel: they intersect in between, where both depths are equal.
    along = gap_at_b - gap_at_a
    if along == 0.0:
        return 0.0, 0.0, 0.0, 0.0
    xc, yc = x + axis, y + 1 - axis
    across = inverse_depth(points, a, xc, yc) - inverse_depth(points, b, xc, yc) - gap_at_a
    w = wa - slope_a * gap_at_a / along
    depth = w * w * along / (along * along + across * across)
    move_a, move_b = slope_a / along, -slope_b / along
    return (
        max(-limit, min(limit, move_a)),
        max(-limit, min(limit, move_b)),
        max(-limit, min(limit, depth)),
        max(-limit, min(limit, -depth)),
    )


@kernel
def corner_weights(points: np.ndarray, corner: np.ndarray, bary: np.ndarray, x: int, y: int) -> Six:
    """How the fragment at a pixel follows its corners: in the image, where it is linear in them, and in depth.

    Returns:
        Three weights for x and y (ratios of areas in the image) and three for z.
    """
    z0, z1, z2 = (
        np.float64(points[corner[0], 2]),
        np.float64(points[corner[1], 2]),
        np.float64(points[corner[2], 2]),
    )
    b0, b1, b2 = np.float64(bary[0, y, x]), np.float64(bary[1, y, x]), np.float64(bary[2, y, x])
    depth = b0 * z0 + b1 * z1 + b2 * z2
    near = 1.0 / depth if depth > 0.0 else 0.0
    return b0 * z0 * near, b1 * z1 * near, b2 * z2 * near, b0 * depth / z0, b1 * depth / z1, b2 * depth / z2


@kernel
def push(
    into: np.ndarray,  # [V, 3], added to
    points: np.ndarray,  # [V, 3]
    corner: np.ndarray,  # [3]
    bary: np.ndarray,  # [3, H, W]
    x: int,
    y: int,
    axis: int,
    force: float,
    deepen: float,
) -> None:
    """Spread the gradient of the fragment at one pixel over the corners of its triangle."""
    w = corner_weights(points, corner, bary, x, y)
    for k in range(3):
        into[corner[k], axis] += force * w[k]
        if deepen != 0.0:
            into[corner[k], 2] += deepen * w[3 + k]


@kernel
def edge_gradient_band(
    image_gradient: np.ndarray,  # [N, C, H, W]
    vertices: np.ndarray,  # [N, V, 3]
    faces: np.ndarray,  # [1 or N, F, 3] int32
    bary: np.ndarray,  # [N, 3, H, W]
    image: np.ndarray,  # [N, C, H, W]
    index: np.ndarray,  # [N, H, W] int32
    flat: bool,
    limit: float,
    gradient: np.ndarray,  # [N, V, 3], written
    view: int,
    first_row: int,
    end_row: int,
) -> int:
    """Gradient of the edges right of and below the pixels of some rows; return the number of pixels with bad ids."""
    points, into, ids, weights = vertices[view], gradient[view], index[view], bary[view]
    color, slope = image[view], image_gradient[view]
    triangles = faces[view if faces.shape[0] > 1 else 0]
    channels, height, width = color.shape
    bad = 0
    into[:] = 0  # a part's own memory (see `scatter`), not yet written
    for y in range(first_row, end_row):
        for x in range(width):
            for axis in range(2):
                xb, yb = x + 1 - axis, y + axis
                if xb >= width or yb >= height or ids[y, x] == ids[yb, xb]:
                    continue
                face_a, face_b = ids[y, x], ids[yb, xb]
                if face_a >= triangles.shape[0] or face_b >= triangles.shape[0]:
                    bad += 1
                    continue
                force = 0.0
                for c in range(channels):
                    force += (slope[c, y, x] + slope[c, yb, xb]) * (color[c, y, x] - color[c, yb, xb])
                force *= 0.5
                if force == 0.0:
                    continue
                move_a = move_b = depth_a = depth_b = 0.0
                if face_b < 0:
                    move_a = 1.0
                elif face_a < 0:
                    move_b = 1.0
                else:
                    move_a, move_b, depth_a, depth_b = micro_edge(
                        points, triangles[face_a], triangles[face_b], x, y, axis, flat, limit
                    )
                if face_a >= 0 and (move_a != 0.0 or depth_a != 0.0):
                    push(
                        into, points, triangles[face_a], weights, x, y, axis, force * move_a, force * depth_a
                    )
                if face_b >= 0 and (move_b != 0.0 or depth_b != 0.0):
                    push(
                        into,
                        points,
                        triangles[face_b],
                        weights,
                        xb,
                        yb,
                        axis,
                        force * move_b,
                        force * depth_b,
                    )
    return bad
