"""The template face: where the 68 landmarks, the eyes and the painted features of every head model lie.

Every head model carries a ``canonical`` copy of its vertices in this frame (millimetres, x to the image right,
y down, z into the head, origin midway between the eyeball centres), so one procedural albedo, painted here, fits
them all. The numbers are a rounded average adult: pupils 63 mm apart, face 120 mm from sellion to menton, mouth
50 mm wide.
"""

from __future__ import annotations

import numpy as np

EYE_RADIUS = 12.2
"""Radius of the template eyeballs in millimetres."""

EYE_CENTRES = np.array([[31.5, 0.0, 0.0], [-31.5, 0.0, 0.0]], dtype=np.float32)
"""``[2, 3]`` eyeball centres: the person's left eye (image right) first, then the right one."""

# The half of the face on the image left (the person's right), in the order of the 68-point scheme.
_JAW = [
    (-70.5, 0.0, 61.9),
    (-69.2, 17.0, 62.1),
    (-66.3, 35.0, 60.3),
    (-60.7, 52.0, 55.7),
    (-54.2, 70.0, 46.7),
    (-45.2, 87.0, 30.6),
    (-33.0, 101.0, 11.5),
    (-17.5, 110.0, -3.9),
]
_CHIN = [(0.0, 113.0, -9.8)]
_BROW = [
    (-58.0, -18.0, 8.4),
    (-50.0, -25.0, -5.2),
    (-39.5, -27.5, -14.5),
    (-28.5, -26.0, -21.3),
    (-17.0, -22.0, -23.7),
]
_BRIDGE = [(0.0, -7.0, -18.3), (0.0, 6.0, -23.9), (0.0, 19.0, -33.1), (0.0, 33.0, -45.5)]
_NOSE_BASE = [(-13.5, 42.0, -27.8), (-7.0, 44.5, -25.4)]
_SUBNASALE = [(0.0, 46.0, -29.3)]
_EYE = [
    (-44.1, -1.2, -6.4),
    (-36.4, -4.3, -12.2),
    (-26.7, -3.8, -13.6),
    (-17.5, 1.5, -9.8),
    (-26.5, 5.0, -12.9),
    (-36.4, 4.4, -12.0),
]
_UPPER_OUTER = [(-25.0, 67.0, -15.3), (-15.5, 61.5, -23.4), (-6.0, 57.6, -26.7)]
_UPPER_OUTER_MIDDLE = [(0.0, 59.0, -27.1)]
_LOWER_OUTER = [(-7.0, 77.0, -22.6), (-15.5, 73.5, -20.9)]
_LOWER_OUTER_MIDDLE = [(0.0, 78.0, -22.9)]
_UPPER_INNER = [(-21.5, 67.0, -17.0), (-8.0, 66.5, -22.4)]
_UPPER_INNER_MIDDLE = [(0.0, 67.2, -23.2)]
_LOWER_INNER = [(-8.0, 66.5, -22.4)]
_LOWER_INNER_MIDDLE = [(0.0, 67.2, -23.2)]


def _mirror(points: list[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    return [(-x, y, z) for x, y, z in reversed(points)]


def _landmarks68() -> np.ndarray:
    eye_mirrored = [(-x, y, z) for x, y, z in (_EYE[3], _EYE[2], _EYE[1], _EYE[0], _EYE[5], _EYE[4])]
    points = [
        *_JAW, *_CHIN, *_mirror(_JAW),
        *_BROW, *_mirror(_BROW),
        *_BRIDGE,
        *_NOSE_BASE, *_SUBNASALE, *_mirror(_NOSE_BASE),
        *_EYE, *eye_mirrored,
        *_UPPER_OUTER, *_UPPER_OUTER_MIDDLE, *_mirror(_UPPER_OUTER),
        *_mirror(_LOWER_OUTER), *_LOWER_OUTER_MIDDLE, *_LOWER_OUTER,
        *_UPPER_INNER, *_UPPER_INNER_MIDDLE, *_mirror(_UPPER_INNER),
        *_mirror(_LOWER_INNER), *_LOWER_INNER_MIDDLE, *_LOWER_INNER,
    ]  # fmt: skip
    return np.array(points, dtype=np.float32)


LANDMARKS68 = _landmarks68()
"""``[68, 3]`` template landmarks in millimetres (iBUG order: the image-left eye is 36..41)."""

NOSTRILS = np.array([[-6.2, 42.2, -29.0], [6.2, 42.2, -29.0]], dtype=np.float32)
"""``[2, 3]`` centres of the nostrils; paint them dark with radii of about 3.6 x 2.2 mm."""

HAIRLINE = np.array(
    [
        (0.0, -72.0), (20.0, -71.4), (35.0, -68.3), (44.0, -64.0), (52.0, -56.5), (58.0, -49.0), (63.0, -41.0),
        (66.0, -33.0), (67.0, -19.0), (67.5, 6.0), (68.0, 20.0),
    ],
    dtype=np.float32,
)  # fmt: skip
"""``[11, 2]`` frontal xy of the hairline, the half at x >= 0 from the middle of the forehead to the sideburn."""
