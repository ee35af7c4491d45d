"""The loops of the multiplane renderer on the CPU; `numba.py` says how they are shared out.

A tile is a rectangle of at most ``TILE_ROWS x TILE_COLUMNS`` pixels whose numbers fit the fastest cache. Loops over
its pixels do one thing each: those without look-ups then compute many pixels at once. All kernels return 0, the number
of bad ids that `run_tasks` counts for other kernels.
"""

# mypy: allow-untyped-defs
# (kernels are typed by their compiler)
from __future__ import annotations

import numpy as np

from lineament.ops.numba_cpu.compile import kernel, kernel_with

TILE_ROWS, TILE_COLUMNS = 8, 32
PIXELS = TILE_ROWS * TILE_COLUMNS
# Texels of a side of the blocks that are marked as empty or not.
BLOCK = 8

# Single precision throughout: one Python float would turn a whole loop into double precision at half the speed.
ZERO, ONE, LEAK = np.float32(0), np.float32(1), np.float32(1e-10)
MAGNITUDE = np.int32(0x7FFFFFFF)
# How far rounding may move a position in texels.
MARGIN = 1e-3
# What a tile sees of a plane: nothing, texels with all their neighbours, or its border.
NOTHING, INSIDE, BORDER = 0, 1, 2
# Where the numbers of a tile's pixels begin in its scratch memory. Offsets that the compiler knows let it see that
# loops over one row do not disturb another.
SLOPE_X, SLOPE_Y, AHEAD, THROUGH, RED, GREEN, BLUE, DEPTH, OPACITY = range(0, 9 * PIXELS, PIXELS)
ACROSS, DOWN, ALPHA, WEIGHT, BEHIND = range(9 * PIXELS, 14 * PIXELS, PIXELS)
SCRATCH = 14 * PIXELS
# Indices without a sign need no check for counting from the end.
NEXT = np.uint64(1)


@kernel
def mark_blocks(
    bits: np.ndarray,  # [M, P, Ht, Wt] alphas as integers
    blocks: np.ndarray,  # [M, P, rows, columns], written
    limit: np.int32,  # alphas up to this count as nothing
    image: int,
    first: int,
    end: int,
) -> int:
    """Mark the blocks of planes ``first .. end - 1`` of an image that hold an alpha above the limit."""
    height, width = bits.shape[2], bits.shape[3]
    peak = np.empty(width, np.int32)
    for k in range(first, end):
        for row in range(blocks.shape[2]):
            # Integers are in the order of the magnitudes that they are the bits of; NaN is above all.
            peak[:] = 0
            for y in range(row * BLOCK, min(row * BLOCK + BLOCK, height)):
                line = bits[image, k, y]
                for x in range(width):
                    peak[x] = max(peak[x], line[x] & MAGNITUDE)
            for column in range(blocks.shape[3]):
                most = np.int32(0)
                for x in range(column * BLOCK, min(column * BLOCK + BLOCK, width)):
                    most = max(most, peak[x])
                blocks[image, k, row, column] = most > limit
    return 0


@kernel
def tile_rays(rays, scratch, y0, y1, x0, x1):
    """Slopes of the rays of a tile relative to those at its middle, and the depth of each per z.

    Returns the slopes at the middle, and the least and greatest of the relative ones.
    """
    mx, my = 0.5 * (x0 + x1 - 1), 0.5 * (y0 + y1 - 1)
    z = rays[2, 0] * mx + rays[2, 1] * my + rays[2, 2]
    middle_x = (rays[0, 0] * mx + rays[0, 1] * my + rays[0, 2]) / z
    middle_y = (rays[1, 0] * mx + rays[1, 1] * my + rays[1, 2]) / z
    low_x = low_y = np.inf
    high_x = high_y = -np.inf
    i = 0
    for y in range(y0, y1):
        for x in range(x0, x1):
            ahead = 1.0 / (rays[2, 0] * x + rays[2, 1] * y + rays[2, 2])
            slope_x = (rays[0, 0] * x + rays[0, 1] * y + rays[0, 2]) * ahead - middle_x
            slope_y = (rays[1, 0] * x + rays[1, 1] * y + rays[1, 2]) * ahead - middle_y
            low_x, high_x = min(low_x, slope_x), max(high_x, slope_x)
            low_y, high_y = min(low_y, slope_y), max(high_y, slope_y)
            scratch[SLOPE_X + i], scratch[SLOPE_Y + i], scratch[AHEAD + i] = slope_x, slope_y, ahead
            i += 1
    return middle_x, middle_y, low_x, high_x, low_y, high_y


