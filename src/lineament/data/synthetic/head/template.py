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

IRIS_RADIUS = 5.9
"""Radius of the iris in millimetres (half the white-to-white distance of an adult eye)."""

# The half of the face on the image left (the person's right), in the order of the 68-point scheme.
_JAW = [
    (-70.0, 0.0, 62.0),
    (-69.5, 17.0, 62.0),
    (-68.0, 35.0, 60.0),
    (-64.0, 52.0, 55.0),
    (-58.0, 70.0, 45.0),
    (-48.0, 87.0, 28.0),
    (-35.0, 101.0, 8.0),
    (-19.0, 110.0, -10.0),
]
_CHIN = [(0.0, 113.0, -17.0)]
_BROW = [
    (-58.0, -18.0, 3.0),
    (-50.0, -25.0, -9.0),
    (-39.5, -27.5, -17.0),
    (-28.5, -26.0, -22.0),
    (-17.0, -22.0, -24.5),
]
_BRIDGE = [(0.0, -7.0, -19.5), (0.0, 6.0, -25.0), (0.0, 19.0, -33.0), (0.0, 33.0, -43.5)]
_NOSE_BASE = [(-13.5, 42.0, -24.0), (-7.0, 44.5, -27.5)]
_SUBNASALE = [(0.0, 46.0, -30.0)]
_EYE = [
    (-44.1, -1.2, -1.5),
    (-36.5, -5.2, -11.0),
    (-26.5, -5.0, -11.0),
    (-17.5, 1.5, -6.5),
    (-26.5, 4.6, -11.0),
    (-36.5, 4.8, -10.5),
]
_UPPER_OUTER = [(-25.0, 67.0, -16.0), (-15.5, 61.5, -26.0), (-6.0, 57.5, -31.0)]
_UPPER_OUTER_MIDDLE = [(0.0, 59.0, -31.5)]
_LOWER_OUTER = [(-7.0, 77.0, -29.0), (-15.5, 73.5, -25.0)]
_LOWER_OUTER_MIDDLE = [(0.0, 78.0, -30.0)]
_UPPER_INNER = [(-21.5, 67.0, -17.5), (-8.0, 66.2, -27.0)]
_UPPER_INNER_MIDDLE = [(0.0, 66.8, -28.5)]
_LOWER_INNER = [(-8.0, 67.0, -27.0)]
_LOWER_INNER_MIDDLE = [(0.0, 67.4, -28.0)]


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

NOSTRILS = np.array([[-6.2, 41.5, -31.0], [6.2, 41.5, -31.0]], dtype=np.float32)
"""``[2, 3]`` centres of the nostrils; paint them dark with radii of about 3.6 x 2.2 mm."""

HAIRLINE = np.array(
    [
        (0.0, -72.0),
        (20.0, -71.0),
        (38.0, -64.0),
        (49.0, -50.0),
        (56.0, -36.0),
        (62.0, -22.0),
        (66.0, 0.0),
        (66.0, 24.0),
    ],
    dtype=np.float32,
)
"""``[8, 2]`` frontal xy of the hairline, the half at x >= 0 from the middle of the forehead to the sideburn."""
