"""Rasterisation on the GPU: depth and id packed into 64 bits, the nearest kept by an atomic minimum."""

from __future__ import annotations

import importlib
import math

import numpy as np
import torch
from torch import Tensor

from lineament.ops.dispatch import simulated_cuda
from lineament.ops.numba_cpu.barycentrics import valid_corners
from lineament.ops.numba_cuda.launch import BLOCK, cuda, launch

# Larger bounding boxes (in pixels) are drawn by a whole block of threads instead of one thread.
LARGE = 256
NOTHING = 2**63 - 1

if simulated_cuda():

    def float_bits(value: np.float32) -> int:
        """The bits of a float32 as an integer (the simulator has no libdevice)."""
        return int(np.float32(value).view(np.int32))

else:
    float_bits = importlib.import_module("numba.cuda.libdevice").float_as_int


@cuda.jit(device=True)
def edge(xa: float, ya: float, xb: float, yb: float) -> float:
    """Edge function at the origin, always evaluated from the upper end, so that it is exact in its sign.

    The compiler may fuse the product and the difference, which rounds ``(a, b)`` unlike ``(b, a)``.
    """
    if ya < yb or (ya == yb and xa < xb):
        return xa * yb - ya * xb
    return -(xb * ya - yb * xa)


@cuda.jit(device=True)
def owned(value: float, xa: float, ya: float, xb: float, yb: float) -> bool:
    """Whether a point with this edge value lies inside, or on a top or left edge from a to b."""
    return value > 0.0 or (value == 0.0 and (yb < ya or (yb == ya and xb > xa)))


@cuda.jit(device=True)
def bounds(low: float, high: float, size: int) -> tuple[int, int]:
    """First and last pixel between two coordinates, cut to the image; empty when last < first."""
    low, high = max(low, 0.0), min(high, size - 1.0)
    if not low <= high:
        return 0, -1
    return math.ceil(low), math.floor(high)


@cuda.jit(device=True)
def draw(
    points: np.ndarray,  # [V, 3]
    corner: np.ndarray,  # [3] vertex ids
    face: int,
    packed: np.ndarray,  # [H * W] int64, lowered
    width: int,
    left: int,
    top: int,
    columns: int,
    count: int,
    first: int,
    step: int,
) -> None:
    """Draw pixels ``first, first + step ...`` of the triangle's bounding box, numbered row by row."""
    i0, i1, i2 = corner[0], corner[1], corner[2]
    x0, y0, z0 = np.float64(points[i0, 0]), np.float64(points[i0, 1]), np.float64(points[i0, 2])
    x1, y1, z1 = np.float64(points[i1, 0]), np.float64(points[i1, 1]), np.float64(points[i1, 2])
    x2, y2, z2 = np.float64(points[i2, 0]), np.float64(points[i2, 1]), np.float64(points[i2, 2])
    if (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0) < 0.0:
        x1, y1, z1, x2, y2, z2 = x2, y2, z2, x1, y1, z1
    for number in range(first, count, step):
        x, y = left + number % columns, top + number // columns
        dx0, dy0, dx1, dy1, dx2, dy2 = x0 - x, y0 - y, x1 - x, y1 - y, x2 - x, y2 - y
        e0, e1, e2 = edge(dx1, dy1, dx2, dy2), edge(dx2, dy2, dx0, dy0), edge(dx0, dy0, dx1, dy1)
        if owned(e0, x1, y1, x2, y2) and owned(e1, x2, y2, x0, y0) and owned(e2, x0, y0, x1, y1):
            depth = np.float32((e0 + e1 + e2) / (e0 / z0 + e1 / z1 + e2 / z2))
            if depth < np.inf:
                # Bits of a positive float order like the float: the smallest key is the nearest, then the lowest id.
                key = (np.int64(float_bits(depth)) << 32) | np.int64(face)
                cuda.atomic.min(packed, y * width + x, key)


