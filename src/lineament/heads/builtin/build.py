"""The built-in head, assembled: mesh, modes, landmarks and styles."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from lineament.heads.builtin import filler, hair, parts, patches
from lineament.heads.builtin.expression import GAZE_LIMITS, corrective_modes, expression_modes
from lineament.heads.builtin.half import HalfMesh, mirror_half
from lineament.heads.builtin.identity import identity_modes
from lineament.heads.builtin.landmarks import place_landmarks
from lineament.heads.builtin.lids import lid_guard
from lineament.heads.builtin.regions import Regions
from lineament.heads.builtin.styles import STYLES, hair_modes
from lineament.heads.builtin.template import EYE_RADIUS
from lineament.heads.model import Eyes, HeadModel

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
    landmark_ids, landmark_weights, jaw = place_landmarks(mesh)
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
        jaw=jaw,
        canonical=neutral,
        eyes=_eyes(regions, names),
        styles=STYLES,
    )
