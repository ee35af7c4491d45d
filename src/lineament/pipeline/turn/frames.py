"""Images of a turned face: the dense surface, or the published 107 triangles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from lineament.heads.fit import HeadFit
from lineament.heads.model import HeadModel
from lineament.methods.depthnet.warp import CORNER, face_warp
from lineament.pipeline.turn.depth import KeypointDepth, face_depth
from lineament.pipeline.turn.options import BACKGROUNDS, TurnOptions
from lineament.pipeline.turn.render import Window, draw_surface, turn_matrix, turn_points
from lineament.pipeline.turn.surface import FOREHEAD, FaceSurface, build_surface
from lineament.pipeline.turn.view import FACE_SIDE, HEAD_SIDE, View, head_view

# Images are drawn so many times larger and averaged: a fold of the surface is a sharp edge.
SUPERSAMPLING = 2
# Width of the soft border in the image, in outer eye distances.
BORDER = 0.05


@dataclass(frozen=True)
class PreparedFace:
    """Everything that does not change from image to image.

    Attributes:
        view: The part of the photo.
        points: ``[68, 2]`` keypoints in its pixels.
        fit: The head fitted to them.
        depth: Depth of the keypoints in its pixels.
        surface: The dense surface.
    """

    view: View
    points: Tensor
    fit: HeadFit
    depth: KeypointDepth
    surface: FaceSurface


def prepare_face(
    image: Tensor,
    points: Tensor,
    head: HeadModel,
    options: TurnOptions,
    run: str | None = None,
    forehead: float = FOREHEAD,
    std: Tensor | None = None,
) -> PreparedFace:
    """Fit a head to a face, find its depth and build its surface.

    Args:
        image: ``[3, H, W]`` photo.
        points: ``[68, 2]`` keypoints in its pixels.
        head: The head to fit.
        options: Size and extent of the images are needed here.
        run: Run of a depthnet recipe that predicts the depth; None takes the fitted head's.
        forehead: See ``build_surface``.
        std: ``[68]`` predicted standard deviation of the keypoints in pixels of the photo, or None.

    Raises:
        DataError: If no head can be fitted.
        LineamentError: If the run cannot be used.
    """
    side = HEAD_SIDE if options.keep_background else FACE_SIDE
    view = head_view(image, points, options.side, whole=options.whole, side=side)
    here = view.to_view.apply(points.double())
    fit, depth = face_depth(head, here, run, None if std is None else std * view.to_view.scale)
    zero = fit.eye_depth
    return PreparedFace(view, here, fit, depth, build_surface(fit, here, depth.values + zero, forehead))


def turned_images(face: PreparedFace, poses: Tensor, options: TurnOptions) -> Iterator[Tensor]:
    """Draw the face at each pose.

    Args:
        face: The face.
        poses: ``[T, 3]`` yaw, pitch, roll in radians.
        options: How.

    Yields:
        ``[3, h, w]`` in 0..1.
    """
    for pose in poses:
        rotation = turn_matrix(face.surface, pose, absolute=options.absolute)
        yield (
            _triangles(face, rotation, options)
            if options.warp == "triangles"
            else _dense(face, rotation, options)
        )


def _dense(face: PreparedFace, rotation: Tensor, options: TurnOptions) -> Tensor:
    surface, keep = face.surface, options.keep_background
    centre = surface.neck if keep else surface.face_centre
    points = turn_points(surface, rotation, centre, whole=keep)
    colour, cover = draw_smoothly(face.surface, points, face.view.image, face.view.window, cut=not keep)
    if keep:
        return cover * colour + (1 - cover) * face.view.shown
    cover = soften(cover, BORDER * surface.unit)
    return cover * colour + (1 - cover) * BACKGROUNDS[options.background]


def draw_smoothly(
    surface: FaceSurface, points: Tensor, image: Tensor, window: Window, *, cut: bool
) -> tuple[Tensor, Tensor]:
    """Like ``draw_surface``, with several samples in each pixel; the colours are those of the covered samples."""
    times = SUPERSAMPLING
    fine = points.clone()
    # Pixel centres lie at integers: (x + 0.5) * times - 0.5, counted from the window's corner.
    shift = torch.tensor([window.left, window.top], dtype=points.dtype) - 0.5
    fine[:, :2] = (fine[:, :2] - shift) * times - 0.5
    larger = Window(0, 0, window.width * times, window.height * times)
    colour, cover = draw_surface(surface, fine, image, larger, cut=cut)
    seen = F.avg_pool2d(cover[None], times)[0]
    mixed = F.avg_pool2d((colour * cover)[None], times)[0] / seen.clamp(min=1e-6)
    return mixed.clamp(0, 1), seen


def soften(cover: Tensor, width: float) -> Tensor:
    """Fade a coverage ``[1, h, w]`` out towards its border in the image, over ``width`` pixels inside."""
    distance = torch.from_numpy(ndimage.distance_transform_edt(cover[0].numpy() > 0.02)).float()
    ramp = ((distance - 1) / max(width, 1.0)).clamp(0, 1)
    return cover * (ramp * ramp * (3 - 2 * ramp))


def _triangles(face: PreparedFace, rotation: Tensor, options: TurnOptions) -> Tensor:
    """The published mesh, turned about the middle of the face."""
    depth = face.depth.values
    middle = torch.cat([face.points.double().mean(0) + CORNER, depth.mean()[None]])
    shift = middle[:2] - rotation[:2] @ middle
    affine = torch.cat([rotation[:2], shift[:, None]], dim=1)[None]
    points = face.points.double()[None] + CORNER
    warped, index = face_warp(face.view.image[None], points, depth[None], affine)
    top, left = int(face.view.window.top), int(face.view.window.left)
    rows, columns = (
        slice(top, top + face.view.window.height),
        slice(left, left + face.view.window.width),
    )
    colour, cover = warped[0, :, rows, columns], (index[:, rows, columns] >= 0).float()
    if options.keep_background:
        cover = soften(cover, BORDER * face.surface.unit)
        return cover * colour + (1 - cover) * face.view.shown
    return cover * colour + (1 - cover) * BACKGROUNDS[options.background]