@kernel
def axis(eye, distance, side, texels, middle, low, high, clamped):
    """Along one axis of a plane: texel from which positions count, its own place, texels per slope, what is seen."""
    scale = (texels - 1) / side
    centre = 0.5 * (texels - 1) + scale * (eye + distance * middle)
    per_slope = scale * distance
    first, last = centre + per_slope * low - MARGIN, centre + per_slope * high + MARGIN
    seen = INSIDE if first >= 0 and last < texels - 1 else BORDER
    if not clamped and (last <= -1 or first >= texels):
        seen = NOTHING
    base = np.floor(first)
    return np.int64(base), np.float32(centre - base), np.float32(per_slope), seen


@kernel
def is_empty(blocks, column, row, wide, tall):
    """Whether no block of a plane holds anything among texels ``column .. column + wide``, likewise down."""
    rows, columns = blocks.shape
    for r in range(max(0, row // BLOCK), min(rows - 1, (row + tall) // BLOCK) + 1):
        for c in range(max(0, column // BLOCK), min(columns - 1, (column + wide) // BLOCK) + 1):
            if blocks[r, c]:
                return False
    return True


@kernel_with("contract")
def positions(scratch, place, n, at_x, per_x, at_y, per_y, stride):
    """Texel of each pixel counted from the tile's first one, and how far the pixel is from it across and down."""
    for i in range(n):
        x = at_x + per_x * scratch[SLOPE_X + i]
        y = at_y + per_y * scratch[SLOPE_Y + i]
        column, row = np.int32(x), np.int32(y)
        place[i] = row * stride + column
        scratch[ACROSS + i] = x - np.float32(column)
        scratch[DOWN + i] = y - np.float32(row)


@kernel_with("contract")
def border_positions(scratch, place, n, at_x, per_x, at_y, per_y, left, top, width, height, clamped):
    """The same where texels may lie outside: their columns and rows in the texture."""
    for i in range(n):
        x = at_x + per_x * scratch[SLOPE_X + i]
        y = at_y + per_y * scratch[SLOPE_Y + i]
        if clamped:
            x = min(max(x, np.float32(-left)), np.float32(width - 1 - left))
            y = min(max(y, np.float32(-top)), np.float32(height - 1 - top))
        column, row = np.floor(x), np.floor(y)
        scratch[ACROSS + i], scratch[DOWN + i] = x - column, y - row
        place[i], place[PIXELS + i] = np.int32(column) + left, np.int32(row) + top


@kernel_with("contract")
def look_up(texels, start, stride, scratch, place, n):
    """Bilinear values of a texture without regard to its border, into the row ALPHA."""
    for i in range(n):
        o = start + np.uint64(place[i])
        across, down = scratch[ACROSS + i], scratch[DOWN + i]
        upper = texels[o] + across * (texels[o + NEXT] - texels[o])
        lower = texels[o + stride] + across * (texels[o + stride + NEXT] - texels[o + stride])
        scratch[ALPHA + i] = upper + down * (lower - upper)


@kernel_with("contract")
def at_border(texels, start, width, height, column, row, across, down):
    """Bilinear value at one place, 0 outside the texture."""
    value = ZERO
    for dy in range(2):
        wy = down if dy else ONE - down
        y = row + dy
        if 0 <= y < height:
            for dx in range(2):
                x = column + dx
                if 0 <= x < width:
                    value += (across if dx else ONE - across) * wy * texels[start + y * width + x]
    return value


@kernel_with("contract")
def _weigh(scratch, n, distance):
    """Weights of a plane from alphas and transmittances, which they lower; adds to depth and opacity.

    Returns whether any weight is not zero.
    """
    for i in range(n):
        a, through = scratch[ALPHA + i], scratch[THROUGH + i]
        weight = a * through
        scratch[WEIGHT + i] = weight
        scratch[THROUGH + i] = through * ((ONE - a) + LEAK)
        scratch[DEPTH + i] += weight * (distance * scratch[AHEAD + i])
        scratch[OPACITY + i] += weight
    for i in range(n):  # noqa: SIM110 - generators do not compile
        if scratch[WEIGHT + i] != ZERO:
            return True
    return False


@kernel
def is_dark(scratch, n, limit):
    """Whether less than the limit of the light comes through at every pixel; not where that is NaN."""
    for i in range(n):  # noqa: SIM110
        if not scratch[THROUGH + i] < limit:
            return False
    return True


@kernel_with("contract")
def _add_colour(texels, start, stride, layer, scratch, place, n):
    """Add weighted colours; ``layer`` texels lie between the channels."""
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
                p = o + np.uint64(c) * layer
                scratch[RED + c * PIXELS + i] += (
                    upper_left * texels[p]
                    + upper_right * texels[p + NEXT]
                    + lower_left * texels[p + stride]
                    + lower_right * texels[p + stride + NEXT]
                )


@kernel
def shown_layer(plane: int, planes: int, layers: int) -> int:
    """As `reference.colour_layer`."""
    if layers == planes:
        return plane
    return 1 if layers == 2 and plane == planes - 1 else 0


@kernel
def plane_axes(plane, eye, height, width, middle_x, low_x, high_x, middle_y, low_y, high_y, clamped):
    """Distance of a plane from the camera, and :func:`axis` of its columns and of its rows."""
    distance = plane[0] - eye[2]
    columns = axis(eye[0], distance, plane[2], width, middle_x, low_x, high_x, clamped)
    rows = axis(eye[1], distance, plane[1], height, middle_y, low_y, high_y, clamped)
    return distance, columns, rows


@kernel
def look_up_at_border(texels, start, width, height, scratch, place, n):
    """Alphas of a tile that reaches over the border of a plane, at `border_positions`."""
    for i in range(n):
        scratch[ALPHA + i] = at_border(
            texels, start, width, height, place[i], place[PIXELS + i], scratch[ACROSS + i], scratch[DOWN + i]
        )


@kernel
def composite_band(
    alpha: np.ndarray,  # [M, P, Ht, Wt]
    colour: np.ndarray,  # [M, G, 3, Ht, Wt]
    planes: np.ndarray,  # [P, 3] float64
    eyes: np.ndarray,  # [V, 3] float64
    all_rays: np.ndarray,  # [V, 3, 3] float64
    blocks: np.ndarray,  # [M, P, rows, columns]
    image: np.ndarray,  # [V, 3, H, W], written
    depth: np.ndarray,  # [V, H, W], written
    opacity: np.ndarray,  # [V, H, W], written
    clamp_last: bool,
    stop: np.float32,
    view: int,
    first: int,
    end: int,
) -> int:
    """Render rows ``first .. end - 1`` of one view."""
    count, height, width = alpha.shape[1], alpha.shape[2], alpha.shape[3]
    layers, layer = colour.shape[1], height * width
    number = view // (eyes.shape[0] // alpha.shape[0])
    flat, flat_colour = alpha.reshape(-1), colour.reshape(-1)
    eye, rays = eyes[view], all_rays[view]
    scratch, place = np.empty(SCRATCH, np.float32), np.empty(2 * PIXELS, np.int32)
    for y0 in range(first, end, TILE_ROWS):
        y1 = min(y0 + TILE_ROWS, end)
        for x0 in range(0, image.shape[3], TILE_COLUMNS):
            x1 = min(x0 + TILE_COLUMNS, image.shape[3])
            n = (y1 - y0) * (x1 - x0)
            middle_x, middle_y, low_x, high_x, low_y, high_y = tile_rays(rays, scratch, y0, y1, x0, x1)
            for row in range(RED, OPACITY + PIXELS, PIXELS):
                scratch[row : row + n] = ZERO
            scratch[THROUGH : THROUGH + n] = ONE
            for k in range(count):
                clamped = clamp_last and k == count - 1
                distance, columns, rows = plane_axes(
                    planes[k], eye, height, width, middle_x, low_x, high_x, middle_y, low_y, high_y, clamped
                )
                left, at_x, per_x, across = columns
                top, at_y, per_y, down = rows
                if across == NOTHING or down == NOTHING:
                    continue
                wide = np.int64(per_x * (high_x - low_x)) + 3
                tall = np.int64(per_y * (high_y - low_y)) + 3
                if not clamped and is_empty(blocks[number, k], left, top, wide, tall):
                    continue
                start = (number * count + k) * layer
                inside = across == INSIDE and down == INSIDE
                if inside:
                    start += top * width + left
                    positions(scratch, place, n, at_x, per_x, at_y, per_y, np.int32(width))
                    look_up(flat, np.uint64(start), np.uint64(width), scratch, place, n)
                else:
                    border_positions(
                        scratch, place, n, at_x, per_x, at_y, per_y, left, top, width, height, clamped
                    )
                    look_up_at_border(flat, start, width, height, scratch, place, n)
                if not _weigh(scratch, n, np.float32(distance)):
                    continue
                shown = shown_layer(k, count, layers)
                start = (number * layers + shown) * 3 * layer
                if inside:
                    _add_colour(
                        flat_colour,
                        np.uint64(start + top * width + left),
                        np.uint64(width),
                        np.uint64(layer),
                        scratch,
                        place,
                        n,
                    )
                else:
                    for i in range(n):
                        weight = scratch[WEIGHT + i]
                        if weight != ZERO:
                            for c in range(3):
                                scratch[RED + c * PIXELS + i] += weight * at_border(
                                    flat_colour, start + c * layer, width, height, place[i], place[PIXELS + i],
                                    scratch[ACROSS + i], scratch[DOWN + i],
                                )  # fmt: skip
                if stop > ZERO and is_dark(scratch, n, stop):
                    break
            i = 0
            for y in range(y0, y1):
                for x in range(x0, x1):
                    for c in range(3):
                        image[view, c, y, x] = scratch[RED + c * PIXELS + i]
                    depth[view, y, x], opacity[view, y, x] = scratch[DEPTH + i], scratch[OPACITY + i]
                    i += 1
    return 0
