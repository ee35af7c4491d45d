"""Small keypoint sets for the tests of this room."""

from __future__ import annotations

import torch

from lineament.data.keypoint_depth import ORIENTATIONS, KeypointFaces, KeypointSet


def random_faces(count: int, seed: int = 0, *, turned: bool = True, depth: bool = True) -> KeypointSet:
    """Faces that are turned, scaled and moved copies of one random shape, with exact depth."""
    generator = torch.Generator().manual_seed(seed)
    shape = torch.randn(66, 3, generator=torch.Generator().manual_seed(99)) * torch.tensor([0.15, 0.2, 0.1])
    yaw = 0.6 * (2 * torch.rand(count, generator=generator) - 1)
    points = shape + 0.01 * torch.randn(count, 66, 3, generator=generator)
    x = points[..., 0] * yaw.cos()[:, None] + points[..., 2] * yaw.sin()[:, None]
    z = points[..., 2] * yaw.cos()[:, None] - points[..., 0] * yaw.sin()[:, None]
    scale = 0.8 + 0.4 * torch.rand(count, 1, generator=generator)
    keypoints = torch.stack([0.5 + scale * x, 0.5 + scale * points[..., 1]], dim=2)
    words = tuple(ORIENTATIONS[int(number)] for number in torch.bucketize(yaw, torch.tensor([-0.2, 0.2])))
    return KeypointSet(
        tuple(f"face{number}" for number in range(count)),
        keypoints,
        scale * z if depth else None,
        words if turned else None,
        torch.full((count, 2), 100),
    )


def source(count: int, seed: int = 0) -> KeypointFaces:
    return KeypointFaces(f"faces-{seed}", random_faces(count, seed))
