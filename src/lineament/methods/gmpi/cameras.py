"""GMPI's conventions of cameras: pixel centres at halves, square images, poses as (pitch, yaw).

World and camera frames are those of :mod:`lineament.geometry.sphere_camera`. What is GMPI's own stays in this module
and in :mod:`lineament.methods.gmpi.renderer`; everything below counts pixels by their integer column and row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lineament.errors import UsageError
from lineament.geometry.sphere_camera import camera_on_sphere, intrinsics_from_fov

# Where in a pixel its colour is computed.
PIXEL_CENTRE = 0.5


@dataclass(frozen=True)
class Views:
    """Pinhole cameras as :func:`lineament.ops.mpi_composite` takes them.

    Attributes:
        eye: ``[V, 3]`` positions in the world, double precision.
        rays: ``[V, 3, 3]``: times (column, row, 1) gives the ray of a pixel in the world, of length 1 along the optical
            axis.
    """

    eye: Tensor
    rays: Tensor

    def __len__(self) -> int:
        return len(self.eye)


def pixel_rays(camera_to_world: Tensor, fov: float, size: int, *, offset: float = PIXEL_CENTRE) -> Tensor:
    """Matrices from pixels to rays.

    Args:
        camera_to_world: ``[..., 4, 4]``.
        fov: Full angle of view in radians.
        size: Pixels of a side.
        offset: Where in its pixel a ray passes, as a share of the pixel: 0.5 the centre, 0 the upper left corner.

    Returns:
        ``[..., 3, 3]``: times (column, row, 1) gives the ray in the world, of length 1 along the optical axis. Double
        precision.
    """
    intrinsics = intrinsics_from_fov(fov, size)
    intrinsics[:2, 2] -= offset
    return camera_to_world[..., :3, :3].double() @ torch.linalg.inv(intrinsics)


def views_of(camera_to_world: Tensor, fov: float, size: int) -> Views:
    """Views of cameras.

    Args:
        camera_to_world: ``[V, 4, 4]``.
        fov: Full angle of view in radians.
        size: Pixels of a side.

    Raises:
        UsageError: If the matrices have another shape.
    """
    if camera_to_world.ndim != 3 or camera_to_world.shape[1:] != (4, 4):
        raise UsageError(f"camera_to_world must be [V, 4, 4], got {list(camera_to_world.shape)}.")
    return Views(camera_to_world[:, :3, 3].double(), pixel_rays(camera_to_world, fov, size))


def cameras_of(pitch_yaw: Tensor, *, radius: float, centre_z: float) -> Tensor:
    """Camera-to-world matrices ``[V, 4, 4]`` of poses ``[V, 2]`` in GMPI's order (pitch, yaw), radians."""
    if pitch_yaw.ndim != 2 or pitch_yaw.shape[1] != 2:
        raise UsageError(f"poses must be [V, 2] (pitch, yaw), got {list(pitch_yaw.shape)}.")
    return camera_on_sphere(pitch_yaw[:, 1], pitch_yaw[:, 0], radius=radius, centre_z=centre_z)


def ray_directions(camera_to_world: Tensor, fov: float, size: int, *, offset: float = PIXEL_CENTRE) -> Tensor:
    """Unit directions ``[..., 3, size, size]`` of the rays of all pixels in the world, double precision."""
    steps = torch.arange(size, dtype=torch.float64)
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    pixels = torch.stack([columns, rows, torch.ones_like(rows)]).flatten(1)
    rays = pixel_rays(camera_to_world, fov, size, offset=offset) @ pixels
    return (rays / rays.norm(dim=-2, keepdim=True)).unflatten(-1, (size, size))
