"""How the lids move: the rings around the eye slide over the eyeball."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lineament.heads.builtin import contours
from lineament.heads.builtin.regions import Regions
from lineament.heads.builtin.surface import face_depth
from lineament.heads.builtin.template import EYE_CENTRES, EYE_RADIUS

Array = npt.NDArray[np.float64]

# Share of the margin's movement that each ring of the lid takes part in, from the margin outwards.
_UPPER_SHARE = np.array([1.0, 0.93, 0.8, 0.6, 0.36, 0.14, 0.03, 0.0])
_LOWER_SHARE = np.array([1.0, 0.85, 0.66, 0.45, 0.26, 0.1, 0.02, 0.0])


def closed_line(x: Array) -> Array:
    """Height y of the line where the closed lids meet, at frontal x."""
    along = (x - 30.8) / 13.3
    return 0.15 - 0.1015 * (x - 30.8) + 3.3 * (1 - np.clip(along, -1, 1) ** 2)


def slide_lids(r: Regions, upper: Array | float, lower: Array | float) -> Array:
    """Slide the margins up or down over the eye and let the rings follow.

    Args:
        r: The regions of the head.
        upper: Movement of the upper margin in y, millimetres, for each vertex of the margin ``[n]`` (or all).
        lower: The same for the lower margin.

    Returns:
        ``[V, 3]`` offsets of the person's left eye; the right one is untouched.
    """
    rings = r.lid_rings(0, 7)
    points = r.mesh.points
    offsets = np.zeros((r.count, 3))
    angle = contours.eye_angle(rings.shape[1])
    is_upper = np.sin(angle) >= -1e-9
    margin_move = np.where(is_upper, upper, lower)
    for ring, ids in enumerate(rings):
        share = np.where(is_upper, _UPPER_SHARE[ring], _LOWER_SHARE[ring])
        before = points[ids]
        target = before[:, :2] + np.stack([np.zeros(len(ids)), share * margin_move], axis=1)
        offsets[ids, :2] = target - before[:, :2]
        offsets[ids, 2] = face_depth(target)[0] - face_depth(before[:, :2])[0]
    fold = r.mesh.groups["lid_fold"]
    eye = EYE_CENTRES[0].astype(np.float64)
    moved = points[fold] + np.stack([np.zeros(len(fold)), margin_move, np.zeros(len(fold))], axis=1)
    squared = (EYE_RADIUS + 0.3) ** 2 - ((moved[:, :2] - eye[:2]) ** 2).sum(axis=1)
    moved[:, 2] = np.where(squared > 4.0, -np.sqrt(np.maximum(squared, 4.0)), -2.0)
    offsets[fold] = moved - points[fold]
    return offsets


def margin_gap(r: Regions) -> tuple[Array, Array]:
    """Distance in y of each margin vertex ``[n]`` to the closed line (for the upper and the lower lid)."""
    margin = r.mesh.points[r.mesh.groups["lid_ring_0"]]
    gap = closed_line(margin[:, 0]) - margin[:, 1]
    return gap + 0.45, gap


def close_lids(r: Regions) -> Array:
    """``[V, 3]`` offsets that close the person's left eye."""
    upper, lower = margin_gap(r)
    corner = np.abs(np.sin(contours.eye_angle(len(upper)))) < 1e-9
    return slide_lids(r, np.where(corner, 0.0, upper), np.where(corner, 0.0, lower))


def lid_guard(r: Regions) -> tuple[npt.NDArray[np.int64], Array]:
    """Vertices of the left lids that must stay outside of the eyeball ``[n]``, with their clearance in mm ``[n]``."""
    fold, rings = r.mesh.groups["lid_fold"], r.lid_rings(0, 5)
    clearance = np.concatenate(
        [np.full(len(fold), 0.25), np.repeat([0.9, 1.0, 1.1, 1.1, 1.1, 1.1], rings.shape[1])]
    )
    return np.concatenate([fold, rings.ravel()]), clearance