@cuda.jit(cache=not simulated_cuda())
def draw_small(
    vertices: np.ndarray,  # [N, V, 3]
    faces: np.ndarray,  # [1 or N, F, 3] int32
    packed: np.ndarray,  # [N, H * W] int64, lowered
    queue: np.ndarray,  # [N * F] int32: numbers of large triangles
    boxes: np.ndarray,  # [N * F, 4] int32: left, top, columns, pixels of the large ones
    size: np.ndarray,  # [1] int32: length of the queue
    height: int,
    width: int,
) -> None:
    """One thread per triangle and view: draw it, or put it into the queue of large ones."""
    thread = cuda.grid(1)
    number = faces.shape[1]
    if thread >= vertices.shape[0] * number:
        return
    view, face = thread // number, thread % number
    points, corner = vertices[view], faces[view if faces.shape[0] > 1 else 0, face]
    if not valid_corners(corner, points.shape[0]):
        return
    i0, i1, i2 = corner[0], corner[1], corner[2]
    if not (points[i0, 2] > 1e-8 and points[i1, 2] > 1e-8 and points[i2, 2] > 1e-8):
        return
    x0, x1, x2 = np.float64(points[i0, 0]), np.float64(points[i1, 0]), np.float64(points[i2, 0])
    y0, y1, y2 = np.float64(points[i0, 1]), np.float64(points[i1, 1]), np.float64(points[i2, 1])
    area = abs((x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0))
    if not (area > 0.0 and area < np.inf):
        return
    left, right = bounds(min(x0, x1, x2), max(x0, x1, x2), width)
    top, bottom = bounds(min(y0, y1, y2), max(y0, y1, y2), height)
    columns = right - left + 1
    count = columns * (bottom - top + 1)
    if columns <= 0 or count <= 0:
        return
    # One thread with a large box would hold up the 31 others of its warp.
    if count > LARGE:
        place = cuda.atomic.add(size, 0, 1)
        queue[place] = thread
        boxes[place, 0], boxes[place, 1], boxes[place, 2], boxes[place, 3] = left, top, columns, count
        return
    draw(points, corner, face, packed[view], width, left, top, columns, count, 0, 1)


@cuda.jit(cache=not simulated_cuda())
def draw_large(
    vertices: np.ndarray,  # [N, V, 3]
    faces: np.ndarray,  # [1 or N, F, 3] int32
    packed: np.ndarray,  # [N, H * W] int64, lowered
    queue: np.ndarray,  # [N * F] int32: numbers of large triangles
    boxes: np.ndarray,  # [N * F, 4] int32: left, top, columns, pixels of the large ones
    size: np.ndarray,  # [1] int32: length of the queue
    width: int,
) -> None:
    """Blocks take triangles from the queue in turn; the threads of a block share one bounding box."""
    number = faces.shape[1]
    place = cuda.blockIdx.x
    while place < size[0]:
        view, face = queue[place] // number, queue[place] % number
        corner = faces[view if faces.shape[0] > 1 else 0, face]
        left, top, columns, count = boxes[place, 0], boxes[place, 1], boxes[place, 2], boxes[place, 3]
        first, step = cuda.threadIdx.x, cuda.blockDim.x
        draw(vertices[view], corner, face, packed[view], width, left, top, columns, count, first, step)
        place += cuda.gridDim.x


def rasterize_cuda(vertices: Tensor, faces: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """GPU twin of :func:`lineament.ops.rasterize_with_depth` (faces with bad vertex ids are skipped)."""
    views, triangles = vertices.shape[0], vertices.shape[0] * faces.shape[1]
    packed = torch.full((views, height * width), NOTHING, dtype=torch.int64, device=vertices.device)
    if triangles and packed.numel():
        queue, boxes = faces.new_empty(triangles), faces.new_empty((triangles, 4))
        size = faces.new_zeros(1)
        launch(draw_small, triangles, (vertices, faces, packed, queue, boxes, size), height, width)
        blocks = min(triangles, 4 if simulated_cuda() else 2048)
        launch(draw_large, blocks * BLOCK, (vertices, faces, packed, queue, boxes, size), width)
    empty = packed == NOTHING
    index = torch.where(empty, -1, packed & 0xFFFFFFFF).int()
    depth = torch.where(empty, 0, packed >> 32).int().view(torch.float32)
    return index.view(views, height, width), depth.view(views, height, width)
