"""The reader of the ICT head: the pack, the OBJ files, and the frame they are carried to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lineament.errors import DataError
from lineament.heads.builtin.template import EYE_CENTRES, LANDMARKS68
from lineament.heads.eyeballs import sphere_centre
from lineament.heads.ict import find_ict, read_ict
from lineament.heads.load import load_head
from lineament.heads.model import HeadModel, Part
from lineament.heads.obj import read_obj

FACE_POINTS = 68


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small folder in the layout of the kit's FaceXModel: quads, materials, uv, absolute shapes, an index."""
    folder = tmp_path_factory.mktemp("kit") / "FaceXModel"
    folder.mkdir()
    marks = LANDMARKS68 * np.array([0.1, -0.1, -0.1]) + np.array([0.0, 3.6, 8.0])
    # A quad between neighbouring landmarks and copies of them deeper in the head gives faces to draw.
    back = marks + np.array([0.0, 0.0, -1.0])
    eyes = [ball(centre * np.array([0.1, -0.1, -0.1]) + np.array([0.0, 3.6, 8.0])) for centre in EYE_CENTRES]
    film = marks[:4] + 5.0
    vertices = np.concatenate([marks, back, eyes[0], eyes[1], film])
    write_obj(folder / "generic_neutral_mesh.obj", vertices)
    for number in range(3):
        moved = vertices.copy()
        moved[: 2 * FACE_POINTS, number] += 0.5 * (number + 1)
        write_obj(folder / f"identity{number:03d}.obj", moved)
    for name, shift in (("jawOpen", -1.0), ("browDown_L", -0.3), ("cheekRaiser_L", 0.2)):
        moved = vertices.copy()
        moved[:17, 1] += shift
        write_obj(folder / f"{name}.obj", moved)
    index = {
        "idx_to_landmark_verts": list(range(68)),
        "expressions": ["browDown_L", "jawOpen", "noSuchShape"],
    }
    (folder / "vertex_indices.json").write_text(json.dumps(index))
    return folder.parent


def ball(centre: np.ndarray) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    rings = [
        np.stack(
            [np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.full(8, np.cos(polar))], axis=1
        )
        for polar in (0.4, np.pi / 2, 2.2)
    ]
    return centre + 1.2 * np.concatenate(rings)


def write_obj(path: Path, vertices: np.ndarray) -> None:
    lines = ["# a comment", "mtllib kit.mtl"]
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices]
    lines += [f"vt {0.01 * number:.4f} {0.2 + 0.003 * number:.4f}" for number in range(len(vertices))]
    lines += ["vn 0.0 0.0 1.0", "g face", "usemtl M_Face"]
    for corner in range(FACE_POINTS - 1):
        quad = (corner + 1, corner + 2, corner + 2 + FACE_POINTS, corner + 1 + FACE_POINTS)
        lines.append("f " + " ".join(f"{number}/{number}/1" for number in quad))
    start = 2 * FACE_POINTS
    for material in ("M_ScleraLeft", "M_ScleraRight"):
        lines.append(f"usemtl {material}")
        for level in range(2):
            for step in range(8):
                one, two = start + 8 * level + step, start + 8 * level + (step + 1) % 8
                quad = (one + 1, two + 1, two + 9, one + 9)
                lines.append("f " + " ".join(f"{number}/{number}/1" for number in quad))
        start += 24
    path.write_text("\n".join(lines) + "\n")


def test_obj_folder_becomes_a_head(clone: Path) -> None:
    head = read_ict(clone)
    assert head.name == "ict"
    assert head.identity.shape == (3, len(head.neutral), 3)
    assert head.expression_names == ("browDown_L", "jawOpen", "cheekRaiser_L")
    # Centimetres, y up, z out of the face became millimetres, y down, z into the head.
    np.testing.assert_allclose(head.identity[0, 0], [5.0, 0.0, 0.0], atol=1e-3)
    np.testing.assert_allclose(head.identity[1, 0], [0.0, -10.0, 0.0], atol=1e-3)
    np.testing.assert_allclose(head.identity[2, 0], [0.0, 0.0, -15.0], atol=1e-3)
    np.testing.assert_allclose(head.neutral[:68], LANDMARKS68, atol=0.05)
    assert {Part.SKIN, Part.EYE_LEFT, Part.EYE_RIGHT} <= {Part(value) for value in np.unique(head.part)}
    assert head.uv.min() >= 0 and head.uv.max() <= 1


