"""What a head wears, as meshes in the template frame fitted to each face: clothes, long hair, spectacles."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lineament.faces.schemes import scheme
from lineament.heads.builtin.template import LANDMARKS68
from lineament.heads.model import Floats, HeadModel, Ints, Part
from lineament.synthetic.albedo import GLASSES_PART
from lineament.synthetic.appearance import Appearance
from lineament.synthetic.worn import Glasses

LENS_CENTRE = 33.0
"""How far the middles of spectacle lenses lie to either side, template frame, millimetres."""


@dataclass(frozen=True)
class Extras:
    """A mesh beside the head's.

    Attributes:
        vertices: ``[V, 3]`` head frame, millimetres.
        canonical: ``[V, 3]`` the same in the template frame, where they are painted.
        faces: ``[F, 3]``.
        part: ``[F]`` part numbers.
        openness: ``[V]`` ambient occlusion.
    """

    vertices: Floats
    canonical: Floats
    faces: Ints
    part: np.ndarray
    openness: Floats


def build_extras(
    person: Appearance,
    head: HeadModel,
    landmarks: Floats,
    cloth: bool,
    hair: bool,
    glasses: Glasses | None = None,
) -> Extras:
    """Fit what a person wears to a face.

    Args:
        person: Says what is worn.
        head: The head model.
        landmarks: ``[68, 3]`` this face's landmarks in the head frame.
        cloth: Whether shoulders are wanted (the head has no clothes of its own); else the chest below them.
        hair: Whether long hair is wanted (the head has no hair of its own).
        glasses: Spectacles instead of the person's own.
    """
    pieces = [_torso(person) if cloth else _chest()]
    if hair and person.hair_length > 0 and person.hair_density > 0.5:
        pieces.append(_long_hair(person))
    if glasses is not None:
        pieces.append(frames(glasses.thickness, glasses.half_width, glasses.half_height, glasses.squareness))
    elif person.glasses[4] > 0:
        pieces.append(_glasses(person))
    dressed = merged(pieces)
    linear, shift = fit_to_face(landmarks)
    return replace(dressed, vertices=(dressed.canonical @ linear + shift).astype(np.float32))


def merged(pieces: Sequence[Extras]) -> Extras:
    """Several meshes as one."""
    if len(pieces) == 1:
        return pieces[0]
    offsets = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])
    return Extras(
        vertices=np.concatenate([piece.vertices for piece in pieces]),
        canonical=np.concatenate([piece.canonical for piece in pieces]),
        faces=np.concatenate(
            [piece.faces + start for piece, start in zip(pieces, offsets, strict=False)]
        ).astype(np.int32),
        part=np.concatenate([piece.part for piece in pieces]),
        openness=np.concatenate([piece.openness for piece in pieces]),
    )


def fit_to_face(landmarks: Floats) -> tuple[Floats, Floats]:
    """Scale along each axis and shift that carry template landmarks onto a face's (brows, nose, eyes, jaw's ends)."""
    layout = scheme("68")
    jaw, bridge = layout.contour("jaw"), layout.contour("nose_bridge")
    corners = layout.indices("left_eye_outer", "left_eye_inner", "right_eye_inner", "right_eye_outer")
    rigid = np.array([*jaw[:3], *jaw[-3:], *bridge, *corners])
    source, target = LANDMARKS68[rigid].astype(np.float64), landmarks[rigid].astype(np.float64)
    middle, goal = source.mean(axis=0), target.mean(axis=0)
    scale = ((source - middle) * (target - goal)).sum(axis=0) / ((source - middle) ** 2).sum(axis=0)
    scale = np.clip(scale, 0.8, 1.25)
    return np.diag(scale), goal - middle * scale


def _strip(rings: list[np.ndarray], closed: bool) -> tuple[Floats, Ints]:
    """Join rings of equally many points by triangles."""
    count = len(rings[0])
    vertices = np.concatenate(rings).astype(np.float32)
    here = np.arange(count if closed else count - 1)
    after = (here + 1) % count
    faces = []
    for level in range(len(rings) - 1):
        inner, outer = level * count, (level + 1) * count
        faces.append(np.stack([inner + here, inner + after, outer + here], axis=1))
        faces.append(np.stack([inner + after, outer + after, outer + here], axis=1))
    return vertices, np.concatenate(faces).astype(np.int32)


def _piece(vertices: Floats, faces: Ints, part: int, openness: np.ndarray | float) -> Extras:
    return Extras(
        vertices=vertices,
        canonical=vertices,
        faces=faces,
        part=np.full(len(faces), part, np.uint8),
        openness=np.broadcast_to(np.asarray(openness, np.float32), len(vertices)).copy(),
    )


def _torso(person: Appearance) -> Extras:
    """Neck opening, shoulders and chest: rings of an ellipse that grows downwards."""
    turn = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    rings = []
    top = person.collar - 12.0
    for depth, half_width, half_depth, round_ in (
        (0.0, 62.0, 62.0, 0.0), (10.0, 74.0, 70.0, 0.0), (22.0, 110.0, 80.0, 10.0), (38.0, 160.0, 92.0, 18.0),
        (62.0, 195.0, 102.0, 20.0), (110.0, 215.0, 112.0, 12.0), (330.0, 220.0, 120.0, 0.0),
    ):  # fmt: skip
        x, z = half_width * np.cos(turn), half_depth * np.sin(turn)
        # Shoulders slope: the ring sinks towards its sides; the front of a collar lies lower than its back.
        y = top + depth + round_ * np.abs(np.cos(turn)) - (18.0 if depth < 15 else 8.0) * np.sin(turn)
        rings.append(np.stack([x, y, z + 88.0], axis=1))
    vertices, faces = _strip(rings, closed=True)
    openness = np.interp(vertices[:, 1], [top - 18, top + 60], [0.55, 0.95])
    return _piece(vertices, faces, Part.CLOTH, openness)


@functools.lru_cache(maxsize=1)
def _chest() -> Extras:
    """What lies below a head model's own shoulders, so that its bust does not end in the image."""
    turn = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    rings = [
        np.stack([half_width * np.cos(turn), np.full(32, y), 91.0 + half_depth * np.sin(turn)], axis=1)
        for y, half_width, half_depth in (
            (196.0, 165.0, 60.0),
            (206.0, 180.0, 67.0),
            (250.0, 186.0, 76.0),
            (600.0, 205.0, 92.0),
        )
    ]
    vertices, faces = _strip(rings, closed=True)
    return _piece(vertices, faces, Part.CLOTH, 0.85)


