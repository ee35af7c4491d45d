"""One multiplane image with its cameras, as it is kept, exported, shown and turned, whoever made it.

World frame of :mod:`lineament.geometry.sphere_camera`: x right, y down, z away from the viewer; cameras stand on a
sphere and look at its centre, positive yaw to the right, positive pitch up. Pixel centres lie at integers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lineament.errors import DataError, UsageError
from lineament.geometry.sphere_camera import camera_on_sphere
from lineament.ops.mpi_composite import Composite, mpi_composite


@dataclass(frozen=True)
class SphereCameras:
    """The cameras that see a multiplane image.

    Attributes:
        fov: Full angle of view in radians, across the longer side of the image; pixels are square.
        centre_z: z of the point that all cameras look at.
        radius: Distance of the cameras from that point.
        yaw_limits: Least and greatest yaw from which the image may be seen, radians.
        pitch_limits: Likewise.
        aspect: Width of the image over its height.

    Raises:
        DataError: If an angle or length is impossible.
    """

    fov: float
    centre_z: float
    radius: float
    yaw_limits: tuple[float, float]
    pitch_limits: tuple[float, float]
    aspect: float = 1.0

    def __post_init__(self) -> None:
        limits = (*self.yaw_limits, *self.pitch_limits)
        numbers = (self.fov, self.centre_z, self.radius, self.aspect, *limits)
        if not all(map(math.isfinite, numbers)) or not (
            0 < self.fov < math.pi and self.radius > 0 and self.aspect > 0
        ):
            raise DataError(
                f"cameras need 0 < fov < pi, a radius and an aspect above 0 and finite numbers, got {self}."
            )
        if any(low > high for low, high in (self.yaw_limits, self.pitch_limits)):
            raise DataError(f"limits of yaw and pitch must be least before greatest, got {limits}.")
        if max(map(abs, limits)) >= math.pi / 2:
            raise DataError(f"limits of yaw and pitch must lie within a quarter turn, got {limits} radians.")

    @property
    def middle(self) -> tuple[float, float]:
        """Yaw and pitch in the middle of the limits."""
        return sum(self.yaw_limits) / 2, sum(self.pitch_limits) / 2

    def size(self, longer: int) -> tuple[int, int]:
        """Height and width in pixels of an image whose longer side has ``longer``."""
        if self.aspect >= 1:
            return max(1, round(longer / self.aspect)), longer
        return longer, max(1, round(longer * self.aspect))

    def intrinsics(self, height: int, width: int) -> Tensor:
        """``[3, 3]`` for an image of this size, centres of its pixels at integers; double precision."""
        matrix = torch.eye(3, dtype=torch.float64)
        matrix[0, 0] = matrix[1, 1] = max(height, width) / (2 * math.tan(self.fov / 2))
        matrix[0, 2], matrix[1, 2] = (width - 1) / 2, (height - 1) / 2
        return matrix

    def poses(self, yaw: Tensor, pitch: Tensor) -> Tensor:
        """Camera-to-world matrices ``[..., 4, 4]`` of poses in radians, double precision."""
        return camera_on_sphere(yaw, pitch, radius=self.radius, centre_z=self.centre_z)


@dataclass(frozen=True)
class MultiplaneImage:
    """One multiplane image; all values 0..1, as they are shown (not linear light).

    Attributes:
        colour: ``[3, H, W]`` shared by all planes but the last.
        background: ``[3, H, W]`` of the last plane.
        alpha: ``[P, H, W]`` opacity, the nearest plane first.
        planes: ``[P, 3]`` z, height and width of each plane, z ascending. Planes are centred on the z axis and face the
            viewer; the outermost texels lie on their borders.
        cameras: From where it is seen.
        facts: What it was made from, as JSON holds it: a seed, a photo.

    Raises:
        DataError: If shapes do not fit together, or planes are out of order.
    """

    colour: Tensor
    background: Tensor
    alpha: Tensor
    planes: Tensor
    cameras: SphereCameras
    facts: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count, *size = self.alpha.shape if self.alpha.ndim == 3 else (0,)
        if not count or tuple(self.planes.shape) != (count, 3):
            raise DataError(
                f"a multiplane image needs alpha [P, H, W] and planes [P, 3], got {list(self.alpha.shape)} and "
                f"{list(self.planes.shape)}."
            )
        for name, each in (("colour", self.colour), ("background", self.background)):
            if tuple(each.shape) != (3, *size):
                raise DataError(f"the {name} must be {[3, *size]} for this alpha, got {list(each.shape)}.")
        z = self.planes[:, 0]
        if not bool(
            self.planes.isfinite().all() and (self.planes[:, 1:] > 0).all() and (z.diff() >= 0).all()
        ):
            raise DataError("planes must be finite, of positive height and width, the nearest first.")

    @property
    def near(self) -> float:
        """Distance z of the first plane."""
        return float(self.planes[0, 0])

    @property
    def far(self) -> float:
        """Distance z of the last plane."""
        return float(self.planes[-1, 0])

    def render(
        self,
        yaw: Tensor,
        pitch: Tensor,
        size: int | None = None,
        *,
        outside: str = "raise",
        stop: float = 0.0,
    ) -> Composite:
        """See it from cameras on the sphere, which share the textures.

        Args:
            yaw: ``[V]`` radians.
            pitch: ``[V]`` radians.
            size: Longer side of the images in pixels; None: that of the textures.
            outside: What happens where a ray passes the last plane by; see :func:`lineament.ops.mpi_composite`, as the
                next.
            stop: Share of the light behind which to stop; 0 is exact.

        Returns:
            Image ``[V, 3, H, W]`` in 0..1, depth along the optical axis and opacity ``[V, H, W]``.

        Raises:
            UsageError: If yaw and pitch are not ``[V]``, or as :func:`lineament.ops.mpi_composite` does.
        """
        if yaw.ndim != 1 or yaw.shape != pitch.shape:
            raise UsageError(
                f"yaw and pitch must both be [V], got {list(yaw.shape)} and {list(pitch.shape)}."
            )
        height, width = self.cameras.size(size or max(self.alpha.shape[1:]))
        to_world = self.cameras.poses(yaw, pitch)
        rays = to_world[:, :3, :3] @ torch.linalg.inv(self.cameras.intrinsics(height, width))
        return mpi_composite(
            self.alpha[None],
            self.colour[None],
            self.background[None],
            self.planes,
            to_world[:, :3, 3],
            rays,
            height,
            width,
            outside=outside,
            stop=stop,
        )

    def depth_share(self, depth: Tensor) -> Tensor:
        """Depths as shares of the way from the first plane (0) to the last (1), cut off beyond; any shape."""
        return ((depth - self.near) / max(self.far - self.near, 1e-12)).clamp(0, 1)
