"""The published face warp: 107 triangles over the 68 points of 300-W, painted in order (Moniz et al., NeurIPS 2018).

The published warper is an OpenGL program. Its rules, which :func:`face_warp` keeps: vertices are moved by
``M [x, y, depth, 1]``; depth enters through nothing else, and nothing is hidden: later triangles are painted over
earlier ones. Pixels count from their corners (pixel 0 spans 0..1), so that a keypoint at 18 lies between the pixels 17
and 18; the texture repeats outside the picture; outside the mesh the result is black. Mouth and eyes are filled.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from lineament.errors import DataError
from lineament.ops import mesh_warp

# Corners in painting order, counted from 1 as 300-W counts its points.
_TRIANGLES = """
1 37 18, 1 2 37, 2 42 37, 2 3 42, 3 32 42, 3 50 32, 3 4 50, 4 49 50, 4 5 49, 5 6 49, 6 7 49, 7 60 49,
7 8 60, 8 59 60, 8 9 59, 9 58 59, 9 57 58, 9 10 57, 10 56 57, 10 11 56, 11 12 56, 12 55 56, 12 13 55,
13 14 55, 14 54 55, 14 15 54, 15 36 54, 15 47 36, 15 16 47, 16 46 47, 16 17 46, 17 27 46, 27 26 46,
26 45 46, 26 25 45, 25 44 45, 25 24 44, 24 43 44, 24 23 43, 23 28 43, 23 22 28, 22 40 28, 22 21 40,
21 39 40, 21 20 39, 20 38 39, 20 19 38, 19 37 38, 19 18 37, 37 42 38, 38 42 39, 39 42 41, 39 41 40,
43 48 44, 44 48 47, 44 47 45, 45 47 46, 49 60 61, 61 60 68, 60 59 68, 68 59 67, 59 58 67, 58 57 67,
57 66 67, 57 56 66, 56 65 66, 56 55 65, 55 54 65, 54 64 65, 54 53 64, 53 63 64, 53 52 63, 52 51 63,
51 62 63, 51 50 62, 50 61 62, 50 49 61, 61 68 62, 62 68 63, 63 68 67, 63 67 66, 63 66 64, 64 66 65,
40 29 28, 40 30 29, 40 41 30, 41 32 30, 41 42 32, 30 32 31, 31 32 33, 31 33 34, 31 34 35, 31 35 36,
31 36 30, 36 47 48, 30 36 48, 30 48 43, 30 43 29, 29 43 28, 32 50 51, 32 51 33, 33 51 52, 33 52 34,
34 52 35, 35 52 53, 36 35 53, 36 53 54
"""
# From pixels counted from their corners to pixels counted from their centres.
CORNER = 0.5


@cache
def face_triangles() -> Tensor:
    """Return the triangles ``[107, 3]`` in painting order, int32 indices of the 68 points from 0."""
    rows = [[int(number) - 1 for number in row.split()] for row in _TRIANGLES.split(",")]
    return torch.tensor(rows, dtype=torch.int32)


def move_keypoints(keypoints: Tensor, depth: Tensor, affine: Tensor) -> Tensor:
    """Carry keypoints to the target: ``M [x, y, depth, 1]``.

    Args:
        keypoints: ``[N, K, 2]`` xy.
        depth: ``[N, K]``.
        affine: ``[N, 2, 4]`` rows ``m1 m2 m3 tx`` and ``m4 m5 m6 ty``.

    Returns:
        ``[N, K, 2]``.
    """
    points = torch.cat([keypoints, depth[..., None], torch.ones_like(depth)[..., None]], dim=-1)
    return points @ affine.transpose(-1, -2)


def face_warp(
    image: Tensor, keypoints: Tensor, depth: Tensor, affine: Tensor, *, impl: str = "auto"
) -> tuple[Tensor, Tensor]:
    """Warp faces as the published program does; the result has the size of the source.

    Args:
        image: ``[N, 3, H, W]`` (or ``[1, 3, H, W]`` for all) in 0..1.
        keypoints: ``[N, 68, 2]`` xy in pixels of the image **counted from corners**, as the published files hold them
            (add 0.5 to points that follow docs/conventions.md).
        depth: ``[N, 68]`` in any unit; ``affine`` knows it.
        affine: ``[N, 2, 4]`` in pixels counted from corners.
        impl: See :func:`lineament.ops.mesh_warp`.

    Returns:
        ``[N, 3, H, W]``, black outside the mesh, and ``[N, H, W]`` the painted triangle, -1 outside.

    Raises:
        DataError: If there are not 68 points, or their numbers do not fit each other.
    """
    count = keypoints.shape[-2]
    if keypoints.ndim != 3 or count != 68 or depth.shape != keypoints.shape[:2]:
        raise DataError(
            f"the face warp needs 68 keypoints [N, 68, 2] and depths [N, 68], not {list(keypoints.shape)} and "
            f"{list(depth.shape)}: convert 66 points with convert_points."
        )
    if affine.shape != (len(keypoints), 2, 4):
        raise DataError(f"the face warp needs affine maps [N, 2, 4], not {list(affine.shape)}.")
    source = keypoints.double()
    target = move_keypoints(source, depth.double(), affine.double())
    triangles = face_triangles().to(image.device)
    height, width = image.shape[-2:]
    return mesh_warp(image, source - CORNER, target - CORNER, triangles, height, width, impl=impl)
