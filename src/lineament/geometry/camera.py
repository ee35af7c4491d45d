"""The pinhole camera: millimetres in, pixels out (conventions: docs/conventions.md)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with integer pixel centres; x right, y down, z away from the camera.

    Attributes:
        intrinsics: ``[3, 3]`` matrix, focal lengths and principal point in pixels.
        world_to_camera: ``[4, 4]`` rigid transform, millimetres.
        width: Image width in pixels.
        height: Image height in pixels.
    """

    intrinsics: Tensor  # [3, 3]
    world_to_camera: Tensor  # [4, 4]
    width: int
    height: int

    def project(self, points: Tensor) -> Tensor:
        """Project world points.

        Args:
            points: ``[..., 3]`` world points in millimetres.

        Returns:
            ``[..., 3]``: x and y in pixels, z the camera depth in millimetres. Points behind the camera have
            ``z <= 0`` and meaningless x and y.
        """
        rotation, translation = self.world_to_camera[:3, :3], self.world_to_camera[:3, 3]
        camera_points = points @ rotation.T.to(points) + translation.to(points)
        homogeneous = camera_points @ self.intrinsics.T.to(points)
        depth = camera_points[..., 2:]
        return torch.cat([homogeneous[..., :2] / depth, depth], dim=-1)
