"""`lineament landmarks` and `lineament.load`: files, skipping, bad input, memory."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import lineament
from lineament.capabilities import LandmarkPredictor
from lineament.cli.main import main
from lineament.errors import DataError, UsageError
from lineament.faces.labels import FaceLabel, LabelFile, read_keypoints, write_keypoints
from lineament.geometry.affine2d import Affine2D

FACE = Image.fromarray(data.astronaut()).crop((120, 20, 320, 220))
BOX = torch.tensor([60.0, 40.0, 150.0, 150.0])


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "ein Gesicht ü.jpg"
    FACE.save(path, quality=95)
    return path


@pytest.fixture
def boxes(tmp_path: Path, photo: Path) -> Path:
    return write_keypoints(tmp_path / "boxes.json", LabelFile(None, [FaceLabel(photo.name, box=BOX)]))


def test_one_photo_gives_files_in_its_own_pixels(
    photo: Path, landmark_run: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["landmarks", str(photo), "--model", str(landmark_run)]) == 0
    assert f"{photo}.landmarks.json" in capsys.readouterr().out
    files = {ending: Path(f"{photo}.landmarks.{ending}") for ending in ("json", "csv", "pts")}
    read = {ending: read_keypoints(file).faces for ending, file in files.items()}
    points = read["json"][0].landmarks
    assert points is not None
    assert points.shape == (68, 2)
    assert torch.equal(points, read["csv"][0].landmarks)
    torch.testing.assert_close(points, read["pts"][0].landmarks, atol=1e-3, rtol=0)
    assert Image.open(f"{photo}.landmarks.png").size == FACE.size
    # The same numbers as from Python.
    face = lineament.load(landmark_run)(photo)[0]
    torch.testing.assert_close(face.landmarks.float(), points, atol=1e-3, rtol=1e-4)


def test_given_boxes_are_used_instead_of_detection(photo: Path, boxes: Path, landmark_run: Path):
    assert (
        main(
            ["landmarks", str(photo), "--model", str(landmark_run), "--boxes", str(boxes), "--format", "json"]
        )
        == 0
    )
    face = read_keypoints(Path(f"{photo}.landmarks.json")).faces[0]
    assert torch.equal(face.box, BOX)
    assert not Path(f"{photo}.landmarks.csv").exists()
    # The file is as sure as Python is.
    alone = lineament.load(landmark_run)(photo, boxes=BOX[None])[0]
    torch.testing.assert_close(face.confidence.float(), alone.confidence, atol=1e-3, rtol=0)


def test_what_is_done_is_skipped_until_overwritten(photo: Path, boxes: Path, landmark_run: Path, capsys):
    words = ["landmarks", str(photo), "--model", str(landmark_run), "--boxes", str(boxes)]
    assert main(words) == 0
    result = Path(f"{photo}.landmarks.json")
    before = result.stat().st_mtime_ns
    assert main(words) == 0
    assert "done before" in capsys.readouterr().out
    assert result.stat().st_mtime_ns == before
    assert main([*words, "--overwrite"]) == 0
    assert result.stat().st_mtime_ns > before


def test_a_folder_is_done_whole_and_says_what_it_left_out(tmp_path: Path, landmark_run: Path, capsys):
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    FACE.save(folder / "a.png")
    FACE.save(folder / "sub" / "b.png")
    Image.new("RGB", (64, 48), "grey").save(folder / "empty.png")
    (folder / "broken.jpg").write_bytes(b"not an image")
    assert main(["landmarks", str(folder), "--model", str(landmark_run)]) == 1
    captured = capsys.readouterr()
    said = captured.out
    assert "broken.jpg" in captured.err.splitlines()[-1]
    assert "2 faces in 4 images, 1 without a face, 1 unreadable" in said
    out = tmp_path / "photos-landmarks"
    table = read_keypoints(out / "landmarks.json")
    assert [face.image for face in table.faces] == ["a.png", "sub/b.png"]
    assert (out / "sub" / "b.png.landmarks.png").exists()
    assert not list(folder.rglob("*landmarks*"))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["missing.jpg", "--model", "RUN"], 1, "no image missing.jpg"),
        (["PHOTO", "--model", "nowhere"], 1, "no run directory nowhere"),
        (["PHOTO", "--model", "DESCRIPTORS"], 2, "train dve-landmarks --base"),
        (["EMPTY", "--model", "RUN"], 1, "no image in"),
        (["PHOTO", "--model", "RUN", "--format", "jsn"], 2, "did you mean 'json'"),
        (["PHOTO", "--model", "RUN", "--boxes", "missing.csv"], 1, "missing.csv"),
        (["GREY", "--model", "RUN"], 1, "no face was found"),
        (["PHOTO", "--model", "RUN", "--no-such-flag"], 2, "no-such-flag"),
        (["PHOTO", "--model", "RUN", "--device", "abacus"], 2, "abacus"),
        (["--model", "RUN"], 2, ""),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    words: list[str],
    code: int,
    said: str,
    photo: Path,
    tmp_path: Path,
    landmark_run: Path,
    descriptor_run: Path,
    capsys,
):
    (tmp_path / "void").mkdir()
    grey = tmp_path / "grey.png"
    Image.new("RGB", (80, 80), "grey").save(grey)
    names = {
        "RUN": landmark_run,
        "PHOTO": photo,
        "EMPTY": tmp_path / "void",
        "DESCRIPTORS": descriptor_run,
        "GREY": grey,
    }
    before = sorted(tmp_path.rglob("*"))
    assert main(["landmarks", *(str(names.get(word, word)) for word in words)]) == code
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_of_another_method_is_refused(landmark_run: Path, tmp_path: Path, photo: Path, capsys):
    other = tmp_path / "other"
    shutil.copytree(landmark_run, other)
    text = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(text.replace("method: dve", "method: rosetta"))
    assert main(["landmarks", str(photo), "--model", str(other)]) == 1
    assert "rosetta" in capsys.readouterr().err


def test_python_accepts_paths_tensors_and_arrays(photo: Path, landmark_run: Path):
    model = lineament.load(landmark_run)
    assert model.has(LandmarkPredictor)
    pixels = np.asarray(Image.open(photo))
    array = model(pixels, boxes=BOX[None])[0]
    tensor = model(torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255, boxes=BOX[None])[0]
    torch.testing.assert_close(array.landmarks, tensor.landmarks)
    torch.testing.assert_close(array.landmarks, model(photo, boxes=BOX[None])[0].landmarks)
    # As sure as the predictor is of this box, point by point, and less so of another.
    straight = model.capability(LandmarkPredictor).landmarks
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255
    torch.testing.assert_close(array.confidence, straight(image, BOX[None]).confidence[0])
    assert not torch.equal(array.confidence, straight(image, BOX[None] + 20).confidence[0])
    with pytest.raises(DataError):
        model(torch.zeros(5, 8, 8))


def test_descriptor_runs_have_no_landmarks(descriptor_run: Path, photo: Path):
    model = lineament.load(descriptor_run)
    with pytest.raises(UsageError, match="dve-landmarks"):
        model(photo)
    assert model.describe(torch.rand(3, 200, 200), BOX).shape == (16, 16, 16)


def resident() -> float:
    """Megabytes in use now where the system tells, else the most ever used."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def test_many_pictures_do_not_grow_memory(tmp_path: Path, landmark_run: Path):
    from lineament.inference import load
    from lineament.pipeline.predict.landmarks import predict_landmarks
    from lineament.pipeline.predict.options import LandmarkOptions
    from lineament.pipeline.predict.photos import LANDMARKS, Photo

    picture = tmp_path / "p.jpg"
    FACE.resize((120, 120)).save(picture)
    model = load(landmark_run)
    table = write_keypoints(tmp_path / "b.json", LabelFile(None, [FaceLabel(picture.name, box=BOX * 0.6)]))
    options = LandmarkOptions(("json",), table, overwrite=True)

    def go_through(count: int) -> None:
        photos = [Photo(picture, picture.name, tmp_path / f"out{i % 7}", LANDMARKS) for i in range(count)]
        assert predict_landmarks(model, photos, options).faces == 1

    go_through(20)
    before = resident()
    go_through(80)
    # 50 MB over 1000 pictures is the promise; a leak of one small picture each would exceed this.
    assert resident() - before < 8


