"""Barycentric coordinates on the GPU: one thread per pixel, the CPU kernels' formulas."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lineament.ops.dispatch import simulated_cuda
from lineament.ops.numba_cpu.barycentrics import pixel_barycentrics, pixel_gradient, valid_corners
from lineament.ops.numba_cuda.launch import cuda, launch


@cuda.jit(cache=not simulated_cuda())
def forward(
    vertices: np.ndarray,  # [N, V, 3]
    faces: np.ndarray,  # [1 or N, F, 3] int32
    index: np.ndarray,  # [N, H, W] int32
    depth: np.ndarray,  # [N, H, W], zeroed before
    bary: np.ndarray,  # [N, 3, H, W], zeroed before
) -> None:
    """Write depth ``[N, H, W]`` and bary ``[N, 3, H, W]`` (zeroed before) where a triangle is seen."""
    thread = cuda.grid(1)
    if thread >= index.size:
        return
    height, width = index.shape[1], index.shape[2]
    view, y, x = thread // (height * width), thread // width % height, thread % width
    face = index[view, y, x]
    if face < 0 or face >= faces.shape[1]:
        return
    corner = faces[view if faces.shape[0] > 1 else 0, face]
    if not valid_corners(corner, vertices.shape[1]):
        return
    d, b0, b1, b2 = pixel_barycentrics(vertices[view], corner, x, y)
    depth[view, y, x] = d
    bary[view, 0, y, x], bary[view, 1, y, x], bary[view, 2, y, x] = b0, b1, b2


@cuda.jit(cache=not simulated_cuda())
def backward(
    to_depth: np.ndarray,  # [N, H, W]
    to_bary: np.ndarray,  # [N, 3, H, W]
    vertices: np.ndarray,  # [N, V, 3]
    faces: np.ndarray,  # [1 or N, F, 3] int32
    index: np.ndarray,  # [N, H, W] int32
    gradient: np.ndarray,  # [N, V, 3], added to
) -> None:
    """Add to the gradient ``[N, V, 3]``."""
    thread = cuda.grid(1)
    if thread >= index.size:
        return
    height, width = index.shape[1], index.shape[2]
    view, y, x = thread // (height * width), thread // width % height, thread % width
    face = index[view, y, x]
    if face < 0 or face >= faces.shape[1]:
        return
    corner = faces[view if faces.shape[0] > 1 else 0, face]
    if not valid_corners(corner, vertices.shape[1]):
        return
    g0, g1, g2 = to_bary[view, 0, y, x], to_bary[view, 1, y, x], to_bary[view, 2, y, x]
    g = pixel_gradient(vertices[view], corner, x, y, to_depth[view, y, x], g0, g1, g2)
    i0, i1, i2 = corner[0], corner[1], corner[2]
    cuda.atomic.add(gradient, (view, i0, 0), g[0])
    cuda.atomic.add(gradient, (view, i0, 1), g[1])
    cuda.atomic.add(gradient, (view, i0, 2), g[2])
    cuda.atomic.add(gradient, (view, i1, 0), g[3])
    cuda.atomic.add(gradient, (view, i1, 1), g[4])
    cuda.atomic.add(gradient, (view, i1, 2), g[5])
    cuda.atomic.add(gradient, (view, i2, 0), g[6])
    cuda.atomic.add(gradient, (view, i2, 1), g[7])
    cuda.atomic.add(gradient, (view, i2, 2), g[8])


def barycentrics_cuda(vertices: Tensor, faces: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """GPU twin of :func:`lineament.ops.barycentrics` (bad ids give zeros)."""
    n, h, w = index.shape
    depth, bary = vertices.new_zeros((n, h, w)), vertices.new_zeros((n, 3, h, w))
    launch(forward, index.numel(), (vertices, faces, index, depth, bary))
    return depth, bary


def barycentrics_backward_cuda(
    depth_gradient: Tensor, bary_gradient: Tensor, vertices: Tensor, faces: Tensor, index: Tensor
) -> Tensor:
    """Gradient ``[N, V, 3]`` with respect to the vertices; the order of its sums varies between runs."""
    gradient = torch.zeros_like(vertices)
    launch(backward, index.numel(), (depth_gradient, bary_gradient, vertices, faces, index, gradient))
    return gradient
