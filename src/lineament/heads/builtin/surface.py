"""The smooth skin of the head as a function of two coordinates: lofted cross-sections plus analytic relief.

A point of the skin is addressed by ``theta``, the angle about the vertical axis of its cross-section (0 the face,
pi/2 the side, pi the back), and ``level``, a height in millimetres that equals y on the face, runs round the crown
at the top and under the chin, down the neck and over the shoulders at the bottom. Each cross-section is a pair of
superellipse halves. The relief (nose, sockets, lips, cheeks ...) is added towards the viewer as a function of the
frontal position. Everything here describes the half x >= 0; the other half is its mirror image.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from lineament.heads.builtin.template import EYE_CENTRES, EYE_RADIUS

Array = npt.NDArray[np.float64]

CROWN_LEVEL = -45.0
CROWN_HEIGHT = 68.0
TOP_LEVEL = CROWN_LEVEL - CROWN_HEIGHT * np.pi / 2
BOTTOM_LEVEL = 282.0
CHIN_LEVEL = 113.0
THETA_SCALE = 100.0
"""Millimetres per radian of theta in the plane where the skin is triangulated; about 1:1 on the face."""

LID_SHELL = EYE_RADIUS + 1.3
"""Radius of the outer surface of the closed lids about the eye centre, millimetres."""

# level: front z, half width, z of the widest place, back z, front exponent, back exponent
_SECTIONS = np.array(
    [
        (-45, -23.0, 75.0, 76.0, 172.0, 2.25, 2.1),
        (-32, -24.0, 75.0, 76.0, 173.0, 2.3, 2.1),
        (-20, -22.5, 73.5, 75.0, 173.0, 2.35, 2.1),
        (-8, -16.0, 71.5, 74.0, 171.0, 2.3, 2.1),
        (5, -13.5, 70.5, 72.0, 168.0, 2.2, 2.1),
        (20, -15.0, 69.5, 70.0, 162.0, 2.1, 2.1),
        (35, -19.0, 67.5, 69.0, 155.0, 2.12, 2.1),
        (48, -22.3, 65.0, 68.0, 149.0, 2.1, 2.1),
        (60, -23.4, 62.5, 67.0, 144.0, 2.08, 2.1),
        (72, -22.6, 60.5, 66.0, 140.0, 2.04, 2.1),
        (86, -19.5, 58.5, 66.0, 136.0, 1.98, 2.1),
        (98, -19.0, 57.0, 66.0, 134.0, 1.9, 2.1),
        (107, -17.0, 55.5, 66.0, 132.0, 1.75, 2.1),
        (113, -12.0, 54.5, 66.0, 131.0, 1.75, 2.1),
        (120, -2.0, 54.0, 67.0, 130.0, 1.8, 2.1),
        (132, 12.0, 53.5, 70.0, 129.0, 1.9, 2.1),
        (144, 24.0, 54.0, 76.0, 129.0, 2.0, 2.1),
        (156, 28.0, 55.0, 80.0, 131.0, 2.0, 2.1),
        (180, 31.0, 57.0, 86.0, 137.0, 2.0, 2.1),
        (204, 35.0, 64.0, 93.0, 146.0, 2.0, 2.1),
        (222, 34.0, 92.0, 96.0, 152.0, 2.2, 2.2),
        (240, 29.0, 135.0, 98.0, 157.0, 2.5, 2.4),
        (260, 24.0, 170.0, 98.0, 160.0, 2.7, 2.5),
        (282, 20.0, 185.0, 98.0, 162.0, 2.7, 2.5),
    ]
)
# level: y in the middle of the face, share of the jaw's rise towards the ears
_HEIGHTS = np.array(
    [
        (-45, -45, 0.0),
        (20, 20, 0.0),
        (60, 60, 0.32),
        (100, 100, 0.82),
        (107, 107, 0.93),
        (113, 112.5, 1.0),
        (120, 116.0, 1.0),
        (132, 119.5, 1.0),
        (144, 124.0, 0.97),
        (156, 132.0, 0.85),
        (180, 143.0, 0.45),
        (204, 156.0, 0.1),
        (222, 164.0, 0.0),
        (240, 173.0, 0.0),
        (260, 186.0, 0.0),
        (282, 205.0, 0.0),
    ]
)
_STEP = 0.5


@lru_cache(maxsize=1)
def _profiles() -> tuple[Array, Array]:
    """``([L], [8, L])``: the tables above, smoothed and densely sampled."""
    levels = np.arange(CROWN_LEVEL, BOTTOM_LEVEL + _STEP, _STEP)
    rows = [PchipInterpolator(_SECTIONS[:, 0], column)(levels) for column in _SECTIONS[:, 1:].T]
    rows += [PchipInterpolator(_HEIGHTS[:, 0], column)(levels) for column in _HEIGHTS[:, 1:].T]
    rows[6] = levels + gaussian_filter1d(rows[6] - levels, 3.0 / _STEP, mode="nearest")
    smooth = [gaussian_filter1d(row, 3.5 / _STEP, mode="nearest") for row in rows[:6]]
    return levels, np.stack([*smooth, rows[6], gaussian_filter1d(rows[7], 5.0 / _STEP, mode="nearest")])


def _section(level: Array) -> tuple[Array, ...]:
    """Front z, half width, middle z, back z, exponents, y of the face, share of the jaw's rise, at levels."""
    levels, table = _profiles()
    front, width, middle, back, front_power, back_power, height, rise = (
        np.interp(np.maximum(level, CROWN_LEVEL), levels, row) for row in table
    )
    latitude = np.clip((CROWN_LEVEL - level) / CROWN_HEIGHT, 0.0, np.pi / 2)
    shrink = np.cos(latitude)
    front = middle - (middle - front) * shrink
    back = middle + (back - middle) * shrink
    height = height - CROWN_HEIGHT * np.sin(latitude)
    return front, width * shrink, middle, back, front_power, back_power, height, rise