@pytest.mark.slow
def test_a_thousand_pictures_grow_memory_by_less_than_50_mb(tmp_path: Path, landmark_run: Path):
    """The whole command with detection, on pictures of many sizes, every one another file."""
    names = []
    for number in range(1050):
        side = 90 + number % 61
        FACE.resize((side, side + number % 7)).save(tmp_path / f"{number:04}.jpg", quality=80 + number % 16)
        names.append(f"{number:04}.jpg")
    first, rest = tmp_path / "first", tmp_path / "rest"
    for folder, part in ((first, names[:50]), (rest, names[50:])):
        folder.mkdir()
        for name in part:
            (tmp_path / name).rename(folder / name)
    words = ["--model", str(landmark_run), "--format", "json"]
    assert main(["landmarks", str(first), *words]) == 0
    before = resident()
    assert main(["landmarks", str(rest), *words]) == 0
    grown = resident() - before
    print(f"memory grew by {grown:.1f} MB")
    assert len(list(rest.with_name("rest-landmarks").rglob("*.landmarks.json"))) == 1000
    assert grown < 50


def test_one_photo_imports_no_recipe_of_another_method(photo: Path, landmark_run: Path):
    program = (
        "import sys; from lineament.cli.main import main\n"
        f"assert main(['landmarks', {str(photo)!r}, '--model', {str(landmark_run)!r}]) == 0\n"
        "print(*sorted(name for name in sys.modules if name.startswith('lineament.methods.')), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    modules = [line for line in done.stdout.splitlines() if line.startswith("lineament.methods.")]
    assert "lineament.methods.dve.recipe_landmarks" in modules
    # The tables of recipes are read to find a name.
    others = {name for name in modules if name.split(".")[2] != "dve"}
    assert {name.split(".", 3)[3] for name in others if name.count(".") > 2} <= {"recipes"}


def test_a_model_says_what_it_is(landmark_run: Path, descriptor_run: Path):
    model = lineament.load(landmark_run)
    assert repr(model) == f"Model(dve-landmarks, step 2, scheme 68, {landmark_run})"
    assert repr(lineament.load(descriptor_run)) == f"Model(dve-smallnet-16d, step 3, {descriptor_run})"
    assert "load" in dir(lineament)
    with pytest.raises(UsageError, match="unknown detector 'mtcn': did you mean 'mtcnn'"):
        lineament.load(landmark_run, detector="mtcn")


def test_a_run_of_keypoint_depths_names_what_reads_it(tmp_path: Path, photo: Path):
    from tests.depthnet.faces import source

    from lineament.capabilities import DepthPredictor
    from lineament.methods.depthnet.recipe_modern import ModernDepthNetConfig, ModernDepthNetRecipe
    from lineament.training.loop import LoopOptions, train

    config = ModernDepthNetConfig(steps=1, batch_size=4, widths=(8,), evaluate_count=2)
    quiet = LoopOptions(progress=False, report=False, figures=False)
    train(ModernDepthNetRecipe(config), source(4), tmp_path / "depth", options=quiet)
    model = lineament.load(tmp_path / "depth")
    assert model.has(DepthPredictor) and "depthnet-modern, step 1" in repr(model)
    for ask in (lambda: model(photo), lambda: model.describe(photo, BOX), lambda: model.scheme):
        with pytest.raises(UsageError, match=r"lineament depth PHOTO --model .*depth`, .*lineament turn"):
            ask()
    assert main(["landmarks", str(photo), "--model", str(tmp_path / "depth")]) == 2


def test_faces_of_one_photo_are_found_together(landmark_run: Path):
    model = lineament.load(landmark_run)
    image = torch.from_numpy(np.array(FACE)).permute(2, 0, 1).float() / 255
    boxes = BOX + torch.tensor([[0.0], [10.0], [-20.0]])
    together = model(image, boxes)
    for box, face in zip(boxes, together, strict=True):
        alone = model(image, box[None])[0]
        torch.testing.assert_close(face.landmarks, alone.landmarks, atol=1e-3, rtol=0)
        torch.testing.assert_close(face.confidence, alone.confidence, atol=1e-3, rtol=0)
    described = model.predictor.describe(image, boxes)
    assert described.features.shape[0] == 3
    assert model(image, torch.zeros(0, 4)) == []
    assert model.predictor.landmarks(image, torch.zeros(0, 4)).points.shape == (0, 68, 2)


def test_what_another_model_did_is_refused(photo: Path, landmark_run: Path, tmp_path: Path, capsys):
    other = tmp_path / "other"
    shutil.copytree(landmark_run, other)
    words = ["landmarks", str(photo), "--model", str(landmark_run)]
    assert main(words) == 0
    before = {path: path.read_bytes() for path in tmp_path.glob("*.landmarks.*")}
    assert main(["landmarks", str(photo), "--model", str(other)]) == 0, "a copy of a run is the same model"
    config = other / "config.yaml"
    config.write_text(config.read_text() + "# trained on\n")
    for changed, said in (
        (["--model", str(other)], "model "),
        (["--model", str(landmark_run), "--upright", "off"], "upright search, now off"),
        (["--model", str(landmark_run), "--format", "csv", "--upright", "off"], "upright search, now off"),
    ):
        capsys.readouterr()
        assert main(["landmarks", str(photo), *changed]) == 2
        error = capsys.readouterr().err
        assert said in error and "--overwrite" in error and error.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.glob("*.landmarks.*")} == before
    assert main(["landmarks", str(photo), "--model", str(other), "--overwrite"]) == 0


