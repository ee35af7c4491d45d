"""Painting a triangle mesh on the GPU: each pixel asks the triangles from the last to the first."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from lineament.ops.dispatch import simulated_cuda
from lineament.ops.numba_cpu.mesh_warp import wrap
from lineament.ops.numba_cuda.launch import cuda, launch
from lineament.ops.numba_cuda.rasterize import edge, owned


@cuda.jit(cache=not simulated_cuda())
def paint(
    image: np.ndarray,  # [1 or N, C, Hs, Ws]
    source: np.ndarray,  # [N, K, 2] float64
    target: np.ndarray,  # [N, K, 2] float64
    triangles: np.ndarray,  # [F, 3] int32
    warped: np.ndarray,  # [N, C, H, W], written
    index: np.ndarray,  # [N, H, W] int32, written
    repeat: bool,
) -> None:
    """One thread per pixel."""
    thread = cuda.grid(1)
    height, width = index.shape[1], index.shape[2]
    if thread >= index.size:
        return
    view, y, x = thread // (height * width), thread // width % height, thread % width
    index[view, y, x] = -1
    for c in range(image.shape[1]):
        warped[view, c, y, x] = 0.0
    vertices = target.shape[1]
    for back in range(triangles.shape[0]):
        face = triangles.shape[0] - 1 - back
        i0, i1, i2 = triangles[face, 0], triangles[face, 1], triangles[face, 2]
        if min(i0, i1, i2) < 0 or max(i0, i1, i2) >= vertices:
            continue
        dx0, dy0 = target[view, i0, 0] - x, target[view, i0, 1] - y
        dx1, dy1 = target[view, i1, 0] - x, target[view, i1, 1] - y
        dx2, dy2 = target[view, i2, 0] - x, target[view, i2, 1] - y
        area = (dx1 - dx0) * (dy2 - dy0) - (dy1 - dy0) * (dx2 - dx0)
        if not 0.0 < abs(area) < np.inf:
            continue
        if area < 0.0:
            dx1, dx2, dy1, dy2, i1, i2 = dx2, dx1, dy2, dy1, i2, i1
        e0, e1, e2 = edge(dx1, dy1, dx2, dy2), edge(dx2, dy2, dx0, dy0), edge(dx0, dy0, dx1, dy1)
        inside = owned(e0, dx1, dy1, dx2, dy2) and owned(e1, dx2, dy2, dx0, dy0)
        if not (inside and owned(e2, dx0, dy0, dx1, dy1)):
            continue
        total = e0 + e1 + e2
        px = (e0 * source[view, i0, 0] + e1 * source[view, i1, 0] + e2 * source[view, i2, 0]) / total
        py = (e0 * source[view, i0, 1] + e1 * source[view, i1, 1] + e2 * source[view, i2, 1]) / total
        if not abs(px) + abs(py) < 1e9:
            continue
        index[view, y, x] = face
        left, top = math.floor(px), math.floor(py)
        fx, fy = px - left, py - top
        item = view if image.shape[0] > 1 else 0
        rows, columns = image.shape[2], image.shape[3]
        tx0, tx1 = wrap(int(left), columns, repeat), wrap(int(left) + 1, columns, repeat)
        ty0, ty1 = wrap(int(top), rows, repeat), wrap(int(top) + 1, rows, repeat)
        for c in range(image.shape[1]):
            above = (1.0 - fx) * image[item, c, ty0, tx0] + fx * image[item, c, ty0, tx1]
            below = (1.0 - fx) * image[item, c, ty1, tx0] + fx * image[item, c, ty1, tx1]
            warped[view, c, y, x] = (1.0 - fy) * above + fy * below
        return


def mesh_warp_cuda(
    image: Tensor,
    source: Tensor,
    target: Tensor,
    triangles: Tensor,
    warped: Tensor,
    index: Tensor,
    repeat: bool,
) -> None:
    """Write ``warped`` and ``index``; arguments as the CPU kernel's (triangles with bad vertex ids are skipped)."""
    launch(paint, index.numel(), (image, source, target, triangles, warped, index), repeat)