def _jaw_rise(theta: Array) -> Array:
    """How much higher than the chin the border of the jaw lies at an angle, millimetres."""
    side = np.clip(theta / 1.45, 0.0, 1.0)
    behind = np.clip((theta - 1.3) / 1.6, 0.0, 1.0)
    return 40.0 * side**2 * (3 - 2 * side) + 12.0 * behind**2 * (3 - 2 * behind)


def smooth_step(value: Array) -> Array:
    """0 below 0, 1 above 1, and a smooth cubic between."""
    clipped = np.clip(value, 0.0, 1.0)
    return clipped**2 * (3 - 2 * clipped)


def base_points(theta: Array, level: Array) -> Array:
    """``[N, 3]`` points of the lofted head without relief, for theta in 0..pi."""
    front, width, middle, back, front_power, back_power, height, rise = _section(level)
    sine, cosine = np.sin(theta), np.cos(theta)
    is_front = cosine >= 0
    depth = np.where(is_front, middle - front, back - middle) + 1e-9
    power = np.where(is_front, front_power, back_power)
    radius = ((sine / (width + 1e-9)) ** power + (np.abs(cosine) / depth) ** power) ** (-1 / power)
    return np.stack([radius * sine, height - rise * _jaw_rise(theta), middle - radius * cosine], axis=-1)


def frontal_points(xy: Array) -> tuple[Array, Array]:
    """Skin without relief at given frontal positions of the face.

    Args:
        xy: ``[N, 2]`` positions with x >= 0, well inside the outline of the face.

    Returns:
        ``[N, 3]`` points and ``[N, 2]`` their theta and level.
    """
    x, y = xy[:, 0], xy[:, 1]
    level, theta = y.copy(), np.zeros_like(x)
    z = np.zeros_like(x)
    for _ in range(8):
        front, width, middle, _back, power, _p, height, rise = _section(level)
        inside = np.clip(x / width, 0.0, 0.999)
        z = middle - (middle - front) * (1 - inside**power) ** (1 / power)
        theta = np.arctan2(x, middle - z)
        level = level + (y - (height - rise * _jaw_rise(theta)))
    return np.stack([x, y, z], axis=-1), np.stack([theta, level], axis=-1)


def bump(
    x: Array, y: Array, centre: tuple[float, float], radii: tuple[float, float], turn: float = 0.0
) -> Array:
    """Gaussian hill of height 1; ``turn`` rotates its axes clockwise in the image, radians."""
    dx, dy = x - centre[0], y - centre[1]
    cosine, sine = np.cos(turn), np.sin(turn)
    along, across = cosine * dx + sine * dy, -sine * dx + cosine * dy
    return np.exp(-((along / radii[0]) ** 2) - (across / radii[1]) ** 2)


def _soft_max(values: list[Array], softness: float) -> Array:
    stacked = np.stack(values)
    top = stacked.max(axis=0)
    return top + softness * np.log(np.exp((stacked - top) / softness).sum(axis=0))


_NOSE_Y = [-16.0, -10.0, -6.0, 0.0, 8.0, 18.0, 27.0, 33.0, 36.5, 40.0, 43.0, 46.0, 49.0, 54.0]
_NOSE_HEIGHT = [0.0, 1.2, 3.0, 6.5, 11.5, 17.5, 22.8, 25.2, 25.2, 20.8, 13.0, 5.8, 2.2, 0.0]
_NOSE_SPREAD = [9.0, 7.5, 7.0, 7.0, 7.8, 8.8, 9.6, 9.8, 9.8, 9.4, 8.6, 7.0, 6.0, 6.0]


