"""The space around a head: how far it reaches in every direction, so that what is worn lies on it, and simple solids.

A direction is an azimuth (0 before the face, positive to the image right of a frontal face) and an elevation (upwards),
in radians, seen from a point inside of the skull.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter

from lineament.heads.model import Ints

AZIMUTHS, ELEVATIONS = 48, 24
"""Cells of the grid of radii: 7.5 degrees each."""

Piece = tuple[np.ndarray, Ints]
"""Vertices ``[V, 3]`` and faces ``[F, 3]``."""


class Surroundings:
    """The radius of a head by direction, widened and smoothed as cloth lies.

    Args:
        vertices: ``[V, 3]`` head frame, millimetres.
        centre: ``[3]`` point inside of the skull.
    """

    def __init__(self, vertices: np.ndarray, centre: np.ndarray) -> None:
        self.centre = centre.astype(np.float64)
        cells = _largest_radii(np.ascontiguousarray(vertices, np.float32), self.centre)
        wide = maximum_filter(cells, size=3, mode=("nearest", "wrap"))
        # A cell that no vertex falls into has a neighbour that one does.
        self.radii = gaussian_filter(wide, 0.7, mode=("nearest", "wrap"))

    def radius(self, azimuth: np.ndarray, elevation: np.ndarray) -> np.ndarray:
        """Millimetres from the centre to the surface, bilinear."""
        x = (np.asarray(azimuth) / (2 * np.pi) * AZIMUTHS) % AZIMUTHS
        y = np.clip((np.asarray(elevation) / np.pi + 0.5) * ELEVATIONS - 0.5, 0, ELEVATIONS - 1.001)
        x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
        tx, ty = x - x0, y - y0
        x0, x1 = x0 % AZIMUTHS, (x0 + 1) % AZIMUTHS
        upper = self.radii[y0, x0] * (1 - tx) + self.radii[y0, x1] * tx
        return upper * (1 - ty) + (self.radii[y0 + 1, x0] * (1 - tx) + self.radii[y0 + 1, x1] * tx) * ty

    def at(self, azimuth: np.ndarray, elevation: np.ndarray, above: np.ndarray | float = 0.0) -> np.ndarray:
        """Points ``[..., 3]`` that far above the surface."""
        radius = self.radius(azimuth, elevation) + above
        return self.centre + radius[..., None] * direction(azimuth, elevation)

    def lifted(self, points: np.ndarray, above: np.ndarray | float) -> np.ndarray:
        """The same points ``[..., 3]``, those nearer than ``above`` to the surface moved out of it."""
        away = points - self.centre
        distance = np.linalg.norm(away, axis=-1)
        least = self.radius(*self.angles(points)) + above
        lifted: np.ndarray = self.centre + away * (np.maximum(distance, least) / distance)[..., None]
        return lifted

    def angles(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Azimuth and elevation of points ``[..., 3]``."""
        away = np.asarray(points, np.float64) - self.centre
        return np.arctan2(away[..., 0], -away[..., 2]), np.arctan2(
            -away[..., 1], np.hypot(away[..., 0], away[..., 2])
        )


@numba.njit(cache=True, nogil=True)
def _largest_radii(vertices: np.ndarray, centre: np.ndarray) -> np.ndarray:
    cells = np.zeros((ELEVATIONS, AZIMUTHS))
    for vertex in range(vertices.shape[0]):
        x = vertices[vertex, 0] - centre[0]
        y = vertices[vertex, 1] - centre[1]
        z = vertices[vertex, 2] - centre[2]
        flat = math.sqrt(x * x + z * z)
        column = round(math.atan2(x, -z) / (2 * math.pi) * AZIMUTHS) % AZIMUTHS
        row = int((math.atan2(-y, flat) / math.pi + 0.5) * ELEVATIONS)
        row = min(max(row, 0), ELEVATIONS - 1)
        cells[row, column] = max(cells[row, column], math.sqrt(flat * flat + y * y))
    return cells


def direction(azimuth: np.ndarray | np.float64, elevation: np.ndarray | np.float64) -> np.ndarray:
    """Unit vectors ``[..., 3]`` of the head frame."""
    level = np.cos(elevation)
    return np.stack([np.sin(azimuth) * level, -np.sin(elevation), -np.cos(azimuth) * level], axis=-1)


def sheet(points: np.ndarray, closed: bool = False) -> Piece:
    """Join a grid of points ``[R, N, 3]`` by triangles; ``closed`` joins the last column to the first."""
    rows, columns = points.shape[:2]
    here = np.arange(columns if closed else columns - 1)
    after = (here + 1) % columns
    level = columns * np.arange(rows - 1)[:, None]
    a, b, c, d = level + here, level + after, level + columns + here, level + columns + after
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])
    return points.reshape(-1, 3).astype(np.float32), faces.astype(np.int32)


def ball(centre: np.ndarray, radii: np.ndarray, axes: np.ndarray | None = None, sides: int = 14) -> Piece:
    """An ellipsoid; ``axes`` ``[3, 3]`` rows are the directions of the radii."""
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    lift = np.linspace(-0.5 * np.pi, 0.5 * np.pi, sides // 2 + 2)
    unit = direction(*np.broadcast_arrays(turn[None], lift[:, None]))
    scaled = unit * np.asarray(radii, np.float64)
    return sheet((scaled if axes is None else scaled @ axes) + centre, closed=True)


def tube(
    path: np.ndarray,
    radii: np.ndarray | float,
    sides: int = 8,
    flat: float = 1.0,
    up: np.ndarray | None = None,
) -> Piece:
    """A tube around a path ``[N, 3]`` whose ends taper to points.

    Args:
        path: Its middle line.
        radii: ``[N]`` or one.
        sides: Corners of its section.
        flat: Thickness across ``up`` relative to the width.
        up: ``[3]`` direction in which it is flat.
    """
    path = np.asarray(path, np.float64)
    ends = np.concatenate([[path[0]], path, [path[-1]]])
    radii = np.concatenate([[0.0], np.broadcast_to(np.asarray(radii, np.float64), len(path)), [0.0]])
    along = np.gradient(path, axis=0)
    along = np.concatenate([[along[0]], along, [along[-1]]])
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    reference = np.array([0.13, 0.21, 0.97]) if up is None else np.asarray(up, np.float64)
    aside = np.cross(along, reference)
    aside /= np.maximum(np.linalg.norm(aside, axis=1, keepdims=True), 1e-6)
    other = flat * np.cross(along, aside)
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    around = np.cos(turn)[None, :, None] * aside[:, None] + np.sin(turn)[None, :, None] * other[:, None]
    return sheet(ends[:, None] + radii[:, None, None] * around, closed=True)


def box(centre: np.ndarray, half: np.ndarray, axes: np.ndarray) -> Piece:
    """A box; ``axes`` ``[3, 3]`` rows are the directions of the half sides. Edges are sharp: no shared corners."""
    corners = []
    for axis in range(3):
        b, c = (axis + 1) % 3, (axis + 2) % 3
        for sign in (-1.0, 1.0):
            for u, v in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
                corner = np.zeros(3)
                corner[axis], corner[b], corner[c] = sign, u, v
                corners.append(corner * half)
    quads = np.arange(24).reshape(6, 4)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return (np.array(corners) @ axes + centre).astype(np.float32), faces.astype(np.int32)


def joined(pieces: list[Piece]) -> Piece:
    """Several pieces as one."""
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in pieces)])
    return (
        np.concatenate([vertices for vertices, _ in pieces]),
        np.concatenate([faces + start for (_, faces), start in zip(pieces, starts[:-1], strict=True)]).astype(
            np.int32
        ),
    )