def test_index_that_points_outside_is_refused(clone: Path, tmp_path: Path) -> None:
    for file in (clone / "FaceXModel").iterdir():
        (tmp_path / file.name).write_text(file.read_text())
    (tmp_path / "vertex_indices.json").write_text(json.dumps({"idx_to_landmark_verts": [10**6] * 68}))
    with pytest.raises(DataError, match="68 landmark"):
        read_ict(tmp_path)
    (tmp_path / "vertex_indices.json").write_text("{")
    with pytest.raises(DataError, match="vertex_indices"):
        read_ict(tmp_path)


def test_shapes_of_another_mesh_are_refused(clone: Path, tmp_path: Path) -> None:
    for file in (clone / "FaceXModel").iterdir():
        (tmp_path / file.name).write_text(file.read_text())
    (tmp_path / "jawOpen.obj").write_text("v 0 0 0\n")
    with pytest.raises(DataError, match="jawOpen"):
        read_ict(tmp_path)


def test_broken_obj_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.obj"
    path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 x\n")
    with pytest.raises(DataError, match="line 4"):
        read_obj(path)
    path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n")
    with pytest.raises(DataError, match="9 of 3"):
        read_obj(path)
    path.write_text("")
    with pytest.raises(DataError, match="0 vertices"):
        read_obj(path)


def test_obj_indices_from_the_end_and_without_uv(tmp_path: Path) -> None:
    path = tmp_path / "plain.obj"
    path.write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf -4 -3 -2 -1\nf 1//1 2//1 3//1\n")
    mesh = read_obj(path)
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2]]


def test_nothing_there_is_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no ICT head"):
        find_ict(tmp_path)
    damaged = tmp_path / "ict_head.npz"
    damaged.write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(DataError, match="ict_head"):
        read_ict(damaged)
    np.savez(tmp_path / "other.npz", neutral=np.zeros((3, 3)))
    with pytest.raises(DataError, match="lacks"):
        read_ict(tmp_path / "other.npz")


def test_pickled_pack_is_not_executed(tmp_path: Path) -> None:
    path = tmp_path / "ict_head.npz"
    names = ("neutral", "identity", "expression", "expression_names", "faces", "uv", "faces_uv", "faces_material",
             "material_names", "landmarks68")  # fmt: skip
    np.savez(path, **{name: np.array([{"a": 1}], dtype=object) for name in names}, allow_pickle=True)
    with pytest.raises(DataError, match="pickle"):
        read_ict(path)


def check_frame(head: HeadModel) -> None:
    points = head.landmarks(head.neutral[None])[0]
    # Point 0 is the image-left end of the jaw, point 8 the chin; the nose tip is foremost.
    assert points[0, 0] < -50 and points[16, 0] > 50
    assert points[8, 1] > 80 and points[19, 1] < -10
    assert points[30, 2] < points[27, 2] < points[0, 2]
    assert 80 < points[45, 0] - points[36, 0] < 100
    centres = [sphere_centre(head.neutral[eye]) for eye in head.eyes.ids]
    np.testing.assert_allclose(np.mean(centres, axis=0), 0.0, atol=0.05)
    assert centres[0][0] > 25, "the first eye is the person's left, on the image right"
    carried = head.landmarks(head.canonical[None])[0]
    # What moves between the two heads' definitions of a place of the inner face stays below two millimetres.
    np.testing.assert_allclose(carried[17:], LANDMARKS68[17:], atol=2.0)
    skin = head.faces[head.part == Part.SKIN]
    corners = head.neutral[skin]
    outward = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    front = (corners[:, :, 2].mean(1) < 0) & (np.abs(corners[:, :, 0].mean(1)) < 40)
    assert float((outward[front, 2] < 0).mean()) > 0.8, "the face's outside points to the camera"


@pytest.mark.parametrize("file", ["ict_head.npz", "ict_face_small.npz"])
def test_packs_come_in_the_head_frame(packs: Path, file: str) -> None:
    head = read_ict(packs / "ict_facekit" / file)
    check_frame(head)
    row = np.zeros((1, len(head.expression)), np.float32)
    row[0, head.expression_index("jawOpen")] = 1.0
    opened = head.landmarks(head.vertices(np.zeros((1, 0)), row))[0]
    rest = head.landmarks(head.vertices(np.zeros((1, 0)), np.zeros((1, 0))))[0]
    assert opened[66, 1] - opened[62, 1] > rest[66, 1] - rest[62, 1] + 15


def test_folder_of_packs_is_enough(packs: Path) -> None:
    assert find_ict(packs).name == "ict_head.npz"


def test_the_missing_head_names_the_ways_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LINEAMENT_PACKS", raising=False)
    for packs in (None, tmp_path):
        with pytest.raises(DataError, match=r"--packs or in LINEAMENT_PACKS, or take the head builtin"):
            load_head("ict", packs)
