"""The backward pass of the multiplane renderer on the CPU, over the tiles of `kernels.py`."""

# mypy: allow-untyped-defs
# (kernels are typed by their compiler)
from __future__ import annotations

import numpy as np

from lineament.ops.mpi_composite.kernels import (
    ACROSS,
    AHEAD,
    ALPHA,
    BEHIND,
    DEPTH,
    DOWN,
    INSIDE,
    LEAK,
    NEXT,
    NOTHING,
    ONE,
    OPACITY,
    PIXELS,
    RED,
    SCRATCH,
    THROUGH,
    TILE_COLUMNS,
    TILE_ROWS,
    WEIGHT,
    ZERO,
    at_border,
    axis,
    border_positions,
    is_dark,
    is_empty,
    look_up,
    positions,
    tile_rays,
)
from lineament.ops.numba_cpu.compile import kernel, kernel_with


@kernel_with("contract")
def _add_at_border(texels, start, width, height, column, row, across, down, value):
    """Add a value to the texels around one place, shared out as they are mixed there."""
    for dy in range(2):
        wy = down if dy else ONE - down
        y = row + dy
        if 0 <= y < height:
            for dx in range(2):
                x = column + dx
                if 0 <= x < width:
                    texels[start + y * width + x] += (across if dx else ONE - across) * wy * value


@kernel_with("contract")
def _worth(texels, start, stride, layer, scratch, place, distance, worth, n):
    """What the light of each pixel's texel is worth to the gradients of its colour, depth and opacity."""
    for i in range(n):
        o = start + np.uint64(place[i])
        across, down = scratch[ACROSS + i], scratch[DOWN + i]
        total = scratch[OPACITY + i] + scratch[DEPTH + i] * (distance * scratch[AHEAD + i])
        for c in range(3):
            p = o + np.uint64(c) * layer
            upper = texels[p] + across * (texels[p + NEXT] - texels[p])
            lower = texels[p + stride] + across * (texels[p + stride + NEXT] - texels[p + stride])
            total += scratch[RED + c * PIXELS + i] * (upper + down * (lower - upper))
        worth[i] = total


@kernel_with("contract")
def _advance(scratch, alphas, throughs, n):
    """Keep alphas and transmittances of a plane, and lower the transmittances."""
    for i in range(n):
        a, through = scratch[ALPHA + i], scratch[THROUGH + i]
        alphas[i], throughs[i] = a, through
        scratch[THROUGH + i] = through * ((ONE - a) + LEAK)


@kernel_with("contract")
def _slopes(scratch, alphas, throughs, worth, n):
    """Gradient of each pixel's alpha into the row ALPHA and weight into WEIGHT; what lies behind grows by the plane."""
    for i in range(n):
        a, through, behind = alphas[i], throughs[i], scratch[BEHIND + i]
        scratch[ALPHA + i] = through * (worth[i] - behind)
        scratch[WEIGHT + i] = through * a
        # No division by what an opaque plane lets through.
        scratch[BEHIND + i] = a * worth[i] + ((ONE - a) + LEAK) * behind


@kernel_with("contract")
def _spread(texels, start, stride, scratch, place, n):
    """Add the gradients of the row ALPHA to the texels of each pixel."""
    for i in range(n):
        value = scratch[ALPHA + i]
        o = start + np.uint64(place[i])
        lower = value * scratch[DOWN + i]
        upper = value - lower
        lower_right, upper_right = lower * scratch[ACROSS + i], upper * scratch[ACROSS + i]
        texels[o] += upper - upper_right
        texels[o + NEXT] += upper_right
        texels[o + stride] += lower - lower_right
        texels[o + stride + NEXT] += lower_right


@kernel_with("contract")
def _spread_colour(texels, start, stride, layer, scratch, place, n):
    """Add the gradients of the colours to the texels of each pixel, by its weight."""
    for i in range(n):
        weight = scratch[WEIGHT + i]
        if weight != ZERO:
            o = start + np.uint64(place[i])
            across, down = scratch[ACROSS + i], scratch[DOWN + i]
            lower = weight * down
            upper = weight - lower
            lower_right, upper_right = lower * across, upper * across
            lower_left, upper_left = lower - lower_right, upper - upper_right
            for c in range(3):
                p, value = o + np.uint64(c) * layer, scratch[RED + c * PIXELS + i]
                texels[p] += upper_left * value
                texels[p + NEXT] += upper_right * value
                texels[p + stride] += lower_left * value
                texels[p + stride + NEXT] += lower_right * value


