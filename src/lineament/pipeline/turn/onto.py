"""Puts the face of one image on to the face of another."""

from __future__ import annotations

import numpy as np
import torch
from scipy.interpolate import RBFInterpolator
from torch import Tensor

from lineament.errors import DataError
from lineament.faces.normalisers import inter_ocular
from lineament.geometry.affine_fit import apply_affine, fit_affine
from lineament.methods.depthnet.warp import CORNER, face_warp
from lineament.pipeline.turn.frames import BORDER, PreparedFace, draw_smoothly, soften
from lineament.pipeline.turn.options import TurnOptions
from lineament.pipeline.turn.view import head_view

# Share of what the affine map leaves over that the dense surface makes up for; 1 moves every keypoint on to its target.
YIELD = 1.0


def face_onto(
    face: PreparedFace,
    target: Tensor,
    target_points: Tensor,
    options: TurnOptions,
    *,
    keep_colours: bool = False,
) -> Tensor:
    """Draw a face in the place of another.

    The 2 x 4 affine map from the source's keypoints and depths to the target's keypoints turns the face; the dense
    surface is then bent so that its keypoints lie on the target's. ``triangles`` leaves the bending out, as published.

    Args:
        face: The source.
        target: ``[3, H, W]`` the other photo.
        target_points: ``[68, 2]`` in its pixels.
        options: How.
        keep_colours: Leave the source's colours as they are, instead of moving their mean and spread to the target's.

    Returns:
        ``[3, h, w]`` the part of the target around the face.

    Raises:
        DataError: With ``triangles``, if the two images are not of one size, which the published warper needs.
    """
    view = head_view(target, target_points, options.side, whole=options.whole)
    there = view.to_view.apply(target_points.double())
    source, depth = face.points.double(), face.depth.values
    affine = fit_affine(source[None], depth[None], there[None])
    if options.warp == "triangles":
        if view.image.shape != face.view.image.shape:
            sizes = [f"{p.shape[2]} x {p.shape[1]}" for p in (face.view.image, view.image)]
            raise DataError(
                f"the published warp needs source and target of one size, not {sizes[0]} and {sizes[1]}: "
                "scale one, or use --warp dense."
            )
        corner = source + CORNER
        shifted = affine.clone()
        shifted[..., 3] += CORNER - CORNER * affine[..., :2].sum(-1)
        warped, index = face_warp(face.view.image[None], corner[None], depth[None], shifted)
        top, left = int(view.window.top), int(view.window.left)
        rows, columns = slice(top, top + view.window.height), slice(left, left + view.window.width)
        colour, cover = warped[0, :, rows, columns], (index[:, rows, columns] >= 0).float()
    else:
        points = _landed(face, affine[0], there)
        colour, cover = draw_smoothly(face.surface, points, face.view.image, view.window, cut=True)
    cover = soften(cover, 2 * BORDER * float(inter_ocular(there, "68")))
    shown = view.shown
    if not keep_colours:
        colour = _match_colours(colour, shown, cover)
    return cover * colour + (1 - cover) * shown


def _landed(face: PreparedFace, affine: Tensor, there: Tensor) -> Tensor:
    """Points ``[V, 3]`` of the surface in the target's image."""
    surface = face.surface
    zero = face.fit.eye_depth
    depth = surface.points[:, 2] - zero
    moved = apply_affine(affine[None], surface.points[None, :, :2], depth[None])[0]
    rows = affine[:, :3]
    # Towards the camera of the target: across both rows of the map.
    away = torch.linalg.cross(rows[0], rows[1])
    away = away / rows.norm(dim=1).mean()
    order = torch.cat([surface.points[:, :2] - face.points.double().mean(0), depth[:, None]], dim=1) @ away
    landed = apply_affine(affine[None], face.points.double()[None], face.depth.values[None])[0]
    left_over = YIELD * (there - landed).numpy()
    bend = RBFInterpolator(landed.numpy(), left_over, kernel="linear", smoothing=0.1)
    inside = (surface.alpha > 0).numpy()
    correction = np.zeros((len(moved), 2))
    correction[inside] = bend(moved.numpy()[inside])
    return torch.cat([moved + torch.from_numpy(correction), order[:, None]], dim=1)


def _match_colours(colour: Tensor, shown: Tensor, cover: Tensor) -> Tensor:
    """Give the covered part of ``colour`` the mean and the spread of each channel that ``shown`` has there."""
    weight = cover / cover.sum().clamp(min=1e-6)
    means = [(weight * image).sum((1, 2), keepdim=True) for image in (colour, shown)]
    spreads = [
        (weight * (image - mean).square()).sum((1, 2), keepdim=True).sqrt()
        for image, mean in zip((colour, shown), means, strict=True)
    ]
    gain = (spreads[1] / spreads[0].clamp(min=1e-3)).clamp(0.6, 1.6)
    return ((colour - means[0]) * gain + means[1]).clamp(0, 1)
