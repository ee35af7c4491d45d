"""Landmarks of drawn faces at any places of the head."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from lineament.data.registry import open_data
from lineament.data.sample import LANDMARKS68
from lineament.errors import DataError, UsageError
from lineament.faces.schemes import scheme, scheme_content
from lineament.heads.load import load_head
from lineament.methods.landmarks.crop import prepared, training_box
from lineament.synthetic.dataset import INDEX, write_faces
from lineament.synthetic.folder import SyntheticFolder
from lineament.synthetic.places import read_places
from lineament.synthetic.world import World

THIRTY = Path(__file__).parents[1] / "landmarks/30-skin.yaml"


def copied(head: str, packs: Path | None = None, **changes: Any) -> dict[str, Any]:
    """The content of a scheme of its own whose points lie where those of 68-3d lie on a head."""
    model = load_head(head, packs)
    rows = zip(model.landmark_ids.tolist(), model.landmark_weights.tolist(), strict=True)
    places = [{str(vertex): share for vertex, share in zip(*row, strict=True) if share} for row in rows]
    return {**scheme_content(scheme("68-3d")), "name": "copy", "places": {head: places}, **changes}


def written(path: Path, content: dict[str, Any]) -> str:
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("places") / "drawn"
    write_faces(out, World(seed=5, size=32, world="photo"), 5, workers=1)
    return out


def test_places_of_the_mesh_lie_where_the_drawing_put_them(folder: Path, tmp_path: Path) -> None:
    # The lids of the built-in head follow the eyes, whose direction is not in the index.
    file = written(tmp_path / "copy.yaml", copied("builtin"))
    drawn = SyntheticFolder(folder, "68-3d")
    placed = open_data(f"synthetic:{folder}?scheme={file}")
    assert len(placed) == len(drawn) == 5
    for index in range(5):
        one, other = placed[index], drawn[index]
        assert one.landmarks is not None and other.landmarks is not None
        torch.testing.assert_close(one.landmarks, other.landmarks, rtol=0, atol=1e-3)
        torch.testing.assert_close(
            one.meta["landmark_depth"], other.meta["landmark_depth"], rtol=0, atol=0.01
        )
        assert one.visibility is None and scheme(str(one.scheme)).name == "copy"
        # The box is that of the points that the folder holds.
        torch.testing.assert_close(
            training_box(one), training_box(SyntheticFolder(folder)[index]), rtol=0, atol=1e-3
        )
        assert one.meta[LANDMARKS68].shape == (68, 2)
    kept = prepared(placed[0], scheme(str(placed[0].scheme)), 32)
    assert kept.landmarks is not None and len(kept.landmarks) == 68
    assert placed.fingerprint != drawn.fingerprint != SyntheticFolder(folder).fingerprint
    moved = copied("builtin")
    moved["places"]["builtin"][0] = {"7": 1.0}
    other_file = written(tmp_path / "moved.yaml", moved)
    assert SyntheticFolder(folder, other_file).fingerprint != placed.fingerprint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"places": {"ict": []}}, "does not say where its points lie on the head builtin"),
        ({"places": {"builtin": [{"1": 1.0}]}}, "for each of 68 points"),
        ({"places": {"builtin": [{"1": 0.5}] * 68}}, "weights of 'jaw_0' sum to 0.5, not 1"),
        ({"places": {"builtin": [{"one": 1.0}] * 68}}, "place of 'jaw_0' must read"),
        ({"places": {"builtin": [{"10000000": 1.0}] * 68}}, "names vertex 10000000"),
    ],
)
def test_places_that_are_none_are_refused(
    folder: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    file = written(tmp_path / "copy.yaml", copied("builtin", **changes))
    with pytest.raises((UsageError, DataError), match=message):
        SyntheticFolder(folder, file)


def test_a_face_that_this_version_draws_otherwise_is_refused(folder: Path, tmp_path: Path) -> None:
    table = pq.read_table(folder / INDEX)
    column = table.schema.get_field_index("expression")
    changed = [[value + 0.1 for value in row] for row in table["expression"].to_pylist()]
    (tmp_path / "old").mkdir()
    field = table.schema.field(column)
    pq.write_table(table.set_column(column, field, pa.array(changed, field.type)), tmp_path / "old" / INDEX)
    (tmp_path / "old/images").symlink_to(folder / "images")
    faces = SyntheticFolder(tmp_path / "old", written(tmp_path / "copy.yaml", copied("builtin")))
    with pytest.raises(DataError, match="drawn by another version"):
        faces[0]


@pytest.mark.parametrize("which", ["400-dense", str(THIRTY)])
def test_the_places_of_the_ict_head_are_its_surface(packs: Path, which: str) -> None:
    layout, places = read_places(which, "ict")
    head = load_head("ict", packs)
    surface = np.array(layout.surface)
    for place, row in zip(places, surface, strict=True):
        found = sum(share * head.neutral[vertex] for vertex, share in place.items())
        np.testing.assert_allclose(found, row, atol=0.06)
    np.testing.assert_allclose(surface[list(layout.mirror)] * [-1, 1, 1], surface, atol=0.2)
    if which == "400-dense":
        fixed = head.landmarks(head.neutral[None])[0]
        np.testing.assert_allclose(surface[: len(fixed)], fixed, atol=0.06)
