"""Per-vertex normals, ambient occlusion and shadow maps of a triangle mesh, all in plain compiled loops."""

from __future__ import annotations

import numba
import numpy as np

from lineament.heads.model import Floats, Ints
from lineament.heads.normals import vertex_normals
from lineament.ops.numba_cpu.rasterize import rasterize_band


@numba.njit(cache=True, nogil=True)
def front_faces(
    pixels: np.ndarray, faces: np.ndarray, two_sided: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """Ids of the ``wanted`` faces that turn their outside to the camera or have none; ``pixels`` ``[V, 3]``."""
    kept = np.empty(faces.shape[0], np.int32)
    count = 0
    for face in range(faces.shape[0]):
        if not wanted[face]:
            continue
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        area = (pixels[b, 0] - pixels[a, 0]) * (pixels[c, 1] - pixels[a, 1]) - (
            pixels[b, 1] - pixels[a, 1]
        ) * (pixels[c, 0] - pixels[a, 0])
        # (b - a) x (c - a) points to the outside; seen from there its z is negative.
        if area < 0 or two_sided[face]:
            kept[count] = face
            count += 1
    return kept[:count]


def depth_buffer(pixels: Floats, faces: Ints, height: int, width: int) -> tuple[Ints, Floats]:
    """Rasterise one view: ``[H, W]`` face ids (-1 empty) and ``[H, W]`` depth (0 or infinite where empty)."""
    index = np.empty((1, height, width), np.int32)
    depth = np.empty((1, height, width), np.float32)
    rasterize_band(pixels[None], faces[None], index, depth, 0, 0, height, 0, len(faces))
    return index[0], depth[0]


def sun_view(points: Floats, direction: Floats, size: int, reach: float) -> Floats:
    """Project points along a light: ``[V, 3]`` x and y in shadow-map pixels, z the (positive) depth in millimetres.

    Args:
        points: ``[V, 3]`` in millimetres.
        direction: ``[3]`` unit vector towards the light.
        size: Side of the shadow map in pixels.
        reach: Millimetres from the points' middle to the border of the map.
    """
    forward = -direction
    x, y, z = forward
    side = np.array([-z, 0.0, x]) if abs(y) < 0.9 else np.array([0.0, z, -y])
    side /= np.sqrt(side @ side)
    axes = np.stack([side, _cross(forward, side), forward]).astype(np.float32)
    local = points @ axes.T
    half = 0.5 * (size - 1)
    local[:, :2] = local[:, :2] * np.float32(half / reach) + np.float32(half)
    local[:, 2] += np.float32(4 * reach)
    return np.ascontiguousarray(local, dtype=np.float32)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def ambient_occlusion(vertices: Floats, faces: Ints, directions: int = 96, size: int = 160) -> Floats:
    """Share of the cosine-weighted sky that each vertex sees past the rest of the mesh.

    Args:
        vertices: ``[V, 3]`` millimetres.
        faces: ``[F, 3]``.
        directions: Number of parallel lights, spread evenly over the sphere.
        size: Side of each light's depth map in pixels.

    Returns:
        ``[V]`` 0 (buried) .. 1 (open).
    """
    normals = vertex_normals(vertices, faces)
    seen = np.zeros(len(vertices), np.float64)
    total = np.full(len(vertices), 1e-9)
    middle = 0.5 * (vertices.min(axis=0) + vertices.max(axis=0))
    reach = float(np.linalg.norm(vertices - middle, axis=1).max()) * 1.02
    bias = 2.5 * 2 * reach / size
    for number in range(directions):
        height = 1 - 2 * (number + 0.5) / directions
        turn = number * np.pi * (3 - np.sqrt(5))
        radius = np.sqrt(1 - height * height)
        light = np.array([radius * np.cos(turn), height, radius * np.sin(turn)])
        cosine = np.maximum(normals @ light.astype(np.float32), 0)
        local = sun_view((vertices - middle).astype(np.float32), light, size, reach)
        _, depth = depth_buffer(local, faces, size, size)
        x = np.clip(np.rint(local[:, 0]).astype(int), 0, size - 1)
        y = np.clip(np.rint(local[:, 1]).astype(int), 0, size - 1)
        front = depth[y, x]
        lit = (front == 0) | ~np.isfinite(front) | (local[:, 2] < front + bias)
        seen += cosine * lit
        total += cosine
    return (seen / total).astype(np.float32)