def test_number_type_tiles_and_detector_are_settings_too(photo: Path, tmp_path: Path, capsys):
    from lineament.methods.fabrec.landmark_config import LandmarkConfig
    from lineament.methods.fabrec.recipe_landmarks import LandmarkRecipe
    from lineament.pipeline.predict.landmarks import predict_landmarks
    from lineament.pipeline.predict.options import LandmarkOptions
    from lineament.pipeline.predict.photos import LANDMARKS, plan
    from lineament.synthetic.source import SyntheticFaces
    from lineament.training.loop import LoopOptions, train

    config = LandmarkConfig(base="random", size=64, width=4, code=8, scheme="5", steps=1, batch_size=2)
    run, out = tmp_path / "run", tmp_path / "out"
    train(LandmarkRecipe(config), SyntheticFaces(0, 3, 64), run, options=LoopOptions(progress=False))
    words = ["landmarks", str(photo), "--model", str(run), "--out", str(out)]
    assert main([*words, "--format", "json"]) == 0
    before = {path: path.read_bytes() for path in out.iterdir()}
    for changed, said in ((["--bf16"], "bf16 False, now True"), (["--tiles"], "tiles False, now True")):
        for form in (["--format", "json"], ["--format", "csv"]):
            capsys.readouterr()
            assert main([*words, *changed, *form]) == 2
            error = capsys.readouterr().err
            assert said in error and "--overwrite" in error and error.count("\n") == 1
    by_lbp = lineament.load(run, detector="lbp")
    with pytest.raises(UsageError, match=r"detector \w+, now lbp"):
        predict_landmarks(by_lbp, plan([photo], out, LANDMARKS), LandmarkOptions())
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    # What is missing of the files asked for is not done: it used to be named, and was not there.
    capsys.readouterr()
    assert main(words) == 0 and "done before" not in capsys.readouterr().out
    assert {path.suffix for path in out.iterdir()} == {".json", ".csv", ".pts", ".png"}
    assert main(words) == 0 and "done before" in capsys.readouterr().out


