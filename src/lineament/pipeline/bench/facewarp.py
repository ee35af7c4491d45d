"""Bench of the published face warp: one face of 80 x 80 and one of 512 x 512 that fill their images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lineament.heads.builtin.template import LANDMARKS68
from lineament.methods.depthnet.warp import face_triangles, face_warp
from lineament.pipeline.bench.timing import measure, report

SMALL, LARGE = 80, 512
# The face's share of the image's sides.
SHARE = 0.9
# Radians by which it is turned.
YAW = 0.3


def run(*, device: str = "cpu", repeats: int = 20) -> dict[str, Any]:
    """Time the warp of one face from tensors to a tensor, without files.

    Args:
        device: Where to run.
        repeats: Timed calls (of the reference twin at most 3, and one of 512 x 512).

    Returns:
        ``median_ms`` and its like for 80 x 80, ``large_*`` for 512 x 512; ``reference_*`` and ``ratio`` for the plain
        torch twin; ``moved_mb`` is what must be read and written at least.
    """
    timings = {}
    for size in (SMALL, LARGE):
        inputs = tuple(tensor.to(device) for tensor in bench_face(size))
        for impl, count in (("auto", repeats), ("reference", 1 if size == LARGE else min(repeats, 3))):
            timings[size, impl] = measure(
                lambda inputs=inputs, impl=impl: face_warp(*inputs, impl=impl),  # type: ignore[misc]
                repeats=count,
                warm_up=3 if impl == "auto" else 0,
                device=device,
            )
    painted = float((face_warp(*bench_face(LARGE))[1] >= 0).float().mean())
    large, large_reference = timings[LARGE, "auto"], timings[LARGE, "reference"]
    work = (
        f"one face of {SMALL} x {SMALL} (large: {LARGE} x {LARGE}), {len(face_triangles())} triangles, "
        f"{painted:.0%} filled, without files"
    )
    return report(
        work,
        timings[SMALL, "auto"],
        timings[SMALL, "reference"],
        large_ms=large.median_ms,
        large_min_ms=large.min_ms,
        large_process_ms=large.process_ms,
        large_reference_ms=large_reference.median_ms,
        large_ratio=large_reference.median_ms / large.median_ms,
        # The image read and written once.
        moved_mb=2 * 3 * 4 * SMALL**2 / 1e6,
        large_moved_mb=2 * 3 * 4 * LARGE**2 / 1e6,
    )


def bench_face(size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """An image of noise with the mean face's keypoints, depths and a turn, batch of one."""
    shape = torch.tensor(LANDMARKS68, dtype=torch.float64)
    low, high = shape[:, :2].amin(0), shape[:, :2].amax(0)
    scale = SHARE * size / (high - low)
    points = (shape[:, :2] - (low + high) / 2) * scale + size / 2
    depth = shape[:, 2] * float(scale.mean())
    turn = torch.tensor([YAW], dtype=torch.float64)
    across = torch.cat([turn.cos(), torch.zeros(1), -turn.sin(), (1 - turn.cos()) * size / 2])
    affine = torch.stack([across.double(), torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)])
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    return image, points[None], depth[None], affine[None]
