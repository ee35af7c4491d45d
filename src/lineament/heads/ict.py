"""The ICT-FaceKit morphable head ("Light") as a :class:`HeadModel`, from a packed ``.npz`` or from its OBJ files.

Li et al., "Learning Formation of Physically-Based Face Attributes", CVPR 2020; MIT licence. The source's axes are x to
the person's left, y up, z out of the face, in units close to centimetres; ours are x to the image right of a frontal
face (the same), y down, z into the head, in millimetres, with the origin midway between the eyeballs.
"""

from __future__ import annotations

import functools
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from scipy.interpolate import RBFInterpolator

from lineament.errors import DataError
from lineament.faces.schemes import scheme
from lineament.heads.builtin.template import EYE_CENTRES, EYE_RADIUS, LANDMARKS68
from lineament.heads.eyeballs import Eyeballs, sphere_centre, with_eyeballs
from lineament.heads.jaw import JawCurves, jaw_curves, mirror_vertices
from lineament.heads.model import Eyes, Floats, HeadModel, Ints, Part
from lineament.heads.obj import ObjMesh, read_obj, read_obj_vertices

PACK_FOLDER = "ict_facekit"
PLACES = Path(__file__).with_name("ict_landmarks.yaml")
PACK_FILES = ("ict_head.npz", "ict_face_small.npz")
NEUTRAL_OBJ = "generic_neutral_mesh.obj"
TO_HEAD_FRAME = np.array([10.0, -10.0, -10.0], np.float32)
"""Centimetres to millimetres, y and z turned over."""

# Vertex ranges of the full mesh that no material tells apart (the kit's README, "Face Model Topology").
_SOLID_VERTICES = 24591
_INNER_RANGE = (11248, 14062)

_FACE_VERTICES = 9409
"""The face comes first in the mesh, without neck, back of the head and ears."""

# The kit's visible-contour 68 points (Multi-PIE order, the same as iBUG), used where no index file lies beside.
_LANDMARKS68 = (
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443,
    268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360,
    1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732,
    5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841,
    5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966,
)  # fmt: skip

_MATERIAL_PARTS = {
    "M_Face": Part.SKIN,
    "M_BackHead": Part.SKIN,
    "M_GumsTongue": Part.MOUTH_INTERIOR,
    "M_Teeth": Part.TEETH,
    "M_IrisLeft": Part.EYE_LEFT,
    "M_ScleraLeft": Part.EYE_LEFT,
    "M_IrisRight": Part.EYE_RIGHT,
    "M_ScleraRight": Part.EYE_RIGHT,
}


class NoIctError(DataError):
    """The ICT head is not where it was looked for."""


@dataclass(frozen=True)
class _Raw:
    """What both layouts hold, in the source's own axes and units."""

    neutral: Floats
    identity: Floats
    expression: Floats
    expression_names: tuple[str, ...]
    faces: Ints
    uv: Floats
    faces_uv: Ints
    materials: tuple[str, ...]
    face_material: Ints
    landmarks: Ints


def read_ict(path: Path | str) -> HeadModel:
    """Read the ICT head from wherever it lies.

    Args:
        path: A packed ``.npz`` file, a folder that holds one (also one level down, as in a folder of packs), or a
            clone of the kit's ``FaceXModel`` folder (also one level down).

    Returns:
        The head, with eyeballs added where the pack has none.

    Raises:
        NoIctError: When nothing of these is there.
        DataError: When a file of it cannot be used.
    """
    return _read_cached(str(Path(path).expanduser().resolve()))


@functools.lru_cache(maxsize=2)
def _read_cached(path: str) -> HeadModel:
    place = find_ict(Path(path))
    return _assemble(_read_pack(place) if place.suffix == ".npz" else _read_obj_folder(place))


def find_ict(path: Path) -> Path:
    """Return the ``.npz`` file or OBJ folder that ``path`` means; raises ``NoIctError`` when there is none."""
    if path.is_file() and path.suffix == ".npz":
        return path
    for folder in (path, path / PACK_FOLDER, path / "FaceXModel"):
        for name in PACK_FILES:
            if (folder / name).is_file():
                return folder / name
        if (folder / NEUTRAL_OBJ).is_file():
            return folder
    raise NoIctError(
        f"no ICT head at {path}: give a folder with {' or '.join(PACK_FILES)}, or a clone of ICT-FaceKit (FaceXModel)."
    )


def _read_pack(path: Path) -> _Raw:
    needed = ("neutral", "identity", "expression", "expression_names", "faces", "uv", "faces_uv",
              "faces_material", "material_names", "landmarks68")  # fmt: skip
    try:
        with np.load(path, allow_pickle=False) as pack:
            missing = [name for name in needed if name not in pack.files]
            if missing:
                raise DataError(f"{path} is no ICT pack: it lacks {', '.join(missing)}.")
            data = {name: pack[name] for name in needed}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read the ICT pack {path}: {error}.") from error
    return _Raw(
        neutral=data["neutral"].astype(np.float32),
        identity=data["identity"].astype(np.float32),
        expression=data["expression"].astype(np.float32),
        expression_names=tuple(str(name) for name in data["expression_names"]),
        faces=data["faces"].astype(np.int32),
        uv=data["uv"].astype(np.float32),
        faces_uv=data["faces_uv"].astype(np.int32),
        materials=tuple(str(name) for name in data["material_names"]),
        face_material=data["faces_material"].astype(np.int32),
        landmarks=data["landmarks68"].astype(np.int32),
    )


