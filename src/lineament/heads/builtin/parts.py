"""The separate parts of the head: eyeballs, teeth, lashes and ears (the half x >= 0)."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from lineament.heads.builtin.half import HalfMesh, Index, rectangle_chart
from lineament.heads.builtin.template import EYE_CENTRES, EYE_RADIUS
from lineament.heads.model import Part

Array = npt.NDArray[np.float64]

_EYE_MERIDIANS = 16
# Degrees from the middle of the pupil; 29 is the edge of the iris.
_EYE_PARALLELS = np.radians([6.0, 12.0, 18.0, 24.0, 29.0, 36.0, 46.0, 58.0, 72.0, 90.0, 110.0, 135.0])


def add_eyeball(half: HalfMesh) -> None:
    """Add the person's left eyeball, open behind; groups ``eye`` (the front pole last) and ``eye_anchor`` (equator)."""
    turn = np.arange(_EYE_MERIDIANS) * (2 * np.pi / _EYE_MERIDIANS)
    polar, around = np.meshgrid(_EYE_PARALLELS, turn, indexing="ij")
    direction = np.stack(
        [np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), -np.cos(polar)], axis=-1
    )
    disc = 0.065 * polar[..., None] / np.pi * np.stack([np.cos(around), np.sin(around)], axis=-1)
    directions = np.concatenate([direction.reshape(-1, 3), [[0.0, 0.0, -1.0]]])
    chart = np.concatenate([disc.reshape(-1, 2), [[0.0, 0.0]]]) + np.array([0.74, 0.89])
    ids = half.add(EYE_CENTRES[0].astype(np.float64) + EYE_RADIUS * directions, chart, "eye")
    rings = ids[:-1].reshape(len(_EYE_PARALLELS), _EYE_MERIDIANS)
    half.groups["eye_anchor"] = rings[np.argmin(np.abs(_EYE_PARALLELS - np.pi / 2))]
    for near, far in itertools.pairwise(rings):
        half.add_strip(near, far, Part.EYE_LEFT, closed=True)
    pole = np.full(_EYE_MERIDIANS, ids[-1])
    half.add_faces(np.stack([np.roll(rings[0], -1), rings[0], pole], axis=1), Part.EYE_LEFT)


def _arch(y: Array, deeper: Array, reach: float) -> Array:
    """``[rows * columns, 3]`` points of one row of teeth: heights and set-backs of its rows, half width ``reach``."""
    x = np.linspace(0.0, reach, 9)
    points = [
        np.stack([x, np.full_like(x, h), -20.0 + d + 18.0 * (x / 23.0) ** 2.3], axis=1)
        for h, d in zip(y, deeper, strict=False)
    ]
    return np.concatenate(points)


def add_teeth(half: HalfMesh) -> None:
    """Add the upper and the lower row of teeth as curved strips; groups ``teeth_upper``, ``teeth_lower``."""
    rows = {
        "teeth_upper": (np.array([58.0, 63.0, 68.6, 68.2]), np.array([1.0, 0.0, 0.6, 3.5]), 23.0),
        "teeth_lower": (np.array([68.0, 68.4, 73.0, 77.0]), np.array([6.0, 3.2, 2.6, 3.0]), 21.5),
    }
    for place, (name, (height, deeper, reach)) in enumerate(rows.items()):
        points = _arch(height, deeper, reach)
        chart = rectangle_chart(4, 9, (0.505, 0.91 + 0.045 * place, 0.66, 0.945 + 0.045 * place))
        grid = half.add(points, chart, name).reshape(4, 9)
        for upper, lower in itertools.pairwise(grid):
            half.add_strip(lower, upper, Part.TEETH)


def add_tongue(half: HalfMesh) -> None:
    """Add the tongue as a domed strip on the floor of the mouth; group ``tongue``."""
    across, along = np.linspace(0.0, 1.0, 6), np.linspace(0.0, 1.0, 7)
    far, side = np.meshgrid(along, across, indexing="ij")
    width = 15.0 * (0.45 + 0.55 * np.sqrt(np.clip(far * 3.0, 0.0, 1.0)))
    height = 76.0 - 4.5 * np.sqrt(np.clip(far * 2.5, 0.0, 1.0)) + 1.2 * (1 - side) ** 4 + 5.0 * side**3
    points = np.stack([side * width, height, -13.5 + 34.0 * far], axis=-1).reshape(-1, 3)
    ids = half.add(points, rectangle_chart(7, 6, (0.81, 0.805, 0.83, 0.84)), "tongue").reshape(7, 6)
    for near, deep in itertools.pairwise(ids):
        half.add_strip(near, deep, Part.MOUTH_INTERIOR)


