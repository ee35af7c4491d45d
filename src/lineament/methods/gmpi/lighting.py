"""Shading of multiplane images in training (GMPI, section "shading-guided training").

The generator's images are lit from random directions, so that the discriminator sees a surface that looks wrong when
the alphas put it in the wrong place. The surface is read off the alphas as a depth per texel; gradients flow through
it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lineament.errors import UsageError, unknown_name
from lineament.geometry.pose_distribution import PoseDistribution
from lineament.geometry.sphere_camera import position_on_sphere
from lineament.methods.gmpi.renderer import Mpi

RAMPS = ("black-in", "smooth")
PUBLISHED_LIGHTS = PoseDistribution(0.2, 0.05, 2.0, pitch_mean=0.2)
# Light that even an opaque texel lets through, as in the renderer, and what keeps divisions finite.
_LEAK, _TINY = 1e-10, 1e-8


@dataclass(frozen=True)
class LightSettings:
    """How lights are drawn and how strong they are.

    Attributes:
        ambient: Share of the colour that every texel keeps in the end.
        diffuse: What a texel that faces the light gets in addition.
        calls: Calls until both have their full strength.
        ramp: ``"black-in"`` as published: both begin at 0, so the first images are black; ``"smooth"``: the ambient
            share sinks from 1.
        blur: Side of the Gaussian that smooths the depth, texels, odd.
        poses: Where lights are drawn on the sphere of the cameras.

    Raises:
        UsageError: If the ramp is unknown or a number impossible.
    """

    ambient: float = 0.9
    diffuse: float = 0.1
    calls: int = 1000
    ramp: str = "black-in"
    blur: int = 9
    poses: PoseDistribution = PUBLISHED_LIGHTS

    def __post_init__(self) -> None:
        if self.ramp not in RAMPS:
            raise unknown_name("ramp", self.ramp, RAMPS)
        if self.calls < 1 or self.blur < 1 or self.blur % 2 == 0:
            raise UsageError(f"calls={self.calls} must be at least 1 and blur={self.blur} odd.")

    def strengths(self, call: int) -> tuple[float, float]:
        """Ambient and diffuse strength of a call, counted from 0.

        The published program counts the calls of its renderer, of which a step of training makes several.
        """
        ratio = min(1.0, call / self.calls)
        ambient = ratio * self.ambient if self.ramp == "black-in" else 1 + ratio * (self.ambient - 1)
        return ambient, ratio * self.diffuse


class Surface(NamedTuple):
    """The surface that the alphas make.

    Attributes:
        depth: ``[M, 1, H, W]`` z for each texel, weighted by opacity.
        blurred: The same after smoothing.
        points: ``[M, H, W, 3]`` world points.
        normals: ``[M, H, W, 3]`` of unit length, away from the light where the surface faces the viewer.
    """

    depth: Tensor
    blurred: Tensor
    points: Tensor
    normals: Tensor


class LightRenderer:
    """Lights multiplane images from random directions.

    Args:
        planes: ``[P, 3]`` z, height, width.
        radius: Of the sphere on which lights are drawn.
        centre_z: z of its centre, to which they shine.
        settings: Strengths and distribution.
        calls: Calls made so far; kept in :attr:`calls`, to be saved with the training.
    """

    def __init__(
        self,
        planes: Tensor,
        *,
        radius: float,
        centre_z: float,
        settings: LightSettings | None = None,
        calls: int = 0,
    ) -> None:
        self.planes, self.radius, self.centre_z = planes, radius, centre_z
        self.settings, self.calls = settings or LightSettings(), calls

    def __call__(
        self,
        mpi: Mpi,
        *,
        yaw_pitch: tuple[Tensor, Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> Mpi:
        """Light each image from a direction of its own, and count the call.

        Args:
            mpi: M multiplane images, values 0..1.
            yaw_pitch: Where the lights are, ``[M]`` each, radians; None: drawn.
            generator: Of the CPU, for the draw; None: torch's own.

        Returns:
            The images with colours shaded and cut off at 1; alphas as they were.
        """
        if yaw_pitch is None:
            yaw_pitch = self.settings.poses.sample(len(mpi.alpha), generator)
        ambient, diffuse = self.settings.strengths(self.calls)
        self.calls += 1
        lit = self.lit_share(self.surface(mpi.alpha).normals, self.light_directions(*yaw_pitch))
        shading = (ambient + diffuse * lit)[:, None]  # [M, 1, H, W]
        colour = mpi.colour * (shading[:, None] if mpi.colour.ndim == 5 else shading)
        background = None if mpi.background is None else (mpi.background * shading).clamp(0, 1)
        return replace(mpi, colour=colour.clamp(0, 1), background=background)

    def light_directions(self, yaw: Tensor, pitch: Tensor) -> Tensor:
        """Unit directions ``[M, 3]`` in which lights at these places of the sphere shine."""
        position = position_on_sphere(yaw, pitch, radius=self.radius, centre_z=self.centre_z)
        toward = position.new_tensor([0.0, 0.0, self.centre_z]) - position
        return toward / toward.norm(dim=-1, keepdim=True)

    def lit_share(self, normals: Tensor, directions: Tensor) -> Tensor:
        """How far texels face the light: ``[M, H, W]``, 0..1."""
        facing = -(normals * directions.to(normals)[:, None, None]).sum(-1)
        return facing.clamp(0, 1)

    def surface(self, alpha: Tensor) -> Surface:
        """The surface of alphas ``[M, P, H, W]``; differentiable.

        Points are those of the last plane, moved towards the world's origin by their depth: a cone, although the planes
        before the last form a box, so that x and y come out too large. As published.
        """
        planes = self.planes.to(alpha)
        through = torch.cumprod(1 - alpha + _LEAK, dim=1)
        through = torch.cat([torch.ones_like(through[:, :1]), through[:, :-1]], dim=1)
        depth = (alpha * through * planes[:, 0, None, None]).sum(1, keepdim=True)
        blurred = blur(depth, self.settings.blur)
        z, tall, wide = planes[-1]
        height, width = alpha.shape[2:]
        x = wide / 2 * torch.linspace(-1, 1, width, dtype=alpha.dtype, device=alpha.device)
        y = tall / 2 * torch.linspace(-1, 1, height, dtype=alpha.dtype, device=alpha.device)
        base = torch.stack([x.expand(height, -1), y[:, None].expand(-1, width), z.expand(height, width)], -1)
        points = base * (blurred / (z + _TINY))[:, 0, ..., None]
        return Surface(depth, blurred, points, normals_of(points))


def blur(depth: Tensor, side: int) -> Tensor:
    """Smooth ``[M, 1, H, W]`` with a Gaussian of so many texels, reflecting at the border.

    Its standard deviation follows from its size as is usual: ``0.3 ((side - 1) / 2 - 1) + 0.8``.
    """
    if side == 1:
        return depth
    half = side // 2
    steps = torch.arange(-half, half + 1, dtype=depth.dtype, device=depth.device)
    weights = torch.exp(-0.5 * (steps / (0.3 * ((side - 1) * 0.5 - 1) + 0.8)) ** 2)
    weights = weights / weights.sum()
    padded = F.pad(depth, (half,) * 4, mode="reflect")
    across = F.conv2d(padded, weights.view(1, 1, 1, -1))
    return F.conv2d(across, weights.view(1, 1, -1, 1))


def normals_of(points: Tensor) -> Tensor:
    """Normals of a grid of points, from the four neighbours of each.

    Args:
        points: ``[M, H, W, 3]``, H and W at least 3.

    Returns:
        ``[M, H, W, 3]`` of length 1 (a little less where the surface is degenerate); those at the border repeat their
        neighbours.
    """
    centre = points[:, 1:-1, 1:-1]
    up, down = points[:, :-2, 1:-1] - centre, points[:, 2:, 1:-1] - centre
    left, right = points[:, 1:-1, :-2] - centre, points[:, 1:-1, 2:] - centre
    cross = torch.linalg.cross
    total = cross(up, left) + cross(left, down) + cross(down, right) + cross(right, up)
    padded = F.pad(total.movedim(-1, 1), (1, 1, 1, 1), mode="replicate").movedim(1, -1)
    return padded / (padded.norm(dim=-1, keepdim=True) + _TINY)
