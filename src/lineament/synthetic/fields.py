"""Maps over the template face on which the albedo is painted: how far the lips, brows and eyes are, where beards grow.

One half of the face is stored (x >= 0, millimetres of the template frame, head/template.py); the other is its mirror.
Distances are signed and vary smoothly, so the paint stays sharp at any image size.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np

from lineament.faces.schemes import scheme
from lineament.heads.builtin.template import HAIRLINE, LANDMARKS68
from lineament.heads.model import Floats

X_LAST, Y_FIRST, Y_LAST = 96, -110, 130
"""The maps hold x = 0 .. 96 and y = -110 .. 130, one sample a millimetre."""

LIP, MOUTH, BROW_ALONG, BROW_ACROSS, EYE, CHEEK, BEARD, MOUSTACHE, UNDER_EYE, HAIRLINE_Y = range(10)
CHANNELS = 10
"""Channels: signed distance to the lips' outline and to the mouth opening (mm, negative inside), position along the
brow (0 nose side, 1 temple side) and across it (mm, positive above), signed distance to the eye opening (mm, negative
inside), weights 0..1 of cheek, beard, moustache and under-eye skin, and the height y of the hairline at this x."""


@functools.lru_cache(maxsize=1)
def feature_maps() -> Floats:
    """``[241, 97, 10]`` float32 maps, indexed by y + 110, x and channel."""
    y, x = np.mgrid[Y_FIRST : Y_LAST + 1, 0 : X_LAST + 1].astype(np.float64)
    points = np.stack([x, y], axis=-1)
    layout = scheme("68")
    marks = LANDMARKS68[:, :2].astype(np.float64)
    along, across = _along_curve(points, marks[layout.contour("right_brow")])
    mouth_corner, chin = marks[layout.indices("mouth_right", "chin")]
    jaw = _polygon_distance(
        points, np.concatenate([marks[layout.contour("jaw")], [[78.0, -30.0], [-78.0, -30.0]]])
    )
    below_nose = 1 / (1 + np.exp(-(y - 47.0) / 2.0))
    # A beard lies under a line from the sideburn over the cheek to the corner of the mouth.
    beard_top = np.interp(x, [0, 20, mouth_corner[0] + 6, 50, 62, 70, 96], [78, 74, 66, 56, 36, 18, 18])
    beard = 1 / (1 + np.exp(-(y - beard_top) / 3.0)) * 1 / (1 + np.exp((y - chin[1] - 18) / 4.0))
    soul_patch_gap = np.exp(-(((x - 12) / 6.0) ** 2) - ((y - 83) / 5.0) ** 2)
    beard *= 1 - 0.6 * soul_patch_gap
    moustache_shape = np.exp(-((np.maximum(x - 20, 0) / 7.0) ** 2)) * below_nose
    moustache = moustache_shape * 1 / (1 + np.exp((y - np.interp(x, [0, 26, 40], [64, 68, 80])) / 2.0))
    moustache *= 1 - 0.45 * np.exp(-((x / 3.0) ** 2))
    cheek = np.exp(-(((x - 44) / 20.0) ** 2) - ((y - 34) / 18.0) ** 2)
    nose_tip = np.exp(-((x / 14.0) ** 2) - ((y - 34) / 12.0) ** 2)
    chin_weight = 0.5 * np.exp(-((x / 16.0) ** 2) - ((y - 100) / 12.0) ** 2)
    under_eye = np.exp(-(((x - 29) / 14.0) ** 2) - ((y - 11) / 6.0) ** 2)
    hairline = np.interp(x, HAIRLINE[:, 0], HAIRLINE[:, 1])
    maps = np.zeros((*x.shape, CHANNELS), np.float32)
    maps[..., LIP] = _polygon_distance(points, marks[layout.contour("outer_lip")])
    maps[..., MOUTH] = _polygon_distance(points, marks[layout.contour("inner_lip")])
    maps[..., BROW_ALONG], maps[..., BROW_ACROSS] = along, across
    maps[..., EYE] = _polygon_distance(points, _rounded(marks[layout.contour("right_eye")]))
    maps[..., CHEEK] = np.clip(cheek + nose_tip + chin_weight, 0, 1)
    maps[..., BEARD] = np.clip(beard, 0, 1) * (jaw < 12)
    maps[..., MOUSTACHE] = moustache
    maps[..., UNDER_EYE] = under_eye
    maps[..., HAIRLINE_Y] = hairline
    return maps


def _rounded(polygon: np.ndarray, rounds: int = 3) -> np.ndarray:
    """Subdivide a closed outline so that it curves through its points (four-point scheme)."""
    for _ in range(rounds):
        before, after, last = np.roll(polygon, 1, 0), np.roll(polygon, -1, 0), np.roll(polygon, -2, 0)
        middle = (9 * (polygon + after) - before - last) / 16
        polygon = np.stack([polygon, middle], axis=1).reshape(-1, 2)
    return polygon


def _segment_distance(
    points: np.ndarray, start: np.ndarray, end: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Distance of points to a segment, and the position 0..1 of the nearest point on it."""
    edge = end - start
    position = np.clip(((points - start) @ edge) / max(float(edge @ edge), 1e-9), 0, 1)
    nearest = start + position[..., None] * edge
    return np.linalg.norm(points - nearest, axis=-1), position


def _polygon_distance(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Signed distance to a closed polygon, negative inside."""
    distance = np.full(points.shape[:-1], np.inf)
    inside = np.zeros(points.shape[:-1], bool)
    for start, end in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        distance = np.minimum(distance, _segment_distance(points, start, end)[0])
        crosses = (start[1] > points[..., 1]) != (end[1] > points[..., 1])
        rise = end[1] - start[1] if end[1] != start[1] else 1e-9
        inside ^= crosses & (
            points[..., 0] < start[0] + (points[..., 1] - start[1]) / rise * (end[0] - start[0])
        )
    return np.where(inside, -distance, distance)


def _along_curve(points: np.ndarray, curve: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position along an open curve (0 at its first point, 1 at its last, beyond outside) and height above it."""
    dense = curve
    for _ in range(3):
        ends = np.concatenate([[2 * dense[0] - dense[1]], dense, [2 * dense[-1] - dense[-2]]])
        middle = (9 * (ends[1:-2] + ends[2:-1]) - ends[:-3] - ends[3:]) / 16
        dense = np.concatenate([np.stack([dense[:-1], middle], axis=1).reshape(-1, 2), dense[-1:]])
    lengths = np.linalg.norm(np.diff(dense, axis=0), axis=1)
    starts = np.concatenate([[0.0], np.cumsum(lengths)])
    best = np.full(points.shape[:-1], np.inf)
    along, across = np.zeros_like(best), np.zeros_like(best)
    last = len(lengths) - 1
    for number, (start, end) in enumerate(itertools.pairwise(dense)):
        edge = (end - start) / lengths[number]
        position = (points - start) @ edge
        low = -np.inf if number == 0 else 0.0
        high = np.inf if number == last else lengths[number]
        held = np.clip(position, low, high)
        offset = points - (start + held[..., None] * edge)
        distance = np.linalg.norm(offset, axis=-1)
        nearer = distance < best
        # y points down, so a point above the brow has a negative y offset.
        above = np.where(offset[..., 1] < 0, distance, -distance)
        best = np.where(nearer, distance, best)
        along = np.where(nearer, (starts[number] + held) / starts[-1], along)
        across = np.where(nearer, above, across)
    return along, across
