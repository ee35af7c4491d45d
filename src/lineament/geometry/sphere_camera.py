"""Cameras on a sphere that look at its centre.

World frame: x right, y down, z away from the viewer. The sphere's centre lies on the z axis. Camera frame: x right, y
down, z along the optical axis. With yaw = pitch = 0 the camera stands on the viewer's side of the centre and its
rotation is the identity; positive yaw moves it to the right, positive pitch up. There is no roll.

Angles are in radians, lengths in the world's unit. Matrices are 4 x 4 and act on column vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor


def camera_on_sphere(yaw: Tensor, pitch: Tensor, *, radius: float, centre_z: float) -> Tensor:
    """Place cameras on the sphere.

    Args:
        yaw: ``[...]`` radians.
        pitch: ``[...]`` radians.
        radius: Distance of the cameras from the centre.
        centre_z: The centre's z.

    Returns:
        ``[..., 4, 4]`` camera-to-world matrices in double precision.
    """
    position = position_on_sphere(yaw, pitch, radius=radius, centre_z=centre_z)
    centre = position.new_tensor([0.0, 0.0, centre_z])
    forward = (centre - position) / radius
    zero = torch.zeros_like(forward[..., 0])
    # (0, 1, 0) x forward, where (0, 1, 0) is the world's down.
    right = torch.stack([forward[..., 2], zero, -forward[..., 0]], dim=-1)
    right = right / right.norm(dim=-1, keepdim=True)
    down = torch.linalg.cross(forward, right)
    upper = torch.stack([right, down, forward, position], dim=-1)
    lowest = upper.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*upper.shape[:-2], 1, 4)
    return torch.cat([upper, lowest], dim=-2)


def position_on_sphere(yaw: Tensor, pitch: Tensor, *, radius: float, centre_z: float) -> Tensor:
    """Points on the sphere; arguments as in :func:`camera_on_sphere`.

    Returns:
        ``[..., 3]`` world points in double precision.
    """
    yaw, pitch = torch.broadcast_tensors(yaw.double(), pitch.double())
    # The absolute value keeps a camera that is tilted past the pole on its side.
    level = torch.cos(pitch).abs()
    offset = torch.stack([level * torch.sin(yaw), -torch.sin(pitch), -level * torch.cos(yaw)], dim=-1)
    return radius * offset + offset.new_tensor([0.0, 0.0, centre_z])


def angles_on_sphere(world_to_camera: Tensor, *, centre_z: float) -> tuple[Tensor, Tensor]:
    """Read yaw and pitch off the position of cameras; the inverse of :func:`camera_on_sphere`.

    The cameras need not look at the centre, nor be at any distance from it.

    Args:
        world_to_camera: ``[..., 4, 4]``.
        centre_z: The centre's z.

    Returns:
        Yaw and pitch ``[...]`` in radians, in the precision of the matrices; yaw in -pi..pi, pitch in -pi/2..pi/2.
    """
    position = camera_position(world_to_camera)
    across, down, back = position[..., 0], position[..., 1], centre_z - position[..., 2]
    return torch.atan2(across, back), torch.atan2(-down, torch.hypot(across, back))


def camera_position(world_to_camera: Tensor) -> Tensor:
    """World position ``[..., 3]`` of cameras with rigid matrices ``[..., 4, 4]``."""
    rotation, translation = world_to_camera[..., :3, :3], world_to_camera[..., :3, 3:]
    return -(rotation.mT @ translation)[..., 0]


def invert_rigid(matrix: Tensor) -> Tensor:
    """Invert rigid matrices ``[..., 4, 4]`` (world-to-camera to camera-to-world and back)."""
    inverse = matrix.clone()
    inverse[..., :3, :3] = matrix[..., :3, :3].mT
    inverse[..., :3, 3] = camera_position(matrix)
    return inverse


def move_to_sphere(world_to_camera: Tensor, *, radius: float, centre_z: float) -> Tensor:
    """Move cameras along the line to the sphere's centre until they are on the sphere; rotations stay, roll included.

    Args:
        world_to_camera: ``[..., 4, 4]`` rigid; no camera may be at the centre.
        radius: The sphere's radius.
        centre_z: The centre's z.

    Returns:
        ``[..., 4, 4]`` world-to-camera.
    """
    centre = world_to_camera.new_tensor([0.0, 0.0, centre_z])
    away = camera_position(world_to_camera) - centre
    position = centre + radius * away / away.norm(dim=-1, keepdim=True)
    moved = world_to_camera.clone()
    moved[..., :3, 3] = -(world_to_camera[..., :3, :3] @ position[..., None])[..., 0]
    return moved


def intrinsics_from_fov(fov: float, size: int) -> Tensor:
    """Intrinsics of a square image of a field of view, its left and upper border at 0 (pixel centres at halves).

    Args:
        fov: Full angle of view in radians.
        size: Pixels of a side.

    Returns:
        ``[3, 3]`` in double precision.
    """
    focal = size / (2 * torch.tan(torch.tensor(fov / 2, dtype=torch.float64)))
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[0, 0] = matrix[1, 1] = focal
    matrix[:2, 2] = size / 2
    return matrix
