"""Depth of a person in a photo: of a fitted head, bent to the depth of its keypoints, and continued from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from lineament.faces.normalisers import inter_ocular
from lineament.faces.schemes import scheme
from lineament.heads.fit import HeadFit
from lineament.heads.model import Part
from lineament.pipeline.mpi.person import Silhouette
from lineament.pipeline.turn.surface import (
    NECK,
    SKIN,
    head_relief,
    keypoint_correction,
    place_of,
    run_out,
)

LAYOUT = scheme("68")
# Points of the grid on which depth is found, in shares of the distance between the outer eye corners.
CELL = 1 / 40
# Steepest slope of the head's depth: planes show what a photo has few pixels of without stretching it far.
STEEPEST = 2.5
# Half of what a human is wide at the shoulders, and where these lie below the eyes, where the head has none, mm.
HALF_SHOULDERS, SHOULDERS = 185.0, 145.0
# Depth of a body in outer eye distances: how far its border lies behind the middle of the head, how much nearer it is
# well inside, and how soon that is reached.
BORDER, BULGE, ROUND = 0.25, 0.6, 0.6


@dataclass(frozen=True)
class Relief:
    """Depth of a person.

    Attributes:
        depth: ``[H, W]`` pixels behind the head's anchor, at every pixel, the person's or not.
        neck: Depth of the middle between the ears.
        silhouette: Where the head is.
    """

    depth: Tensor
    neck: float
    silhouette: Silhouette


def person_relief(fit: HeadFit, points: Tensor, depth: Tensor, size: tuple[int, int]) -> Relief:
    """Find the depth of a person.

    Args:
        fit: The head fitted to the keypoints.
        points: ``[68, 2]`` keypoints in pixels.
        depth: ``[68]`` their depth in pixels, in the frame of ``fit``.
        size: Height and width of the photo.
    """
    height, width = size
    unit = float(inter_ocular(points.double(), LAYOUT))
    step = max(CELL * unit, 1.0)
    rows, columns = int(np.ceil((height - 1) / step)) + 1, int(np.ceil((width - 1) / step)) + 1
    grid = np.stack(np.meshgrid(np.arange(columns) * step, np.arange(rows) * step), -1)
    marks = points.double().numpy()
    found, known = head_relief(fit, marks, grid[0, 0], step, (rows, columns), (*SKIN, Part.HAIR))
    neck = float(place_of(fit, NECK)[2])
    if known.any():
        found = found + keypoint_correction(fit, marks, depth.double().numpy(), grid, known)
        found = run_out(found, known, neck, step, unit, STEEPEST)
    else:
        found = np.full((rows, columns), neck)
    return Relief(_to_pixels(found, step, size), neck, _silhouette(fit, known, step, size, unit))


def rounded(relief: Relief, matte: Tensor) -> Tensor:
    """Depth ``[H, W]`` of the whole person: hair, neck and shoulders go on from the head, and recede at their border.

    Args:
        relief: Of the head.
        matte: ``[H, W]`` share of the person.
    """
    unit = relief.silhouette.unit
    # Beyond the photo's border a person goes on.
    person = np.pad(matte.numpy() > 0.5, 1, mode="edge")
    person = np.pad(person, round(2 * unit), mode="edge")
    crop = slice(round(2 * unit) + 1, -round(2 * unit) - 1)
    inside = ndimage.distance_transform_edt(person)[crop, crop] / unit
    away = ndimage.distance_transform_edt(~relief.silhouette.head) / unit
    body = relief.neck + unit * (BORDER - BULGE * (1 - np.exp(-inside / ROUND)))
    share = np.clip((away - 0.1) / 1.0, 0, 1)
    share = share * share * (3 - 2 * share)
    smooth = ndimage.gaussian_filter(share * (body - relief.depth.numpy()), 0.08 * unit)
    return relief.depth + torch.from_numpy(smooth).float()


def _to_pixels(values: np.ndarray, step: float, size: tuple[int, int]) -> Tensor:
    """Values on the grid, at pixels."""
    places = np.meshgrid(np.arange(size[0]) / step, np.arange(size[1]) / step, indexing="ij")
    return torch.from_numpy(ndimage.map_coordinates(values, places, order=1, mode="nearest")).float()


def _silhouette(
    fit: HeadFit, known: np.ndarray, step: float, size: tuple[int, int], unit: float
) -> Silhouette:
    head = _to_pixels(ndimage.binary_fill_holes(known).astype(float), step, size).numpy() > 0.5
    across = fit.scale * HALF_SHOULDERS
    place = place_of(fit, (0.0, SHOULDERS, 90.0))
    # Below the shoulders the neck of the head is inside of the body.
    return Silhouette(head, unit, float(place[0]), float(place[1]), across)
