"""A mesh under construction: the half x >= 0 of the head, collected patch by patch and mirrored at the end."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lineament.heads.model import Part

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]


@dataclass
class HalfMesh:
    """Vertices, texture coordinates and faces of the half x >= 0, with named groups of vertices.

    Attributes:
        points: Blocks of ``[n, 3]`` positions.
        chart: Blocks of ``[n, 2]`` texture coordinates of the same vertices.
        faces: Blocks of ``[m, 3]`` vertex indices.
        parts: The part of each block of faces.
        groups: Vertex indices by name, for the expressions and landmarks.
    """

    points: list[Array] = field(default_factory=list)
    chart: list[Array] = field(default_factory=list)
    faces: list[Index] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    groups: dict[str, Index] = field(default_factory=dict)
    count: int = 0

    def add(self, points: Array, chart: Array, group: str | None = None) -> Index:
        """Append ``[n, 3]`` vertices with ``[n, 2]`` texture coordinates; returns their indices ``[n]``."""
        ids = np.arange(self.count, self.count + len(points))
        self.points.append(np.asarray(points, np.float64))
        self.chart.append(np.asarray(chart, np.float64))
        self.count += len(points)
        if group is not None:
            self.groups[group] = np.concatenate([self.groups.get(group, np.zeros(0, np.int64)), ids])
        return ids

    def add_faces(self, faces: Index, part: Part) -> None:
        """Append ``[m, 3]`` faces of one part; winding as in ``HeadModel.faces``."""
        self.faces.append(np.asarray(faces, np.int64).reshape(-1, 3))
        self.parts.append(part)

    def add_strip(self, first: Index, second: Index, part: Part, closed: bool = False) -> None:
        """Join two rows of equally many vertices by triangles whose normal is (along the row) x (first to second)."""
        rolled = slice(None) if closed else slice(None, -1)
        a, b = first[rolled], np.roll(first, -1)[rolled]
        c, d = second[rolled], np.roll(second, -1)[rolled]
        faces = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])
        distinct = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
        self.add_faces(faces[distinct], part)


def rectangle_chart(rows: int, columns: int, place: tuple[float, float, float, float]) -> Array:
    """``[rows * columns, 2]`` texture coordinates of a grid in the rectangle ``u0, v0, u1, v1``."""
    v, u = np.meshgrid(
        np.linspace(place[1], place[3], rows), np.linspace(place[0], place[2], columns), indexing="ij"
    )
    return np.stack([u.ravel(), v.ravel()], axis=1)


@dataclass(frozen=True)
class FullMesh:
    """The mirrored mesh; vertices of the half come first, then the copies of those off the middle plane.

    Attributes:
        points: ``[V, 3]`` positions in millimetres.
        uv: ``[V, 2]`` texture coordinates.
        faces: ``[F, 3]`` vertex indices.
        part: ``[F]`` part of each face.
        mirror: ``[V]`` the index of each vertex's mirror image.
        half_count: Number of vertices of the half.
        groups: Vertex indices of the half by name; their mirror images are ``mirror[groups[name]]``.
    """

    points: Array
    uv: Array
    faces: Index
    part: npt.NDArray[np.uint8]
    mirror: Index
    half_count: int
    groups: dict[str, Index]


def mirror_half(half: HalfMesh) -> FullMesh:
    """Mirror the half at x = 0; vertices with x exactly 0 are shared by both sides."""
    points, chart = np.concatenate(half.points), np.concatenate(half.chart)
    count = len(points)
    off_middle = np.flatnonzero(points[:, 0] != 0.0)
    partner = np.arange(count)
    partner[off_middle] = count + np.arange(len(off_middle))
    faces, other = np.concatenate(half.faces), partner[np.concatenate(half.faces)][:, ::-1]
    part = np.concatenate([np.full(len(f), p, np.uint8) for f, p in zip(half.faces, half.parts, strict=True)])
    other_part = np.where(part == Part.EYE_LEFT, Part.EYE_RIGHT, part).astype(np.uint8)
    return FullMesh(
        points=np.concatenate([points, points[off_middle] * [-1.0, 1.0, 1.0]]),
        uv=np.concatenate([chart, chart[off_middle] * [-1.0, 1.0] + [1.0, 0.0]]),
        faces=np.concatenate([faces, other]),
        part=np.concatenate([part, other_part]),
        mirror=np.concatenate([partner, off_middle]),
        half_count=count,
        groups=half.groups,
    )
