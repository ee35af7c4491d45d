"""Interpolation on the GPU: one thread per pixel."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lineament.ops.dispatch import simulated_cuda
from lineament.ops.numba_cpu.barycentrics import valid_corners
from lineament.ops.numba_cuda.launch import cuda, launch


@cuda.jit(cache=not simulated_cuda())
def forward(
    attributes: np.ndarray,  # [N, V, C]
    faces: np.ndarray,  # [1 or N, F, 3] int32
    index: np.ndarray,  # [N, H, W] int32
    bary: np.ndarray,  # [N, 3, H, W]
    image: np.ndarray,  # [N, C, H, W], zeroed before
) -> None:
    """Write image ``[N, C, H, W]`` (zeroed before) where a triangle is seen."""
    thread = cuda.grid(1)
    if thread >= index.size:
        return
    height, width = index.shape[1], index.shape[2]
    view, y, x = thread // (height * width), thread // width % height, thread % width
    face = index[view, y, x]
    if face < 0 or face >= faces.shape[1]:
        return
    corner = faces[view if faces.shape[0] > 1 else 0, face]
    if not valid_corners(corner, attributes.shape[1]):
        return
    i0, i1, i2 = corner[0], corner[1], corner[2]
    b0, b1, b2 = bary[view, 0, y, x], bary[view, 1, y, x], bary[view, 2, y, x]
    for c in range(attributes.shape[2]):
        first, second, third = attributes[view, i0, c], attributes[view, i1, c], attributes[view, i2, c]
        image[view, c, y, x] = b0 * first + b1 * second + b2 * third


@cuda.jit(cache=not simulated_cuda())
def backward(
    gradient: np.ndarray,  # [N, C, H, W]
    attributes: np.ndarray,  # [N, V, C]
    faces: np.ndarray,  # [1 or N, F, 3] int32
    index: np.ndarray,  # [N, H, W] int32
    bary: np.ndarray,  # [N, 3, H, W]
    to_attributes: np.ndarray,  # [N, V, C], added to
    to_bary: np.ndarray,  # [N, 3, H, W], written
) -> None:
    """Add to the gradient of the attributes ``[N, V, C]``, write that of bary ``[N, 3, H, W]`` (zeroed before)."""
    thread = cuda.grid(1)
    if thread >= index.size:
        return
    height, width = index.shape[1], index.shape[2]
    view, y, x = thread // (height * width), thread // width % height, thread % width
    face = index[view, y, x]
    if face < 0 or face >= faces.shape[1]:
        return
    corner = faces[view if faces.shape[0] > 1 else 0, face]
    if not valid_corners(corner, attributes.shape[1]):
        return
    for k in range(3):
        vertex, weight, total = corner[k], bary[view, k, y, x], 0.0
        for c in range(attributes.shape[2]):
            g = gradient[view, c, y, x]
            total += g * attributes[view, vertex, c]
            cuda.atomic.add(to_attributes, (view, vertex, c), g * weight)
        to_bary[view, k, y, x] = total


def interpolate_cuda(attributes: Tensor, faces: Tensor, index: Tensor, bary: Tensor) -> Tensor:
    """GPU twin of :func:`lineament.ops.interpolate` (bad ids give zeros)."""
    n, h, w = index.shape
    image = bary.new_zeros((n, attributes.shape[2], h, w))
    launch(forward, index.numel(), (attributes, faces, index, bary, image))
    return image


def interpolate_backward_cuda(
    gradient: Tensor, attributes: Tensor, faces: Tensor, index: Tensor, bary: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients with respect to attributes and bary; the order of the sums varies between runs."""
    to_attributes, to_bary = torch.zeros_like(attributes), torch.zeros_like(bary)
    launch(backward, index.numel(), (gradient, attributes, faces, index, bary, to_attributes, to_bary))
    return to_attributes, to_bary
