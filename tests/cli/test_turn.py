"""`lineament turn` and `lineament depth`: files, what is said, folders, bad input."""

from __future__ import annotations

import json
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from skimage import data
from tests.depthnet.turning import KEYPOINTS, keypoints

from lineament.cli.main import main
from lineament.cli.turn import join_angles
from lineament.faces.labels import FaceLabel, LabelFile, read_keypoints, write_keypoints
from lineament.faces.schemes import scheme

SMALL = ["--size", "96"]
# Whatever models come with the package.
HEAD = ["--landmarks-model", "head", "--model", "head"]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "astronaut.png"
    Image.fromarray(data.astronaut()).save(path)
    return path


def test_a_strip_and_its_numbers(photo: Path, capsys: pytest.CaptureFixture[str]):
    words = [
        "turn",
        str(photo),
        "--yaw",
        "-30..30",
        "--frames",
        "3",
        "--keypoints",
        str(KEYPOINTS),
        *HEAD[2:],
        *SMALL,
    ]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert f"keypoints: read from {KEYPOINTS}" in said
    assert "depth: the builtin head fitted to the keypoints" in said
    strip = Image.open(photo.with_name("astronaut.png.turn.png"))
    assert strip.size == (3 * 96 + 2 * 4, 96)
    assert "not a photo" in strip.info["Comment"]
    (numbers,) = json.loads(photo.with_name("astronaut.png.turn.json").read_text())["faces"]
    assert [view["yaw"] for view in numbers["views"]] == [-30, 0, 30]
    assert len(numbers["landmarks"]) == len(numbers["depth"]) == 68
    assert numbers["depth"][30] < -10 and numbers["depth"][0] > 10
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_five_points_of_the_detector_are_enough(photo: Path, tmp_path: Path, capsys):
    out = tmp_path / "deep" / "a.gif"
    words = ["turn", str(photo), "--keep-background", "--frames", "4", "--out", str(out), *HEAD, *SMALL]
    assert main(words) == 0
    assert "those of the builtin head, placed on the detector's five points" in capsys.readouterr().out
    with Image.open(out) as animation:
        assert animation.n_frames in (3, 4)  # equal pictures are shown as one, longer
    found = read_keypoints(out.with_suffix(".json")).faces[0].landmarks
    eyes = float((keypoints()[36] - keypoints()[45]).norm())
    assert float((found - keypoints()).norm(dim=1).mean()) < 0.2 * eyes


def test_a_video(photo: Path, tmp_path: Path):
    out = tmp_path / "a.mp4"
    words = ["--yaw", "-20..20", "--frames", "6", "--keypoints", str(KEYPOINTS), "--out", str(out)]
    assert main(["turn", str(photo), *words, "--warp", "triangles", *SMALL]) == 0
    frames = imageio.mimread(out)
    assert len(frames) == 6 and frames[0].shape == (96, 96, 3)
    (face,) = json.loads(out.with_suffix(".json").read_text())["faces"]
    angles = [view["yaw"] for view in face["views"]]
    assert angles[0] == -20 and max(angles) == 20 and angles[1] == pytest.approx(angles[5])


def test_onto_a_landmark_run_and_a_folder(photo: Path, landmark_run: Path, tmp_path: Path, capsys):
    target = tmp_path / "mirror.png"
    Image.fromarray(data.astronaut()).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(target)
    words = ["turn", str(photo), "--onto", str(target), "--landmarks-model", str(landmark_run), *SMALL]
    code = main(words)
    captured = capsys.readouterr()
    # A run of two steps finds points that no head may fit; then one sentence says so.
    assert code == 0 or (code == 1 and captured.err.count("\n") == 1)
    if code == 0:
        assert str(landmark_run) in captured.out
        assert Image.open(photo.with_name("astronaut.png.onto.png")).size == (96, 96)


