"""Draws a turned surface with the colours of its image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lineament.geometry.rotation import matrix_from_pose
from lineament.ops import barycentrics, interpolate, rasterize, sample_texture
from lineament.pipeline.turn.surface import FaceSurface

# Share of the head's turn below which a point counts as background.
STILL = 0.05


@dataclass(frozen=True)
class Window:
    """Which part of an image is drawn: ``height`` x ``width`` pixels from the pixel ``left``, ``top`` on."""

    left: float
    top: float
    width: int
    height: int


def turn_matrix(surface: FaceSurface, pose: Tensor, *, absolute: bool = False) -> Tensor:
    """Rotation in the camera frame that turns the head about its own axes.

    Args:
        surface: The surface, which knows how the head is turned in the image.
        pose: ``[3]`` yaw, pitch, roll in radians.
        absolute: The angles are those of the result (0, 0, 0 looks straight at the camera), not changes.
    """
    here = surface.rotation
    wanted = matrix_from_pose(pose.double())
    return wanted @ here.T if absolute else here @ wanted @ here.T


def turn_points(surface: FaceSurface, rotation: Tensor, centre: Tensor, *, whole: bool) -> Tensor:
    """Turned points ``[V, 3]`` of the surface.

    Args:
        surface: The surface.
        rotation: ``[3, 3]`` in the camera frame.
        centre: ``[3]`` what is turned about.
        whole: The background stays and the head pulls its surroundings along; else everything turns.
    """
    turned = (surface.points - centre) @ rotation.T + centre
    if not whole:
        return turned
    return surface.points + surface.hold[:, None] * (turned - surface.points)


def draw_surface(
    surface: FaceSurface, points: Tensor, image: Tensor, window: Window, *, cut: bool
) -> tuple[Tensor, Tensor]:
    """Draw the surface at new points.

    Args:
        surface: The surface.
        points: ``[V, 3]`` where its points are now; z decides who hides whom.
        image: ``[3, H, W]`` in whose pixels the surface was built.
        window: What to draw, in those pixels.
        cut: Draw the face only, with its soft border as coverage; else everything that moves.

    Returns:
        Colours ``[3, h, w]`` and coverage ``[1, h, w]``, both in 0..1.
    """
    height, width = image.shape[1:]
    depth = points[:, 2] - points[:, 2].min() + 100 * surface.unit
    shift = torch.tensor([window.left, window.top], dtype=points.dtype)
    placed = torch.cat([points[:, :2] - shift, depth[:, None]], dim=1).float()[None]
    faces = surface.faces
    if cut:
        faces = faces[(surface.alpha > 0)[faces.long()].any(1)]
    index = rasterize(placed, faces, window.height, window.width)
    _, bary = barycentrics(placed, faces, index)
    origin = (surface.points[:, :2] + 0.5) / torch.tensor([width, height])
    # What hardly moves is left to the image itself, which is sharper than anything drawn from it.
    visible = surface.alpha if cut else (surface.hold / STILL).clamp(max=1)
    attributes = torch.cat([origin, visible[:, None]], dim=1).float()[None]
    found = interpolate(attributes, faces, index, bary)
    colour = sample_texture(image[None], found[:, :2], align_corners=False, index=index)[0]
    return colour, found[0, 2:].clamp(0, 1)
