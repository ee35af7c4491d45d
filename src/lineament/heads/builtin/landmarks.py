"""Where the 68 landmarks lie on the built-in mesh: points of triangles, or of the contours of lids, lips and jaw."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lineament.faces.schemes import scheme
from lineament.heads.builtin.half import FullMesh, Index
from lineament.heads.builtin.template import LANDMARKS68
from lineament.heads.jaw import JawCurves, jaw_curves
from lineament.heads.model import Part

Array = npt.NDArray[np.float64]

_LAYOUT = scheme("68")
# Landmarks of the half x >= 0, the image's right: on the skin, around the eye, and along the lips with the half of the
# contour they lie on.
_FRONT = [
    *_LAYOUT.contour("right_brow"),
    *_LAYOUT.contour("nose_bridge"),
    *_LAYOUT.contour("nose_base")[len(_LAYOUT.contour("nose_base")) // 2 :],
]
_EYE = _LAYOUT.contour("right_eye")
_UPPER_OUTER, _LOWER_OUTER = _LAYOUT.contour("outer_lip")[3:7], _LAYOUT.contour("outer_lip")[7:10]
_UPPER_INNER, _LOWER_INNER = _LAYOUT.contour("inner_lip")[2:5], _LAYOUT.contour("inner_lip")[5:7]
_PLACED = [*_FRONT, *_EYE, *_UPPER_OUTER, *_LOWER_OUTER, *_UPPER_INNER, *_LOWER_INNER]
# (landmark of the half x >= 0, its mirror image)
_MIRRORED = [(index, _LAYOUT.mirror[index]) for index in _PLACED if _LAYOUT.mirror[index] != index]
# The root of the nose lies at the height of the eyes' line; the albedo's template begins the bridge above it.
_BRIDGE_Y = {27: -4.5, 28: 8.0, 29: 20.5}


def place_landmarks(mesh: FullMesh) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32], JawCurves]:
    """Vertices and weights ``[68, 3]`` of the landmarks, symmetric about the middle plane, and the jaw's curves."""
    ids, weights = np.zeros((len(_LAYOUT), 3), np.int64), np.zeros((len(_LAYOUT), 3))
    template = LANDMARKS68.astype(np.float64)
    half_skin = mesh.faces[(mesh.part == Part.SKIN) & (mesh.faces.max(axis=1) < mesh.half_count)]
    template[list(_BRIDGE_Y), 1] = list(_BRIDGE_Y.values())
    for landmark in _FRONT:
        ids[landmark], weights[landmark] = _on_triangle(mesh, half_skin, template[landmark])
    margin = mesh.groups["lid_ring_0"]
    ids[_EYE], weights[_EYE] = _on_contour(mesh, np.append(margin, margin[0]), template[_EYE])
    for name, upper, lower in (("lip_6", _UPPER_OUTER, _LOWER_OUTER), ("lip_0", _UPPER_INNER, _LOWER_INNER)):
        ring = mesh.groups[name]
        middle = len(ring) // 2
        ids[upper], weights[upper] = _on_contour(mesh, ring[: middle + 1], template[upper])
        ids[lower], weights[lower] = _on_contour(mesh, ring[middle:], template[lower])
    for given, image in _MIRRORED:
        ids[image], weights[image] = mesh.mirror[ids[given]], weights[given]
    corners = np.einsum("knc,kn->kc", mesh.points[ids], weights)[_LAYOUT.ocular_points()]
    neutral = mesh.points.astype(np.float32)
    jaw = jaw_curves(neutral, mesh.faces.astype(np.int32), mesh.part == Part.SKIN, corners)
    outline = _LAYOUT.contour("jaw")
    ids[outline], weights[outline] = jaw.fixed_places()
    return ids.astype(np.int32), weights.astype(np.float32), jaw


def _on_triangle(mesh: FullMesh, faces: Index, point: Array) -> tuple[Index, Array]:
    """The triangle in front of or behind a point, the nearest to it in depth, and the weights of its corners."""
    corners = mesh.points[faces][..., :2]  # [F, 3, 2]
    target = point[:2]
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    u, v, w = b - a, c - a, target - a
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    area = np.where(np.abs(area) < 1e-9, 1e-9, area)
    second = (w[:, 0] * v[:, 1] - w[:, 1] * v[:, 0]) / area
    third = (u[:, 0] * w[:, 1] - u[:, 1] * w[:, 0]) / area
    shares = np.stack([1 - second - third, second, third], axis=1)
    outside = np.maximum(-shares.min(axis=1), 0.0)
    depth = np.abs((shares * mesh.points[faces][..., 2]).sum(axis=1) - point[2])
    best = int(np.argmin(np.where(outside < 1e-6, depth, 1e3 + 1e3 * outside)))
    clipped = np.maximum(shares[best], 0.0)
    return faces[best], clipped / clipped.sum()


def _on_contour(mesh: FullMesh, line: Index, points: Array) -> tuple[Index, Array]:
    """The nearest places on a polyline of vertices, seen from the front: ``[N, 3]`` vertices and weights."""
    start, end = mesh.points[line[:-1], :2], mesh.points[line[1:], :2]
    step = end - start
    relative = points[:, None, :2] - start
    along = np.clip((relative * step).sum(-1) / np.maximum((step**2).sum(-1), 1e-12), 0.0, 1.0)
    best = np.linalg.norm(relative - along[..., None] * step, axis=-1).argmin(axis=1)
    share = along[np.arange(len(points)), best]
    zero = np.zeros(len(points))
    return np.stack([line[best], line[best + 1], line[best]], axis=1), np.stack(
        [1 - share, share, zero], axis=1
    )
