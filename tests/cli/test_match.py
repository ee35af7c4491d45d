"""`lineament match`: points found on another face, files, bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import lineament
from lineament.cli.main import main
from lineament.data.image_inputs import as_image
from lineament.faces.detection import Detection
from lineament.faces.labels import FaceLabel, LabelFile, write_keypoints
from lineament.faces.schemes import scheme
from lineament.geometry.affine2d import Affine2D
from lineament.pipeline.predict.face_view import view_face
from lineament.pipeline.predict.match import find_face

FACE = Image.fromarray(data.astronaut()).crop((120, 20, 320, 220))


@pytest.fixture
def photos(tmp_path: Path) -> tuple[Path, Path]:
    a, b = tmp_path / "anna.png", tmp_path / "ben.png"
    FACE.save(a)
    FACE.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(b)
    return a, b


def test_a_face_matches_itself(photos: tuple[Path, Path], descriptor_run: Path, tmp_path: Path):
    anna, _ = photos
    copy = tmp_path / "copy.png"
    FACE.save(copy)
    assert main(["match", str(anna), str(copy), "--model", str(descriptor_run)]) == 0
    result = json.loads((tmp_path / "anna-copy.match.json").read_text())
    rows = result["matches"]
    moved = torch.tensor([row["a"] for row in rows]) - torch.tensor([row["b"] for row in rows])
    # Equal images have equal descriptors: what is left is what lies between grid points.
    assert len(rows) == 81 and float(moved.norm(dim=1).median()) < 8
    assert np.array(Image.open(tmp_path / "anna-copy.match.png")).std() > 10


def test_grid_points_of_a_face_match_themselves_exactly(
    photos: tuple[Path, Path], descriptor_run: Path, tmp_path: Path
):
    """How like two points are that lie between grid points is the network's; on the grid they are the same."""
    anna, _ = photos
    copy = tmp_path / "copy.png"
    FACE.save(copy)
    model = lineament.load(descriptor_run)
    image = as_image(FACE)
    view = view_face(model, image, find_face(model, image, "anna"))
    cells = torch.cartesian_prod(torch.arange(2.0, 14.0, 3.0), torch.arange(2.0, 14.0, 3.0))
    points = view.to_view.inverse().apply(cells * view.stride)
    words = " ".join(f"{x:.6f},{y:.6f}" for x, y in points.tolist())
    assert main(["match", str(anna), str(copy), "--model", str(descriptor_run), "--points", words]) == 0
    rows = json.loads((tmp_path / "anna-copy.match.json").read_text())["matches"]
    assert min(row["similarity"] for row in rows) > 0.9999
    # The answer is a mean of the point and its eight neighbours, in which the point weighs most.
    cell = float((points[1] - points[0]).norm()) / 3
    moved = (torch.tensor([row["b"] for row in rows]) - points).norm(dim=1)
    assert float(moved.max()) < cell


def test_given_points_are_carried_by_name(photos: tuple[Path, Path], descriptor_run: Path, tmp_path: Path):
    points = torch.tensor([[84.0, 81.0], [127.0, 82.0], [105.0, 105.0], [88.0, 122.0], [124.0, 122.0]])
    file = write_keypoints(tmp_path / "p.json", LabelFile(scheme("5"), [FaceLabel("anna.png", points)]))
    a, b = map(str, photos)
    out = tmp_path / "deep" / "out"
    assert (
        main(["match", a, b, "--model", str(descriptor_run), "--points", str(file), "--out", str(out)]) == 0
    )
    rows = json.loads((out / "anna-ben.match.json").read_text())["matches"]
    assert [row["name"] for row in rows] == list(scheme("5").names)
    assert torch.tensor([row["a"] for row in rows]).equal(points)


