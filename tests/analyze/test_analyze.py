"""`lineament analyze` from files to numbers, files and page, with a model that knows one face."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from tests.analyze.conftest import CORNER, SIDE, portrait, save, save_clip, two_faces
from tests.browser import Shown
from tests.depthnet.turning import keypoints

from lineament.cli.main import main
from lineament.data.images import is_result, read_image
from lineament.faces.labels import read_keypoints
from lineament.geometry.rotation import matrix_from_pose, pose_from_matrix
from lineament.heads.fit import fit_head
from lineament.heads.load import load_head

ODD = "a<b onmouseover=1>&'x\".png"


def analyze(run: Path, *words: str | Path) -> int:
    return main(["analyze", *map(str, words), "--model", str(run)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo with an odd name, one of two faces, one without, one that is none, and a video."""
    here = tmp_path_factory.mktemp("photos") / "photos"
    save(here / ODD, portrait())
    save(here / "two.png", two_faces())
    save(here / "sub" / "flat.png", np.full((64, 64, 3), 90, np.uint8))
    (here / "bad.jpg").write_bytes(b"no image")
    save_clip(here / "clip.mp4")
    return here


@pytest.fixture(scope="module")
def out(folder: Path, shape_run: Path) -> Path:
    """What an analysis of the folder wrote."""
    assert analyze(shape_run, folder, "--crops", "ffhq", "--crop-size", "64") == 1
    return folder.with_name("photos-analysis")


@pytest.fixture(scope="module")
def table(out: Path) -> dict:
    return json.loads((out / "analysis.json").read_text())


def test_the_table_holds_every_face_in_the_pixels_of_its_photo(table: dict, out: Path):
    assert [face["image"] for face in table["faces"]] == [ODD, "two.png", "two.png"]
    assert table["meta"]["without_face"] == ["sub/flat.png"]
    assert table["meta"]["unreadable"]["bad.jpg"].endswith("remove or convert it.")
    assert table["meta"]["images"]["two.png"] == {"width": 2 * SIDE, "height": SIDE}
    # Another photo has no face, or is a copy of the first: without descriptors shapes are compared.
    assert "matches" not in table["meta"]["left_out"]
    # It is a label file like those of the other verbs.
    labels = read_keypoints(out / "analysis.json", "68")
    truth = keypoints() - torch.tensor(CORNER)
    unit = float((truth[36] - truth[45]).norm())
    first = labels.faces[0].landmarks
    assert first is not None
    assert float((first - truth).norm(dim=1).max()) < 0.05 * unit
    offsets = sorted(float(face.landmarks[30, 0]) for face in labels.faces[1:])
    assert offsets[0] < SIDE < offsets[1]


def test_the_pose_is_that_of_the_fitted_head_in_the_order_it_says(table: dict):
    face = table["faces"][0]
    fit = fit_head(load_head("builtin"), keypoints() - torch.tensor(CORNER), image_size=(SIDE, SIDE))
    wanted = torch.rad2deg(pose_from_matrix(fit.rotation, "xyz"))
    found = torch.tensor([face["pose"][name] for name in ("yaw", "pitch", "roll")])
    assert float((found - wanted).abs().max()) < 4.0, (found, wanted)
    again = matrix_from_pose(torch.deg2rad(found).double(), "xyz")
    nose = again @ torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64)
    assert math.degrees(math.asin(float(nose[0]))) == pytest.approx(face["pose"]["yaw"], abs=0.01)
    assert set(face["expression"]) == set(load_head("builtin").expression_names)
    smile = max(face["expression"]["smile_left"], face["expression"]["smile_right"])
    assert smile > 0.5
    assert face["head_error"] < 0.04
    # The nose is nearest.
    depth = face["depth"]
    assert len(depth) == 68 and depth[30] == min(depth[17:]) < -10


