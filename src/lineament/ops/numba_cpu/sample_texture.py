"""Texture lookup on the CPU, forward and backward."""

from __future__ import annotations

import math

import numpy as np

from lineament.ops.numba_cpu.compile import kernel


@kernel
def texel_position(
    coordinate: float, size: int, align_corners: bool, border: bool
) -> tuple[int, int, float, float]:
    """The two texels beside a coordinate, the weight of the second, and d position / d coordinate.

    Returns:
        First texel, second texel (-1: outside, counts as black), weight of the second, derivative.
    """
    scale = size - 1.0 if align_corners else np.float64(size)
    # Not finite or beyond any use: as the reference, coordinate 0 without gradient.
    slope = scale if abs(coordinate) < 1e6 else 0.0
    place = (coordinate if abs(coordinate) < 1e6 else 0.0) * scale - (0.0 if align_corners else 0.5)
    if border:
        if place <= 0.0:
            place, slope = 0.0, 0.0
        elif place >= size - 1.0:
            place, slope = size - 1.0, 0.0
    first = math.floor(place)
    weight = place - first
    second = first + 1
    if border:
        second = min(second, size - 1)
    else:
        first = first if 0 <= first < size else -1
        second = second if 0 <= second < size else -1
    return first, second, weight, slope


@kernel
def pyramid_step(level: float, levels: int) -> tuple[int, int, float]:
    """First and last level to read and the weight of the last."""
    first = int(level)
    share = level - first
    return first, min(first + 1, levels - 1) if share > 0.0 else first, share


@kernel
def sample_band(
    packed: np.ndarray,  # [N, C, T]
    uv: np.ndarray,  # [N, 2, H, W]
    level: np.ndarray,  # [N, H, W], or empty: level 0
    image: np.ndarray,  # [N, C, H, W], written
    height: int,
    width: int,
    levels: int,
    align_corners: bool,
    border: bool,
    view: int,
    first_row: int,
    end_row: int,
) -> int:
    """Fill rows ``first_row .. end_row - 1`` of one view."""
    texels, into = packed[view], image[view]
    into[:, first_row:end_row] = 0
    for y in range(first_row, end_row):
        for x in range(uv.shape[3]):
            first, last, share = pyramid_step(level[view, y, x] if level.size else 0.0, levels)
            offset, rows, columns = 0, height, width
            # Levels lie behind one another: where one begins is found by walking past those before it.
            for number in range(last + 1):
                if number >= first:
                    blend = 1.0 if first == last else (share if number == last else 1.0 - share)
                    x0, x1, fx, _ = texel_position(uv[view, 0, y, x], columns, align_corners, border)
                    y0, y1, fy, _ = texel_position(uv[view, 1, y, x], rows, align_corners, border)
                    for dy in range(2):
                        ty, wy = (y1, fy) if dy else (y0, 1.0 - fy)
                        for dx in range(2):
                            tx, wx = (x1, fx) if dx else (x0, 1.0 - fx)
                            if tx < 0 or ty < 0:  # outside, with zeros as padding
                                continue
                            place, weight = offset + ty * columns + tx, blend * wx * wy
                            for c in range(texels.shape[0]):
                                into[c, y, x] += weight * texels[c, place]
                offset, rows, columns = offset + rows * columns, max(1, rows // 2), max(1, columns // 2)
    return 0


@kernel
def sample_backward_band(
    gradient: np.ndarray,  # [N, C, H, W]
    packed: np.ndarray,  # [N, C, T]
    uv: np.ndarray,  # [N, 2, H, W]
    level: np.ndarray,  # [N, H, W], or empty: level 0
    to_uv: np.ndarray,  # [N, 2, H, W], written
    height: int,
    width: int,
    levels: int,
    align_corners: bool,
    border: bool,
    to_packed: np.ndarray,  # [N, C, T], written
    view: int,
    first_row: int,
    end_row: int,
) -> int:
    """Gradients of rows ``first_row .. end_row - 1`` of one view with respect to texture and coordinates."""
    texels, into, slope = packed[view], to_packed[view], gradient[view]
    into[:] = 0
    for y in range(first_row, end_row):
        for x in range(uv.shape[3]):
            first, last, share = pyramid_step(level[view, y, x] if level.size else 0.0, levels)
            offset, rows, columns = 0, height, width
            to_u = to_v = 0.0
            # As in the forward pass; the level itself has no gradient.
            for number in range(last + 1):
                if number >= first:
                    blend = 1.0 if first == last else (share if number == last else 1.0 - share)
                    x0, x1, fx, slope_x = texel_position(uv[view, 0, y, x], columns, align_corners, border)
                    y0, y1, fy, slope_y = texel_position(uv[view, 1, y, x], rows, align_corners, border)
                    for dy in range(2):
                        ty, wy, sy = (y1, fy, 1.0) if dy else (y0, 1.0 - fy, -1.0)
                        for dx in range(2):
                            tx, wx, sx = (x1, fx, 1.0) if dx else (x0, 1.0 - fx, -1.0)
                            if tx < 0 or ty < 0:
                                continue
                            place, weight, force = offset + ty * columns + tx, blend * wx * wy, 0.0
                            for c in range(texels.shape[0]):
                                force += slope[c, y, x] * texels[c, place]
                                into[c, place] += slope[c, y, x] * weight
                            to_u += force * blend * sx * wy * slope_x
                            to_v += force * blend * wx * sy * slope_y
                offset, rows, columns = offset + rows * columns, max(1, rows // 2), max(1, columns // 2)
            to_uv[view, 0, y, x], to_uv[view, 1, y, x] = to_u, to_v
    return 0
