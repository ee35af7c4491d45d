"""Eyeballs for a face mesh that comes without: two spheres that follow the corners of the eyes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lineament.faces.schemes import scheme
from lineament.heads.builtin.template import EYE_RADIUS
from lineament.heads.model import Floats, Ints, Part


@dataclass
class Eyeballs:
    """A linear face mesh (head frame, mm) to which eyeballs may be added; fields as in :class:`HeadModel`."""

    neutral: Floats
    identity: Floats
    expression: Floats
    faces: Ints
    uv: Floats
    faces_uv: Ints
    part: np.ndarray


def sphere_centre(points: Floats) -> np.ndarray:
    """Least-squares centre ``[3]`` of a sphere through ``points`` ``[N, 3]`` (linear in centre and squared radius)."""
    system = np.concatenate([2.0 * points, np.ones((len(points), 1))], axis=1).astype(np.float64)
    solution, *_ = np.linalg.lstsq(system, (points.astype(np.float64) ** 2).sum(axis=1), rcond=None)
    return solution[:3]


def with_eyeballs(mesh: Eyeballs, landmarks: Ints, rings: int = 14, sectors: int = 24) -> Eyeballs:
    """Add two front-facing spheres behind the lids.

    Args:
        mesh: The face; left as it is.
        landmarks: ``[68]`` vertex ids.
        rings: Circles of latitude about the optical axis.
        sectors: Vertices on each circle.

    Returns:
        The mesh with the eyeballs' vertices at the end; each follows its eye's two corners under identity modes
        and stays still under expressions.
    """
    sphere, faces = _sphere(rings, sectors)
    blocks = {name: [getattr(mesh, name)] for name in ("neutral", "identity", "expression", "uv")}
    all_faces, all_faces_uv, parts = [mesh.faces], [mesh.faces_uv], [mesh.part]
    vertex_count, uv_count = len(mesh.neutral), len(mesh.uv)
    layout = scheme("68")
    # Part names count the person's sides, contours those of the image.
    for eye, part in (("right_eye", Part.EYE_LEFT), ("left_eye", Part.EYE_RIGHT)):
        contour = landmarks[layout.contour(eye)]
        corners = contour[[0, 3]]
        front = mesh.neutral[contour]
        # The lids hug the ball: their middle lies on it, just behind the foremost lid point.
        centre = front.mean(axis=0)
        centre[2] = front[:, 2].min() + 0.5 + EYE_RADIUS
        blocks["neutral"].append((centre + EYE_RADIUS * sphere).astype(np.float32))
        follow = mesh.identity[:, corners].mean(axis=1, keepdims=True)
        blocks["identity"].append(np.repeat(follow, len(sphere), axis=1))
        blocks["expression"].append(np.zeros((len(mesh.expression), len(sphere), 3), np.float32))
        side = 0.0 if part == Part.EYE_LEFT else 0.05
        blocks["uv"].append((np.array([0.9 + side, 0.95]) + 0.02 * sphere[:, :2]).astype(np.float32))
        all_faces.append(faces + vertex_count)
        all_faces_uv.append(faces + uv_count)
        parts.append(np.full(len(faces), part, np.uint8))
        vertex_count += len(sphere)
        uv_count += len(sphere)
    return Eyeballs(
        neutral=np.concatenate(blocks["neutral"]),
        identity=np.concatenate(blocks["identity"], axis=1),
        expression=np.concatenate(blocks["expression"], axis=1),
        faces=np.concatenate(all_faces).astype(np.int32),
        uv=np.concatenate(blocks["uv"]),
        faces_uv=np.concatenate(all_faces_uv).astype(np.int32),
        part=np.concatenate(parts).astype(np.uint8),
    )


def _sphere(rings: int, sectors: int) -> tuple[Floats, Ints]:
    """The front three quarters of a unit sphere about the -z axis, wound outwards in our left-handed-looking axes."""
    polar = np.linspace(0.0, 0.75 * np.pi, rings + 1)[1:]
    turn = np.arange(sectors) * (2 * np.pi / sectors)
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    circles = [
        np.concatenate([np.sin(angle) * ring, np.full((sectors, 1), -np.cos(angle))], axis=1)
        for angle in polar
    ]
    vertices = np.concatenate([np.array([[0.0, 0.0, -1.0]]), *circles]).astype(np.float32)
    after = (np.arange(sectors) + 1) % sectors
    here = np.arange(sectors)
    faces = [np.stack([np.zeros(sectors, int), 1 + after, 1 + here], axis=1)]
    for level in range(rings - 1):
        inner, outer = 1 + level * sectors, 1 + (level + 1) * sectors
        faces.append(np.stack([inner + here, inner + after, outer + here], axis=1))
        faces.append(np.stack([inner + after, outer + after, outer + here], axis=1))
    return vertices, np.concatenate(faces).astype(np.int32)