def test_a_turned_photograph_has_the_landmarks_of_the_upright_one(landmark_run: Path, tmp_path: Path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for turn in (0, 90, 180, 270):
        FACE.rotate(turn, expand=True).save(folder / f"{turn}.png")
    assert main(["landmarks", str(folder), "--model", str(landmark_run), "--format", "json"]) == 0
    table = read_keypoints(tmp_path / "photos-landmarks" / "landmarks.json")
    faces = {face.image: face for face in table.faces}
    assert {name: face.turn for name, face in faces.items()} == {
        "0.png": 0,
        "180.png": 180,
        "270.png": 90,
        "90.png": 270,
    }
    for turn in (90, 180, 270):
        back = Affine2D.quarter_turn(turn, FACE.size).inverse()
        found = back.apply(faces[f"{turn}.png"].landmarks)
        torch.testing.assert_close(found, faces["0.png"].landmarks, atol=1e-2, rtol=0)
    # From Python, too.
    photo = torch.rot90(torch.from_numpy(np.array(FACE)).permute(2, 0, 1).float() / 255, 1, (1, 2))
    (face,) = lineament.load(landmark_run)(photo)
    assert face.turn == 270
    torch.testing.assert_close(face.landmarks.float(), faces["90.png"].landmarks, atol=1e-2, rtol=0)


def test_a_folder_without_faces_is_no_failure(tmp_path: Path, landmark_run: Path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (64, 48), "grey").save(folder / "empty.png")
    assert main(["landmarks", str(folder), "--model", str(landmark_run)]) == 0
    assert "0 faces in 1 images, 1 without a face" in capsys.readouterr().out