def add_lashes(half: HalfMesh) -> None:
    """Add a thin strip along the upper lid margin; group ``lashes`` (root row, then tip row)."""
    margin = half.groups["lid_ring_0"]
    count = len(margin) // 2 + 1
    root = np.concatenate(half.points)[margin[:count]]
    share = np.linspace(0.0, 1.0, count)
    length = np.sin(np.pi * np.clip(share, 0.02, 0.98)) ** 0.6 * (1.15 - 0.5 * share)
    tip = root + np.stack([0.9 * (0.45 - share) * length, -1.3 * length, -2.6 * length], axis=1)
    root = root + np.array([0.0, 0.35, -0.25])
    chart = rectangle_chart(2, count, (0.505, 0.805, 0.66, 0.815))
    ids = half.add(np.concatenate([root, tip]), chart, "lashes").reshape(2, count)
    half.add_strip(ids[0], ids[1], Part.LASHES)


_EAR_CENTRE = np.array([74.0, 13.0, 84.0])
_EAR_BACK = np.array([0.42, 0.0, 0.9075])
_EAR_DOWN = np.array([0.0, 0.966, -0.259])
_EAR_OUT = np.array([0.9075, 0.0, -0.42])
_EAR_SPOKES, _EAR_RINGS = 24, np.array([0.0, 0.22, 0.42, 0.6, 0.74, 0.86, 0.95, 1.0])


def add_ear(half: HalfMesh) -> Index:
    """Add the ear: a cupped disc with a rolled rim, folded back to the head; group ``ear``."""
    angle = np.arange(_EAR_SPOKES) * (2 * np.pi / _EAR_SPOKES)
    rho, phi = np.meshgrid(_EAR_RINGS[1:], angle, indexing="ij")
    back, down = np.cos(phi), np.sin(phi)
    lobe = np.clip(down, 0.0, 1.0) ** 2
    width = 16.5 * (1 - 0.12 * down) * np.where(back < 0, 0.8, 1.0)
    rim = np.exp(-(((rho - 0.93) / 0.1) ** 2)) * np.clip(0.55 + 0.75 * back - 0.6 * down, 0.0, 1.2)
    ridge = np.exp(-(((rho - 0.62) / 0.12) ** 2)) * np.clip(0.2 + back, 0.0, 1.0)
    bowl = np.exp(-((rho / 0.42) ** 2))
    tragus = np.exp(-(((rho - 0.75) / 0.18) ** 2)) * np.exp(-(((np.abs(phi - np.pi)) / 0.45) ** 2))
    height = 3.6 * rim + 2.2 * ridge - 5.0 * bowl + 3.2 * tragus + 1.5 * lobe * rho - 1.0
    points = _EAR_CENTRE + (width * rho * back)[..., None] * _EAR_BACK
    points = points + (31.0 * rho * down)[..., None] * _EAR_DOWN + height[..., None] * _EAR_OUT
    rear = _EAR_CENTRE - 9.0 * _EAR_OUT + 0.72 * (points[-1] - _EAR_CENTRE)
    front_rear = _EAR_CENTRE - 18.0 * _EAR_OUT + 0.5 * (points[-1] - _EAR_CENTRE)
    points = np.concatenate([points, rear[None], front_rear[None]]).reshape(-1, 3)
    radius = np.concatenate([_EAR_RINGS[1:], [1.1, 1.2]])[:, None] * 0.05
    chart = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).reshape(-1, 2)
    chart = chart + np.array([0.9, 0.89])
    middle = (_EAR_CENTRE - 6.0 * _EAR_OUT)[None]
    ids = half.add(np.concatenate([points, middle]), np.concatenate([chart, [[0.9, 0.89]]]), "ear")
    rings = ids[:-1].reshape(-1, _EAR_SPOKES)
    for inner, outer in itertools.pairwise(rings):
        half.add_strip(inner, outer, Part.EAR, closed=True)
    half.add_faces(
        np.stack([rings[0], np.full(_EAR_SPOKES, ids[-1]), np.roll(rings[0], -1)], axis=1), Part.EAR
    )
    return ids
