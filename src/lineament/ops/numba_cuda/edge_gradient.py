"""Edge gradient on the GPU: one thread per pair of neighbouring pixels, the CPU kernel's geometry."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lineament.ops.dispatch import simulated_cuda
from lineament.ops.numba_cpu.edge_gradient import corner_weights, micro_edge
from lineament.ops.numba_cuda.launch import cuda, launch


@cuda.jit(device=True)
def push(
    gradient: np.ndarray,  # [N, V, 3], added to
    points: np.ndarray,  # [V, 3]
    view: int,
    corner: np.ndarray,  # [3]
    bary: np.ndarray,  # [3, H, W]
    x: int,
    y: int,
    axis: int,
    force: float,
    deepen: float,
) -> None:
    """Spread the gradient of the fragment at one pixel over the corners of its triangle."""
    i0, i1, i2 = corner[0], corner[1], corner[2]
    w = corner_weights(points, corner, bary, x, y)
    cuda.atomic.add(gradient, (view, i0, axis), force * w[0])
    cuda.atomic.add(gradient, (view, i1, axis), force * w[1])
    cuda.atomic.add(gradient, (view, i2, axis), force * w[2])
    if deepen != 0.0:
        cuda.atomic.add(gradient, (view, i0, 2), deepen * w[3])
        cuda.atomic.add(gradient, (view, i1, 2), deepen * w[4])
        cuda.atomic.add(gradient, (view, i2, 2), deepen * w[5])


@cuda.jit(cache=not simulated_cuda())
def backward(
    slope: np.ndarray,  # [N, C, H, W] gradient of the image
    vertices: np.ndarray,  # [N, V, 3]
    faces: np.ndarray,  # [1 or N, F, 3] int32
    bary: np.ndarray,  # [N, 3, H, W]
    image: np.ndarray,  # [N, C, H, W]
    index: np.ndarray,  # [N, H, W] int32
    gradient: np.ndarray,  # [N, V, 3], added to
    flat: bool,
    limit: float,
) -> None:
    """Add to the gradient ``[N, V, 3]``; even threads look right, odd ones down."""
    thread = cuda.grid(1)
    if thread >= 2 * index.size:
        return
    height, width = index.shape[1], index.shape[2]
    axis, pixel = thread % 2, thread // 2
    view, y, x = pixel // (height * width), pixel // width % height, pixel % width
    xb, yb = x + 1 - axis, y + axis
    if xb >= width or yb >= height:
        return
    face_a, face_b = index[view, y, x], index[view, yb, xb]
    if face_a == face_b or face_a >= faces.shape[1] or face_b >= faces.shape[1]:
        return
    force = 0.0
    for c in range(image.shape[1]):
        g = slope[view, c, y, x] + slope[view, c, yb, xb]
        force += g * (image[view, c, y, x] - image[view, c, yb, xb])
    force *= 0.5
    if force == 0.0:
        return
    table = faces[view if faces.shape[0] > 1 else 0]
    points, weights = vertices[view], bary[view]
    move_a = move_b = depth_a = depth_b = 0.0
    if face_b < 0:
        move_a = 1.0
    elif face_a < 0:
        move_b = 1.0
    else:
        move_a, move_b, depth_a, depth_b = micro_edge(
            points, table[face_a], table[face_b], x, y, axis, flat, limit
        )
    if face_a >= 0 and (move_a != 0.0 or depth_a != 0.0):
        push(gradient, points, view, table[face_a], weights, x, y, axis, force * move_a, force * depth_a)
    if face_b >= 0 and (move_b != 0.0 or depth_b != 0.0):
        push(gradient, points, view, table[face_b], weights, xb, yb, axis, force * move_b, force * depth_b)


def edge_gradient_cuda(
    image_gradient: Tensor,
    vertices: Tensor,
    faces: Tensor,
    bary: Tensor,
    image: Tensor,
    index: Tensor,
    flat: bool,
    limit: float,
) -> Tensor:
    """Gradient ``[N, V, 3]`` with respect to the vertices; the order of its sums varies between runs."""
    gradient = torch.zeros_like(vertices)
    tensors = (image_gradient, vertices, faces, bary, image, index, gradient)
    launch(backward, 2 * index.numel(), tensors, flat, limit)
    return gradient