def test_turned_photographs_are_matched_as_the_upright_ones(
    photos: tuple[Path, Path], descriptor_run: Path, landmark_run: Path, tmp_path: Path, capsys
):
    """The network used to see them as they lie."""
    anna, ben = photos
    others = tmp_path / "others"
    others.mkdir()
    turns = (0, 90, 180, 270)
    for turn in turns:
        with Image.open(ben) as picture:
            picture.rotate(turn, expand=True).save(others / f"{turn}.png")
    for run in (descriptor_run, landmark_run):
        out = tmp_path / f"out-{run.name}-{run.parent.name}"
        words = ["match", str(anna), str(others), "--model", str(run), "--out", str(out)]
        assert main(words) == 0
        found = {turn: json.loads((out / f"anna-{turn}.match.json").read_text()) for turn in turns}
        assert [found[turn]["b"]["turn"] for turn in turns] == [0, 270, 180, 90]
        upright = torch.tensor([row["b"] for row in found[0]["matches"]])
        for turn in turns[1:]:
            back = Affine2D.quarter_turn(turn, (200, 200)).inverse()
            there = back.apply(torch.tensor([row["b"] for row in found[turn]["matches"]]))
            torch.testing.assert_close(there, upright, atol=0.05, rtol=0)
    # The points of a turned face: a grid in its own upright frame gives the same places.
    lying = tmp_path / "lying.png"
    with Image.open(anna) as picture:
        picture.rotate(90, expand=True).save(lying)
    words = ["match", str(lying), str(ben), "--model", str(descriptor_run), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    upright_out = tmp_path / f"out-{descriptor_run.name}-{descriptor_run.parent.name}"
    straight = json.loads((upright_out / "anna-0.match.json").read_text())
    turned = json.loads((tmp_path / "out" / "lying-ben.match.json").read_text())
    back = Affine2D.quarter_turn(90, (200, 200)).inverse()
    for key, place in (("a", back), ("b", Affine2D.identity())):
        ours = place.apply(torch.tensor([row[key] for row in turned["matches"]]))
        theirs = torch.tensor([row[key] for row in straight["matches"]])
        torch.testing.assert_close(ours, theirs, atol=0.05, rtol=0)
    # Looked at once as it lies: no face, or one that is taken for upright.
    code = main([*words, "--overwrite", "--upright", "off"])
    assert code == 1 or json.loads((tmp_path / "out" / "lying-ben.match.json").read_text())["a"]["turn"] == 0


def test_results_say_how_they_were_made(photos: tuple[Path, Path], descriptor_run: Path, tmp_path: Path):
    anna, ben = photos
    (tmp_path / "others" / "sub").mkdir(parents=True)
    ben.rename(tmp_path / "others" / "sub" / "ben.png")
    out = tmp_path / "deep" / "out"
    words = ["match", str(anna), str(tmp_path / "others"), "--model", str(descriptor_run)]
    assert main([*words, "--points", "84,81", "--out", str(out)]) == 0
    pair = json.loads((out / "anna-ben.match.json").read_text())
    table = json.loads((out / "anna-others.matches.json").read_text())
    assert pair["meta"] == table["meta"]
    assert pair["meta"]["verb"] == "match" and pair["meta"]["version"] == lineament.__version__
    settings = pair["meta"]["settings"]
    assert (settings["points"], settings["upright"], settings["bf16"]) == ("84,81", "search", False)
    assert len(settings["model"]) == 16 and settings["detector"]
    for face, path in ((pair["a"], anna), (pair["b"], tmp_path / "others" / "sub" / "ben.png")):
        assert (out / face["folder"] / face["image"]).resolve() == path.resolve()
        assert (face["width"], face["height"], face["turn"]) == (200, 200, 0) and 0 < face["score"] <= 1
    assert {**pair["b"]}.items() <= table["faces"][0].items()
    assert {**pair["a"]}.items() <= table["source"].items()


def test_landmark_runs_match_their_landmarks_and_a_folder_is_gone_through(
    photos: tuple[Path, Path], landmark_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "others"
    folder.mkdir()
    FACE.save(folder / "carl.png")
    Image.new("RGB", (64, 64), "grey").save(folder / "nobody.png")
    assert main(["match", str(photos[0]), str(folder), "--model", str(landmark_run)]) == 0
    assert "1 without a face" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "anna-carl.match.json").read_text())["matches"]) == 68
    assert not (tmp_path / "anna-nobody.match.json").exists()


