"""The planes of a multiplane image: where they are and how large.

A plane is a rectangle at one z, centred on the z axis and facing the viewer; a table of planes holds rows ``(z, height,
width)``, the nearest first, in the units of the world (:mod:`lineament.geometry.sphere_camera`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from lineament.errors import UsageError, unknown_name
from lineament.geometry.sphere_camera import camera_on_sphere
from lineament.methods.gmpi.cameras import pixel_rays
from lineament.methods.gmpi.datasets import Scene

SPACINGS = ("uniform", "log-uniform", "sqrt", "squared", "inverse")
# The last plane is made larger by this, so that the outermost rays hit it in spite of rounding.
_ENLARGED = 1.001
# Half sizes beyond this mean that the cameras look past the planes.
_MOST_REACH = 5.0
_FAR_AWAY = 999999.0


def plane_distances(count: int, near: float, far: float, spacing: str = "inverse") -> Tensor:
    """The z of each plane.

    Args:
        count: Number of planes, 1 to 9998.
        near: z of the first.
        far: z of the last.
        spacing: What is evenly spaced: ``"uniform"`` z, ``"log-uniform"`` its logarithm, ``"sqrt"`` its square root,
            ``"squared"`` its square, ``"inverse"`` 1/z (the paper's).

    Returns:
        ``[count]`` ascending, float32.

    Raises:
        UsageError: If the count is out of range or the spacing unknown.
    """
    if not 1 <= count < 9999:
        raise UsageError(f"a multiplane image has 1 to 9998 planes, not {count}.")
    if spacing not in SPACINGS:
        raise unknown_name("spacing of planes", spacing, SPACINGS)
    ends = torch.tensor([near, far], dtype=torch.float64)
    forth = {
        "uniform": lambda z: z,
        "log-uniform": torch.log,
        "sqrt": torch.sqrt,
        "squared": torch.square,
        "inverse": torch.reciprocal,
    }[spacing]
    back = {
        "uniform": lambda s: s,
        "log-uniform": torch.exp,
        "sqrt": torch.square,
        "squared": torch.sqrt,
        "inverse": torch.reciprocal,
    }[spacing]
    first, last = forth(ends).tolist()
    # A single plane is the one from which the published program counts: the far one where it counts in 1/z.
    steps = torch.linspace(first, last, count, dtype=torch.float64)
    if count == 1 and spacing == "inverse":
        steps = forth(ends[1:])
    return back(steps).float().clamp(near, far)


def make_planes(scene: Scene, count: int, *, spacing: str = "inverse", confined: bool = True) -> Tensor:
    """The planes of a scene.

    The last plane is what all cameras of the scene's range see of it, and a thousandth more. The others are
    ``confined`` to what the camera in the middle of the range sees on the last plane, so that they form a box;
    otherwise to what it sees of each, so that they form a frustum.

    Args:
        scene: Where planes and cameras are.
        count: Number of planes.
        spacing: See :func:`plane_distances`.
        confined: Box (the paper's) or frustum.

    Returns:
        ``[count, 3]`` z, height, width, float32.

    Raises:
        UsageError: If the count or the spacing is impossible, or a camera of the range looks past the planes.
    """
    distances = plane_distances(count, scene.near, scene.far, spacing)
    last = float(distances[-1])
    yaw, pitch = (torch.tensor(each) for each in (scene.poses.yaw_range, scene.poses.pitch_range))
    # What is seen reaches furthest from the corners of the range.
    corners = _reach(scene, last, yaw[:, None], pitch[None]).amax(0)
    middle = _reach(scene, last, yaw.mean()[None], pitch.mean()[None])[0]
    whole = torch.maximum(corners, middle)
    if not bool(whole.isfinite().all() and whole.max() <= _MOST_REACH):
        raise UsageError(
            f"cameras of this range see up to {float(whole.max()):.3g} from the middle of the last plane (at most "
            f"{_MOST_REACH:g}): give a smaller range of poses or field of view."
        )
    table = torch.empty(count, 3)
    table[:, 0] = distances
    table[:, 1:] = 2 * middle.float()
    if not confined:
        table[:, 1:] *= (distances / distances[-1])[:, None]
    table[-1, 1:] = (2 * _ENLARGED * whole).float()
    return table


def _reach(scene: Scene, z: float, yaw: Tensor, pitch: Tensor) -> Tensor:
    """Largest ``|y|`` and ``|x|`` at which the image's corners of each camera meet the plane at z: ``[cameras, 2]``."""
    yaw, pitch = (angle.flatten() for angle in torch.broadcast_tensors(yaw, pitch))
    camera = camera_on_sphere(yaw, pitch, radius=scene.radius, centre_z=scene.centre_z)
    eye = camera[:, :3, 3]
    corners = eye.new_tensor([[0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    rays = pixel_rays(camera, scene.fov, 1, offset=0.0) @ corners  # [cameras, 3, corners]
    ahead = torch.where(rays[:, 2] > 0, rays[:, 2], torch.nan)
    points = eye[:, :2, None] + (z - eye[:, 2, None, None]) * rays[:, :2] / ahead[:, None]
    # A ray that never meets the plane stays NaN, which the caller refuses.
    return points.abs().amax(-1).flip(-1)


def texel_points(planes: Tensor, size: int) -> Tensor:
    """World points of the texels, the outermost on the planes' borders.

    Args:
        planes: ``[P, 3]``.
        size: Texels of a side.

    Returns:
        ``[P, size, size, 3]`` x, y, z.
    """
    steps = torch.linspace(-1, 1, size, dtype=planes.dtype, device=planes.device)
    x = planes[:, 2, None] / 2 * steps
    y = planes[:, 1, None] / 2 * steps
    shape = (len(planes), size, size)
    across, down = x[:, None].expand(shape), y[:, :, None].expand(shape)
    return torch.stack([across, down, planes[:, 0, None, None].expand(shape)], dim=-1)


def normalised_points(planes: Tensor, size: int) -> Tensor:
    """Texels as shares ``[P, size, size, 3]``: 0..1 over the last plane's width and height, and from near to far."""
    points = texel_points(planes, size)
    _, height, width = planes[-1]
    low = torch.stack([-width / 2, -height / 2, planes[0, 0]])
    span = torch.stack([width, height, planes[-1, 0] - planes[0, 0]])
    return (points - low) / span


def normalised_depths(planes: Tensor) -> Tensor:
    """The z of each plane ``[P]`` as a share of the way from the first to the last; 0 for a single plane."""
    z = planes[:, 0]
    return (z - z[0]) / (z[-1] - z[0]) if len(z) > 1 else torch.zeros_like(z)


def plane_interpolation(source: Tensor, target: Tensor) -> Tensor:
    """Weights that interpolate what belongs to one set of planes at the distances of another.

    Args:
        source: ``[S]`` ascending distances.
        target: ``[T]`` distances.

    Returns:
        ``[T, S + 2]`` float32, rows that sum to 1. The first and last column stand for planes far before and behind.
    """
    padded = torch.cat([source.new_tensor([-_FAR_AWAY]), source, source.new_tensor([_FAR_AWAY])]).double()
    wanted = target.double()
    after = torch.searchsorted(padded, wanted, right=True)
    low, high = padded[after - 1], padded[after]
    gap = high - low + 1e-8
    weights = torch.zeros(len(wanted), len(padded), dtype=torch.float64)
    weights.scatter_(1, (after - 1)[:, None], ((high - wanted) / gap)[:, None])
    weights.scatter_(1, after[:, None], ((wanted - low) / gap)[:, None])
    return weights.float()
