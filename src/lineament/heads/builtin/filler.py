"""The rest of the skin: points spread by a wanted spacing around the patches, joined by a Delaunay triangulation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import Delaunay, cKDTree

from lineament.heads.builtin.half import HalfMesh, Index
from lineament.heads.builtin.patches import skin_chart
from lineament.heads.builtin.surface import (
    BOTTOM_LEVEL,
    THETA_SCALE,
    TOP_LEVEL,
    frontal_points,
    skin_points,
)
from lineament.heads.model import Part

Array = npt.NDArray[np.float64]

_BACK = THETA_SCALE * np.pi
_TOP_ROW = TOP_LEVEL + 9.0
_CANDIDATES = 30000
CLOTH_LEVEL = 198.0
"""Level of the collar, where clothes begin."""
_NUDGE = np.array([1e-6, 0.0])  # off the middle line, where rings are closed


def spacing(plane: Array) -> Array:
    """Wanted distance between neighbouring vertices at plane coordinates, millimetres."""
    side, level = plane[:, 0], plane[:, 1]
    face = np.hypot(side / 75.0, (level - 30.0) / 110.0)
    wanted = 4.0 + 9.0 * np.clip(face - 0.55, 0.0, 1.0)
    wanted = np.where(level > 118, np.maximum(wanted, 9.0), wanted)
    wanted = np.where(level > 190, 16.0, wanted)
    return np.maximum(wanted, 16.0 * np.clip((-level - 70.0) / 60.0, 0.0, 1.0))


def _nose_points() -> Array:
    """Plane coordinates of a regular grid over the nose, dense enough for its wings and nostrils."""
    columns = [0.0, 1.8, 3.6, 5.4, 7.2, 9.0, 10.8, 12.6, 14.4, 16.0, 17.6, 19.4]
    upper_rows = np.arange(-14.0, 17.0, 3.2)
    lower_rows = np.concatenate([np.arange(17.5, 33.0, 2.2), np.arange(33.6, 47.5, 1.45)])
    xy = [(x, y) for y in upper_rows for x in columns[:6:1]] + [(x, y) for y in lower_rows for x in columns]
    return frontal_points(np.array(xy))[1] * [THETA_SCALE, 1.0]


def _inside(points: Array, polygon: Array) -> npt.NDArray[np.bool_]:
    """Whether each point lies inside a closed polygon (even-odd rule)."""
    ax, ay = polygon[:, 0], polygon[:, 1]
    bx, by = np.roll(ax, -1), np.roll(ay, -1)
    x, y = points[:, :1], points[:, 1:]
    crosses = (ay > y) != (by > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = ax + (y - ay) * (bx - ax) / (by - ay)
    return (np.sum(crosses & (x < at), axis=1) % 2).astype(bool)


def _border_points() -> Array:
    """Points on the edges of the plane: the middle of the face and of the back, the crown, the bottom."""
    points: list[tuple[float, float]] = []
    for side in (0.0, _BACK):
        level = _TOP_ROW
        while level < BOTTOM_LEVEL:
            points.append((side, level))
            level += float(spacing(np.array([[side, level]]))[0])
        points.append((side, BOTTOM_LEVEL))
    collar = [(side, CLOTH_LEVEL) for side in np.linspace(0, _BACK, 40)]
    points = [point for point in points if abs(point[1] - CLOTH_LEVEL) > 5.0] + collar
    points += [(side, _TOP_ROW) for side in np.linspace(0, _BACK, 9)[1:-1]]
    points += [(side, BOTTOM_LEVEL) for side in np.linspace(0, _BACK, 15)[1:-1]]
    return np.array(points)


def _spread(fixed: Array, holes: list[Array]) -> Array:
    """Plane coordinates of filler points: dart throwing with a varying radius, then two rounds of smoothing."""
    generator = np.random.default_rng(7)
    low, high = np.array([0.0, _TOP_ROW]), np.array([_BACK, BOTTOM_LEVEL])
    candidates = low + generator.random((_CANDIDATES, 2)) * (high - low)
    # Thin the candidates where few points are wanted, so that the dense face gets most of them.
    candidates = candidates[generator.random(len(candidates)) < (4.0 / spacing(candidates)) ** 1.2]
    wanted = spacing(candidates)
    alive = cKDTree(fixed).query(candidates)[0] > 0.8 * np.minimum(wanted, 6.0)
    for hole in holes:
        alive &= ~_inside(candidates, hole)
    edge = np.minimum(candidates - low, high - candidates).min(axis=1)
    alive &= edge > 0.6 * wanted
    tree, chosen = cKDTree(candidates), []
    for index in np.lexsort((np.arange(len(candidates)), wanted.round(1))):
        if alive[index]:
            chosen.append(index)
            alive[tree.query_ball_point(candidates[index], 0.86 * wanted[index])] = False
    points = candidates[chosen]
    for _ in range(3):
        points = _smoothed(np.concatenate([fixed, points]), len(fixed))
    return points


def _smoothed(points: Array, fixed_count: int) -> Array:
    """The movable points, each drawn half-way to the mean of its Delaunay neighbours."""
    starts, neighbours = Delaunay(points).vertex_neighbor_vertices
    owner = np.repeat(np.arange(len(points)), np.diff(starts))
    total = np.stack([np.bincount(owner, points[neighbours, axis], len(points)) for axis in range(2)], axis=1)
    mean = total / np.maximum(np.bincount(owner, minlength=len(points)), 1)[:, None]
    return 0.5 * points[fixed_count:] + 0.5 * mean[fixed_count:]


def add_filler(half: HalfMesh, rings: list[tuple[Index, Array]]) -> Array:
    """Add the skin between the patches, the crown, the back of the head, the neck and the shoulders.

    Args:
        half: The mesh under construction.
        rings: Outermost ring of each patch: vertex indices and plane coordinates. A ring that ends on the middle
            line is closed along it.

    Returns:
        ``[n, 2]`` plane coordinates of the added vertices (group ``filler``).
    """
    ring_ids = np.concatenate([ids for ids, _ in rings])
    ring_plane = np.concatenate([plane for _, plane in rings])
    holes = [plane for _, plane in rings]
    border = _border_points()
    nose = _nose_points()
    keep_nose = cKDTree(ring_plane).query(nose)[0] > 1.3
    keep_border = (cKDTree(ring_plane).query(border)[0] > 1.5) & (cKDTree(nose).query(border)[0] > 2.2)
    for hole in holes:
        keep_nose &= ~_inside(nose + _NUDGE, hole)
        keep_border &= ~_inside(border + _NUDGE, hole)
    fixed = np.concatenate([nose[keep_nose], border[keep_border]])
    spread = _spread(np.concatenate([ring_plane, fixed]), holes)
    own = np.concatenate([fixed, spread])
    points = skin_points(own[:, 0] / THETA_SCALE, own[:, 1])
    points[(own[:, 0] <= 0.0) | (own[:, 0] >= _BACK), 0] = 0.0
    ids = half.add(points, skin_chart(own), "filler")

    plane, all_ids = np.concatenate([ring_plane, own]), np.concatenate([ring_ids, ids])
    triangles = Delaunay(plane).simplices
    centres = plane[triangles].mean(axis=1)
    for hole in holes:
        outside = ~_inside(centres, hole)
        triangles, centres = triangles[outside], centres[outside]
    a, b, c = (plane[triangles[:, corner]] for corner in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    triangles = np.where((area > 0)[:, None], triangles[:, ::-1], triangles)[np.abs(area) > 1e-6]
    is_cloth = plane[triangles].mean(axis=1)[:, 1] > CLOTH_LEVEL
    half.add_faces(all_ids[triangles[~is_cloth]], Part.SKIN)
    half.add_faces(all_ids[triangles[is_cloth]], Part.CLOTH)
    _close_crown(half, ids, own)
    return own


def _close_crown(half: HalfMesh, ids: Index, plane: Array) -> None:
    """Join the top row of the skin to one vertex on the crown."""
    top = np.flatnonzero(plane[:, 1] <= _TOP_ROW)
    row = ids[top[np.argsort(plane[top, 0])]]
    pole = skin_points(np.zeros(1), np.full(1, TOP_LEVEL))
    pole[:, 0] = 0.0
    crown = half.add(pole, skin_chart(np.array([[0.5 * _BACK, TOP_LEVEL]])), "crown")
    half.add_faces(np.stack([row[1:], np.full(len(row) - 1, crown[0]), row[:-1]], axis=1), Part.SKIN)