def nose_relief(x: Array, y: Array) -> Array:
    """Height of the nose over the face at frontal positions, millimetres."""
    height = PchipInterpolator(_NOSE_Y, _NOSE_HEIGHT)(np.clip(y, _NOSE_Y[0], _NOSE_Y[-1]))
    spread = np.interp(y, _NOSE_Y, _NOSE_SPREAD)
    ridge = height * np.exp(-((np.abs(x) / spread) ** 2.1))
    wing_height = np.abs((y - 38.5) / np.where(y > 38.5, 5.8, 8.5))
    wing = 10.0 * np.exp(-((np.abs(x - 11.8) / 5.8) ** 2.5) - wing_height ** np.where(y > 38.5, 2.8, 2.0))
    tip = 1.6 * bump(x, y, (0.0, 35.0), (8.5, 7.0))
    flank = 5.0 * bump(x, y, (9.0, 22.0), (8.0, 16.0), 0.25)
    total = _soft_max([ridge, wing, flank, np.zeros_like(x)], 1.7) - 1.7 * np.log(4.0) * np.exp(
        -((ridge + wing + flank) / 3.0)
    )
    nostril = 3.2 * bump(x, y, (6.4, 43.0), (3.2, 2.2))
    crease = 1.3 * bump(x, y, (18.2, 38.0), (2.2, 6.0), -0.15)
    return total + tip - nostril - crease


def relief(x: Array, y: Array) -> Array:
    """Height of everything but nose, lips and lids over the lofted face at frontal positions (x >= 0)."""
    height = 3.4 * bump(x, y, (24.0, -22.0), (20.0, 6.5), -0.12)  # brow ridge
    height += 1.8 * bump(x, y, (48.0, -17.0), (9.0, 9.0))
    height -= 1.0 * bump(x, y, (0.0, -22.0), (7.0, 9.0))
    height += 1.8 * bump(x, y, (26.0, -48.0), (17.0, 13.0))  # frontal eminence
    height += 4.2 * bump(x, y, (33.0, 1.0), (17.0, 12.0))  # fat around the eye
    height -= 2.6 * bump(x, y, (29.0, -11.0), (17.0, 5.0))  # socket under the brow
    height -= 5.2 * bump(x, y, (17.0, -1.0), (7.0, 10.0))
    height -= 1.2 * bump(x, y, (24.0, 13.5), (10.0, 4.0), 0.3)  # tear trough
    height += 3.8 * bump(x, y, (42.0, 26.0), (17.0, 11.0), 0.25)  # cheek bone
    height += 2.2 * bump(x, y, (30.0, 33.0), (12.0, 12.0))
    height += 3.0 * bump(x, y, (0.0, 60.0), (25.0, 19.0))  # teeth behind the lips
    height -= 0.9 * bump(x, y, (46.0, 66.0), (12.0, 17.0), -0.4)  # hollow of the cheek
    height -= 0.9 * bump(x, y, (26.0, 50.0), (3.4, 13.0), 0.5)  # fold from the nose to the mouth
    height -= 0.9 * bump(x, y, (0.0, 52.0), (2.3, 5.0))  # philtrum
    height += 0.5 * bump(x, y, (4.2, 53.0), (1.8, 6.0))
    height -= 2.4 * bump(x, y, (0.0, 85.0), (15.0, 4.6))  # chin-lip furrow
    height += 5.2 * bump(x, y, (0.0, 99.0), (15.0, 9.0))  # chin
    height += 1.6 * bump(x, y, (9.0, 101.0), (7.0, 7.0))
    height -= 1.6 * bump(x, y, (26.5, 69.0), (4.5, 5.0))  # corner of the mouth
    return height


def lid_blend(x: Array, y: Array, z: Array) -> Array:
    """Depth of the face with the lids' spherical shell blended over the socket."""
    eye = EYE_CENTRES[0].astype(np.float64)
    # The shell reaches a little further to the sides than the eyeball so that the corners stay covered.
    squared = LID_SHELL**2 - ((x - eye[0]) / 1.06) ** 2 - (y - eye[1]) ** 2
    shell = eye[2] - np.sqrt(np.maximum(squared, 0.0))
    nearer = -_soft_max([-z, np.where(squared > 0, -shell, -60.0)], 1.7)
    upper_fold = 0.9 * np.exp(
        -(((y + 8.8 + 0.012 * (x - eye[0]) ** 2) / 1.5) ** 2) - ((x - eye[0]) / 13.0) ** 4
    )
    return nearer + upper_fold


def face_depth(xy: Array) -> tuple[Array, Array]:
    """Depth z ``[N]`` of the face, relief included but lips not, and theta/level ``[N, 2]``, at ``xy`` ``[N, 2]``."""
    points, address = frontal_points(xy)
    x, y = xy[:, 0], xy[:, 1]
    return lid_blend(x, y, points[:, 2] - relief(x, y) - nose_relief(x, y)), address


def skin_points(theta: Array, level: Array) -> Array:
    """``[N, 3]`` points of the skin, relief included but lips not, anywhere on the half x >= 0."""
    points = base_points(theta, level)
    x, y = points[:, 0], points[:, 1]
    frontal = smooth_step((1.35 - theta) / 0.35) * smooth_step((CHIN_LEVEL + 12 - level) / 12)
    depth = points[:, 2] - (relief(x, y) + nose_relief(x, y)) * frontal
    on_face = (theta < 0.8) & (np.abs(level) < 30)
    points[:, 2] = np.where(on_face, lid_blend(x, y, depth), depth)
    return points
