"""Painting a triangle mesh on the CPU: first who is on top of each pixel, then its colour."""

from __future__ import annotations

import math

import numpy as np

from lineament.ops.numba_cpu.compile import kernel
from lineament.ops.numba_cpu.rasterize import owns, pixel_range


@kernel
def wrap(place: int, size: int, repeat: bool) -> int:
    """Index of a pixel inside the image for one that may lie outside."""
    if repeat:
        place %= size
        return place + size if place < 0 else place
    return min(max(place, 0), size - 1)


@kernel
def affine_of(
    points: np.ndarray,  # [K, 2] target
    origin: np.ndarray,  # [K, 2] source
    i0: np.uint32,
    i1: np.uint32,
    i2: np.uint32,
    area: float,
    map_to: np.ndarray,  # [6], written
) -> None:
    """Coefficients of ``source = a x + b y + c`` of a triangle: x's three, then y's three."""
    ux, uy = points[i1, 0] - points[i0, 0], points[i1, 1] - points[i0, 1]
    vx, vy = points[i2, 0] - points[i0, 0], points[i2, 1] - points[i0, 1]
    for axis in range(2):
        u, v = origin[i1, axis] - origin[i0, axis], origin[i2, axis] - origin[i0, axis]
        a, b = (u * vy - v * uy) / area, (v * ux - u * vx) / area
        map_to[3 * axis], map_to[3 * axis + 1] = a, b
        map_to[3 * axis + 2] = origin[i0, axis] - a * points[i0, 0] - b * points[i0, 1]


@kernel
def mesh_warp_band(
    image: np.ndarray,  # [1 or N, C, Hs, Ws]
    source: np.ndarray,  # [N, K, 2] float64
    target: np.ndarray,  # [N, K, 2] float64
    triangles: np.ndarray,  # [F, 3] int32
    warped: np.ndarray,  # [N, C, H, W], written
    index: np.ndarray,  # [N, H, W] int32, written
    repeat: bool,
    view: int,
    first_row: int,
    end_row: int,
) -> int:
    """Paint rows ``first_row .. end_row - 1`` of one view; return the number of triangles with bad vertex ids."""
    width = index.shape[2]
    points, origin, ids = target[view], source[view], index[view]
    ids[first_row:end_row] = -1
    # Two sweeps, ids and then colours: a pixel that several triangles cover is read once, from the last of them.
    maps = np.zeros((triangles.shape[0], 6), np.float64)
    count = np.uint32(points.shape[0])
    bad = 0
    for face in range(triangles.shape[0]):
        i0, i1, i2 = (
            np.uint32(triangles[face, 0]),
            np.uint32(triangles[face, 1]),
            np.uint32(triangles[face, 2]),
        )
        if i0 >= count or i1 >= count or i2 >= count:
            bad += 1
            continue
        x0, y0, x1, y1 = points[i0, 0], points[i0, 1], points[i1, 0], points[i1, 1]
        x2, y2 = points[i2, 0], points[i2, 1]
        area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
        if not (area != 0.0 and abs(area) < np.inf):
            continue
        affine_of(points, origin, i0, i1, i2, area, maps[face])
        # A source that is not finite shows in the sum, whichever coefficient it reached.
        if not abs(maps[face].sum()) < np.inf:
            continue
        x_first, x_last = pixel_range(x0, x1, x2, 0, width - 1)
        y_first, y_last = pixel_range(y0, y1, y2, first_row, end_row - 1)
        # Counter-clockwise from here on: inside is where no edge function is negative.
        if area < 0.0:
            x1, x2, y1, y2 = x2, x1, y2, y1
        for y in range(y_first, y_last + 1):
            dy0, dy1, dy2 = y0 - y, y1 - y, y2 - y
            for x in range(x_first, x_last + 1):
                dx0, dx1, dx2 = x0 - x, x1 - x, x2 - x
                e0 = dx1 * dy2 - dy1 * dx2
                e1 = dx2 * dy0 - dy2 * dx0
                e2 = dx0 * dy1 - dy0 * dx1
                lowest = min(e0, min(e1, e2))
                if lowest > 0.0 or (lowest == 0.0 and owns(e0, e1, e2, x0, y0, x1, y1, x2, y2)):
                    ids[y, x] = face
    source_image = image[view if image.shape[0] > 1 else 0]
    paint(source_image, maps, ids, warped[view], repeat, first_row, end_row)
    return bad


@kernel
def paint(
    image: np.ndarray,  # [C, Hs, Ws]
    maps: np.ndarray,  # [F, 6]
    ids: np.ndarray,  # [H, W]
    warped: np.ndarray,  # [C, H, W], written
    repeat: bool,
    first_row: int,
    end_row: int,
) -> None:
    """Read the colour of every pixel that a triangle covers."""
    channels, rows, columns = image.shape
    warped[:, first_row:end_row] = 0.0
    for y in range(first_row, end_row):
        for x in range(ids.shape[1]):
            face = ids[y, x]
            if face < 0:
                continue
            to = maps[face]
            px, py = to[0] * x + to[1] * y + to[2], to[3] * x + to[4] * y + to[5]
            left, top = math.floor(px), math.floor(py)
            fx, fy = px - left, py - top
            tx0, ty0 = int(left), int(top)
            tx1, ty1 = tx0 + 1, ty0 + 1
            # Wrapping costs divisions, and inside the image nothing wraps.
            if tx0 < 0 or ty0 < 0 or tx1 >= columns or ty1 >= rows:
                tx0, tx1 = wrap(tx0, columns, repeat), wrap(tx1, columns, repeat)
                ty0, ty1 = wrap(ty0, rows, repeat), wrap(ty1, rows, repeat)
            w00, w01 = (1.0 - fx) * (1.0 - fy), fx * (1.0 - fy)
            w10, w11 = (1.0 - fx) * fy, fx * fy
            for c in range(channels):
                warped[c, y, x] = (
                    w00 * image[c, ty0, tx0]
                    + w01 * image[c, ty0, tx1]
                    + w10 * image[c, ty1, tx0]
                    + w11 * image[c, ty1, tx1]
                )