def test_the_files_of_a_face_are_what_they_say(table: dict, out: Path, folder: Path):
    face = table["faces"][0]
    files = {kind: out / name for kind, name in face["files"].items()}
    assert set(files) == {"ffhq", "mesh", "depth_map", "depth", "turned"}
    assert all(path.is_file() for path in files.values())
    assert Image.open(files["ffhq"]).size == (64, 64)
    mesh = trimesh.load(files["mesh"], process=False)
    assert isinstance(mesh, trimesh.Trimesh) and len(mesh.faces) > 1000
    colours = np.asarray(mesh.visual.vertex_colors)[:, :3]
    assert 90 < colours.mean() < 210 and colours.std() > 10
    # Millimetres: the nose sticks out of a face about as wide as a hand is long.
    width, height, relief = np.ptp(mesh.vertices, axis=0)
    assert 100 < width < 200 and 120 < height < 280 and 40 < relief < 140
    # Triangles look at the viewer.
    assert float(mesh.face_normals[:, 2].mean()) > 0.3
    turned = read_image(files["turned"])
    left, right = turned[:, :, : turned.shape[2] // 2 - 2], turned[:, :, turned.shape[2] // 2 + 2 :]
    assert float((left - right).abs().mean()) > 0.02
    stored = np.load(files["depth_map"])
    depth, to_photo = stored["depth"], stored["to_photo"]
    rows, columns = np.nonzero(depth == np.nanmin(depth))
    nearest = to_photo[:, :2] @ [columns[0], rows[0]] + to_photo[:, 2]
    nose = np.array(face["landmarks"][30])
    assert float(np.linalg.norm(nearest - nose)) < 25
    assert all(is_result(path) for path in out.rglob("*.png"))


def test_a_video_holds_its_frames_and_each_persons_best(table: dict, out: Path):
    video = json.loads((out / "clip.mp4.analysis.json").read_text())
    assert [row["frame"] for row in video["faces"]] == [0, 1, 2]
    assert all(abs(row["pose"]["yaw"]) < 30 for row in video["faces"])
    assert video["meta"]["frames"] == 3
    (person,) = video["people"]
    assert person["frames"] == 3 and (out / person["files"]["still"]).is_file()
    assert (out / person["files"]["mesh"]).is_file() and (out / "clip.mp4.analysis.mp4").stat().st_size > 1000
    assert table["videos"][0]["people"] == [person]


def test_what_is_done_is_skipped_and_other_settings_are_refused(
    out: Path, folder: Path, shape_run: Path, capsys: pytest.CaptureFixture[str]
):
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.analysis.*")}
    words = ["--crops", "ffhq", "--crop-size", "64"]
    assert analyze(shape_run, folder, *words) == 1
    assert "3 photos done (3 before), 1 failed." in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.analysis.*")} == before
    # Missing ones are made again, the others stay.
    (out / "two.png.analysis.json").unlink()
    assert analyze(shape_run, folder, *words) == 1
    assert "3 photos done (2 before)" in capsys.readouterr().out
    changed = {path for path in out.rglob("*.analysis.*") if path.stat().st_mtime_ns != before[path]}
    assert changed and all(path.name.startswith("two.png") for path in changed)
    assert analyze(shape_run, folder, *words, "--turn", "20") == 2
    assert "turn 30.0, now 20.0" in capsys.readouterr().err


def test_one_photo_gets_a_folder_beside_it(
    tmp_path: Path, shape_run: Path, capsys: pytest.CaptureFixture[str]
):
    photo = save(tmp_path / "one.png", portrait())
    assert analyze(shape_run, photo) == 0
    out = tmp_path / "one.png-analysis"
    assert f"1 face(s); wrote {out / 'analysis.json'}" in capsys.readouterr().out
    face = json.loads((out / "analysis.json").read_text())["faces"][0]
    assert "ffhq" not in face["files"]
    # A second run with fewer faces leaves no files of those before.
    stale = out / "one.png.analysis.face-2.obj"
    stale.write_text("")
    assert analyze(shape_run, photo, "--overwrite") == 0
    assert not stale.exists()
    flat = save(tmp_path / "flat.png", np.full((64, 64, 3), 90, np.uint8))
    assert analyze(shape_run, flat) == 1
    assert "no face was found" in capsys.readouterr().err
    assert not (tmp_path / "flat.png-analysis" / "analysis.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["photo.png", "--crops", "ffqh"], "did you mean 'ffhq'"),
        (["photo.png", "--turn", "80"], "between 1 and 45"),
        (["photo.png", "--crop-size", "64"], "--crops"),
        (["photo.png", "photos"], "--out"),
        ([], "give a photo"),
    ],
)
def test_wrong_words_are_said_before_anything_is_read(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert analyze(tmp_path / "none", *words) == 2
    assert said in capsys.readouterr().err


def test_a_browser_shows_the_page_and_tells_numbers(out: Path, show_page: Callable[[Path], Shown]):
    shown = show_page(out / "analysis.html")
    page = shown.page
    assert shown.faults == [] and shown.outside == []
    titles = page.locator(".card h2").all_inner_texts()
    assert titles == [ODD, "sub/flat.png", "two.png", "clip.mp4"]
    assert page.locator("[onmouseover]").count() == 0
    card = page.locator(".card").nth(0)
    assert card.locator(".point").count() == 68
    tip = page.locator("#tip")
    assert not tip.is_visible()
    card.locator(".point").nth(30).hover()
    told = tip.inner_text()
    assert told.startswith("nose")
    assert "px" in told and "confidence 0.50" in told
    box = card.locator(".face .box").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 4, box["y"] + 4)
    assert tip.inner_text().startswith("Face 1") and "yaw" in tip.inner_text()
    page.mouse.move(2, 2)
    assert not tip.is_visible()
    card.locator(".face").focus()
    assert tip.is_visible()
    # Points lie on the photo where the numbers say, at any size of the page.
    image, point = card.locator("svg.photo").bounding_box(), card.locator(".point").nth(8).bounding_box()
    assert image is not None and point is not None
    x = (point["x"] + point["width"] / 2 - image["x"]) / image["width"] * SIDE - 0.5
    face = json.loads((out / "analysis.json").read_text())["faces"][0]
    assert x == pytest.approx(face["landmarks"][8][0], abs=1.0)
    page.get_by_label("points").uncheck()
    assert not card.locator(".point").nth(0).is_visible()
    link = card.get_by_role("link", name="mesh (obj)")
    href = link.evaluate("element => element.href")
    assert Path(unquote(urlparse(href).path)).is_file()
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
