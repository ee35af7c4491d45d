"""Interpolation of vertex attributes on the CPU, forward and backward."""

from __future__ import annotations

import numpy as np

from lineament.ops.numba_cpu.compile import kernel


@kernel
def interpolate_band(
    attributes: np.ndarray,  # [N, V, C]
    faces: np.ndarray,  # [1 or N, F, 3] int32
    index: np.ndarray,  # [N, H, W] int32
    bary: np.ndarray,  # [N, 3, H, W]
    image: np.ndarray,  # [N, C, H, W], written
    view: int,
    first_row: int,
    end_row: int,
) -> int:
    """Fill rows ``first_row .. end_row - 1`` of one view; return the number of pixels with bad ids."""
    values = attributes[view]
    triangles = faces[view if faces.shape[0] > 1 else 0]
    # As unsigned numbers negative ids are huge: one comparison checks both ends.
    corners, channels = np.uint32(values.shape[0]), values.shape[1]
    bad = 0
    image[view, :, first_row:end_row] = 0
    for y in range(first_row, end_row):
        for x in range(index.shape[2]):
            face = index[view, y, x]
            if face < 0:
                continue
            if face >= triangles.shape[0]:
                bad += 1
                continue
            i0, i1, i2 = triangles[face, 0], triangles[face, 1], triangles[face, 2]
            if np.uint32(i0) >= corners or np.uint32(i1) >= corners or np.uint32(i2) >= corners:
                bad += 1
                continue
            b0, b1, b2 = bary[view, 0, y, x], bary[view, 1, y, x], bary[view, 2, y, x]
            for c in range(channels):
                image[view, c, y, x] = b0 * values[i0, c] + b1 * values[i1, c] + b2 * values[i2, c]
    return bad


@kernel
def interpolate_backward_band(
    gradient: np.ndarray,  # [N, C, H, W]
    attributes: np.ndarray,  # [N, V, C]
    faces: np.ndarray,  # [1 or N, F, 3] int32
    index: np.ndarray,  # [N, H, W] int32, ids already checked by the forward pass
    bary: np.ndarray,  # [N, 3, H, W]
    to_bary: np.ndarray,  # [N, 3, H, W], written
    to_attributes: np.ndarray,  # [N, V, C], written
    view: int,
    first_row: int,
    end_row: int,
) -> int:
    """Gradients of rows ``first_row .. end_row - 1`` of one view: attributes and barycentric coordinates."""
    values, into = attributes[view], to_attributes[view]
    triangles = faces[view if faces.shape[0] > 1 else 0]
    channels = values.shape[1]
    into[:] = 0  # a part's own memory (see `scatter`), not yet written
    to_bary[view, :, first_row:end_row] = 0
    for y in range(first_row, end_row):
        for x in range(index.shape[2]):
            face = index[view, y, x]
            if face < 0:
                continue
            i0, i1, i2 = triangles[face, 0], triangles[face, 1], triangles[face, 2]
            b0, b1, b2 = bary[view, 0, y, x], bary[view, 1, y, x], bary[view, 2, y, x]
            t0 = t1 = t2 = 0.0
            # One sweep over the channels for all six sums: the gradient is strided and read once.
            for c in range(channels):
                g = gradient[view, c, y, x]
                t0 += g * values[i0, c]
                t1 += g * values[i1, c]
                t2 += g * values[i2, c]
                into[i0, c] += g * b0
                into[i1, c] += g * b1
                into[i2, c] += g * b2
            to_bary[view, 0, y, x], to_bary[view, 1, y, x], to_bary[view, 2, y, x] = t0, t1, t2
    return 0