def _long_hair(person: Appearance) -> Extras:
    """A curtain from above the ears around the back of the head, open in front."""
    opening = 0.62 + 0.10 * np.sin(person.texture_shift[0]) + person.hair_tucked
    turn = np.linspace(opening, 2 * np.pi - opening, 44)
    end = 40.0 + person.hair_length
    rings = []
    for share in np.linspace(0.0, 1.0, 9):
        y = -62.0 + share * (end + 62.0)
        bulge = 1.0 + 0.06 * np.sin(np.pi * min(share * 1.3, 1.0)) * (1 + person.hair_curl)
        half_width = (
            np.interp(y, [-62, -20, 40, 120, 200], [66, 83, 88, 84, 92]) * bulge + 0.5 * person.hair_volume
        )
        half_depth = np.interp(y, [-62, -20, 40, 120, 200], [84, 108, 108, 88, 80]) + 0.5 * person.hair_volume
        wave = (
            1.0 + 0.03 * np.sin(9 * turn + 5 * person.texture_shift[1]) + 0.02 * np.sin(23 * turn + 4 * share)
        )
        x = -np.sin(turn) * half_width * wave
        z = 96.0 - np.cos(turn) * half_depth * wave
        ragged = 6.0 * np.sin(7 * turn + person.texture_shift[2]) * share
        rings.append(np.stack([x, y + ragged, z], axis=1))
    vertices, faces = _strip(rings, closed=False)
    return _piece(vertices, faces, Part.HAIR, np.interp(vertices[:, 1], [-60, 20, 160], [1.0, 0.8, 0.6]))


def _tube(path: np.ndarray, radius: float, closed: bool) -> tuple[Floats, Ints]:
    """A square tube around a path ``[N, 3]``."""
    along = np.roll(path, -1, 0) - np.roll(path, 1, 0) if closed else np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    aside = np.cross(along, [0.05, 0.05, 1.0])
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    other = np.cross(along, aside)
    rings = [
        path + radius * (np.cos(a) * aside + np.sin(a) * other) for a in (np.arange(5) + 0.5) * np.pi / 2
    ]
    vertices, faces = _strip(rings, closed=closed)
    return vertices, faces


def lens_outline(half_width: float, half_height: float, squareness: float, side: float) -> Floats:
    """``[28, 3]`` the rim of the lens at the image right (``side`` 1) or left (-1), template frame, millimetres."""
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    power = 2.0 / squareness
    x = half_width * np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** power
    y = half_height * np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** power
    # Rims stand about 12 mm before the cornea and bend around the face.
    return np.stack([side * (LENS_CENTRE + x), 4.0 + y, -29.0 + 0.004 * (x + half_width) ** 2], axis=1)


def _glasses(person: Appearance) -> Extras:
    """Spectacles whose shape follows from the person."""
    squareness = 2.0 + 2.0 * abs(np.sin(3.0 * person.texture_shift[0]))
    half_width = 24.0 + 2.5 * np.sin(7.0 * person.texture_shift[1])
    half_height = 18.5 + 3.5 * np.sin(5.0 * person.texture_shift[2])
    return frames(float(person.glasses[4]), half_width, half_height, squareness)


def frames(thickness: float, half_width: float, half_height: float, squareness: float) -> Extras:
    """Two rims, a bridge and two temples; without rims for a thickness of 0. Template frame, millimetres."""
    thick = 0.5 * thickness if thickness > 0 else 0.5
    tubes = []
    for side in (1.0, -1.0):
        if thickness > 0:
            rim = lens_outline(half_width, half_height, squareness, side)
            tubes.append(_tube(rim, thick, closed=True))
        hinge = LENS_CENTRE + half_width
        arm = np.array([[hinge, -4.0, -19.0], [70.0, -5.0, 0.0], [76.0, -6.0, 50.0], [77.0, -6.0, 96.0]])
        arm[:, 0] *= side
        dense = np.stack([np.interp(np.linspace(0, 3, 10), range(4), arm[:, c]) for c in range(3)], axis=1)
        tubes.append(_tube(dense, thick, closed=False))
    gap = LENS_CENTRE - half_width
    bridge_x = np.linspace(-gap, gap, 7)
    bridge = np.stack([bridge_x, 0.0 + 0.02 * bridge_x**2, -30.5 + 0.02 * bridge_x**2], axis=1)
    tubes.append(_tube(bridge, thick, closed=False))
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in tubes)])
    vertices = np.concatenate([vertices for vertices, _ in tubes])
    faces = np.concatenate([faces + start for (_, faces), start in zip(tubes, starts, strict=False)])
    return _piece(vertices, faces.astype(np.int32), GLASSES_PART, 0.9)
