"""Bench of the renderer: a head-sized mesh in three views of 96 x 96 pixels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lineament.errors import DataError
from lineament.ops import barycentrics, edge_gradient, interpolate, rasterize
from lineament.pipeline.bench.timing import measure, report

SIZE = 96
YAWS = (-0.5, 0.0, 0.5)  # radians


def run(*, device: str = "cpu", repeats: int = 20, packs: Path | None = None) -> dict[str, Any]:
    """Time rasterize + barycentrics, and the whole chain forward and backward to the vertices.

    Args:
        device: Where to run.
        repeats: Timed calls (the reference twin: at most 5).
        packs: Folder of the data packs; with it the small ICT face is drawn, else :func:`bench_mesh`.

    Returns:
        ``median_ms`` and its like for rasterize + barycentrics, ``forward_backward_*`` for rasterize, barycentrics,
        interpolate, edge gradient, squared error and backward; ``reference_*`` and ``ratio`` for the plain torch twin;
        ``moved_mb`` is what rasterize + barycentrics must read and write at least.
    """
    points, faces = bench_mesh() if packs is None else _ict_mesh(packs)
    vertices, faces = project(points).to(device), faces.to(device)
    generator = torch.Generator().manual_seed(0)
    colors = torch.rand(len(YAWS), vertices.shape[1], 3, generator=generator).to(device)
    target = torch.rand(len(YAWS), 3, SIZE, SIZE, generator=generator).to(device)

    def draw(impl: str) -> tuple[Tensor, Tensor]:
        index = rasterize(vertices, faces, SIZE, SIZE, impl=impl)
        return index, barycentrics(vertices, faces, index, impl=impl)[1]

    def fit(impl: str) -> None:
        leaf = vertices.detach().requires_grad_()
        index = rasterize(leaf, faces, SIZE, SIZE, impl=impl)
        _, bary = barycentrics(leaf, faces, index, impl=impl)
        image = interpolate(colors, faces, index, bary, impl=impl)
        image = edge_gradient(leaf, faces, bary, image, index, impl=impl)
        (image - target).square().mean().backward()

    filled = float((draw("auto")[0] >= 0).float().mean())
    few = min(repeats, 5)
    drawn = measure(lambda: draw("auto"), repeats=repeats, device=device)
    fitted = measure(lambda: fit("auto"), repeats=repeats, device=device)
    drawn_reference = measure(lambda: draw("reference"), repeats=few, warm_up=1, device=device)
    fitted_reference = measure(lambda: fit("reference"), repeats=few, warm_up=1, device=device)
    work = (
        f"rasterize + barycentrics: {len(YAWS)} views of {SIZE} x {SIZE}, "
        f"{vertices.shape[1]} vertices, {len(faces)} triangles, {filled:.0%} filled"
    )
    return report(
        work,
        drawn,
        drawn_reference,
        forward_backward_ms=fitted.median_ms,
        forward_backward_min_ms=fitted.min_ms,
        forward_backward_max_ms=fitted.max_ms,
        forward_backward_process_ms=fitted.process_ms,
        forward_backward_reference_ms=fitted_reference.median_ms,
        forward_backward_ratio=fitted_reference.median_ms / fitted.median_ms,
        # Corners of all triangles and triangles read; ids, depths and barycentric coordinates written.
        moved_mb=4 * (vertices.numel() + faces.numel() + 5 * len(YAWS) * SIZE**2) / 1e6,
    )


def bench_mesh(rings: int = 76, segments: int = 76, patch: int = 4) -> tuple[Tensor, Tensor]:
    """An egg with a nose, cut into strips with seams of their own as face meshes with texture have.

    Args:
        rings: Rows of vertices from crown to chin.
        segments: Columns of quads around, a multiple of ``patch``.
        patch: Columns per strip.

    Returns:
        Points ``[7220, 3]`` in units of the half width (x right, y down, z away from the viewer) and faces
        ``[11400, 3]`` int32 for the default sizes.
    """
    column = torch.arange(segments).reshape(-1, patch)  # [P, K]
    column = torch.cat(
        [column, column[:, -1:] + 1], dim=1
    )  # [P, K + 1]: each strip ends where the next begins
    around = (column * (2 * math.pi / segments)).flatten()[None]
    down = torch.linspace(0.02, math.pi - 0.02, rings)[:, None]
    x, y, z = down.sin() * around.sin(), -down.cos() * torch.ones_like(around), -down.sin() * around.cos()
    nose = 0.25 * torch.exp(-(x**2 + (y - 0.1) ** 2) / 0.03) * (z < 0)
    points = torch.stack([x, 1.1 * y, z - nose], dim=-1).reshape(-1, 3)
    width = column.numel()
    left = (torch.arange(len(column))[:, None] * (patch + 1) + torch.arange(patch)).flatten()
    corner = (torch.arange(rings - 1)[:, None] * width + left).flatten()  # upper left corner of each quad
    upper = torch.stack([corner, corner + 1, corner + width], dim=-1)
    lower = torch.stack([corner + width + 1, corner + width, corner + 1], dim=-1)
    return points, torch.cat([upper, lower]).int()


def project(points: Tensor) -> Tensor:
    """Three views ``[3, V, 3]`` (px, px, depth) of points ``[V, 3]``, scaled so that the mesh fills about 60 %."""
    half = points.amax(0) - points.amin(0)
    centered = (points - (points.amax(0) + points.amin(0)) / 2) / (half[:2].max() / 2)
    views = []
    for yaw in YAWS:
        c, s = math.cos(yaw), math.sin(yaw)
        turned = centered @ centered.new_tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T
        depth = turned[:, 2:] + 8
        views.append(torch.cat([turned[:, :2] / depth * (8 * 0.463 * SIZE) + (SIZE - 1) / 2, depth], dim=1))
    return torch.stack(views)


def _ict_mesh(packs: Path) -> tuple[Tensor, Tensor]:
    path = packs / "ict_facekit" / "ict_face_small.npz"
    try:
        with np.load(path) as arrays:
            points, faces = torch.from_numpy(arrays["neutral"]), torch.from_numpy(arrays["faces"])
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"cannot read the small ICT face {path} ({error}): check --packs, or leave it out."
        ) from error
    return points * torch.tensor([1.0, -1.0, -1.0]), faces
