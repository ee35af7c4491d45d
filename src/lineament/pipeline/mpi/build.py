"""Puts a multiplane image together: a person as a surface without gaps, before a background."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from lineament.geometry.multiplane import MultiplaneImage, SphereCameras
from lineament.pipeline.mpi.behind import spread

# From how far to the side, up and down it is seen, radians.
YAW_LIMIT, PITCH_LIMIT = math.radians(20), math.radians(12)
# Planes, where none are asked for: as many as keep steps of a surface below so many pixels, within bounds.
STEP_PIXELS, FEWEST, MOST = 0.7, 24, 96
# Distance of the background behind the middle of the head, in outer eye distances.
BACK = 2.0
# How far a surface goes on behind itself, in outer eye distances: what comes into view beside it has its colour.
SOLID = 0.2
# Least opacity from which a pixel's own colour counts.
FAINT = 0.01
# Pixels around which neighbours of a surface's pixel are joined to it.
JOINED = 2
# Width of the band beside a person, in outer eye distances, in which pixels may be mixtures; what may be left of a
# pixel that is one; and the least share.
BAND, EXPLAINED, LEAST = 0.12, 0.06, 0.06
# By how much the share of a person in a mixture exceeds what its colours need.
SLACK = 1.2
# Widths of the filters that soften what lies beyond the photo's border, pixels.
SOFTER = (2.0, 6.0, 16.0)


def build_multiplane(
    image: Tensor,
    matte: Tensor,
    depth: Tensor,
    neck: float,
    unit: float,
    focal: float,
    planes: int | None = None,
    facts: dict[str, object] | None = None,
) -> MultiplaneImage:
    """Make the multiplane image of a photo.

    Cameras stand on a sphere around the middle of the head's depth on the optical axis; the photo's own is that of
    yaw 0. The unit of the world is the distance of the head's anchor from the photo's camera.

    Args:
        image: ``[3, H, W]`` in 0..1.
        matte: ``[H, W]`` share of the person.
        depth: ``[H, W]`` of the person, pixels behind the anchor.
        neck: Depth of the middle of the head, pixels.
        unit: Distance between the outer eye corners, pixels.
        focal: Focal length, pixels.
        planes: Their number; as many as are needed when None.
        facts: What it was made from.
    """
    height, width = image.shape[1:]
    cameras = SphereCameras(
        fov=2 * math.atan(max(height, width) / (2 * focal)),
        centre_z=1 + neck / focal,
        radius=1 + neck / focal,
        yaw_limits=(-YAW_LIMIT, YAW_LIMIT),
        pitch_limits=(-PITCH_LIMIT, PITCH_LIMIT),
        aspect=width / height,
    )
    matte, behind = separated(image, matte, unit)
    own = matte > 0.02
    near, far = (float(each) for each in (depth[own].min(), depth[own].max()))
    far += SOLID * unit
    last = max(neck + BACK * unit, far + 0.5 * unit)
    count = planes or _needed(far - near)
    # One plane before the nearest point, and one behind the farthest.
    step = (far - near) / max(count - 3, 1) + 1e-3
    z = near + (np.arange(count - 1) - 0.5) * step
    z = np.append(z, last)
    top, side = margins(cameras, 1 + last / focal, height, width)
    padding = [side, side, top, top]
    wide = F.pad(image[None], padding, mode="replicate")[0]
    share = F.pad(matte[None, None], padding, mode="replicate")[0, 0]
    relief = F.pad(depth[None, None], padding, mode="replicate")[0, 0]
    background = _widened(behind, top, side)
    alpha = _alpha(share, relief, torch.from_numpy(z[:-1]).float(), step, SOLID * unit)
    seen = 1 - (1 - alpha).prod(0)
    colour = _unmixed(wide, background, seen)
    table = torch.tensor(1 + z / focal, dtype=torch.float64)
    # Outermost texels lie on the borders, and every plane shows the same as seen from the photo's camera.
    sizes = [(each + 2 * margin - 1) / focal for each, margin in ((height, top), (width, side))]
    table = torch.stack([table, table * sizes[0], table * sizes[1]], 1).float()
    alpha = torch.cat([alpha, torch.ones_like(alpha[:1])])
    return MultiplaneImage(colour, background, alpha, table, cameras, facts or {})


def margins(cameras: SphereCameras, last: float, height: int, width: int) -> tuple[int, int]:
    """Texels above and below, and on both sides of the photo, that poses within the limits see on the last plane."""
    poses = torch.tensor(
        list(
            itertools.product(
                (*cameras.yaw_limits, 0.0),
                (*cameras.pitch_limits, 0.0),
            )
        ),
        dtype=torch.float64,
    )
    to_world = cameras.poses(poses[:, 0], poses[:, 1])
    inverse = torch.linalg.inv(cameras.intrinsics(height, width))
    corners = torch.tensor(
        [[x, y, 1.0] for x in (-0.5, width - 0.5) for y in (-0.5, height - 0.5)], dtype=torch.float64
    )
    rays = torch.einsum("vij,jk,ck->vci", to_world[:, :3, :3], inverse, corners)
    eye = to_world[:, None, :3, 3]
    hit = eye + rays * ((last - eye[..., 2]) / rays[..., 2])[..., None]
    focal = float(cameras.intrinsics(height, width)[0, 0])
    reach = (hit[..., :2].abs() / last * focal).amax((0, 1))
    over = [math.ceil(float(reach[axis]) - (side - 1) / 2) + 1 for axis, side in ((1, height), (0, width))]
    return max(over[0], 1), max(over[1], 1)


def _needed(extent: float) -> int:
    """Planes whose steps shift by little where the view is most from the side."""
    return int(min(max(math.ceil(extent * math.tan(YAW_LIMIT) / STEP_PIXELS) + 4, FEWEST), MOST))


def separated(image: Tensor, matte: Tensor, unit: float) -> tuple[Tensor, Tensor]:
    """Tell a person and what is behind it apart.

    Args:
        image: ``[3, H, W]``.
        matte: ``[H, W]`` share of the person, whose thin parts may be missing.
        unit: Distance between the outer eye corners, pixels.

    Returns:
        The share ``[H, W]``, with hair and edges that differ from what is behind; and the photo without the person
        ``[3, H, W]``, which is the photo where no share is.
    """
    person = matte.numpy() > 0.02
    width = max(BAND * unit, 3.0)
    away = ndimage.distance_transform_edt(~person)
    beyond = torch.from_numpy(away > width)
    if not bool(beyond.any()):
        return torch.ones_like(matte), image
    behind = spread(image, beyond.float())
    own = spread(image, (matte > 0.98).float()) if bool((matte > 0.98).any()) else image
    # The pixel as a mixture of both, and what no mixture explains.
    across = own - behind
    mixed = ((image - behind) * across).sum(0) / (across * across).sum(0).clamp(min=1e-3)
    mixed = mixed.clamp(0, 1)
    rest = (image - behind - mixed * across).abs().amax(0)
    likely = (1 - (rest - EXPLAINED) / EXPLAINED).clamp(0, 1)
    fade = torch.from_numpy(((width - away) / (0.5 * width)).clip(0, 1)).float()
    # Right beside the person, what differs from what is behind is the person's, too: a lit rim.
    beside = torch.from_numpy((2 * (0.5 * width - away) / (0.5 * width)).clip(0, 1)).float()
    differs = (((image - behind).abs().amax(0) - EXPLAINED) / EXPLAINED).clamp(0, 1)
    told = (fade * likely * mixed).maximum(beside * (1 - likely) * differs)
    share = matte.maximum(torch.where(told > LEAST, told, torch.zeros_like(told)))
    # No less than with which a colour of the person, within 0..1, makes the pixel.
    room = torch.where(image > behind, 1 - behind, behind).clamp(min=1e-3)
    needed = ((image - behind).abs() / room).amax(0)
    share = torch.where(share > 0, share.maximum(SLACK * needed).clamp(max=1), share)
    return share, torch.where(share > 0, behind, image)


def _widened(image: Tensor, top: int, side: int) -> Tensor:
    """An image with a margin, into which its border goes on, the further the softer."""
    wide = F.pad(image[None], [side, side, top, top], mode="replicate")[0]
    rows, columns = (
        _beyond(count, margin) for count, margin in ((image.shape[1], top), (image.shape[2], side))
    )
    far = torch.maximum(rows[:, None], columns[None])
    for sigma in SOFTER:
        soft = torch.from_numpy(ndimage.gaussian_filter(wide.numpy(), (0, sigma, sigma), mode="nearest"))
        share = ((far - sigma) / (2 * sigma)).clamp(0, 1)
        wide = share * soft + (1 - share) * wide
    return wide


def _beyond(count: int, margin: int) -> Tensor:
    """How far each index of a row with a margin lies beyond its ends."""
    index = torch.arange(-margin, count + margin).float()
    return torch.maximum(-index, index - count + 1).clamp(min=0)


def _alpha(share: Tensor, depth: Tensor, z: Tensor, step: float, solid: float) -> Tensor:
    """Opacities ``[P, H, W]`` of a surface.

    It begins softly, so that its depth is met exactly between planes, and is as thick as its neighbours lie behind,
    so that it has no gaps where it is steep.
    """
    own = share > 0.02
    behind = torch.where(own, depth, torch.full_like(depth, -math.inf))
    window = 2 * JOINED + 1
    end = F.max_pool2d(behind[None, None], window, stride=1, padding=JOINED)[0, 0].maximum(depth) + max(
        step, solid
    )
    # Several planes together are as opaque as the matte has it.
    layers = ((end - depth) / step + 0.5).clamp(min=1)
    thin = 1 - (1 - share.clamp(0, 1)).pow(1 / layers)
    thin = torch.where(share > 0.999, torch.ones_like(thin), thin)
    planes = []
    for each in z:
        begun = ((each - depth) / step + 1).clamp(0, 1)
        ended = ((end - each) / step + 1).clamp(0, 1)
        planes.append(begun * ended * thin)
    return torch.stack(planes)


def _unmixed(image: Tensor, background: Tensor, seen: Tensor) -> Tensor:
    """Colours of the person, without the background that shows through; they go on beyond its border."""
    own = (image - (1 - seen) * background) / seen.clamp(min=1e-3)
    sure = (seen * 2 - 1).clamp(0, 1)
    around = spread(image, sure) if bool((sure > 0).any()) else image
    return torch.where(seen > FAINT, own.clamp(0, 1), around)
