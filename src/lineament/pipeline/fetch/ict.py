"""The pack of the ICT head, made from the OBJ files of ICT-FaceKit (Li et al., CVPR 2020; MIT licence).

Arrays are in the kit's own axes and units; :mod:`lineament.heads.ict` reads them. ``facts.json`` beside the table holds
what the kit documents and its files do not say: ranges of parts, the alternative jaw, vertices for rigid alignment, the
order of the expressions; and the numbers by which the arrays are checked.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lineament.errors import DataError
from lineament.heads.ict import NEUTRAL_OBJ, PACK_FILES
from lineament.heads.obj import read_obj, read_obj_vertices
from lineament.pipeline.fetch.checks import differing_row, digest, traits

WHOLE, SMALL = PACK_FILES
# Offsets are rounded to halves; shares of a mode's norm by which the sums may be off.
TOLERANCES = {"neutral": 1e-6, "identity": 2e-3, "expression": 2e-3, "corners_uv": 1e-6}
_FIXED = (
    "landmarks68",
    "landmarks68_jaw",
    "rigid_landmarks",
    "rigid_vertices",
    "part_vertex_range",
    "part_face_range",
)


def make_ict(sources: Path, folder: Path, facts: dict[str, Any], advance: Callable[[], None]) -> None:
    """Write ``ict_head.npz`` and ``ict_face_small.npz`` into a folder.

    Args:
        sources: Folder with the kit's files.
        folder: Where the packs go.
        facts: Content of ``facts.json``.
        advance: Called after each OBJ file.

    Raises:
        DataError: If a file cannot be used.
    """
    head = read_kit(sources, facts, advance)
    packs: dict[str, dict[str, Any]] = {WHOLE: {**head}, SMALL: {**narrow_face(head, facts["small"])}}
    for name, arrays in packs.items():
        np.savez_compressed(folder / name, **arrays)


def read_kit(sources: Path, facts: dict[str, Any], advance: Callable[[], None]) -> dict[str, np.ndarray]:
    """The arrays of the whole head: offsets from the neutral mesh, without the see-through layers that come last."""
    mesh = read_obj(sources / NEUTRAL_OBJ)
    advance()
    count = int(facts["part_vertex_range"][-1][1])
    solid = (mesh.faces < count).all(axis=1)
    used, corners = np.unique(mesh.faces_uv[solid], return_inverse=True)
    names = list(facts["material_names"])
    unknown = sorted(set(mesh.materials) - set(names))
    if unknown:
        raise DataError(
            f"{sources / NEUTRAL_OBJ} has a material {unknown[0]!r} that the kit does not document."
        )
    number = np.array([names.index(each) for each in mesh.materials], np.uint8)

    def offsets(stems: list[str]) -> np.ndarray:
        rows = np.zeros((len(stems), count, 3), np.float16)
        for row, stem in zip(rows, stems, strict=True):
            path = sources / f"{stem}.obj"
            moved = read_obj_vertices(path)
            if moved.shape != mesh.vertices.shape:
                raise DataError(f"{path} has {len(moved)} vertices, the neutral mesh {len(mesh.vertices)}.")
            row[:] = (moved - mesh.vertices)[:count]
            advance()
        return rows

    return {
        "neutral": mesh.vertices[:count],
        "identity": offsets([f"identity{index:03d}" for index in range(len(facts["traits"]["identity"]))]),
        "expression": offsets(list(facts["expression_names"])),
        "expression_names": np.array(facts["expression_names"]),
        "faces": mesh.faces[solid],
        "uv": mesh.uv[used],
        "faces_uv": corners.reshape(-1, 3).astype(np.int32),
        "faces_material": number[mesh.face_material[solid]],
        "material_names": np.array(names),
        **{key: np.array(facts[key], np.int32) for key in _FIXED},
        "part_names": np.array(facts["part_names"]),
    }


def narrow_face(head: dict[str, np.ndarray], sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """The narrow mask of the face, which comes first in the mesh, with the first modes."""
    vertices, faces = sizes["vertices"], sizes["faces"]
    used, corners = np.unique(head["faces_uv"][:faces], return_inverse=True)
    expressions = sizes["expressions"]
    return {
        **head,
        "neutral": head["neutral"][:vertices],
        "identity": head["identity"][: sizes["identities"], :vertices],
        "expression": head["expression"][:expressions, :vertices],
        "expression_names": head["expression_names"][:expressions],
        "faces": head["faces"][:faces],
        "uv": head["uv"][used],
        "faces_uv": corners.reshape(-1, 3).astype(np.int32),
        "faces_material": head["faces_material"][:faces],
        "rigid_vertices": head["rigid_vertices"][head["rigid_vertices"] < vertices],
        "part_names": np.array(["face"]),
        "part_vertex_range": np.array([[0, vertices]], np.int32),
        "part_face_range": np.array([[0, faces]], np.int32),
    }


def facts_of(head: dict[str, np.ndarray], sizes: dict[str, int]) -> dict[str, Any]:
    """The content of ``facts.json`` for the arrays of a whole head."""
    named = ("expression_names", "material_names", "part_names")
    return {
        **{key: head[key].tolist() for key in (*_FIXED, *named)},
        "small": sizes,
        "digests": {key: digest(head[key]) for key in ("faces", "faces_material")},
        "traits": {key: traits(rows) for key, rows in _checked(head).items()},
    }


def _checked(head: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    corners = head["uv"][head["faces_uv"]]
    return {
        "neutral": head["neutral"][None],
        "identity": head["identity"],
        "expression": head["expression"],
        "corners_uv": corners[None],
    }


def check_ict(folder: Path, facts: dict[str, Any]) -> None:
    """Compare the decoded arrays of both packs with what the kit's files are known to give.

    Raises:
        DataError: Naming the first array that differs.
    """
    whole = _read(folder / WHOLE)
    try:
        for key, expected in facts["digests"].items():
            if digest(whole[key]) != expected:
                raise DataError(f"{folder / WHOLE}: the array {key} is not that of the kit.")
        for key, rows in _checked(whole).items():
            row = differing_row(rows, facts["traits"][key], TOLERANCES[key])
            if row is not None:
                raise DataError(f"{folder / WHOLE}: row {row} of the array {key} is not that of the kit.")
        small, wanted = _read(folder / SMALL), narrow_face(whole, facts["small"])
        for key, values in wanted.items():
            if not np.array_equal(small[key], values):
                raise DataError(f"{folder / SMALL}: the array {key} is not that of {WHOLE}.")
    except (KeyError, IndexError, ValueError) as error:
        raise DataError(f"{folder}: the packs are not those of the kit ({error}).") from error


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as pack:
            return {key: pack[key] for key in pack.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read ({error}).") from error


def read_facts(path: Path) -> dict[str, Any]:
    """Content of ``facts.json``."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