@kernel
def composite_backward_band(
    alpha: np.ndarray,  # [M, P, Ht, Wt]
    colour: np.ndarray,  # [M, G, 3, Ht, Wt]
    planes: np.ndarray,  # [P, 3] float64
    eyes: np.ndarray,  # [V, 3] float64
    all_rays: np.ndarray,  # [V, 3, 3] float64
    blocks: np.ndarray,  # [M, P, rows, columns]
    to_image: np.ndarray,  # [V, 3, H, W]
    to_depth: np.ndarray,  # [V, H, W]
    to_opacity: np.ndarray,  # [V, H, W]
    to_alpha: np.ndarray,  # [M, P, Ht, Wt], added to
    to_colour: np.ndarray,  # [slots, G, 3, rows, Wt], added to
    clamp_last: bool,
    dark: np.float32,
    view: int,
    first: int,
    end: int,
    slot: int,
    first_row: int,  # row of the texture that is the slot's first
) -> int:
    """Gradients of rows ``first .. end - 1`` of one view."""
    count, height, width = alpha.shape[1], alpha.shape[2], alpha.shape[3]
    layers, layer = colour.shape[1], height * width
    slot_rows = to_colour.shape[3]
    slot_layer = slot_rows * width
    number = view // (eyes.shape[0] // alpha.shape[0])
    flat, flat_colour = alpha.reshape(-1), colour.reshape(-1)
    into, into_colour = to_alpha.reshape(-1), to_colour.reshape(-1)
    eye, rays = eyes[view], all_rays[view]
    scratch, place = np.empty(SCRATCH, np.float32), np.empty(2 * PIXELS, np.int32)
    alphas, throughs, worths = (
        np.empty((count, PIXELS), np.float32),
        np.empty((count, PIXELS), np.float32),
        np.empty((count, PIXELS), np.float32),
    )
    for y0 in range(first, end, TILE_ROWS):
        y1 = min(y0 + TILE_ROWS, end)
        for x0 in range(0, to_image.shape[3], TILE_COLUMNS):
            x1 = min(x0 + TILE_COLUMNS, to_image.shape[3])
            n = (y1 - y0) * (x1 - x0)
            middle_x, middle_y, low_x, high_x, low_y, high_y = tile_rays(rays, scratch, y0, y1, x0, x1)
            i = 0
            for y in range(y0, y1):
                for x in range(x0, x1):
                    for c in range(3):
                        scratch[RED + c * PIXELS + i] = to_image[view, c, y, x]
                    scratch[DEPTH + i], scratch[OPACITY + i] = to_depth[view, y, x], to_opacity[view, y, x]
                    i += 1
            scratch[THROUGH : THROUGH + n] = ONE
            scratch[BEHIND : BEHIND + n] = ZERO
            last = count
            # Front to back for the transmittances, then back to front for what lies behind each plane.
            for step in range(2 * count):
                backward = step >= count
                k = 2 * count - 1 - step if backward else step
                if k >= last:
                    continue
                clamped = clamp_last and k == count - 1
                distance = planes[k, 0] - eye[2]
                left, at_x, per_x, across = axis(
                    eye[0], distance, planes[k, 2], width, middle_x, low_x, high_x, clamped
                )
                top, at_y, per_y, down = axis(
                    eye[1], distance, planes[k, 1], height, middle_y, low_y, high_y, clamped
                )
                if across == NOTHING or down == NOTHING:
                    continue
                inside = across == INSIDE and down == INSIDE
                here = top * width + left
                if inside:
                    positions(scratch, place, n, at_x, per_x, at_y, per_y, np.int32(width))
                else:
                    border_positions(
                        scratch, place, n, at_x, per_x, at_y, per_y, left, top, width, height, clamped
                    )
                start = (number * count + k) * layer
                shown = k if layers == count else (1 if layers == 2 and k == count - 1 else 0)
                if backward:
                    _slopes(scratch, alphas[k], throughs[k], worths[k], n)
                    slot_start = (slot * layers + shown) * 3 * slot_layer
                    if inside:
                        _spread(into, np.uint64(start + here), np.uint64(width), scratch, place, n)
                        _spread_colour(
                            into_colour, np.uint64(slot_start + here - first_row * width),
                            np.uint64(width), np.uint64(slot_layer),
                            scratch, place, n,
                        )  # fmt: skip
                        continue
                    for i in range(n):
                        fx, fy = scratch[ACROSS + i], scratch[DOWN + i]
                        column, row = place[i], place[PIXELS + i]
                        _add_at_border(into, start, width, height, column, row, fx, fy, scratch[ALPHA + i])
                        weight = scratch[WEIGHT + i]
                        if weight != ZERO:
                            for c in range(3):
                                _add_at_border(
                                    into_colour, slot_start + c * slot_layer, width, slot_rows,
                                    column, row - first_row, fx, fy, weight * scratch[RED + c * PIXELS + i],
                                )  # fmt: skip
                    continue
                colours = (number * layers + shown) * 3 * layer
                if inside:
                    wide = np.int64(per_x * (high_x - low_x)) + 3
                    tall = np.int64(per_y * (high_y - low_y)) + 3
                    if is_empty(blocks[number, k], left, top, wide, tall):
                        scratch[ALPHA : ALPHA + n] = ZERO
                    else:
                        look_up(flat, np.uint64(start + here), np.uint64(width), scratch, place, n)
                    _worth(
                        flat_colour, np.uint64(colours + here), np.uint64(width), np.uint64(layer), scratch, place,
                        np.float32(distance), worths[k], n,
                    )  # fmt: skip
                else:
                    for i in range(n):
                        fx, fy = scratch[ACROSS + i], scratch[DOWN + i]
                        column, row = place[i], place[PIXELS + i]
                        scratch[ALPHA + i] = at_border(flat, start, width, height, column, row, fx, fy)
                        total = scratch[OPACITY + i] + scratch[DEPTH + i] * (
                            np.float32(distance) * scratch[AHEAD + i]
                        )
                        for c in range(3):
                            total += scratch[RED + c * PIXELS + i] * at_border(
                                flat_colour, colours + c * layer, width, height, column, row, fx, fy
                            )
                        worths[k, i] = total
                _advance(scratch, alphas[k], throughs[k], n)
                if is_dark(scratch, n, dark):
                    last = k + 1
    return 0
