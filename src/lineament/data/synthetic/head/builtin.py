"""The built-in head, assembled: mesh, modes, landmarks and styles."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from lineament.data.synthetic.head import filler, hair, parts, patches
from lineament.data.synthetic.head.expression import GAZE_LIMITS, corrective_modes, expression_modes
from lineament.data.synthetic.head.half import FullMesh, HalfMesh, mirror_half
from lineament.data.synthetic.head.identity import identity_modes
from lineament.data.synthetic.head.lids import lid_guard
from lineament.data.synthetic.head.model import Eyes, HeadModel
from lineament.data.synthetic.head.regions import Regions
from lineament.data.synthetic.head.styles import STYLES, hair_modes
from lineament.data.synthetic.head.template import EYE_RADIUS, LANDMARKS68

Array = npt.NDArray[np.float64]


def _build_regions() -> Regions:
    half = HalfMesh()
    rings = [patches.add_eye_patch(half), patches.add_mouth_patch(half)]
    filler.add_filler(half, rings)
    parts.add_eyeball(half)
    parts.add_teeth(half)
    parts.add_tongue(half)
    parts.add_lashes(half)
    parts.add_ear(half)
    grid = hair.add_hair(half)
    return Regions(mesh=mirror_half(half), hair=grid)


def _nearest_skin(mesh: FullMesh, points: Array) -> npt.NDArray[np.int64]:
    """The skin vertex of the half x >= 0 nearest to each point ``[N, 3]``, seen from the front."""
    candidates = mesh.groups["filler"]
    weights = np.array([1.0, 1.0, 0.35])
    distance = (((mesh.points[candidates][None] - points[:, None]) * weights) ** 2).sum(axis=-1)
    return candidates[distance.argmin(axis=1)]


def _landmarks(mesh: FullMesh) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """``[68, 2]`` vertices and weights: most landmarks are one vertex, those on contours a mix of two."""
    ids = np.zeros((68, 2), np.int64)
    weights = np.tile([1.0, 0.0], (68, 1))
    template = LANDMARKS68.astype(np.float64)
    for group in (range(8, 17), range(22, 27), range(27, 31), range(33, 36)):
        chosen = list(group)
        ids[chosen] = _nearest_skin(mesh, template[chosen])[:, None]
    margin = mesh.groups["lid_ring_0"]
    share = _share_along(mesh.points[margin], template[42:48], closed=True)
    ids[42:48], weights[42:48] = _two(margin, share, closed=True)
    outer, inner = mesh.groups["lip_6"], mesh.groups["lip_0"]
    for ring, chosen in ((outer, [51, 52, 53, 54, 55, 56, 57]), (inner, [62, 63, 64, 65, 66])):
        share = _share_along(mesh.points[ring], template[chosen], closed=False)
        half = len(ring) // 2
        limits = [
            (0, half) if number in (51, 52, 53, 54, 62, 63, 64) else (half, len(ring) - 1)
            for number in chosen
        ]
        for row, (low, high) in enumerate(limits):
            share[row] = (
                low + _share_along(mesh.points[ring[low : high + 1]], template[chosen[row]][None], False)[0]
            )
        ids[chosen], weights[chosen] = _two(ring, share, closed=False)
    for left, right in _MIRRORED:
        ids[right], weights[right] = mesh.mirror[ids[left]], weights[left]
    return ids.astype(np.int32), weights.astype(np.float32)


_MIRRORED = [
    *((16 - k, k) for k in range(8)),
    *((26 - k, 17 + k) for k in range(5)),
    (34, 32), (35, 31),
    (42, 39), (43, 38), (44, 37), (45, 36), (46, 41), (47, 40),
    (52, 50), (53, 49), (54, 48), (55, 59), (56, 58),
    (63, 61), (64, 60), (65, 67),
]  # fmt: skip


def _share_along(line: Array, points: Array, closed: bool) -> Array:
    """Position ``[N]`` (vertex number and fraction) on a polyline of the frontal view nearest to each point."""
    start = line[:, :2]
    end = np.roll(start, -1, axis=0)
    if not closed:
        start, end = start[:-1], end[:-1]
    step = end - start
    relative = points[:, None, :2] - start
    along = np.clip((relative * step).sum(-1) / np.maximum((step**2).sum(-1), 1e-12), 0.0, 1.0)
    distance = np.linalg.norm(relative - along[..., None] * step, axis=-1)
    best = distance.argmin(axis=1)
    return best + along[np.arange(len(points)), best]


def _two(ring: npt.NDArray[np.int64], share: Array, closed: bool) -> tuple[npt.NDArray[np.int64], Array]:
    low = np.minimum(np.floor(share).astype(int), len(ring) - (1 if closed else 2))
    fraction = share - low
    return np.stack([ring[low], ring[(low + 1) % len(ring)]], axis=1), np.stack(
        [1 - fraction, fraction], axis=1
    )


def _eyes(regions: Regions, expression_names: tuple[str, ...]) -> Eyes:
    mesh = regions.mesh
    guard, clearance = lid_guard(regions)
    gaze = np.array([GAZE_LIMITS.get(name, (0.0, 0.0)) for name in expression_names], np.float32)

    def both(ids: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        return ids.astype(np.int32), mesh.mirror[ids].astype(np.int32)

    return Eyes(
        ids=both(mesh.groups["eye"]),
        anchors=both(mesh.groups["eye_anchor"]),
        radius=EYE_RADIUS,
        lid_ids=both(guard),
        lid_clearance=(clearance.astype(np.float32), clearance.astype(np.float32)),
        gaze_of_expression=gaze,
    )


@lru_cache(maxsize=1)
def builtin_head() -> HeadModel:
    """The built-in parametric head; built once per process (a fraction of a second), always the same."""
    regions = _build_regions()
    mesh = regions.mesh
    identity = {**identity_modes(regions), **hair_modes(regions)}
    expression = expression_modes(regions)
    corrective = corrective_modes(regions, expression)
    names = tuple(expression)
    landmark_ids, landmark_weights = _landmarks(mesh)
    neutral = mesh.points.astype(np.float32)
    faces = mesh.faces.astype(np.int32)
    return HeadModel(
        name="builtin",
        neutral=neutral,
        identity=np.stack(list(identity.values())).astype(np.float32),
        identity_names=tuple(identity),
        expression=np.stack(list(expression.values())).astype(np.float32),
        expression_names=names,
        corrective=np.stack(list(corrective.values())).astype(np.float32),
        corrective_pairs=np.array([[names.index(a), names.index(b)] for a, b in corrective], np.int32),
        faces=faces,
        uv=mesh.uv.astype(np.float32),
        faces_uv=faces,
        part=mesh.part,
        landmark_ids=landmark_ids,
        landmark_weights=landmark_weights,
        canonical=neutral,
        eyes=_eyes(regions, names),
        styles=STYLES,
    )