def test_a_folder_is_gone_through_and_done_once(photo: Path, tmp_path: Path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    photo.rename(folder / "a.png")
    Image.new("RGB", (64, 64), "grey").save(folder / "nobody.png")
    words = ["turn", str(folder), "--yaw", "20", *SMALL]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "1 photos done, 1 without a face." in captured.out and "nobody.png" in captured.err
    assert (tmp_path / "photos-turn" / "a.png.turn.png").exists()
    assert not list((tmp_path / "photos-turn").glob("nobody*"))
    assert main(words) == 0
    assert "done before" in capsys.readouterr().out


def test_depth_writes_map_picture_and_mesh(photo: Path, capsys: pytest.CaptureFixture[str]):
    words = ["depth", str(photo), "--keypoints", str(KEYPOINTS)]
    assert main([*words, "--model", "head"]) == 0
    assert "depth: the builtin head fitted" in capsys.readouterr().out
    assert main([*words, "--overwrite"]) == 0
    assert "depth: face-depth (depthnet-modern)" in capsys.readouterr().out
    stem = photo.with_name("astronaut.png.depth")
    with np.load(stem.with_name(stem.name + ".npz")) as arrays:
        depth, mask = arrays["depth"], arrays["mask"]
        assert depth.shape == (512, 512) and np.isfinite(depth[mask]).all() and np.isnan(depth[~mask]).all()
        nose, ear = depth[126, 223], depth[120, 186]
        assert nose < -10 < 0 < ear
        assert arrays["keypoints"].shape == (68, 2) and arrays["keypoint_depth"].shape == (68,)
    mesh = trimesh.load(stem.with_name(stem.name + ".ply"), process=False)
    # Seen from the front the triangles run counter-clockwise; sizes are those of a head.
    assert float(mesh.face_normals[:, 2].mean()) > 0.5
    assert 100 < float(np.ptp(mesh.vertices[:, 0])) < 200
    assert mesh.visual.vertex_colors[:, :3].std() > 10
    assert Image.open(stem.with_name(stem.name + ".png")).width > 600
    assert main(["depth", str(photo), "--keypoints", str(KEYPOINTS)]) == 0
    assert "done before" in capsys.readouterr().out


def test_depth_of_a_folder_says_what_was_chosen_and_what_failed(photo: Path, tmp_path: Path, capsys):
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    photo.rename(folder / "sub" / "a.png")
    Image.new("RGB", (64, 64), "grey").save(folder / "nobody.png")
    words = ["depth", str(folder), *HEAD]
    assert main(words) == 0, "a photo without a face among others is no failure"
    said = capsys.readouterr()
    assert "keypoints: those of the builtin head" in said.out, "also when the first photo has no face"
    assert "1 photos done, 1 without a face." in said.out and "nobody.png" in said.err
    (folder / "torn.png").write_bytes(b"torn")
    assert main(words) == 1, "an unreadable one is"
    said = capsys.readouterr()
    assert "1 photos done (1 before), 1 without a face, 1 failed." in said.out
    assert said.err.splitlines()[-1].startswith("failed: ") and "torn.png" in said.err
    result = tmp_path / "photos-depth" / "sub" / "a.png.depth.json"
    before = result.read_bytes()
    assert main([*words, "--keypoints", str(KEYPOINTS)]) == 2
    assert "keypoints none, now " in capsys.readouterr().err
    assert result.read_bytes() == before


def test_both_verbs_write_one_layout(photo: Path):
    small = ["--keypoints", str(KEYPOINTS)]
    assert main(["depth", str(photo), *small]) == 0
    assert main(["turn", str(photo), *small, "--yaw", "20", *SMALL]) == 0
    faces = {}
    for verb in ("depth", "turn"):
        path = photo.with_name(f"astronaut.png.{verb}.json")
        content = json.loads(path.read_text())
        assert content["meta"]["verb"] == verb and content["meta"]["version"]
        assert (content["meta"]["width"], content["meta"]["height"]) == (512, 512)
        (faces[verb],) = content["faces"]
        assert (path.parent / content["meta"]["folder"] / faces[verb]["image"]).samefile(photo)
        # A label file like all others: it can be given back.
        torch.testing.assert_close(read_keypoints(path).faces[0].landmarks, keypoints(), atol=1e-2, rtol=0)
    shared = set(faces["depth"]) & set(faces["turn"])
    assert shared == {"image", "turn", "landmarks", "landmarks_from", "depth", "depth_from", "pose"}
    assert {key: faces["depth"][key] for key in shared - {"depth", "depth_from"}} == {
        key: faces["turn"][key] for key in shared - {"depth", "depth_from"}
    }
    assert faces["depth"]["depth"] == pytest.approx(faces["turn"]["depth"], abs=0.5)
    assert set(faces["depth"]["pose"]) == {"yaw", "pitch", "roll"}


def test_a_photograph_that_lies_on_its_side_has_the_same_depth(photo: Path, tmp_path: Path):
    with Image.open(photo) as image:
        image.rotate(90, expand=True).save(tmp_path / "lying.png")
    rolls = {}
    for name in ("astronaut.png", "lying.png"):
        assert main(["depth", str(tmp_path / name), *HEAD]) == 0
        (face,) = json.loads((tmp_path / f"{name}.depth.json").read_text())["faces"]
        rolls[name] = face["pose"]["roll"], face["turn"]
    assert rolls["astronaut.png"][1] == 0 and rolls["lying.png"][1] == 270
    assert rolls["lying.png"][0] - rolls["astronaut.png"][0] == pytest.approx(-90, abs=3)


def test_ranges_that_begin_with_a_minus_are_no_options():
    words = ["turn", "a.jpg", "--yaw", "-40..40", "--roll", "-5", "--out", "b.png", "--pitch", "--whole"]
    joined = join_angles(words)
    assert joined[2:4] == ["--yaw=-40..40", "--roll=-5"] and joined[-2:] == ["--pitch", "--whole"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["A", "--yaw", "-40...40"], 2, "is no angle"),
        (["A", "--yaw", "left"], 2, "is no angle"),
        (["A", "--yaw", "-100..20"], 2, "beyond 90 degrees"),
        (["A", "--yaw", "1,2", "--pitch", "1,2,3"], 2, "different lengths"),
        (["A", "--frames", "0"], 2, "--frames"),
        (["A", "--size", "5"], 2, "--size"),
        (["A", "--out", "a.bmp"], 2, "a.bmp"),
        (["A", "--format", "tiff"], 2, ".tiff"),
        (["A", "--warp", "mesh"], 2, "unknown warp"),
        (["A", "--head", "mine"], 2, "unknown"),
        (["A", "--onto", "A", "--out", "a.mp4"], 2, "one image"),
        (["missing.png"], 1, "missing.png"),
        (["GREY"], 1, "no face was found"),
        (["A", "--keypoints", "missing.json"], 1, "missing.json"),
        (["A", "--keypoints", "FIVE"], 1, "68 points are needed"),
        (["A", "--keypoints", "OUTSIDE"], 1, "outside the image"),
        (["A", "--keypoints", "OTHER"], 1, "none of astronaut.png"),
        (["A", "--keypoints", "ONE"], 1, "holds the keypoints of ben.png, but none of astronaut.png"),
        (["A", "--model", "nowhere"], 1, "nowhere"),
        (["A", "--model", "RUN"], 2, "no depths of keypoints: depth needs a run of a depthnet recipe"),
        (["A", "--landmarks-model", "RUN"], 2, "without landmarks"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    words: list[str], code: int, said: str, photo: Path, descriptor_run: Path, tmp_path: Path, capsys
):
    grey = tmp_path / "grey.png"
    Image.new("RGB", (80, 80), "grey").save(grey)
    names = {"A": photo, "GREY": grey, "RUN": descriptor_run, "a.bmp": tmp_path / "a.bmp"}
    for name, layout, points, count in (
        ("FIVE", "5", torch.rand(5, 2) * 100, 1),
        ("OUTSIDE", "68", keypoints() + 400, 1),
        ("OTHER", "68", keypoints(), 2),
        ("ONE", "68", keypoints(), 3),
    ):
        faces = [FaceLabel("" if count == 1 else "ben.png", points)] * (count % 3 or 1)
        names[name] = write_keypoints(tmp_path / f"{name}.json", LabelFile(scheme(layout), faces))
    before = sorted(tmp_path.iterdir())
    assert main(["turn", *(str(names.get(word, word)) for word in words)]) == code
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and "Traceback" not in error
    assert sorted(tmp_path.iterdir()) == before
