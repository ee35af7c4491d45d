import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from lineament.cli.main import main
from lineament.faces.labels import read_keypoints
from lineament.pipeline.bench import detect as bench

FACE = Image.fromarray(data.astronaut()).crop((120, 20, 320, 220))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "ein Gesicht ü.jpg"
    FACE.save(path, quality=95)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    FACE.save(folder / "a.png")
    FACE.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "sub" / "a.png")
    FACE.resize((90, 90)).save(folder / "b.png")
    Image.new("RGB", (64, 48), "grey").save(folder / "empty.png")
    (folder / "broken.jpg").write_bytes(b"not an image")
    return folder


def everything(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_one_photo(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", str(photo)]) == 0
    said = capsys.readouterr().out
    assert str(photo) + ".faces.json" in said
    read = read_keypoints(Path(f"{photo}.faces.json"))
    table = read_keypoints(Path(f"{photo}.faces.csv"))
    assert len(read.faces) == 1
    assert read.meta["width"] == 200 and read.meta["detector"] == "yunet"
    assert read.faces[0].image == photo.name
    points = read.faces[0].landmarks
    assert points is not None and table.faces[0].landmarks is not None
    assert torch.equal(points, table.faces[0].landmarks)
    # The eyes of the photograph, read off by eye.
    assert (points[:2] - torch.tensor([[84.0, 81.0], [127.0, 82.0]])).norm(dim=1).max() < 5.0
    overlay = np.array(Image.open(f"{photo}.faces.png"))
    assert overlay.shape == (200, 200, 3)
    assert np.abs(overlay.astype(int) - np.array(FACE)).max() > 100


def test_exif_orientation_is_applied(photo: Path, tmp_path: Path) -> None:
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # the viewer must turn the stored picture clockwise by a quarter
    FACE.transpose(Image.Transpose.ROTATE_90).save(turned, quality=95, exif=exif)
    assert main(["detect", str(photo), str(turned), "--out", str(tmp_path / "out")]) == 0
    upright, rotated = (
        read_keypoints(tmp_path / f"out/{path.name}.faces.json").faces[0] for path in (photo, turned)
    )
    assert upright.landmarks is not None and rotated.landmarks is not None
    assert (upright.landmarks - rotated.landmarks).abs().max() < 1.5


def test_folder_goes_on_and_reports(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything(folder)
    assert main(["detect", str(folder)]) == 1, "a file that cannot be read is a failure, the others are done"
    captured = capsys.readouterr()
    said = captured.out
    assert "failed: " in captured.err and "broken.jpg" in captured.err and "1 unreadable" in said
    assert f"no face: {folder / 'empty.png'}" in said
    assert "3 faces in 3 of 4 images" in said
    out = folder.with_name("photos-faces")
    assert str(out) in said
    assert everything(folder) == before
    table = read_keypoints(out / "faces.csv")
    assert sorted(face.image for face in table.faces) == ["a.png", "b.png", "sub/a.png"]
    assert (out / "sub/a.png.faces.png").exists()
    assert not (out / "empty.png.faces.png").exists()
    assert list(json.loads((out / "faces.json").read_text())["meta"]["unreadable"]) == [
        str(folder / "broken.jpg")
    ]


def test_repeating_skips_what_is_done(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder.with_name("found")
    (folder / "broken.jpg").unlink()
    assert main(["detect", str(folder), "--out", str(out)]) == 0, "an image without a face is no failure"
    first = everything(out)
    (out / "b.png.faces.json").unlink()
    marker = out / "a.png.faces.png"
    marker.write_bytes(b"kept")
    capsys.readouterr()
    assert main(["detect", str(folder), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "3 done before" in said
    assert marker.read_bytes() == b"kept"
    assert {**everything(out), "a.png.faces.png": first["a.png.faces.png"]} == first
    for words, said in (
        (["--min-score", "0.8"], "min_score 0.6, now 0.8"),
        (["--upright", "off"], "upright search, now off"),
        (["--detector", "lbp"], "detector yunet, now lbp"),
        (["--min-face", "30"], "min_face none, now 30.0"),
    ):
        assert main(["detect", str(folder), "--out", str(out), *words]) == 2
        error = capsys.readouterr().err
        assert (
            said in error and "and 3 more were made with other settings" in error and error.count("\n") == 1
        )
    assert {**everything(out), "a.png.faces.png": first["a.png.faces.png"]} == first
    assert main(["detect", str(folder), "--out", str(out), "--overwrite"]) == 0
    assert everything(out) == first


def test_overlays_are_not_photographs(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", str(photo)]) == 0
    assert main(["detect", str(photo.parent), "--out", str(photo.parent / "out")]) == 0
    assert "1 faces in 1 of 1 images" in capsys.readouterr().out
    assert main(["detect", str(photo.parent), "--out", str(photo.parent / "out")]) == 0
    assert "1 of 1 images" in capsys.readouterr().out


def test_lbp_writes_boxes_without_points(photo: Path) -> None:
    assert main(["detect", str(photo), "--detector", "lbp"]) == 0
    faces = read_keypoints(Path(f"{photo}.faces.csv")).faces
    assert faces and all(face.landmarks is None and face.box is not None for face in faces)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "at least one photo"),
        (["absent.jpg"], 1, "absent.jpg"),
        (["a\0.png"], 2, "null character"),
        (["a.png", "--out", "a\0"], 2, "null character"),
        (["empty.png"], 1, "no face was found in empty.png"),
        (["broken.jpg"], 1, "broken.jpg"),
        (["a.png", "--detector", "mtcm"], 2, "did you mean 'mtcnn'"),
        (["a.png", "--min-score", "2"], 2, "0..1"),
        (["a.png", "--min-face", "-3"], 2, "at least 1"),
        (["a.png", "--min-face", "inf"], 2, "at least 1"),
        (["bad"], 1, "none of the 1 images"),
        (["a.png", "sub/a.png", "--out", "x"], 2, "would write the same files"),
        (["nothing"], 1, "no image"),
        (["clip.mp4"], 2, "`lineament landmarks clip.mp4 --model RUN` reads videos"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(folder)
    (folder / "nothing").mkdir()
    (folder / "bad").mkdir()
    shutil.copy(folder / "broken.jpg", folder / "bad")
    before = everything(folder)
    assert main(["detect", *arguments]) == code
    said = capsys.readouterr()
    assert message in said.err + said.out
    assert "Traceback" not in said.err
    assert everything(folder) == before


def test_unwritable_place_is_one_sentence(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", str(photo), "--out", str(photo)]) == 2
    said = capsys.readouterr().err
    assert (
        said.startswith("lineament: ") and len(said.splitlines()) == 1 and "is a file: name a folder" in said
    )


def test_bench_finds_its_faces() -> None:
    figures = bench.run(batch=3, repeats=1)
    assert figures["found"] == 1.0
    assert figures["images_per_second"] > 0
    assert figures["median_ms"] > 0
    photo = figures["photo"]
    assert photo["floor_ms"] > 0 and 0 < photo["share"] < 1.5


def test_turned_photographs_say_their_turn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for turn in (0, 90, 180, 270):
        FACE.rotate(turn, expand=True).save(folder / f"{turn}.png")
    assert main(["detect", str(folder)]) == 0
    out = tmp_path / "photos-faces"
    faces = {face["image"]: face for face in json.loads((out / "faces.json").read_text())["faces"]}
    assert {name: face["turn"] for name, face in faces.items()} == {
        "0.png": 0,
        "90.png": 270,
        "180.png": 180,
        "270.png": 90,
    }
    upright, down = (torch.tensor(faces[name]["landmarks"]) for name in ("0.png", "180.png"))
    assert (199 - down - upright).abs().max() < 1.0
    assert main(["detect", str(folder), "--out", str(tmp_path / "off"), "--upright", "off"]) == 0
    capsys.readouterr()
    looked_once = json.loads((tmp_path / "off" / "faces.json").read_text())["faces"]
    assert all("turn" not in face or face["turn"] == 0 for face in looked_once)
    assert main(["detect", str(folder / "90.png")]) == 0
    assert "upright when turned by 270 degrees" in capsys.readouterr().out


def test_names_lead_from_the_json_to_the_photographs(folder: Path) -> None:
    (folder / "broken.jpg").unlink()
    out = folder.parent / "deep" / "found"
    assert main(["detect", str(folder), "--out", str(out)]) == 0
    assert main(["detect", str(folder / "a.png")]) == 0
    for path in [*out.rglob("*.json"), folder / "a.png.faces.json"]:
        content = json.loads(path.read_text())
        assert content["meta"]["verb"] == "detect" and content["meta"]["version"]
        for face in content["faces"]:
            assert (path.parent / content["meta"]["folder"] / face["image"]).is_file()


def test_only_files_that_were_written_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(folder / "empty.png", folder / "sub" / "a.png")
    assert main(["detect", str(folder / "sub"), str(folder / "empty.png")]) == 0
    assert ".png where" not in capsys.readouterr().out


def test_scores_below_the_usual_find_more(tmp_path: Path) -> None:
    blurred = FACE.resize((8, 8)).resize((200, 200))
    crowd = Image.fromarray(data.astronaut())
    crowd.paste(blurred, (280, 300))
    crowd.save(tmp_path / "crowd.png")
    counts = []
    for least in ("0.6", "0.2"):
        out = tmp_path / least
        words = ["--min-score", least, "--upright", "off", "--out", str(out)]
        assert main(["detect", str(tmp_path / "crowd.png"), *words]) == 0
        counts.append(len(read_keypoints(out / "crowd.png.faces.json").faces))
    assert counts[1] > counts[0]