def _read_obj_folder(folder: Path) -> _Raw:
    mesh = read_obj(folder / NEUTRAL_OBJ)
    # Tear film, lashes and occlusion layers come last; they are see-through and of no use without their shaders.
    count = min(len(mesh.vertices), _SOLID_VERTICES)
    solid = (mesh.faces < count).all(axis=1)
    identity_files = sorted(folder.glob("identity[0-9]*.obj"))
    expression_files = _expression_files(folder)
    if not identity_files:
        raise DataError(f"{folder} holds no identity000.obj: the clone of ICT-FaceKit is incomplete.")

    def offsets(files: list[Path]) -> Floats:
        rows = np.zeros((len(files), count, 3), np.float32)
        for row, file in zip(rows, files, strict=True):
            moved = read_obj_vertices(file)
            if moved.shape != mesh.vertices.shape:
                raise DataError(f"{file} has {len(moved)} vertices, the neutral mesh {len(mesh.vertices)}.")
            row[:] = (moved - mesh.vertices)[:count]
        return rows

    return _Raw(
        neutral=mesh.vertices[:count],
        identity=offsets(identity_files),
        expression=offsets(expression_files),
        expression_names=tuple(file.stem for file in expression_files),
        faces=mesh.faces[solid],
        uv=mesh.uv,
        faces_uv=mesh.faces_uv[solid],
        materials=mesh.materials,
        face_material=mesh.face_material[solid],
        landmarks=_obj_landmarks(folder, mesh),
    )


def _expression_files(folder: Path) -> list[Path]:
    """The expression shapes: the kit's own order where its index names them, then the others by name."""
    skipped = {Path(NEUTRAL_OBJ).stem}
    files = {
        file.stem: file
        for file in sorted(folder.glob("*.obj"))
        if file.stem not in skipped and not file.stem.startswith("identity")
    }
    listed = [name for name in _index_file(folder).get("expressions", []) if name in files]
    return [files[name] for name in [*listed, *(name for name in files if name not in listed)]]


def _obj_landmarks(folder: Path, mesh: ObjMesh) -> Ints:
    ids = np.array(_index_file(folder).get("idx_to_landmark_verts", _LANDMARKS68), np.int32)
    if ids.shape != (len(scheme("68")),) or ids.min() < 0 or ids.max() >= len(mesh.vertices):
        raise DataError(
            f"{folder} does not hold the 68 landmark vertices of ICT-FaceKit (got {ids.shape} ids)."
        )
    return ids


def _index_file(folder: Path) -> dict:
    path = folder / "vertex_indices.json"
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}.") from error
    return content if isinstance(content, dict) else {}


def _assemble(raw: _Raw) -> HeadModel:
    part = _parts(raw)
    neutral = raw.neutral * TO_HEAD_FRAME
    head = Eyeballs(
        neutral=neutral,
        identity=raw.identity * TO_HEAD_FRAME,
        expression=raw.expression * TO_HEAD_FRAME,
        faces=raw.faces,
        # The kit's tiles (face, neck, gums, teeth) lie side by side in u; v counts from the bottom.
        uv=np.stack([raw.uv[:, 0] / 4.0, 1.0 - raw.uv[:, 1]], axis=1).astype(np.float32),
        faces_uv=raw.faces_uv,
        part=part,
    )
    if not (part == Part.EYE_LEFT).any():
        head = with_eyeballs(head, raw.landmarks)
    ids, centres, radius, anchors = [], [], [], []
    for eye in (Part.EYE_LEFT, Part.EYE_RIGHT):
        of_eye = np.unique(head.faces[head.part == eye])
        centre = sphere_centre(head.neutral[of_eye])
        distance = np.linalg.norm(head.neutral[of_eye] - centre, axis=1)
        # A ring about the optical axis through the centre: its mean is the centre whatever the sampling in front.
        ring = of_eye[np.abs(head.neutral[of_eye, 2] - centre[2]) < 0.15 * np.median(distance)]
        ids.append(of_eye.astype(np.int32))
        anchors.append((ring if len(ring) > 5 else of_eye).astype(np.int32))
        centres.append(centre)
        radius.append(float(np.median(distance)))
    origin = np.mean(centres, axis=0).astype(np.float32)
    head.neutral -= origin
    faces = _outward(head, head.part)
    landmark_ids, landmark_weights, jaw = _place_landmarks(raw, head, faces, head.part)
    marks = np.einsum("knc,kn->kc", head.neutral[landmark_ids], landmark_weights)
    # The template's jaw points are the kit's.
    outline = scheme("68").contour("jaw")
    marks[outline] = head.neutral[raw.landmarks[outline]]
    canonical = _canonical(head, marks, ids, [centre - origin for centre in centres], radius)
    part = np.where(
        (head.part == Part.SKIN) & _is_ear(canonical[head.faces].mean(axis=1)), Part.EAR, head.part
    )
    none = np.zeros(0, np.int32)
    return HeadModel(
        name="ict",
        neutral=head.neutral,
        identity=head.identity,
        identity_names=tuple(f"identity{index:03d}" for index in range(len(head.identity))),
        expression=head.expression,
        expression_names=raw.expression_names,
        faces=faces,
        uv=head.uv,
        faces_uv=head.faces_uv,
        part=part.astype(np.uint8),
        landmark_ids=landmark_ids,
        landmark_weights=landmark_weights,
        jaw=jaw,
        canonical=canonical,
        eyes=Eyes(
            ids=(ids[0], ids[1]),
            anchors=(anchors[0], anchors[1]),
            radius=float(np.mean(radius)),
            lid_ids=(none, none),
            lid_clearance=(np.zeros(0, np.float32), np.zeros(0, np.float32)),
            gaze_of_expression=np.zeros((len(head.expression), 2), np.float32),
        ),
    )


