"""The multiplane renderer on a GPU: a program per tile of pixels and view, planes front to back in registers.

Texel positions are formed in single precision relative to the texel under the tile's middle, which is found in double
precision, as on the CPU. The backward pass keeps the transmittance before each plane, ``[views, P, H, W]`` of at most
256 MB at a time, and adds to the texels atomically: sums of the same gradients may differ in their last bits from call
to call. With ``TRITON_INTERPRET=1`` the kernels run on CPU tensors.
"""

# mypy: allow-untyped-defs
# (kernels are typed by their compiler)
from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

from lineament.ops.mpi_composite.reference import Scene, Three, dark_limit, empty_results

TILE_ROWS, TILE_COLUMNS, WARPS = 8, 32, 4
_SCRATCH_BYTES = 2**28
LEAK = tl.constexpr(1e-10)


@triton.jit
def _tile(rays, height, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Pixels of the program's tile, whether they are in the image, and slopes of their rays.

    Returns row, column and mask ``[ROWS * COLUMNS]``; the slopes at the tile's middle in double precision; and for each
    pixel the slopes relative to these and the depth per z.
    """
    across = tl.cdiv(width, COLUMNS)
    first_row, first_column = tl.program_id(0) // across * ROWS, tl.program_id(0) % across * COLUMNS
    i = tl.arange(0, ROWS * COLUMNS)
    row, column = first_row + i // COLUMNS, first_column + i % COLUMNS
    x, y = column.to(tl.float64), row.to(tl.float64)
    middle_x, middle_y = first_column + COLUMNS / 2.0, first_row + ROWS / 2.0
    r0, r1, r2 = tl.load(rays), tl.load(rays + 1), tl.load(rays + 2)
    r3, r4, r5 = tl.load(rays + 3), tl.load(rays + 4), tl.load(rays + 5)
    r6, r7, r8 = tl.load(rays + 6), tl.load(rays + 7), tl.load(rays + 8)
    ahead = 1.0 / (r6 * x + r7 * y + r8)
    middle = 1.0 / (r6 * middle_x + r7 * middle_y + r8)
    slope_x, slope_y = (
        (r0 * middle_x + r1 * middle_y + r2) * middle,
        (r3 * middle_x + r4 * middle_y + r5) * middle,
    )
    to_x = ((r0 * x + r1 * y + r2) * ahead - slope_x).to(tl.float32)
    to_y = ((r3 * x + r4 * y + r5) * ahead - slope_y).to(tl.float32)
    inside = (row < height) & (column < width)
    return row, column, inside, slope_x, slope_y, to_x, to_y, ahead.to(tl.float32)


@triton.jit
def _axis(at, distance, side, texels, middle, relative, clamped):
    """Texel below each pixel along one axis of a plane, and how far beyond it the pixel is."""
    scale = (texels - 1) / side
    centre = 0.5 * (texels - 1) + scale * (at + distance * middle)
    base = tl.floor(centre)
    place = (centre - base).to(tl.float32) + (scale * distance).to(tl.float32) * relative
    if clamped:
        place = tl.minimum(tl.maximum(place, (-base).to(tl.float32)), (texels - 1 - base).to(tl.float32))
    below = tl.floor(place)
    return below.to(tl.int32) + base.to(tl.int32), place - below


@triton.jit
def _places(planes, eye, k, count, rows, columns, slope_x, slope_y, to_x, to_y, CLAMP: tl.constexpr):
    """Texel and fraction of each pixel on plane k along both axes, and the z of the plane before the eye."""
    distance = tl.load(planes + 3 * k) - tl.load(eye + 2)
    clamped = CLAMP and k == count - 1
    column, fx = _axis(tl.load(eye), distance, tl.load(planes + 3 * k + 2), columns, slope_x, to_x, clamped)
    row, fy = _axis(tl.load(eye + 1), distance, tl.load(planes + 3 * k + 1), rows, slope_y, to_y, clamped)
    return row, column, fy, fx, distance.to(tl.float32)


@triton.jit
def _tap(texels, row, column, rows, columns, weight, inside):
    """One texel's share, 0 outside the texture."""
    seen = inside & (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    return weight * tl.load(texels + row * columns + column, mask=seen, other=0.0)


@triton.jit
def _look_up(texels, row, column, fy, fx, rows, columns, inside):
    """Bilinear values of one channel."""
    upper = _tap(texels, row, column, rows, columns, 1 - fx, inside)
    upper += _tap(texels, row, column + 1, rows, columns, fx, inside)
    lower = _tap(texels, row + 1, column, rows, columns, 1 - fx, inside)
    lower += _tap(texels, row + 1, column + 1, rows, columns, fx, inside)
    return upper * (1 - fy) + lower * fy


@triton.jit
def _spread(texels, row, column, fy, fx, rows, columns, value, inside):
    """Add a value to the four texels around each pixel."""
    for dy in tl.static_range(2):
        for dx in tl.static_range(2):
            y, x = row + dy, column + dx
            weight = (fy if dy else 1 - fy) * (fx if dx else 1 - fx)
            seen = inside & (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
            tl.atomic_add(texels + y * columns + x, weight * value, mask=seen, sem="relaxed")


@triton.jit
def _layer(k, count, layers):
    """As `reference.colour_layer`."""
    shown = 0
    if layers == count:
        shown = k
    elif layers == 2 and k == count - 1:
        shown = 1
    return shown


@triton.jit
def _composite_kernel(
    alpha,  # [M, P, Ht, Wt]
    colour,  # [M, G, 3, Ht, Wt]
    planes,  # [P, 3] float64
    eyes,  # [V, 3] float64
    all_rays,  # [V, 3, 3] float64
    image,  # [V, 3, H, W], written
    depth,  # [V, H, W], written
    opacity,  # [V, H, W], written
    count, layers, rows, columns, height, width, each, stop,
    CLAMP: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    # 64 bits: the offset of a view or an image may exceed 2^31 elements.
    view = tl.program_id(1).to(tl.int64)
    number = view // each
    zero = view - view
    y, x, inside, slope_x, slope_y, to_x, to_y, ahead = _tile(
        all_rays + 9 * view, height, width, ROWS, COLUMNS
    )
    area = rows * columns
    alpha, colour = alpha + number * count * area, colour + number * layers * 3 * area
    through = tl.where(inside, 1.0, 0.0)
    red, green, blue = tl.zeros_like(to_x), tl.zeros_like(to_x), tl.zeros_like(to_x)
    far, sum_of_weights = tl.zeros_like(to_x), tl.zeros_like(to_x)
    k, lit = 0, True
    while lit:
        row, column, fy, fx, distance = _places(
            planes, eyes + 3 * view, k, count, rows, columns, slope_x, slope_y, to_x, to_y, CLAMP
        )
        a = _look_up(alpha + (zero + k) * area, row, column, fy, fx, rows, columns, inside)
        weight = a * through
        through = through * ((1.0 - a) + LEAK)
        far += weight * (distance * ahead)
        sum_of_weights += weight
        # Not a number counts too.
        if tl.sum((weight != 0).to(tl.int32)) > 0:
            texels = colour + (zero + _layer(k, count, layers)) * 3 * area
            red += weight * _look_up(texels, row, column, fy, fx, rows, columns, inside)
            green += weight * _look_up(texels + area, row, column, fy, fx, rows, columns, inside)
            blue += weight * _look_up(texels + 2 * area, row, column, fy, fx, rows, columns, inside)
        k += 1
        lit = (k < count) & (tl.sum((through < stop).to(tl.int32)) < ROWS * COLUMNS)
    pixels = height * width
    at = y * width + x
    image += view * 3 * pixels
    tl.store(image + at, red, mask=inside)
    tl.store(image + pixels + at, green, mask=inside)
    tl.store(image + 2 * pixels + at, blue, mask=inside)
    tl.store(depth + view * pixels + at, far, mask=inside)
    tl.store(opacity + view * pixels + at, sum_of_weights, mask=inside)


@triton.jit
def _backward_kernel(
    to_image,  # [V, 3, H, W]
    to_depth,  # [V, H, W]
    to_opacity,  # [V, H, W]
    alpha,  # [M, P, Ht, Wt]
    colour,  # [M, G, 3, Ht, Wt]
    planes,  # [P, 3] float64
    eyes,  # [V, 3] float64
    all_rays,  # [V, 3, 3] float64
    throughs,  # [views of this launch, P, H, W], written
    to_alpha,  # [M, P, Ht, Wt], added to
    to_colour,  # [M, G, 3, Ht, Wt], added to
    first_view, count, layers, rows, columns, height, width, each, dark,
    CLAMP: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    slot = tl.program_id(1).to(tl.int64)
    view = first_view + slot
    number = view // each
    zero = view - view
    y, x, inside, slope_x, slope_y, to_x, to_y, ahead = _tile(
        all_rays + 9 * view, height, width, ROWS, COLUMNS
    )
    area, pixels = rows * columns, height * width
    at = y * width + x
    alpha, colour = alpha + number * count * area, colour + number * layers * 3 * area
    to_alpha, to_colour = to_alpha + number * count * area, to_colour + number * layers * 3 * area
    throughs += slot * count * pixels + at
    red = tl.load(to_image + view * 3 * pixels + at, mask=inside, other=0.0)
    green = tl.load(to_image + (view * 3 + 1) * pixels + at, mask=inside, other=0.0)
    blue = tl.load(to_image + (view * 3 + 2) * pixels + at, mask=inside, other=0.0)
    far = tl.load(to_depth + view * pixels + at, mask=inside, other=0.0)
    sum_of_weights = tl.load(to_opacity + view * pixels + at, mask=inside, other=0.0)
    through = tl.where(inside, 1.0, 0.0)
    k, lit = 0, True
    while lit:
        row, column, fy, fx, distance = _places(
            planes, eyes + 3 * view, k, count, rows, columns, slope_x, slope_y, to_x, to_y, CLAMP
        )
        a = _look_up(alpha + (zero + k) * area, row, column, fy, fx, rows, columns, inside)
        tl.store(throughs + (zero + k) * pixels, through, mask=inside)
        through = through * ((1.0 - a) + LEAK)
        k += 1
        lit = (k < count) & (tl.sum((through < dark).to(tl.int32)) < ROWS * COLUMNS)
    # Worth of the light that comes from behind a plane, if the plane lets it through.
    behind = tl.zeros_like(to_x)
    while k > 0:
        k -= 1
        row, column, fy, fx, distance = _places(
            planes, eyes + 3 * view, k, count, rows, columns, slope_x, slope_y, to_x, to_y, CLAMP
        )
        a = _look_up(alpha + (zero + k) * area, row, column, fy, fx, rows, columns, inside)
        before = tl.load(throughs + (zero + k) * pixels, mask=inside, other=0.0)
        offset = (zero + _layer(k, count, layers)) * 3 * area
        worth = sum_of_weights + far * (distance * ahead)
        worth += red * _look_up(colour + offset, row, column, fy, fx, rows, columns, inside)
        worth += green * _look_up(colour + offset + area, row, column, fy, fx, rows, columns, inside)
        worth += blue * _look_up(colour + offset + 2 * area, row, column, fy, fx, rows, columns, inside)
        slope = before * (worth - behind)
        _spread(to_alpha + (zero + k) * area, row, column, fy, fx, rows, columns, slope, inside)
        weight = before * a
        if tl.sum((weight != 0).to(tl.int32)) > 0:
            _spread(to_colour + offset, row, column, fy, fx, rows, columns, weight * red, inside)
            _spread(to_colour + offset + area, row, column, fy, fx, rows, columns, weight * green, inside)
            _spread(to_colour + offset + 2 * area, row, column, fy, fx, rows, columns, weight * blue, inside)
        # No division by what an opaque plane lets through.
        behind = a * worth + ((1.0 - a) + LEAK) * behind


def _launch(
    views: int, height: int, width: int, like: Tensor
) -> tuple[tuple[int, int], AbstractContextManager]:
    tiles = triton.cdiv(height, TILE_ROWS) * triton.cdiv(width, TILE_COLUMNS)
    return (tiles, views), torch.cuda.device(like.device) if like.is_cuda else nullcontext()


def composite(scene: Scene, height: int, width: int, clamp_last: bool, stop: float) -> Three:
    """As `reference.composite`, for float32; ``stop`` as in :func:`lineament.ops.mpi_composite`."""
    alpha, views = scene.alpha, len(scene.eye)
    image, depth, opacity = empty_results(scene, height, width)
    grid, device = _launch(views, height, width, alpha)
    with device:
        _composite_kernel[grid](
            *scene, image, depth, opacity,
            alpha.shape[1], scene.colour.shape[1], *alpha.shape[2:], height, width, views // len(alpha), stop,
            CLAMP=clamp_last, ROWS=TILE_ROWS, COLUMNS=TILE_COLUMNS, num_warps=WARPS,
        )  # fmt: skip
    return image, depth, opacity


def composite_backward(
    gradients: Three, scene: Scene, clamp_last: bool, stop: float
) -> tuple[Tensor, Tensor]:
    """Gradients with respect to alpha and colour of the results of :func:`composite`."""
    alpha, colour = scene.alpha, scene.colour
    views, height, width = gradients[1].shape
    count = alpha.shape[1]
    at_once = min(views, max(1, _SCRATCH_BYTES // (4 * count * height * width)))
    throughs = alpha.new_empty(at_once, count, height, width)
    to_alpha, to_colour = torch.zeros_like(alpha), torch.zeros_like(colour)
    for first in range(0, views, at_once):
        grid, device = _launch(min(at_once, views - first), height, width, alpha)
        with device:
            _backward_kernel[grid](
                *gradients, *scene, throughs, to_alpha, to_colour,
                first, count, colour.shape[1], *alpha.shape[2:], height, width, views // len(alpha),
                dark_limit(stop), CLAMP=clamp_last, ROWS=TILE_ROWS, COLUMNS=TILE_COLUMNS, num_warps=WARPS,
            )  # fmt: skip
    return to_alpha, to_colour
