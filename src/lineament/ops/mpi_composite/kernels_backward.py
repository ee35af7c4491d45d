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
    ZERO,
    at_border,
    border_positions,
    is_dark,
    is_empty,
    look_up,
    look_up_at_border,
    plane_axes,
    positions,
    shown_layer,
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
def _advance(scratch, alphas, throughs, n):
    """Keep alphas and transmittances of a plane, and lower the transmittances."""
    for i in range(n):
        a, through = scratch[ALPHA + i], scratch[THROUGH + i]
        alphas[i], throughs[i] = a, through
        scratch[THROUGH + i] = through * ((ONE - a) + LEAK)


@kernel_with("contract")
def _worth(texels, o, stride, layer, scratch, across, down, distance, i):
    """What the light of a pixel's texel is worth to the gradients of the pixel's colour, depth and opacity."""
    total = scratch[OPACITY + i] + scratch[DEPTH + i] * (distance * scratch[AHEAD + i])
    for c in range(3):
        p = o + np.uint64(c) * layer
        upper = texels[p] + across * (texels[p + NEXT] - texels[p])
        lower = texels[p + stride] + across * (texels[p + stride + NEXT] - texels[p + stride])
        total += scratch[RED + c * PIXELS + i] * (upper + down * (lower - upper))
    return total


@kernel_with("contract")
def _add(texels, o, stride, across, down, value):
    """Add a value to the four texels around a place, shared out as they are mixed there."""
    lower = value * down
    upper = value - lower
    lower_right, upper_right = lower * across, upper * across
    texels[o] += upper - upper_right
    texels[o + NEXT] += upper_right
    texels[o + stride] += lower - lower_right
    texels[o + stride + NEXT] += lower_right


@kernel_with("contract")
def _empty_plane(into, start, texels, colours, stride, layer, scratch, place, distance, n):
    """Gradients of a plane that holds nothing where the tile sees it: of its alphas alone."""
    for i in range(n):
        offset = np.uint64(place[i])
        across, down = scratch[ACROSS + i], scratch[DOWN + i]
        worth = _worth(texels, colours + offset, stride, layer, scratch, across, down, distance, i)
        value = scratch[THROUGH + i] * (worth - scratch[BEHIND + i])
        _add(into, start + offset, stride, across, down, value)


@kernel_with("contract")
def _filled_plane(
    into, start, texels, colours, stride, layer, into_colour, slot, slot_layer, alphas, scratch, place,
    distance, n,
):  # fmt: skip
    """Gradients of a plane; what is behind the next one grows by it."""
    for i in range(n):
        offset = np.uint64(place[i])
        across, down = scratch[ACROSS + i], scratch[DOWN + i]
        worth = _worth(texels, colours + offset, stride, layer, scratch, across, down, distance, i)
        a, through, behind = alphas[i], scratch[THROUGH + i], scratch[BEHIND + i]
        _add(into, start + offset, stride, across, down, through * (worth - behind))
        # No division by what an opaque plane lets through.
        scratch[BEHIND + i] = a * worth + ((ONE - a) + LEAK) * behind
        weight = through * a
        if weight != ZERO:
            for c in range(3):
                value = weight * scratch[RED + c * PIXELS + i]
                _add(into_colour, slot + offset + np.uint64(c) * slot_layer, stride, across, down, value)


@kernel
def _plane_at_border(
    into, start, flat, flat_colour, colours, into_colour, slot, slot_rows, first_row, alphas, scratch, place,
    height, width, distance, n,
):  # fmt: skip
    """The same where the tile sees the plane's border."""
    layer, slot_layer = height * width, slot_rows * width
    for i in range(n):
        across, down = scratch[ACROSS + i], scratch[DOWN + i]
        column, row = place[i], place[PIXELS + i]
        worth = scratch[OPACITY + i] + scratch[DEPTH + i] * (distance * scratch[AHEAD + i])
        for c in range(3):
            worth += scratch[RED + c * PIXELS + i] * at_border(
                flat_colour, colours + c * layer, width, height, column, row, across, down
            )
        a, through, behind = alphas[i], scratch[THROUGH + i], scratch[BEHIND + i]
        value = through * (worth - behind)
        _add_at_border(into, start, width, height, column, row, across, down, value)
        scratch[BEHIND + i] = a * worth + ((ONE - a) + LEAK) * behind
        weight = through * a
        if weight != ZERO:
            for c in range(3):
                value = weight * scratch[RED + c * PIXELS + i]
                _add_at_border(
                    into_colour, slot + c * slot_layer, width, slot_rows, column, row - first_row,
                    across, down, value,
                )  # fmt: skip


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
    alphas, throughs = np.empty((count, PIXELS), np.float32), np.empty((count, PIXELS), np.float32)
    filled = np.empty(count, np.bool_)
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
            # Front to back for the transmittances, which empty planes leave alone; then back to front for what is seen
            # behind each plane.
            for step in range(2 * count):
                backward = step >= count
                k = 2 * count - 1 - step if backward else step
                if k >= last:
                    continue
                clamped = clamp_last and k == count - 1
                distance, columns, rows = plane_axes(
                    planes[k], eye, height, width, middle_x, low_x, high_x, middle_y, low_y, high_y, clamped
                )
                left, at_x, per_x, across = columns
                top, at_y, per_y, down = rows
                if across == NOTHING or down == NOTHING:
                    continue
                inside = across == INSIDE and down == INSIDE
                here = top * width + left
                if not backward and inside:
                    wide = np.int64(per_x * (high_x - low_x)) + 3
                    tall = np.int64(per_y * (high_y - low_y)) + 3
                    filled[k] = not is_empty(blocks[number, k], left, top, wide, tall)
                    if not filled[k]:
                        continue
                if inside:
                    positions(scratch, place, n, at_x, per_x, at_y, per_y, np.int32(width))
                else:
                    border_positions(
                        scratch, place, n, at_x, per_x, at_y, per_y, left, top, width, height, clamped
                    )
                start = (number * count + k) * layer
                if not backward:
                    if inside:
                        look_up(flat, np.uint64(start + here), np.uint64(width), scratch, place, n)
                    else:
                        filled[k] = True
                        look_up_at_border(flat, start, width, height, scratch, place, n)
                    _advance(scratch, alphas[k], throughs[k], n)
                    if is_dark(scratch, n, dark):
                        last = k + 1
                    continue
                if filled[k]:
                    scratch[THROUGH : THROUGH + n] = throughs[k, :n]
                shown = shown_layer(k, count, layers)
                colours = (number * layers + shown) * 3 * layer
                slot_start = (slot * layers + shown) * 3 * slot_layer
                if not inside:
                    _plane_at_border(
                        into, start, flat, flat_colour, colours, into_colour, slot_start, slot_rows, first_row,
                        alphas[k], scratch, place, height, width, np.float32(distance), n,
                    )  # fmt: skip
                elif filled[k]:
                    _filled_plane(
                        into, np.uint64(start + here), flat_colour, np.uint64(colours + here),
                        np.uint64(width), np.uint64(layer), into_colour,
                        np.uint64(slot_start + here - first_row * width), np.uint64(slot_layer),
                        alphas[k], scratch, place, np.float32(distance), n,
                    )  # fmt: skip
                else:
                    _empty_plane(
                        into, np.uint64(start + here), flat_colour, np.uint64(colours + here),
                        np.uint64(width), np.uint64(layer), scratch, place, np.float32(distance), n,
                    )  # fmt: skip
    return 0