def _parts(raw: _Raw) -> np.ndarray:
    of_material = np.array([_MATERIAL_PARTS.get(name, Part.SKIN) for name in raw.materials], np.uint8)
    part = of_material[raw.face_material]
    if len(raw.neutral) >= _SOLID_VERTICES:
        inner = ((raw.faces >= _INNER_RANGE[0]) & (raw.faces < _INNER_RANGE[1])).any(axis=1)
        part[inner] = Part.MOUTH_INTERIOR
    return part


def _place_landmarks(
    raw: _Raw, head: Eyeballs, faces: Ints, part: np.ndarray
) -> tuple[Ints, Floats, JawCurves | None]:
    """Vertices ``[68, 3]`` and weights ``[68, 3]`` of the landmarks, and the curves of the jaw.

    A mesh that names other vertices than the kit's keeps them: the places are those of the kit's own mesh.
    """
    ids = np.repeat(raw.landmarks[:, None], 3, axis=1)
    weights = np.repeat(np.array([[1.0, 0.0, 0.0]], np.float32), len(ids), axis=0)
    if tuple(raw.landmarks.tolist()) != _LANDMARKS68:
        return ids, weights, None
    layout = scheme("68")
    table: dict[int, dict[int, float]] = yaml.safe_load(PLACES.read_text(encoding="utf-8"))
    for point, place in table.items():
        missing = 3 - len(place)
        vertices = np.array([*place, *[next(iter(place))] * missing])
        ids[point], weights[point] = vertices, [*place.values(), *[0.0] * missing]
        image = layout.mirror[point]
        if image != point:
            ids[image], weights[image] = mirror_vertices(head.neutral, vertices), weights[point]
    skin = (part == Part.SKIN) & (faces < _FACE_VERTICES).all(axis=1)
    corners = np.einsum("knc,kn->kc", head.neutral[ids], weights)[layout.ocular_points()]
    jaw = jaw_curves(head.neutral, faces, skin, corners)
    outline = layout.contour("jaw")
    ids[outline], weights[outline] = jaw.fixed_places()
    return ids, weights, jaw


def _canonical(
    head: Eyeballs, landmarks: np.ndarray, ids: list[Ints], centres: list[np.ndarray], radius: list[float]
) -> Floats:
    """Carry the neutral head into the template frame: the 68 points ``[68, 3]`` exactly, smooth between."""
    warp = RBFInterpolator(
        landmarks.astype(np.float64),
        LANDMARKS68.astype(np.float64),
        kernel="linear",
        degree=1,
        smoothing=0.05,
    )
    canonical = warp(head.neutral.astype(np.float64)).astype(np.float32)
    for eye in range(2):
        offsets = (head.neutral[ids[eye]] - centres[eye]) * (EYE_RADIUS / radius[eye])
        canonical[ids[eye]] = EYE_CENTRES[eye] + offsets
    return canonical


def _is_ear(points: Floats) -> np.ndarray:
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    return (x > 73.0) & (y > -32.0) & (y < 48.0) & (z > 82.0) & (z < 135.0)


def _outward(head: Eyeballs, part: np.ndarray) -> Ints:
    """Wind the faces so that (b - a) x (c - a) points out of the skin; the source's winding is one and the same."""
    corners = head.neutral[head.faces[part == Part.SKIN]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outward = corners.mean(axis=1) - head.neutral.mean(axis=0)
    turned = (normals * outward).sum() < 0
    if turned:
        head.faces_uv = np.ascontiguousarray(head.faces_uv[:, ::-1])
        return np.ascontiguousarray(head.faces[:, ::-1])
    return head.faces
