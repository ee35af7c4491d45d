"""From the points of a scheme that lies on a head to the place on the head of every pixel of a view, as descriptors.

The points are the corners of triangles that cover the surface. In a view an affine camera fitted to them says which way
the head is turned, and so which points are seen. A smoothing thin-plate spline through these (Duchon 1977; Wahba,
"Spline Models for Observational Data", 1990) gives every pixel a place on the flattened surface. Places become vectors
whose cosine falls off with their distance as a Gaussian bell: random features (Rahimi and Recht, NeurIPS 2007) with
directions and lengths spread evenly instead.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lineament.errors import DataError
from lineament.faces.landmark_scheme import LandmarkScheme
from lineament.ops.numba_cpu.compile import kernel
from lineament.ops.numba_cpu.rasterize import rasterize_band

# Distance on the flattened head in millimetres at which the cosine of two places is exp(-1/2).
BELL = 20.0
# Directions and lengths of the waves whose phases at a place are its vector.
DIRECTIONS, LENGTHS = 6, 4
# A point is seen when no triangle lies more than this many millimetres in front of it, and at least this share of the
# triangles around it turn to the camera.
IN_FRONT, TURNED = 8.0, 0.5
# Stiffness of the spline, in square cells, for exact points, and what a standard deviation of a cell adds to it.
STIFF, STIFFER = 1.0, 4.0
# Depths that are drawn are larger than 0 and so far away that perspective plays no part, millimetres.
AWAY = 1e5
# Fewer seen points than this make no map: all points take part.
LEAST_SEEN = 8

Doubles = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class HeadSurface:
    """The surface that the points of a scheme lie on.

    Args:
        layout: A scheme with ``surface``.

    Raises:
        DataError: If it has none.

    Attributes:
        places: ``[K, 3]`` the points, millimetres in the head frame.
        flat: ``[K, 2]`` the same on the flattened surface, millimetres (:func:`flattened`).
        triangles: ``[F, 3]`` triangles between them, all wound alike: clockwise in a frontal view, y down.
    """

    def __init__(self, layout: LandmarkScheme) -> None:
        if layout.surface is None:
            raise DataError(f"scheme {layout.name} does not say where its points lie on a head.")
        self.places: Doubles = np.array(layout.surface, np.float64)
        self.flat = flattened(self.places, self.places)
        from scipy.spatial import Delaunay  # slow to import, and models without a surface never need it

        corners = Delaunay(self.flat).simplices
        turned = _areas(self.flat, corners) < 0
        self.triangles = np.ascontiguousarray(np.where(turned[:, None], corners[:, ::-1], corners), np.int32)

    def view(self, points: Doubles, stds: Doubles, side: int) -> Doubles:
        """Places of the cells of a grid.

        Args:
            points: ``[K, 2]`` where the points are, in cells: the middle of the first cell is 0.
            stds: ``[K]`` standard deviations of their errors per coordinate, in cells.
            side: Cells along a side of the grid.

        Returns:
            ``[side, side, 2]`` millimetres on the flattened surface.
        """
        kept = self.seen(points, side, stds)
        if kept.sum() < LEAST_SEEN:
            kept = np.ones(len(points), bool)
        stiffness = STIFF + STIFFER * stds[kept] ** 2
        return smoothing_spline(points[kept], self.flat[kept], stiffness, side)

    def seen(self, points: Doubles, side: int, stds: Doubles | None = None) -> Mask:
        """Which points ``[K]`` of a view nothing of the surface hides; see :meth:`view`."""
        rows = self._camera(points, np.zeros(len(points)) if stds is None else stds)
        away = np.cross(rows[0], rows[1])
        away /= max(float(np.linalg.norm(away)), 1e-12)
        drawn = np.column_stack([points, self.places @ away + AWAY]).astype(np.float32)
        front = _areas(points, self.triangles) > 1e-6
        around = np.bincount(self.triangles.ravel(), minlength=len(points))
        turned = np.bincount(self.triangles[front].ravel(), minlength=len(points))
        shown = np.ascontiguousarray(self.triangles[front])
        index = np.empty((1, side, side), np.int32)
        depth = np.empty((1, side, side), np.float32)
        rasterize_band(drawn[None], shown[None], index, depth, 0, 0, side, 0, len(shown))
        cells = np.clip(np.rint(points), 0, side - 1).astype(int)
        nearest = depth[0, cells[:, 1], cells[:, 0]]
        open_view = (nearest == 0) | ~np.isfinite(nearest) | (drawn[:, 2] < nearest + IN_FRONT)
        return open_view & (turned >= TURNED * around)

    def _camera(self, points: Doubles, stds: Doubles) -> Doubles:
        """Rows ``[2, 3]`` of the affine camera that shows the places at the points, cells a millimetre."""
        weights = 1.0 / (0.25 + stds**2)
        root = np.sqrt(weights / weights.sum())[:, None]
        middle, centre = (root**2 * self.places).sum(0), (root**2 * points).sum(0)
        return np.linalg.lstsq(root * (self.places - middle), root * (points - centre), rcond=None)[0].T


def flattened(places: Doubles, among: Doubles) -> Doubles:
    """Places ``[N, 3]`` of a head on the flattened surface ``[N, 2]``, millimetres.

    The direction in which a point behind all of ``among`` ``[M, 3]`` sees each, in its angle from straight ahead
    (azimuthal equidistant projection), times their mean distance from it.
    """
    low, high = among.min(0), among.max(0)
    behind = np.array([*(0.5 * (low + high))[:2], high[2]])
    away = places - behind
    across = np.hypot(away[:, 0], away[:, 1])
    angle = np.arctan2(across, -away[:, 2])
    radius = float(np.linalg.norm(among - behind, axis=1).mean())
    flat: Doubles = away[:, :2] * (radius * angle / np.maximum(across, 1e-9))[:, None]
    return flat


def _areas(corners: Doubles, triangles: npt.NDArray[np.int32]) -> Doubles:
    """Twice the signed areas ``[F]`` of triangles in the plane."""
    a, b, c = (corners[triangles[:, corner]] for corner in range(3))
    return (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])


def smoothing_spline(points: Doubles, values: Doubles, stiffness: Doubles, side: int) -> Doubles:
    """The smoothing thin-plate spline near values at points, on a grid.

    Args:
        points: ``[N, 2]`` in cells: the middle of the first cell is 0.
        values: ``[N, 2]``.
        stiffness: ``[N]`` how little the spline needs to reach each, in square cells; 0 is exact.
        side: Cells along a side of the grid.

    Returns:
        ``[side, side, 2]``.
    """
    count = len(points)
    system = np.zeros((count + 3, count + 3))
    apart = np.square(points[:, None] - points[None]).sum(-1)
    system[:count, :count] = 0.5 * apart * np.log(np.maximum(apart, 1e-12))
    system[range(count), range(count)] = stiffness
    system[:count, count], system[:count, count + 1 :] = 1.0, points
    system[count:, :count] = system[:count, count:].T
    # Points on one line leave a slope open; it becomes 0.
    system[range(count, count + 3), range(count, count + 3)] = -1e-9
    weights = np.linalg.solve(system, np.concatenate([values, np.zeros((3, values.shape[1]))]))
    grid = np.empty((side, side, values.shape[1]), np.float32)
    _evaluate(points.astype(np.float32), weights.astype(np.float32), grid)
    return grid.astype(np.float64)


@kernel
def _evaluate(points: np.ndarray, weights: np.ndarray, grid: np.ndarray) -> None:
    """Fill ``grid`` (S, S, 2) with the spline of ``weights`` (N + 3, 2) at ``points`` (N, 2)."""
    count, half = points.shape[0], np.float32(0.5)
    for row in range(grid.shape[0]):
        for column in range(grid.shape[1]):
            x, y = np.float32(column), np.float32(row)
            first = weights[count, 0] + weights[count + 1, 0] * x + weights[count + 2, 0] * y
            second = weights[count, 1] + weights[count + 1, 1] * x + weights[count + 2, 1] * y
            for number in range(count):
                dx, dy = points[number, 0] - x, points[number, 1] - y
                apart = max(dx * dx + dy * dy, np.float32(1e-12))
                bent = half * apart * np.log(apart)
                first += bent * weights[number, 0]
                second += bent * weights[number, 1]
            grid[row, column, 0] = first
            grid[row, column, 1] = second


def _frequencies() -> Tensor:
    """``[DIRECTIONS LENGTHS, 2]`` frequencies in radians a millimetre, spread as those of a Gaussian bell are."""
    # Quantiles of the length of a two-dimensional normal vector, at the middles of equal shares.
    lengths = np.sqrt(-2.0 * np.log1p(-(np.arange(LENGTHS) + 0.5) / LENGTHS))
    lengths *= math.sqrt(2.0 / np.square(lengths).mean())
    turns = (np.arange(DIRECTIONS)[None] + np.arange(LENGTHS)[:, None] / LENGTHS) * math.pi / DIRECTIONS
    waves = lengths[:, None, None] * np.stack([np.cos(turns), np.sin(turns)], -1)
    return torch.from_numpy(waves.reshape(-1, 2) / BELL)


_WAVES = _frequencies()


def embed(places: Tensor) -> Tensor:
    """Unit vectors ``[..., C]`` of places ``[..., 2]`` on the flattened surface, millimetres; float32.

    Near each other, places at a distance d have the cosine ``exp(-d^2 / (2 BELL^2))``.
    """
    phase = places.double() @ _WAVES.T
    return (torch.cat([phase.cos(), phase.sin()], -1) / math.sqrt(len(_WAVES))).float()
