"""The curves the face is drawn along: lid margins, lips and the mouth's inner line (frontal xy, half x >= 0)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

Array = npt.NDArray[np.float64]

EYE_SEGMENTS = 32
"""Segments around the lid margin; 0 is the outer corner, then along the upper lid to the inner corner at half."""
MOUTH_SEGMENTS = 24
"""Segments along the half mouth: from the middle of the upper lip over the corner to that of the lower lip."""

_OUTER_CORNER, _INNER_CORNER = np.array([44.1, -1.2]), np.array([17.5, 1.5])


def eye_angle(count: int = EYE_SEGMENTS) -> Array:
    """``[count]`` angles along the lid margin, 0 at the outer corner, pi at the inner one."""
    return np.linspace(0.0, 2 * np.pi, count, endpoint=False)


def eye_margin(angle: Array) -> Array:
    """``[N, 2]`` lid margin of the person's left eye at angles (0..pi the upper lid, pi..2 pi the lower one)."""
    cosine, sine = np.cos(angle), np.sin(angle)
    middle, half_axis = (_OUTER_CORNER + _INNER_CORNER) / 2, (_OUTER_CORNER - _INNER_CORNER) / 2
    line = middle + cosine[:, None] * half_axis
    upper = -4.5 * np.maximum(sine, 0.0) * (1 - 0.09 * cosine)
    lower = 5.0 * np.maximum(-sine, 0.0) * (1 + 0.17 * cosine)
    return line + np.stack([np.zeros_like(angle), upper + lower], axis=1)


_UPPER_OUTER = PchipInterpolator([0, 3, 6, 11, 15.5, 21, 25], [59.0, 57.9, 57.5, 59.2, 61.5, 64.7, 67.0])
_LOWER_OUTER = PchipInterpolator([0, 7, 15.5, 21, 25], [78.0, 77.0, 73.5, 70.1, 67.0])
_INNER = PchipInterpolator([0, 3, 8, 15, 21.5, 23.5], [67.2, 66.9, 66.5, 66.7, 67.0, 67.1])
OUTER_HALF_WIDTH, INNER_HALF_WIDTH = 25.0, 23.5


def mouth_progress() -> tuple[Array, npt.NDArray[np.bool_]]:
    """``[MOUTH_SEGMENTS + 1]`` share of the half width (0 middle, 1 corner) and whether it is the upper lip."""
    step = np.arange(MOUTH_SEGMENTS + 1) / (MOUTH_SEGMENTS // 2)
    upper = step <= 1.0
    along = np.where(upper, step, 2.0 - step)
    return np.sin(along * np.pi / 2), upper


def mouth_outer() -> Array:
    """``[MOUTH_SEGMENTS + 1, 2]`` outer border of the red of the lips."""
    share, upper = mouth_progress()
    x = share * OUTER_HALF_WIDTH
    return np.stack([x, np.where(upper, _UPPER_OUTER(x), _LOWER_OUTER(x))], axis=1)


def mouth_inner() -> Array:
    """``[MOUTH_SEGMENTS + 1, 2]`` inner line of the lips of the closed mouth."""
    x = mouth_progress()[0] * INNER_HALF_WIDTH
    return np.stack([x, _INNER(x)], axis=1)
