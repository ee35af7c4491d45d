"""The structured patches of the skin: rings of vertices around the eye and the mouth, and the mouth's inside."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from lineament.heads.builtin import contours
from lineament.heads.builtin.half import HalfMesh, Index, rectangle_chart
from lineament.heads.builtin.surface import BOTTOM_LEVEL, THETA_SCALE, TOP_LEVEL, face_depth
from lineament.heads.builtin.template import EYE_CENTRES, EYE_RADIUS
from lineament.heads.model import Part

Array = npt.NDArray[np.float64]

SKIN_CHART_BOTTOM = 0.8
_EYE_RINGS = np.array([0.0, 0.07, 0.17, 0.29, 0.42, 0.57, 0.77, 1.0])
_EYE_FRAME_CENTRE, _EYE_FRAME_RADII = np.array([31.0, 0.5]), np.array([20.5, 15.5])
_LIP_RINGS = np.array([0.0, 0.1, 0.24, 0.42, 0.62, 0.82, 1.0])
_MOUTH_RINGS = np.array([0.1, 0.3, 0.6, 1.0])
_MOUTH_FRAME_RADII = (35.0, 17.5, 22.0)
_UPPER_LIP = np.array([2.4, -1.2, -2.9, -3.3, -2.5, -1.5, -0.9])
_LOWER_LIP = np.array([2.4, -1.6, -3.6, -4.4, -3.6, -1.9, -0.6])


def skin_chart(plane: Array) -> Array:
    """Texture coordinates of the skin from plane coordinates ``(theta * THETA_SCALE, level)``; the face gets more."""
    side = (np.clip(plane[:, 0] / (THETA_SCALE * np.pi), 0, 1)) ** 0.75
    down = (plane[:, 1] - TOP_LEVEL) / (BOTTOM_LEVEL - TOP_LEVEL)
    return np.stack([0.5 + 0.495 * side, 0.005 + (SKIN_CHART_BOTTOM - 0.01) * down], axis=1)


def _plane(address: Array) -> Array:
    return address * [THETA_SCALE, 1.0]


def add_eye_patch(half: HalfMesh) -> tuple[Index, Array]:
    """Add the lids and the rings around the eye.

    Returns:
        Vertex indices of the outermost ring ``[n]`` and their plane coordinates ``[n, 2]``. Groups ``lid_fold``
        (the inner edge of the margin) and ``lid_ring_0`` (the margin) to ``lid_ring_7`` are registered.
    """
    angle = contours.eye_angle()
    margin = contours.eye_margin(angle)
    frame = _EYE_FRAME_CENTRE + _EYE_FRAME_RADII * np.stack([np.cos(angle), -np.sin(angle)], axis=1)
    previous, plane = _add_lid_fold(half, margin), np.zeros((0, 2))
    for ring, share in enumerate(_EYE_RINGS):
        xy = margin * (1 - share) + frame * share
        depth, address = face_depth(xy)
        plane = _plane(address)
        points = np.column_stack([xy, depth])
        ids = half.add(points, skin_chart(plane), f"lid_ring_{ring}")
        half.add_strip(ids, previous, Part.SKIN, closed=True)
        previous = ids
    return previous, plane


def _add_lid_fold(half: HalfMesh, margin: Array) -> Index:
    """The inner edge of the lid margin, on the eyeball; closes the gap between the lids and the eye."""
    eye = EYE_CENTRES[0].astype(np.float64)
    xy = eye[:2] + (margin - eye[:2]) * 0.955
    squared = (EYE_RADIUS + 0.3) ** 2 - ((xy - eye[:2]) ** 2).sum(axis=1)
    depth = np.where(squared > 4.0, -np.sqrt(np.maximum(squared, 4.0)), -2.0)
    chart = skin_chart(_plane(face_depth(xy)[1]))
    return half.add(np.column_stack([xy, depth]), chart, "lid_fold")


def add_mouth_patch(half: HalfMesh) -> tuple[Index, Array]:
    """Add the lips, the rings around them and the inside of the mouth.

    Returns:
        Vertex indices of the outermost ring ``[n]`` and their plane coordinates ``[n, 2]``. Groups ``lip_0`` (the
        inner line) to ``lip_6`` (the border of the red), ``mouth_ring_0`` ... and ``bag_0`` ... are registered;
        each runs from the middle of the upper lip over the corner to the middle of the lower lip.
    """
    inner, outer = contours.mouth_inner(), contours.mouth_outer()
    share, upper = contours.mouth_progress()
    fade = 1.0 - share**3
    rings: list[Index] = []
    plane = np.zeros((0, 2))
    for ring, step in enumerate(_LIP_RINGS):
        xy = inner * (1 - step) + outer * step
        depth, address = face_depth(xy)
        lift = np.where(upper, _UPPER_LIP[ring], _LOWER_LIP[ring])
        depth = depth + np.where(lift < 0, lift * fade, lift * (0.5 + 0.5 * fade))
        rings.append(half.add(np.column_stack([xy, depth]), skin_chart(_plane(address)), f"lip_{ring}"))
    angle = np.linspace(0.0, np.pi, contours.MOUTH_SEGMENTS + 1)
    radius_y = np.where(upper, _MOUTH_FRAME_RADII[1], _MOUTH_FRAME_RADII[2])
    frame = np.stack([_MOUTH_FRAME_RADII[0] * np.sin(angle), 67.0 - radius_y * np.cos(angle)], axis=1)
    frame[[0, -1], 0] = 0.0
    for ring, step in enumerate(_MOUTH_RINGS):
        xy = outer * (1 - step) + frame * step
        depth, address = face_depth(xy)
        plane = _plane(address)
        depth = depth + np.where(upper, _UPPER_LIP[-1], _LOWER_LIP[-1]) * fade * max(0.0, 1 - step / 0.35)
        rings.append(half.add(np.column_stack([xy, depth]), skin_chart(plane), f"mouth_ring_{ring}"))
    for first, second in itertools.pairwise(rings):
        half.add_strip(first, second, Part.SKIN)
    _add_bag(half, rings[0])
    return rings[-1], plane


_BAG = [(3.5, 0.0, 1.0), (6.5, 8.0, 1.0), (22.0, 12.0, 1.05), (40.0, 7.0, 0.8)]  # deeper, spread, width


def _add_bag(half: HalfMesh, inner: Index) -> None:
    """The inside of the mouth: rings behind the inner line of the lips, closed at the back."""
    line = np.concatenate(half.points)[inner]
    share, upper = contours.mouth_progress()
    charts = rectangle_chart(len(_BAG) + 1, len(inner), (0.505, 0.82, 0.66, 0.9))
    start = half.add(line, charts[: len(inner)], "bag_0")
    previous = start
    for ring, (deeper, spread, width) in enumerate(_BAG):
        points = line.copy()
        points[:, 0] *= width
        points[:, 1] += np.where(upper, -spread, spread) * (1 - share**4)
        points[:, 2] += deeper
        chart = charts[(ring + 1) * len(inner) : (ring + 2) * len(inner)]
        ids = half.add(points, chart, f"bag_{ring + 1}")
        half.add_strip(ids, previous, Part.MOUTH_INTERIOR)
        previous = ids
    middle = len(inner) // 2
    half.add_strip(previous[middle:][::-1], previous[: middle + 1], Part.MOUTH_INTERIOR)
