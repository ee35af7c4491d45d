"""The published face warp: 107 triangles over the 68 points of 300-W, painted in order (Moniz et al., NeurIPS 2018).

The published warper is an OpenGL program. Its rules, which :func:`face_warp` keeps: vertices are moved by
``M [x, y, depth, 1]``; depth enters through nothing else, and nothing is hidden: later triangles are painted over
earlier ones. Pixels count from their corners (pixel 0 spans 0..1), so that a keypoint at 18 lies between the pixels 17
and 18; the texture repeats outside the image; outside the mesh the result is black. Mouth and eyes are filled.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
import yaml
from torch import Tensor

from lineament.errors import DataError
from lineament.faces.schemes import scheme
from lineament.ops import mesh_warp

# From pixels counted from their corners to pixels counted from their centres.
CORNER = 0.5


@cache
def face_triangles() -> Tensor:
    """Return the triangles ``[107, 3]`` in painting order, int32 indices of the 68 points from 0."""
    text = Path(__file__).with_name("face_triangles.yaml").read_text(encoding="utf-8")
    return torch.tensor(yaml.safe_load(text)["triangles"], dtype=torch.int32) - 1


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
    if keypoints.ndim != 3 or count != len(scheme("68")) or depth.shape != keypoints.shape[:2]:
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
