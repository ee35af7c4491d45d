"""Hair as a shell over the skull, with a skirt that hangs down as a fringe or as long hair."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

from lineament.heads.builtin.half import HalfMesh, Index, rectangle_chart
from lineament.heads.builtin.surface import TOP_LEVEL, base_points, face_depth, smooth_step
from lineament.heads.model import Part

Array = npt.NDArray[np.float64]

COLUMNS, CAP_ROWS, SKIRT_ROWS = 25, 14, 6
FRINGE_THETA = 0.9
"""Columns of the hair nearer to the middle of the forehead than this angle can hang as a fringe."""
FRINGE_REST_DEPTH = 2.5
"""How far under the skin of the forehead the fringe rests while it is not worn, millimetres."""
SKULL_CENTRE = np.array([0.0, -28.0, 78.0])
# theta: level of the hairline (forehead, temple, sideburn, round the ear, nape)
_HAIRLINE = PchipInterpolator(
    [0.0, 0.25, 0.45, 0.62, 0.8, 0.95, 1.05, 1.14, 1.24, 1.34, 1.45, 1.65, 1.85, 2.02, 2.2, 2.6, np.pi],
    [
        -73.0,
        -72.0,
        -67.0,
        -55.0,
        -41.0,
        -27.0,
        -8.0,
        14.0,
        20.0,
        6.0,
        -14.0,
        -18.0,
        -6.0,
        28.0,
        58.0,
        76.0,
        80.0,
    ],
)


@dataclass(frozen=True)
class HairGrid:
    """Where the vertices of the hair shell lie.

    Attributes:
        crown: Index of the one vertex on the crown.
        cap: ``[CAP_ROWS, COLUMNS]`` vertices from the crown to the hairline.
        skirt: ``[SKIRT_ROWS, COLUMNS]`` vertices that hang from the hairline; tucked under the skin at rest.
        theta: ``[COLUMNS]`` angle of each column, 0 the forehead.
        down: ``[CAP_ROWS]`` share of the way from the crown to the hairline.
        outward: ``[CAP_ROWS, COLUMNS, 3]`` unit directions away from the skull.
    """

    crown: int
    cap: Index
    skirt: Index
    theta: Array
    down: Array
    outward: Array


def scalp(theta: Array, level: Array) -> tuple[Array, Array]:
    """Points of the bare skull ``[N, 3]`` and unit directions away from it ``[N, 3]``."""
    points = base_points(theta, level)
    away = points - SKULL_CENTRE
    away[:, 1] = np.minimum(away[:, 1], 0.0)
    return points, away / np.linalg.norm(away, axis=1, keepdims=True)


def _under_forehead(edge: Array, theta: Array) -> Array:
    """Rest positions ``[SKIRT_ROWS, n, 3]`` of the fringe: where it hangs, but just under the skin.

    Resting there it moves with the forehead under every identity mode.
    """
    fall = np.linspace(1.0 / SKIRT_ROWS, 1.0, SKIRT_ROWS)[:, None]
    longest = smooth_step((0.95 - theta) / 0.5)
    y = edge[:, 1] + (-32.0 - edge[:, 1]) * fall * longest
    x = np.broadcast_to(edge[:, 0], y.shape)
    depth = face_depth(np.stack([x.ravel(), y.ravel()], axis=1))[0].reshape(y.shape)
    return np.stack([x, y, np.maximum(depth, edge[:, 2] - 20.0) + FRINGE_REST_DEPTH], axis=-1)


def add_hair(half: HalfMesh) -> HairGrid:
    """Add the hair shell of a short cut, about 9 mm thick; group ``hair``."""
    theta = np.linspace(0.0, np.pi, COLUMNS)
    down = np.linspace(0.0, 1.0, CAP_ROWS + 1)[1:]
    hairline = _HAIRLINE(theta)
    level = TOP_LEVEL + (hairline - TOP_LEVEL) * down[:, None]
    angle = np.broadcast_to(theta, level.shape)
    skin, outward = scalp(angle.ravel(), level.ravel())
    side_thinner = 1.0 - 0.35 * np.exp(-(((angle - 1.45) / 0.5) ** 2))
    thickness = 11.0 * side_thinner * (1 - down[:, None] ** 4) ** 0.7 - 1.2 * down[:, None] ** 12
    # Locks: the shell is not as smooth as a cap.
    thickness = thickness + 0.55 * np.sin(11.0 * angle + 4.0 * down[:, None]) * (1 - down[:, None] ** 3)
    points = skin + outward * thickness.reshape(-1, 1)

    # Further rows lie hidden under the cap and come out only for a fringe or for long hair.
    tuck = 1.0 - 0.05 * np.arange(1, SKIRT_ROWS + 1)
    skirt_level = TOP_LEVEL + (hairline - TOP_LEVEL) * tuck[:, None]
    skirt_skin, skirt_out = scalp(np.tile(theta, SKIRT_ROWS), skirt_level.ravel())
    skirt = (skirt_skin - 4.0 * skirt_out).reshape(SKIRT_ROWS, COLUMNS, 3)
    forehead = theta < FRINGE_THETA
    skirt[:, forehead] = _under_forehead(points.reshape(CAP_ROWS, COLUMNS, 3)[-1, forehead], theta[forehead])

    grid_points = np.concatenate([points, skirt.reshape(-1, 3)])
    middle = np.tile((theta <= 0) | (theta >= np.pi), CAP_ROWS + SKIRT_ROWS)
    grid_points[middle, 0] = 0.0
    crown_skin = base_points(np.zeros(1), np.full(1, TOP_LEVEL)) + np.array([0.0, -11.5, 0.0])
    crown_skin[:, 0] = 0.0
    chart = rectangle_chart(CAP_ROWS + SKIRT_ROWS, COLUMNS, (0.67, 0.955, 0.98, 0.995))
    ids = half.add(grid_points, chart, "hair").reshape(-1, COLUMNS)
    crown = half.add(crown_skin, np.array([[0.98, 0.953]]), "hair")
    for upper, lower in itertools.pairwise(ids):
        half.add_strip(lower, upper, Part.HAIR)
    fan = np.stack([ids[0, 1:], np.full(COLUMNS - 1, crown[0]), ids[0, :-1]], axis=1)
    half.add_faces(fan, Part.HAIR)
    return HairGrid(
        crown=int(crown[0]),
        cap=ids[:CAP_ROWS],
        skirt=ids[CAP_ROWS:],
        theta=theta,
        down=down,
        outward=outward.reshape(CAP_ROWS, COLUMNS, 3),
    )
