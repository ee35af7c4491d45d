"""Texture lookup on the GPU: one thread per pixel, the CPU kernels' addressing."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lineament.ops.dispatch import simulated_cuda
from lineament.ops.numba_cpu.sample_texture import pyramid_step, texel_position
from lineament.ops.numba_cuda.launch import cuda, launch


@cuda.jit(cache=not simulated_cuda())
def forward(
    packed: np.ndarray,  # [N, C, T]
    uv: np.ndarray,  # [N, 2, H, W]
    level: np.ndarray,  # [N, H, W], or empty: level 0
    image: np.ndarray,  # [N, C, H, W], zeroed before
    height: int,
    width: int,
    levels: int,
    align_corners: bool,
    border: bool,
) -> None:
    """Add to image ``[N, C, H, W]`` (zeroed before)."""
    thread = cuda.grid(1)
    rows_out, columns_out = uv.shape[2], uv.shape[3]
    if thread >= uv.shape[0] * rows_out * columns_out:
        return
    view, y, x = thread // (rows_out * columns_out), thread // columns_out % rows_out, thread % columns_out
    first, last, share = pyramid_step(level[view, y, x] if level.size else 0.0, levels)
    offset, rows, columns = 0, height, width
    for number in range(last + 1):
        if number >= first:
            blend = 1.0 if first == last else (share if number == last else 1.0 - share)
            x0, x1, fx, _ = texel_position(uv[view, 0, y, x], columns, align_corners, border)
            y0, y1, fy, _ = texel_position(uv[view, 1, y, x], rows, align_corners, border)
            for corner in range(4):
                tx, wx = (x1, fx) if corner % 2 else (x0, 1.0 - fx)
                ty, wy = (y1, fy) if corner >= 2 else (y0, 1.0 - fy)
                if tx >= 0 and ty >= 0:
                    place, weight = offset + ty * columns + tx, blend * wx * wy
                    for c in range(packed.shape[1]):
                        image[view, c, y, x] += weight * packed[view, c, place]
        offset, rows, columns = offset + rows * columns, max(1, rows // 2), max(1, columns // 2)


@cuda.jit(cache=not simulated_cuda())
def backward(
    slope: np.ndarray,  # [N, C, H, W] gradient of the image
    packed: np.ndarray,  # [N, C, T]
    uv: np.ndarray,  # [N, 2, H, W]
    level: np.ndarray,  # [N, H, W], or empty: level 0
    to_packed: np.ndarray,  # [N, C, T], added to
    to_uv: np.ndarray,  # [N, 2, H, W], written
    height: int,
    width: int,
    levels: int,
    align_corners: bool,
    border: bool,
) -> None:
    """Add to the gradient of the texels ``[N, C, T]``, write that of the coordinates ``[N, 2, H, W]``."""
    thread = cuda.grid(1)
    rows_out, columns_out = uv.shape[2], uv.shape[3]
    if thread >= uv.shape[0] * rows_out * columns_out:
        return
    view, y, x = thread // (rows_out * columns_out), thread // columns_out % rows_out, thread % columns_out
    first, last, share = pyramid_step(level[view, y, x] if level.size else 0.0, levels)
    offset, rows, columns = 0, height, width
    to_u = to_v = 0.0
    for number in range(last + 1):
        if number >= first:
            blend = 1.0 if first == last else (share if number == last else 1.0 - share)
            x0, x1, fx, slope_x = texel_position(uv[view, 0, y, x], columns, align_corners, border)
            y0, y1, fy, slope_y = texel_position(uv[view, 1, y, x], rows, align_corners, border)
            for corner in range(4):
                tx, wx, sx = (x1, fx, 1.0) if corner % 2 else (x0, 1.0 - fx, -1.0)
                ty, wy, sy = (y1, fy, 1.0) if corner >= 2 else (y0, 1.0 - fy, -1.0)
                if tx >= 0 and ty >= 0:
                    place, weight, force = offset + ty * columns + tx, blend * wx * wy, 0.0
                    for c in range(packed.shape[1]):
                        g = slope[view, c, y, x]
                        force += g * packed[view, c, place]
                        cuda.atomic.add(to_packed, (view, c, place), g * weight)
                    to_u += force * blend * sx * wy * slope_x
                    to_v += force * blend * wx * sy * slope_y
        offset, rows, columns = offset + rows * columns, max(1, rows // 2), max(1, columns // 2)
    to_uv[view, 0, y, x], to_uv[view, 1, y, x] = to_u, to_v


def sample_texture_cuda(
    packed: Tensor,
    uv: Tensor,
    level: Tensor,
    height: int,
    width: int,
    levels: int,
    align_corners: bool,
    border: bool,
) -> Tensor:
    """GPU twin of the lookup; arguments as the reference twin, ``level`` empty for level 0."""
    n, _, h, w = uv.shape
    image = packed.new_zeros((n, packed.shape[1], h, w))
    launch(forward, n * h * w, (packed, uv, level, image), height, width, levels, align_corners, border)
    return image


def sample_texture_backward_cuda(
    gradient: Tensor,
    packed: Tensor,
    uv: Tensor,
    level: Tensor,
    height: int,
    width: int,
    levels: int,
    align_corners: bool,
    border: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients with respect to texels and coordinates; the order of the sums varies between runs."""
    to_packed, to_uv = torch.zeros_like(packed), torch.zeros_like(uv)
    tensors = (gradient, packed, uv, level, to_packed, to_uv)
    launch(
        backward,
        uv.shape[0] * uv.shape[2] * uv.shape[3],
        tensors,
        height,
        width,
        levels,
        align_corners,
        border,
    )
    return to_packed, to_uv
