"""GMPI's renderer: a scene's planes and cameras around :func:`lineament.ops.mpi_composite`.

Here GMPI's conventions meet the op's: pixel centres at halves, poses as (pitch, yaw), images in -1..1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lineament.errors import DataError
from lineament.geometry.sphere_camera import invert_rigid
from lineament.methods.gmpi.cameras import cameras_of, views_of
from lineament.methods.gmpi.datasets import Scene
from lineament.methods.gmpi.planes import make_planes
from lineament.ops.mpi_composite import mpi_composite


@dataclass(frozen=True)
class Mpi:
    """Multiplane images; all values 0..1.

    Attributes:
        alpha: ``[M, P, H, W]``, the nearest plane first.
        colour: ``[M, 3, H, W]`` shared by the planes, or ``[M, P, 3, H, W]`` of each.
        background: ``[M, 3, H, W]`` of the last plane; None: as ``colour`` has it.
    """

    alpha: Tensor
    colour: Tensor
    background: Tensor | None = None

    @staticmethod
    def from_rgba(rgba: Tensor) -> Mpi:
        """From ``[M, P, 4, H, W]`` red, green, blue and alpha of each plane."""
        if rgba.ndim != 5 or rgba.shape[2] != 4:
            raise DataError(f"rgba must be [M, P, 4, H, W], got {list(rgba.shape)}.")
        return Mpi(rgba[:, :, 3], rgba[:, :, :3])


class Rendered(NamedTuple):
    """What GMPI's cameras see.

    Attributes:
        image: ``[V, 3, S, S]`` in -1..1.
        depth: ``[V, 1, S, S]`` distance along the optical axis.
        world_to_camera: ``[V, 4, 4]`` float32.
        pitch_yaw: ``[V, 2]`` radians; None where cameras were given as matrices.
        opacity: ``[V, 1, S, S]`` sum of the planes' weights.
    """

    image: Tensor
    depth: Tensor
    world_to_camera: Tensor
    pitch_yaw: Tensor | None
    opacity: Tensor


class Renderer:
    """Renders multiplane images of one scene.

    Args:
        scene: Where planes and cameras are.
        planes: Their number, or a table ``[P, 3]`` of z, height, width.
        spacing: See :func:`lineament.methods.gmpi.planes.plane_distances`; for a number of planes.
        confined: See :func:`lineament.methods.gmpi.planes.make_planes`; likewise.
    """

    def __init__(
        self, scene: Scene, planes: int | Tensor, *, spacing: str = "inverse", confined: bool = True
    ) -> None:
        self.scene = scene
        self.planes = (
            planes
            if isinstance(planes, Tensor)
            else make_planes(scene, planes, spacing=spacing, confined=confined)
        )

    def render(
        self,
        mpi: Mpi,
        pitch_yaw: Tensor,
        size: int | None = None,
        *,
        outside: str = "raise",
        stop: float = 0.0,
        impl: str = "auto",
    ) -> Rendered:
        """Render from poses on the scene's sphere.

        Args:
            mpi: M multiplane images.
            pitch_yaw: ``[V, 2]`` radians, V a multiple of M: each image's views follow one another.
            size: Pixels of a side; None: the scene's resolution.
            outside: See :func:`lineament.ops.mpi_composite`, as the next two.
            stop: Share of the light behind which to stop; 0 is exact.
            impl: Who computes.
        """
        cameras = cameras_of(pitch_yaw, radius=self.scene.radius, centre_z=self.scene.centre_z)
        rendered = self.render_cameras(mpi, cameras, size, outside=outside, stop=stop, impl=impl)
        return rendered._replace(pitch_yaw=pitch_yaw.float())

    def render_cameras(
        self,
        mpi: Mpi,
        camera_to_world: Tensor,
        size: int | None = None,
        *,
        outside: str = "raise",
        stop: float = 0.0,
        impl: str = "auto",
    ) -> Rendered:
        """Render from any cameras ``[V, 4, 4]`` in front of the planes; otherwise as :meth:`render`."""
        size = size or self.scene.resolution
        views = views_of(camera_to_world, self.scene.fov, size)
        # Autocast would round the textures; ops of ours do not follow it, but what surrounds them does.
        with torch.autocast(mpi.alpha.device.type, enabled=False):
            alpha, colour = _at_least_single(mpi.alpha), _at_least_single(mpi.colour)
            background = None if mpi.background is None else _at_least_single(mpi.background)
            image, depth, opacity = mpi_composite(
                alpha,
                colour,
                background,
                self.planes,
                views.eye,
                views.rays,
                size,
                size,
                outside=outside,
                stop=stop,
                impl=impl,
            )
        world_to_camera = invert_rigid(camera_to_world.double()).float()
        return Rendered(2 * image - 1, depth[:, None], world_to_camera, None, opacity[:, None])


def _at_least_single(texture: Tensor) -> Tensor:
    return texture.float() if texture.dtype in (torch.float16, torch.bfloat16) else texture


def depth_levels(depth: Tensor, scene: Scene) -> Tensor:
    """Depth as 8-bit grey as published: near black, far white, cut off beyond, fractions dropped."""
    share = (depth - scene.near) / (scene.far - scene.near)
    return (share.clamp(0, 1) * 255).to(torch.uint8)


def image_levels(image: Tensor) -> Tensor:
    """Images in -1..1 as 8-bit levels as published: fractions are dropped, not rounded."""
    return (((image + 1) / 2).clamp(0, 1) * 255).to(torch.uint8)
