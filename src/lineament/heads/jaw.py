"""The jaw of scheme 68: fixed places on the skin, and the visible contour they slide to as the head turns.

People who annotate a photo put the 17 jaw points on the outline of the face that they see (Sagonas et al., "300
Faces In-The-Wild Challenge", Image and Vision Computing 2016). On the side that is turned away this is the edge of the
cheek, not a fixed place of the skin. So each jaw point gets a curve on the mesh, from its fixed place (scheme
``68-3d``) towards the front of the face: in a view the point lies where the curve turns out of sight (scheme ``68``);
where its fixed place faces the camera it stays there.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from lineament.errors import DataError
from lineament.heads.normals import vertex_normals

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Array = npt.NDArray[np.float64]

POINTS = 17
NOD = math.radians(9.0)
"""Pitch of a face that looks into the camera: seen so, the points lie evenly along the outline."""
CENTRE = (0.0, 40.0)
"""Where the curves of the neutral face come from, x and y in the nodding view, millimetres: below the nose."""
# Half axes of the ellipse about the centre at which the curves end: on the cheeks, below the lower lip.
_INNER = (30.0, 56.0)
# The first point lies this share of the distance of the outer eye corners below their line.
_START = 0.02
# Cosine between the line of sight and the normal from which on the skin of the frontal face counts as its edge: almost
# edge-on at the sides, sooner under the chin, whose lower side may turn away slowly.
_EDGE_SIDE, _EDGE_CHIN = -0.05, -0.33
_FAN = 40


class JawCurves(NamedTuple):
    """The curves of the 17 jaw points.

    Attributes:
        ids: ``[17, S, 2]`` the vertices between which each sample of a curve lies; the first sample is the fixed place.
        weights: ``[17, S, 2]`` their weights.
        outward: ``[17, 2]`` direction of each curve from the middle of the upright face, in the image.
    """

    ids: Ints
    weights: Floats
    outward: Floats

    def fixed_places(self) -> tuple[Ints, Floats]:
        """Vertices and weights ``[17, 3]`` of the fixed places; the third weight is zero."""
        ids = self.ids[:, 0][:, [0, 1, 0]]
        return ids, np.concatenate([self.weights[:, 0], np.zeros((len(ids), 1), np.float32)], axis=1)


class _Slice(NamedTuple):
    """A walk over the skin along one direction, from the front outwards."""

    edges: npt.NDArray[np.int64]  # [S, 2]
    shares: Array  # [S] of the second vertex


def jaw_curves(neutral: Floats, faces: Ints, skin: npt.NDArray[np.bool_], corners: Array) -> JawCurves:
    """Trace the curves on a neutral head that is symmetric about x = 0.

    The fixed places are where the skin of the frontal face is about to turn out of sight. In the view with the natural
    nod the 17 points lie at equal distances along this edge, from the height of the eyes to the chin.

    Args:
        neutral: ``[V, 3]`` millimetres in the head frame.
        faces: ``[F, 3]``; (b - a) x (c - a) points out of the surface.
        skin: ``[F]`` which of them may carry the points: skin without the ears.
        corners: ``[2, 3]`` the outer corners of the eyes.

    Raises:
        DataError: If the skin has no outline there.
    """
    tracer = _Tracer(neutral.astype(np.float64), faces, vertex_normals(neutral, faces), skin)
    eyes = (np.asarray(corners, np.float64) @ tracer.nod.T)[:, 1].mean()
    start = eyes + _START * float(np.linalg.norm(corners[0] - corners[1])) - CENTRE[1]
    # From above the height of the eyes at the image left, turning over the left to straight down.
    angles = np.linspace(math.pi + 0.55, math.pi / 2, _FAN)
    rim = np.array([tracer.rim(angle) for angle in angles])  # [_FAN, 2] from the centre
    first = int(np.argmax(rim[:, 1] >= start))
    if first == 0:
        raise DataError("the head has no outline at the height of its eyes: its skin ends too early.")
    share = (start - rim[first - 1, 1]) / (rim[first, 1] - rim[first - 1, 1])
    rim = np.concatenate([rim[first - 1 : first] + share * (rim[first] - rim[first - 1]), rim[first:]])
    length = np.concatenate([[0.0], np.linalg.norm(np.diff(rim, axis=0), axis=1).cumsum()])
    even = np.linspace(0.0, length[-1], POINTS // 2 + 1)
    places = np.stack([np.interp(even, length, rim[:, axis]) for axis in (0, 1)], axis=1)
    half = [tracer.curve(math.atan2(y, x) % (2 * math.pi)) for x, y in places]
    samples = max(len(curve.shares) for curve in half)
    ids = np.stack([_padded(curve.edges, samples) for curve in half])
    second = np.stack([_padded(curve.shares, samples) for curve in half])
    mirrored = mirror_vertices(neutral, ids[:-1])[::-1]
    second = np.concatenate([second, second[:-1][::-1]])
    outward = places / np.linalg.norm(places, axis=1, keepdims=True)
    return JawCurves(
        np.concatenate([ids, mirrored]).astype(np.int32),
        np.stack([1 - second, second], axis=-1).astype(np.float32),
        np.concatenate([outward, outward[:-1][::-1] * [-1, 1]]).astype(np.float32),
    )


def mirror_vertices(neutral: Floats, ids: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """The vertices nearest to the mirror images of ``ids`` about the plane x = 0; the shape of ``ids``."""
    wanted = neutral[ids].astype(np.float64) * [-1.0, 1.0, 1.0]
    found: npt.NDArray[np.int64] = cKDTree(neutral).query(wanted)[1]
    return found


def visible_jaw(
    curves: JawCurves, vertices: npt.NDArray, normals: npt.NDArray, perspective: bool = True
) -> npt.NDArray:
    """The jaw points of one face as its outline shows them.

    Args:
        curves: Of the head.
        vertices: ``[V, 3]`` in the camera frame: x right, y down, z away from the camera.
        normals: ``[V, 3]`` unit normals that point out of the surface, in the same frame.
        perspective: Whether the camera is at the origin; else it looks along z from far away.

    Returns:
        ``[17, 3]`` points in the frame and type of the vertices.
    """
    points = np.einsum("ksnc,ksn->ksc", vertices[curves.ids], curves.weights)
    facing = np.einsum("ksnc,ksn->ksc", normals[curves.ids], curves.weights)
    away = (facing * points).sum(-1) if perspective else facing[..., 2]
    seen = points[..., :2] / points[..., 2:] if perspective else points[..., :2]
    step, share = visible_places(curves.outward, seen, away)
    rows, after = np.arange(len(step)), np.minimum(step + 1, away.shape[1] - 1)
    placed = (1 - share)[:, None] * points[rows, step] + share[:, None] * points[rows, after]
    return placed.astype(vertices.dtype)


def visible_places(
    outward: npt.NDArray, seen: npt.NDArray, away: npt.NDArray
) -> tuple[npt.NDArray[np.int64], npt.NDArray]:
    """Where along each curve its point is seen.

    Of the places where a curve turns from out of sight into sight, and of its fixed place where that faces the camera,
    the point takes the one farthest outwards in the image.

    Args:
        outward: ``[17, 2]`` as in :class:`JawCurves`.
        seen: ``[17, S, 2]`` xy of the samples in the image.
        away: ``[17, S]`` positive where the skin faces away from the camera.

    Returns:
        ``[17]`` sample before the place, ``[17]`` share of the way to the next sample.
    """
    down = seen[POINTS // 2, 0] - (seen[0, 0] + seen[-1, 0]) / 2
    down = down / max(float(np.linalg.norm(down)), 1e-12)
    right = np.array([down[1], -down[0]])
    direction = outward[:, :1] * right + outward[:, 1:] * down  # [17, 2]
    turning = (away[:, :-1] > 0) & (away[:, 1:] <= 0)
    share = np.where(turning, away[:, :-1] / np.where(turning, away[:, :-1] - away[:, 1:], 1.0), 0.0)
    out = (seen * direction[:, None]).sum(-1)
    reach = np.where(turning, (1 - share) * out[:, :-1] + share * out[:, 1:], -np.inf)
    step = reach.argmax(axis=1)
    rows = np.arange(len(step))
    best = reach[rows, step]
    fixed = (away[:, 0] <= 0) & (out[:, 0] >= best)
    hidden = ~fixed & ~np.isfinite(best)
    step = np.where(fixed, 0, np.where(hidden, away.shape[1] - 1, step))
    return step, np.where(fixed | hidden, 0.0, share[rows, step.clip(max=share.shape[1] - 1)])


def _padded(values: npt.NDArray, count: int) -> npt.NDArray:
    return np.concatenate([values, np.repeat(values[-1:], count - len(values), axis=0)])


def _edge(angle: float) -> float:
    return _EDGE_SIDE + (_EDGE_CHIN - _EDGE_SIDE) * max(math.sin(angle), 0.0) ** 2


class _Tracer:
    """Walks over the skin of a neutral head from the front of the face outwards."""

    def __init__(self, neutral: Array, faces: Ints, normals: Floats, skin: npt.NDArray[np.bool_]) -> None:
        cosine, sine = math.cos(NOD), math.sin(NOD)
        self.nod = np.array([[1.0, 0.0, 0.0], [0.0, cosine, -sine], [0.0, sine, cosine]])
        self.faces = faces[skin].astype(np.int64)
        self.points = neutral @ self.nod.T - [*CENTRE, 0.0]
        # Facing away is positive: the camera looks along z.
        self.away = normals[:, 2].astype(np.float64)

    def rim(self, angle: float) -> Array:
        """Where the edge of the face lies in a direction of the nodding view, ``[2]`` from the centre."""
        return self._end(angle, self._walk(angle))[1]

    def curve(self, angle: float) -> _Slice:
        """The curve in a direction, from the fixed place to the front."""
        walk = self._walk(angle)
        stop = self._end(angle, walk)[0] + 1
        return _Slice(walk.edges[:stop][::-1], walk.shares[:stop][::-1])

    def _end(self, angle: float, walk: _Slice) -> tuple[int, Array]:
        """The crossing nearest to the edge of the face at the end of a walk, and where the edge lies between two."""
        values, places = self._along(walk, self.away), self._along(walk, self.points[:, :2])
        edge = _edge(angle)
        if len(values) < 2 or values[-1] <= edge:
            return len(values) - 1, places[-1]
        share = (edge - values[-2]) / (values[-1] - values[-2])
        place = (1 - share) * places[-2] + share * places[-1]
        return len(values) - (1 if share > 0.5 else 2), place

    @staticmethod
    def _along(walk: _Slice, values: Array) -> Array:
        first, second = values[walk.edges[:, 0]], values[walk.edges[:, 1]]
        shares = walk.shares if values.ndim == 1 else walk.shares[:, None]
        mixed: Array = (1 - shares) * first + shares * second
        return mixed

    def _walk(self, angle: float) -> _Slice:
        """Crossings of mesh edges with the half plane of a direction, up to the first beyond the edge of the face."""
        cosine, sine = math.cos(angle), math.sin(angle)
        # A hair beside the plane, so that no vertex of a symmetric mesh lies in it.
        side = self.points[:, 0] * -sine + self.points[:, 1] * cosine + 1e-5
        out = self.points[:, 0] * cosine + self.points[:, 1] * sine
        above = side[self.faces] > 0
        crossed = self.faces[above.any(axis=1) & ~above.all(axis=1)]
        neighbours: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for a, b, c in crossed.tolist():
            cut = [
                (min(p, q), max(p, q)) for p, q in ((a, b), (b, c), (c, a)) if (side[p] > 0) != (side[q] > 0)
            ]
            neighbours.setdefault(cut[0], []).append(cut[1])
            neighbours.setdefault(cut[1], []).append(cut[0])
        edges = np.array(sorted(neighbours))
        if not len(edges):
            raise DataError("the head has no skin around the face: its jaw cannot be traced.")
        whole = _Slice(edges, side[edges[:, 0]] / (side[edges[:, 0]] - side[edges[:, 1]]))
        reach, depth = self._along(whole, out), self._along(whole, self.points[:, 2])
        away = self._along(whole, self.away)
        edge, inner = _edge(angle), 1 / math.hypot(cosine / _INNER[0], sine / _INNER[1])
        # The front of the face is where the curve begins: the layer nearest to the camera.
        start = int(
            np.argmin(np.where(reach > 0, np.abs(reach - inner) + 0.3 * (depth - depth.min()), np.inf))
        )
        here = tuple(edges[start].tolist())
        place = {edge: number for number, edge in enumerate(map(tuple, edges.tolist()))}
        path, seen = [place[here]], {here}
        while True:
            ahead = [edge for edge in neighbours[here] if edge not in seen]
            if len(path) == 1:
                ahead = [edge for edge in ahead if reach[place[edge]] > reach[path[0]]] or ahead
            if not ahead:
                break
            here = ahead[0]
            seen.add(here)
            path.append(place[here])
            if away[path[-1]] > edge and reach[path[-1]] > 1.3 * inner:
                break
        return _Slice(edges[path], whole.shares[path])
