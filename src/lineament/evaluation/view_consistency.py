"""Whether two views of a person show the same scene: pixels of one, carried into the other by its depth."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lineament.geometry.multiplane import SphereCameras
from lineament.geometry.sphere_camera import invert_rigid

# Two depths of one place differ by less than this share of the scene's, from its nearest to its farthest.
SAME_DEPTH = 0.05


class Consistency(NamedTuple):
    """How well a view agrees with another one.

    Attributes:
        colour: Mean absolute difference of colours, levels of 255, where both views see the same place.
        unmoved: The same difference of the same pixels without carrying them.
        seen: Share of the pixels that both views see: they land within the other image, at its depth.
    """

    colour: float
    unmoved: float
    seen: float


def carry(
    depth: Tensor, cameras: SphereCameras, yaw: tuple[float, float], pitch: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Where the pixels of one view lie in another.

    Args:
        depth: ``[H, W]`` of the first view, along its optical axis.
        cameras: Of both.
        yaw: Of the first and of the second, radians.
        pitch: Likewise.

    Returns:
        ``[H, W, 2]`` xy in pixels of the second view, and ``[H, W]`` depths along its optical axis.
    """
    height, width = depth.shape
    intrinsics = cameras.intrinsics(height, width)
    first, second = cameras.poses(torch.tensor(yaw), torch.tensor(pitch))
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([columns, rows, torch.ones_like(rows)], -1).double()
    points = (pixels @ torch.linalg.inv(intrinsics).mT) * depth.double()[..., None]
    moved = invert_rigid(second) @ first
    points = points @ moved[:3, :3].mT + moved[:3, 3]
    seen = points @ intrinsics.mT
    return seen[..., :2] / seen[..., 2:], points[..., 2]


def view_consistency(
    images: Tensor,
    depth: Tensor,
    cameras: SphereCameras,
    yaw: tuple[float, float],
    pitch: tuple[float, float],
    reach: float,
) -> Consistency | None:
    """Compare two views.

    Args:
        images: ``[2, 3, H, W]`` in 0..1.
        depth: ``[2, H, W]``.
        cameras: Of both.
        yaw: Of the first and of the second, radians.
        pitch: Likewise.
        reach: Depth of the scene, from its nearest to its farthest.

    Returns:
        The comparison; None where they have no place in common.
    """
    places, z = carry(depth[0], cameras, yaw, pitch)
    height, width = depth.shape[1:]
    grid = 2 * places / torch.tensor([width - 1, height - 1]) - 1
    there = torch.cat([images[1], depth[1][None]]).double()
    sampled = F.grid_sample(there[None], grid[None], align_corners=True)[0]
    both = (grid.abs() <= 1).all(-1) & ((sampled[3] - z).abs() <= SAME_DEPTH * reach)
    if not bool(both.any()):
        return None
    here = images[0].double()[:, both]
    colour, unmoved = (
        (each[:, both] - here).abs().mean() * 255 for each in (sampled[:3], images[1].double())
    )
    return Consistency(float(colour), float(unmoved), float(both.double().mean()))