def test_a_folder_gives_tables_and_a_contact_sheet(
    photos: tuple[Path, Path], descriptor_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder, out = tmp_path / "others", tmp_path / "out"
    folder.mkdir()
    for name in ("carl", "dora"):
        FACE.save(folder / f"{name}.png")
    words = ["match", str(photos[0]), str(folder), "--model", str(descriptor_run), "--out", str(out)]
    assert main([*words, "--points", "84,81 127.5,82"]) == 0
    assert "2 faces: wrote" in capsys.readouterr().out
    table = json.loads((out / "anna-others.matches.json").read_text())
    assert table["source"]["points"] == {"0": [84, 81], "1": [127.5, 82]}
    assert [face["image"] for face in table["faces"]] == ["carl.png", "dora.png"]
    pair = json.loads((out / "anna-carl.match.json").read_text())
    assert [row["b"] for row in pair["matches"]] == list(table["faces"][0]["points"].values())
    rows = (out / "anna-others.matches.csv").read_text().splitlines()
    assert rows[0].startswith("image,point,x,y")
    assert len(rows) == 1 + 2 * 2
    sheet = np.array(Image.open(out / "anna-others.matches.png"))
    # Three faces side by side; points, colours and the first face in the geometry of each below one another.
    assert sheet.shape == (3 * 162 - 2, 3 * 162 - 2, 3)
    # A face in its own geometry is itself.
    assert np.abs(sheet[324:484, :160].astype(int) - sheet[324:484, 162:322]).mean() < 25
    assert main([*words, "--points", "84,81"]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_many_faces_go_on_several_sheets(tmp_path: Path):
    from lineament.pipeline.predict.face_view import FaceView
    from lineament.pipeline.predict.match import FaceMatch
    from lineament.pipeline.predict.match_many import FACES, write_matches

    shown = torch.zeros(3, 20, 20, dtype=torch.uint8)
    features = torch.randn(3, 6, 6)
    face = Detection.given(box=torch.tensor([1.0, 1.0, 9.0, 9.0]))
    view = FaceView("a", 12, shown, face, features, Affine2D.identity(), 2.0, 10.0, (20, 20))
    points = torch.tensor([[3.0, 4.0]])
    match = FaceMatch(view, view, points, points, torch.ones(1), torch.zeros(1), ("nose",))
    written = write_matches([match] * (FACES + 1), tmp_path / "many", {})
    assert sorted(path.name for path in written) == ["many-2.png", "many.csv", "many.json", "many.png"]


def test_results_are_not_overwritten_unasked(photos: tuple[Path, Path], descriptor_run: Path, capsys):
    words = ["match", *map(str, photos), "--model", str(descriptor_run)]
    assert main(words) == 0
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["A", "missing.png", "--model", "RUN"], 1, "missing.png"),
        (["missing.png", "A", "--model", "RUN"], 1, "missing.png"),
        (["A", "GREY", "--model", "RUN"], 1, "no face was found"),
        (["A", "B", "--model", "nowhere"], 1, "no run directory"),
        (["A", "B", "--model", "RUN", "--points", "missing.pts"], 1, "missing.pts"),
        (["A", "B", "--model", "RUN", "--points", "900,3"], 1, "lies outside the photo of 200x200"),
        (["A", "B", "--model", "RUN", "--points", "10;20"], 2, 'write "x,y x,y ..."'),
        (["A", "B", "--model", "RUN", "--points", "10,20,30"], 2, 'write "x,y x,y ..."'),
        (["A", "B", "--modl", "RUN"], 2, "modl"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    words: list[str],
    code: int,
    said: str,
    photos: tuple[Path, Path],
    descriptor_run: Path,
    tmp_path: Path,
    capsys,
):
    grey = tmp_path / "grey.png"
    Image.new("RGB", (80, 80), "grey").save(grey)
    names = {"A": photos[0], "B": photos[1], "GREY": grey, "RUN": descriptor_run}
    assert main(["match", *(str(names.get(word, word)) for word in words)]) == code
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not list(tmp_path.glob("*.match.*"))


def test_results_of_a_folder_never_share_a_name(
    photos: tuple[Path, Path], descriptor_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder, out = tmp_path / "many", tmp_path / "out"
    names = ["x.jpg", "x.png", "p/1.png", "q/1.png", "alone.png"]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        FACE.save(folder / name)
    words = ["match", str(photos[0]), str(folder), "--model", str(descriptor_run), "--out", str(out)]
    assert main([*words, "--points", "84,81"]) == 0
    written = sorted(path.name for path in out.glob("*.match.json"))
    assert written == [
        *("anna-alone.match.json", "anna-p-1.png.match.json", "anna-q-1.png.match.json"),
        *("anna-x.jpg.match.json", "anna-x.png.match.json"),
    ]
    seen = [json.loads((out / name).read_text())["b"]["image"] for name in written]
    assert sorted(seen) == sorted(names)
    table = json.loads((out / "anna-many.matches.json").read_text())
    assert sorted(face["image"] for face in table["faces"]) == sorted(names)
    # The same again where no name tells them apart: nothing is written.
    FACE.save(folder / "p-1.png")
    (folder / "p-1").mkdir()
    FACE.save(folder / "p-1/x.png")
    (folder / "p").joinpath("1").mkdir()
    FACE.save(folder / "p/1/x.png")
    before = sorted(tmp_path.rglob("*"))
    assert main([*words[:-1], str(tmp_path / "other"), "--points", "84,81"]) == 2
    assert "would write one result" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("image", "code"),
    [("anna.png", 0), ("", 0), ("ben.png", 1), ("elsewhere/anna.png", 1), ("/far/anna.png", 0)],
)
def test_points_of_another_picture_are_refused(
    photos: tuple[Path, Path],
    descriptor_run: Path,
    tmp_path: Path,
    image: str,
    code: int,
    capsys: pytest.CaptureFixture[str],
):
    points = torch.tensor([[84.0, 81.0], [127.0, 82.0], [105.0, 105.0], [88.0, 122.0], [124.0, 122.0]])
    file = write_keypoints(tmp_path / "p.json", LabelFile(scheme("5"), [FaceLabel(image, points)]))
    words = ["--model", str(descriptor_run), "--points", str(file)]
    assert main(["match", *map(str, photos), *words]) == code
    assert ("but none of anna.png" in capsys.readouterr().err) == bool(code)


def test_without_a_model_the_shipped_landmarks_and_a_head_match(
    photos: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """A face and its mirror image: points go where their mirror images are."""
    anna, ben = photos
    points = "80,90 110,120 60,100"
    assert main(["match", str(anna), str(ben), "--points", points]) == 0
    result = json.loads((tmp_path / "anna-ben.match.json").read_text())
    model = lineament.load()
    eyes = model(ben)[0].landmarks[[36, 45]]
    unit = float((eyes[0] - eyes[1]).norm())
    a, b = (model(path)[0].landmarks for path in photos)
    for row in result["matches"]:
        # The same place of the mirrored face lies as far from the other person's landmarks as from this one's.
        start, found = torch.tensor(row["a"]), torch.tensor(row["b"])
        assert row["similarity"] > 0.9 and row["round_trip"] < 0.05
        nearest = int((a - start).norm(dim=1).argmin())
        assert float(((found - b[nearest]).norm() - (start - a[nearest]).norm()).abs()) < 0.15 * unit
    assert main(["match", str(anna), str(ben), "--points", points, "--overwrite"]) == 0
    assert "wrote" in capsys.readouterr().out


def test_landmarks_of_another_scheme_cannot_match(
    photos: tuple[Path, Path], landmark_run: Path, capsys: pytest.CaptureFixture[str]
):
    anna, ben = photos
    assert main(["match", str(anna), str(ben), "--model", "face-depth"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "depth" in error
