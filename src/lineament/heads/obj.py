"""Reads triangles, texture coordinates and materials of Wavefront OBJ files."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lineament.errors import DataError
from lineament.heads.model import Floats, Ints


@dataclass(frozen=True)
class ObjMesh:
    """One OBJ file, its polygons split into triangle fans.

    Attributes:
        vertices: ``[V, 3]`` positions in the file's own units.
        uv: ``[T, 2]`` texture coordinates, ``[1, 2]`` zeros when the file has none.
        faces: ``[F, 3]`` vertex indices from 0.
        faces_uv: ``[F, 3]`` indices into ``uv``.
        face_material: ``[F]`` indices into ``materials``.
        materials: Names given by ``usemtl``; ``""`` for faces before the first.
    """

    vertices: Floats
    uv: Floats
    faces: Ints
    faces_uv: Ints
    face_material: Ints
    materials: tuple[str, ...]


def read_obj(path: Path) -> ObjMesh:
    """Read a whole OBJ file; raises ``DataError`` naming the line that cannot be used."""
    vertices: list[list[str]] = []
    uv: list[list[str]] = []
    faces: list[tuple[int, int, int]] = []
    faces_uv: list[tuple[int, int, int]] = []
    face_material: list[int] = []
    materials: dict[str, int] = {}
    current = ""
    number = 0
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                number += 1
                words = line.split()
                if not words:
                    continue
                if words[0] == "v":
                    vertices.append(words[1:4])
                elif words[0] == "vt":
                    uv.append(words[1:3])
                elif words[0] == "usemtl":
                    current = " ".join(words[1:])
                elif words[0] == "f":
                    corners = [_corner(word, len(vertices), len(uv)) for word in words[1:]]
                    for second, third in itertools.pairwise(corners[1:]):
                        faces.append((corners[0][0], second[0], third[0]))
                        faces_uv.append((corners[0][1], second[1], third[1]))
                        face_material.append(materials.setdefault(current, len(materials)))
        number = 0
        points = np.array(vertices, np.float32).reshape(-1, 3)
        texture = np.array(uv, np.float32).reshape(-1, 2) if uv else np.zeros((1, 2), np.float32)
    except (ValueError, IndexError) as error:
        where = f", line {number}" if number else ""
        raise DataError(f"cannot read the mesh {path}{where}: {error}.") from error
    except OSError as error:
        raise DataError(f"cannot read the mesh {path}: {error.strerror}.") from error
    if not len(points) or not faces:
        raise DataError(
            f"the mesh {path} has {len(points)} vertices and {len(faces)} faces: it cannot be used."
        )
    indices = np.array(faces, np.int32)
    if indices.min() < 0 or indices.max() >= len(points):
        raise DataError(f"the mesh {path} refers to vertex {int(indices.max()) + 1} of {len(points)}.")
    return ObjMesh(
        vertices=points,
        uv=texture,
        faces=indices,
        faces_uv=np.clip(np.array(faces_uv, np.int32), 0, len(texture) - 1),
        face_material=np.array(face_material, np.int32),
        materials=tuple(materials),
    )


def read_obj_vertices(path: Path) -> Floats:
    """Read only the ``v`` lines of an OBJ file: ``[V, 3]``; raises ``DataError`` when one cannot be used."""
    try:
        with path.open("rb") as lines:
            rows = [line.split()[1:4] for line in lines if line.startswith(b"v ")]
        return np.array(rows, dtype=np.float64).astype(np.float32).reshape(-1, 3)
    except ValueError as error:
        raise DataError(f"cannot read the vertices of {path}: {error}.") from error
    except OSError as error:
        raise DataError(f"cannot read the mesh {path}: {error.strerror}.") from error


def _corner(word: str, vertex_count: int, uv_count: int) -> tuple[int, int]:
    """Parse ``v``, ``v/vt``, ``v//vn`` or ``v/vt/vn``; negative indices count from the end."""
    fields = word.split("/")
    vertex = int(fields[0])
    texture = int(fields[1]) if len(fields) > 1 and fields[1] else 1
    vertex = vertex - 1 if vertex > 0 else vertex_count + vertex
    return vertex, texture - 1 if texture > 0 else uv_count + texture
