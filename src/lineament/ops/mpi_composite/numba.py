"""The multiplane renderer on the CPU: one pass over tiles of the image, planes front to back.

Texel positions are affine in the slope of a ray, so a plane costs two multiply-adds per pixel. They are formed in
single precision relative to a texel of the tile, which is found in double precision: an error of 1e-5 of a texel would
show where neighbouring texels differ.

A table of which blocks of each plane hold anything lets a tile pass over the planes that are empty where it sees
them, exactly. The tiles of a band share no memory with those of another in the forward pass. In the backward pass
neighbouring bands add to the same rows of texels: bands of even number are computed first, then those of odd number;
where the rays do not keep them apart, a view is computed as one band. So no bit depends on the number of threads.

Import this module only where it is used: it brings in the numba compiler.
"""

# mypy: allow-untyped-defs
# (kernels are typed by their compiler)
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lineament.ops.allocator import reuse_freed_blocks
from lineament.ops.mpi_composite.kernels import (
    BLOCK,
    TILE_ROWS,
    composite_band,
    mark_blocks,
)
from lineament.ops.mpi_composite.kernels_backward import composite_backward_band
from lineament.ops.mpi_composite.reference import Scene, Three, dark_limit, empty_results
from lineament.ops.threads import run_tasks, shares, spans

# Bands of a view in the backward pass, at most.
_BANDS = 8


def composite(scene: Scene, height: int, width: int, clamp_last: bool, stop: float) -> Three:
    """As `reference.composite`, for float32; ``stop`` as in :func:`lineament.ops.mpi_composite`."""
    views = len(scene.eye)
    image, depth, opacity = empty_results(scene, height, width)
    blocks = _occupied(scene.alpha, stop)
    results = [each.numpy() for each in (image, depth, opacity)]
    tiles = -(-height // TILE_ROWS)
    bands = spans(tiles, min(tiles, 4 * shares(views)))
    tasks = [
        (view, first * TILE_ROWS, min(end * TILE_ROWS, height))
        for view in range(views)
        for first, end in bands
    ]
    arguments = (*(each.numpy() for each in scene), blocks, *results, clamp_last, np.float32(stop))
    run_tasks(composite_band, arguments, tasks, views * height * width * 8)
    return image, depth, opacity


def composite_backward(
    gradients: Three, scene: Scene, clamp_last: bool, stop: float
) -> tuple[Tensor, Tensor]:
    """Gradients with respect to alpha and colour of the results of :func:`composite`."""
    # Gradients as large as the textures would else take half as long to be given memory as to be computed.
    reuse_freed_blocks()
    alpha, colour = scene.alpha, scene.colour
    images, count, rows, columns = alpha.shape
    views, height, width = gradients[1].shape
    each = views // images
    bands, ranges, apart = _bands(scene, height, width, clamp_last)
    to_alpha, to_colour = torch.zeros_like(alpha), torch.zeros_like(colour)
    layers = colour.shape[1]
    own = layers == count
    # Shared colours get what all planes send to them, from further than bands are apart: each band adds to rows of its
    # own, and these are added up in order.
    tall = rows if own else int((ranges[..., 1] - ranges[..., 0]).max())
    part = to_colour if own else alpha.new_empty(images * len(bands), layers, 3, tall, columns)
    blocks = _occupied(alpha, 0.0)
    given, arrays = ([tensor.numpy() for tensor in each] for each in (scene, (*gradients, to_alpha, part)))
    arguments = (*given, blocks, *arrays, clamp_last, np.float32(dark_limit(stop)))
    for number in range(each):
        if not own:
            part.zero_()
        for parity in range(2 if apart else 1):
            tasks = []
            for image in range(images):
                view = image * each + number
                for band in range(parity, len(bands), 2 if apart else 1):
                    slot = image if own else image * len(bands) + band
                    first_row = 0 if own else int(ranges[view, band, 0])
                    tasks.append((view, *bands[band], slot, first_row))
            run_tasks(composite_backward_band, arguments, tasks, images * height * width * 8)
        if not own:
            for image in range(images):
                for band in range(len(bands)):
                    low, high = ranges[image * each + number, band].tolist()
                    to_colour[image, :, :, low:high] += part[image * len(bands) + band, :, :, : high - low]
    return to_alpha, to_colour


def _occupied(alpha: Tensor, stop: float) -> np.ndarray:
    """Which blocks of texels are not empty, ``[M, P, rows, columns]`` of bytes."""
    images, count, rows, columns = alpha.shape
    blocks = np.empty((images, count, -(-rows // BLOCK), -(-columns // BLOCK)), np.uint8)
    # All planes together hold back less than half of what stopping may.
    limit = np.float32(stop / (2 * count)).view(np.int32)
    tasks = [
        (image, *span) for image in range(images) for span in spans(count, min(count, 4 * shares(images)))
    ]
    run_tasks(mark_blocks, (alpha.numpy().view(np.int32), blocks, limit), tasks, alpha.numel() // 8)
    return blocks


def _bands(
    scene: Scene, height: int, width: int, clamp_last: bool
) -> tuple[list[tuple[int, int]], np.ndarray, bool]:
    """Cut views into bands for the backward pass.

    Returns:
        Rows ``(first, end)`` of each band; rows of texels ``[V, bands, 2]`` (first, end) that it touches on any plane;
        and whether bands with one between them touch different texels on every plane.
    """
    tiles = -(-height // TILE_ROWS)
    bands = [
        (first * TILE_ROWS, min(end * TILE_ROWS, height)) for first, end in spans(tiles, min(tiles, _BANDS))
    ]
    texel_rows = scene.alpha.shape[2]
    touched = _touched_rows(bands, scene, width, clamp_last)
    low, high = touched[..., 0], touched[..., 1]
    apart = bool(((high[:, :, :-2] <= low[:, :, 2:]) | (high[:, :, 2:] <= low[:, :, :-2])).all())
    if not apart:
        bands = [(0, height)]
        touched = _touched_rows(bands, scene, width, clamp_last)
    limited = touched.clip(0, texel_rows)
    ranges = np.stack([limited[..., 0].min(1), limited[..., 1].max(1)], axis=-1)
    return bands, ranges, apart


def _touched_rows(bands: list[tuple[int, int]], scene: Scene, width: int, clamp_last: bool) -> np.ndarray:
    """First and end row of texels ``[V, P, bands, 2]`` that the pixels of a band reach, beyond the texture too."""
    columns, rows = np.meshgrid([0.0, width - 1.0], np.array(bands, np.float64).ravel() - [0, 1] * len(bands))
    pixels = np.stack([columns.ravel(), rows.ravel(), np.ones(columns.size)])
    directions = scene.rays.numpy() @ pixels  # [V, 3, bands x 2 x 2]
    slope = (directions[:, 1] / directions[:, 2]).reshape(len(scene.eye), 1, len(bands), 4)
    planes, texel_rows = scene.planes.numpy(), scene.alpha.shape[2]
    z, tall = planes[:, 0, None, None], planes[:, 1, None, None]
    at = scene.eye.numpy()[:, :, None, None, None]
    place = ((at[:, 1] + (z - at[:, 2]) * slope) / tall + 0.5) * (texel_rows - 1)
    if clamp_last:
        place[:, -1] = place[:, -1].clip(0, texel_rows - 1)
    # One row more on either side, for what rounding does to the positions.
    first, end = np.floor(place.min(-1)) - 1, np.floor(place.max(-1)) + 3
    return np.stack([first, end], axis=-1).astype(np.int64)
