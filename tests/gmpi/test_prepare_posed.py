"""From photos to images with camera poses: the poses are true, and nothing is lost on the way."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from lineament.cli.main import main
from lineament.data.images import read_image, write_image
from lineament.data.registry import open_data, open_source
from lineament.data.sample import FaceSample
from lineament.errors import DataError, LineamentError
from lineament.faces.crops import named_crop
from lineament.faces.schemes import scheme
from lineament.files import write_bytes
from lineament.geometry.rotation import angle_between, matrix_from_pose, pose_from_matrix
from lineament.geometry.sphere_camera import angles_on_sphere, camera_position, intrinsics_from_fov
from lineament.inference import Model
from lineament.methods.gmpi.datasets import SCENES
from lineament.methods.gmpi.pose_labels import mirrored, on_scene, read_poses
from lineament.pipeline.prepare import posed_files
from lineament.pipeline.prepare.options import PosedOptions, PrepareOptions
from lineament.pipeline.prepare.posed_run import PosedReport, prepare_posed
from lineament.synthetic.source import SyntheticFaces

SIDE, COUNT = 64, 12
OPTIONS = PosedOptions(resolution=SIDE, coefficients=True)
SCENE = SCENES["ffhq256"]
# Name of the photo of two faces.
LARGEST = "sub/two.png"


def drawn(count: int, head: str = "builtin", packs: Path | None = None) -> SyntheticFaces:
    return SyntheticFaces(seed=11, count=count, size=192, head=head, packs=packs, sensor=0.3)


def run(photos: Path, out: Path, options: PosedOptions = OPTIONS, **more: object) -> PosedReport:
    return prepare_posed(open_source("folder", photos), out, PrepareOptions(), options, **more)  # type: ignore[arg-type]


def content(out: Path) -> dict[str, bytes]:
    files = [path for path in out.rglob("*") if path.is_file() and ".prepared" not in path.parts]
    # .mat files tell when they were written in their first 116 bytes.
    return {
        path.relative_to(out).as_posix(): path.read_bytes()[116 * (path.suffix == ".mat") :] for path in files
    }


def left_out(out: Path) -> dict[str, str]:
    with (out / "left_out.csv").open(newline="", encoding="utf-8") as file:
        return {row["photo"]: row["reason"] for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def faces() -> list[FaceSample]:
    source = drawn(COUNT)
    return [source[index] for index in range(COUNT)]


@pytest.fixture(scope="module")
def photos(faces: list[FaceSample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Faces of known poses, one in grey, one with transparency, two in one photo, none, and what is no image."""
    folder = tmp_path_factory.mktemp("photos")
    for index, face in enumerate(faces):
        write_image(folder / f"{index:02}.png", face.image)
    Image.open(folder / "01.png").convert("L").save(folder / "01.png")
    Image.open(folder / "02.png").convert("RGBA").save(folder / "02.png")
    pair = Image.open(folder / "03.png").resize((120, 120))
    wide = Image.new("RGB", (330, 192), (90, 90, 90))
    wide.paste(pair, (5, 30))
    wide.paste(Image.open(folder / "04.png"), (130, 0))
    (folder / "sub").mkdir()
    wide.save(folder / LARGEST)
    write_image(folder / "none.png", torch.full((3, 150, 150), 0.4))
    (folder / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    return folder


@pytest.fixture(scope="module")
def prepared(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PosedReport]:
    out = tmp_path_factory.mktemp("prepared") / "out"
    return out, run(photos, out)


def true_rotation(face: FaceSample) -> Tensor:
    """Head to camera in the crop that the true landmarks set."""
    assert face.landmarks is not None and face.pose is not None
    crop = named_crop("ffhq", landmarks=face.landmarks, scheme="68", size=SIDE)
    turn = matrix_from_pose(torch.tensor([0.0, 0.0, crop.rotation], dtype=torch.float64))
    return turn @ matrix_from_pose(face.pose.double())


def errors(out: Path, faces: list[FaceSample]) -> dict[str, float]:
    """Medians over faces in degrees: of yaw and pitch, and of the angle between the rotations."""
    poses = read_poses(out)
    found = torch.stack([poses.cameras[f"{index:02}.png"] for index in range(len(faces))])[:, :3, :3]
    true = torch.stack([true_rotation(face) for face in faces])
    apart = (pose_from_matrix(found) - pose_from_matrix(true)).abs().rad2deg()
    middle = {"angle": float(angle_between(found, true).rad2deg().median())}
    return middle | {name: float(apart[:, axis].median()) for axis, name in enumerate(("yaw", "pitch"))}


def test_poses_are_those_of_the_heads_that_were_drawn(
    prepared: tuple[Path, PosedReport], faces: list[FaceSample]
) -> None:
    found = errors(prepared[0], faces)
    assert found["yaw"] < 3 and found["pitch"] < 3 and found["angle"] < 4, found


@pytest.mark.slow
def test_poses_of_many_heads_of_another_make(tmp_path: Path, packs: Path) -> None:
    source = drawn(200, "ict", packs)
    faces = [source[index] for index in range(200)]
    for index, face in enumerate(faces):
        write_image(tmp_path / "photos" / f"{index:02}.png", face.image)
    report = run(tmp_path / "photos", tmp_path / "out", workers=2)
    kept = [face for index, face in enumerate(faces) if f"{index:02}.png" not in left_out(tmp_path / "out")]
    assert report.faces == len(kept) == 200
    found = errors(tmp_path / "out", faces)
    print(f"\nmedian errors of 200 ICT heads, degrees: {found}")
    assert found["yaw"] < 3 and found["pitch"] < 3 and found["angle"] < 4, found


def test_the_axes_are_those_that_the_image_shows(
    prepared: tuple[Path, PosedReport], faces: list[FaceSample]
) -> None:
    """docs/conventions.md: a head that turns to the image right shows its nose there, and is seen from the left."""
    poses, points = read_poses(prepared[0]), scheme("68")
    assert poses.fov_degrees is not None
    focal = intrinsics_from_fov(math.radians(poses.fov_degrees), SIDE)
    seen, shown, eye = [], [], []
    for index, face in enumerate(faces):
        assert face.landmarks is not None
        camera = poses.cameras[f"{index:02}.png"]
        # A point before the face: x right, y down, z away from the viewer.
        before = (camera @ torch.tensor([0.0, 0.0, -0.02, 1.0], dtype=torch.float64))[:3]
        seen.append((focal @ before / before[2])[:2] - SIDE / 2)
        crop = named_crop("ffhq", landmarks=face.landmarks, scheme="68", size=SIDE)
        places = crop.apply(face.landmarks.double())
        corners = ("left_eye_outer", "left_eye_inner", "right_eye_inner", "right_eye_outer")
        shown.append(places[points.index("nose_tip")] - places[list(points.indices(*corners))].mean(0))
        eye.append(camera_position(camera))
        torch.testing.assert_close(eye[-1].norm(), eye[-1].new_tensor(1.0))
    # Noses are longer or shorter, which moves their tips up and down.
    for axis, least in enumerate((0.95, 0.6)):
        pair = torch.stack([torch.stack(seen)[:, axis], torch.stack(shown)[:, axis]])
        assert float(torch.corrcoef(pair)[0, 1]) > least
    right = torch.stack(shown)[:, 0]
    assert float(torch.stack(eye)[right.argmax(), 0]) < 0 < float(torch.stack(eye)[right.argmin(), 0])


def test_every_format_tells_the_same_cameras(prepared: tuple[Path, PosedReport]) -> None:
    out = prepared[0]
    labels, files = read_poses(out), read_poses(out / "coeffs")
    assert {name.rpartition(".")[0] for name in labels.cameras} == set(files.cameras)
    table = read_poses(out / "faces.csv")
    for name, camera in labels.cameras.items():
        other = files.cameras[name.rpartition(".")[0]]
        assert float((on_scene(camera, SCENE) - on_scene(other, SCENE)).abs().max()) < 1e-4
        if name in table.cameras:
            assert float((table.cameras[name] - camera).abs().max()) < 1e-4


def test_mirrored_images_have_mirrored_cameras(prepared: tuple[Path, PosedReport]) -> None:
    out, report = prepared
    cameras = read_poses(out).cameras
    assert len(cameras) == 2 * report.faces == len(open_data(out))
    for name in ("00", "05", "sub/two"):
        own, other = cameras[f"{name}.png"], cameras[f"{name}-mirrored.png"]
        assert torch.equal(mirrored(own), other)
        image = read_image(out / f"{name}.png")
        assert image.shape == (3, SIDE, SIDE)
        assert torch.equal(image.flip(2), read_image(out / f"{name}-mirrored.png"))
        yaws, pitches = angles_on_sphere(torch.stack([own, other]), centre_z=0.0)
        assert float(yaws.sum()) == pytest.approx(0, abs=1e-9)
        assert float(pitches[0]) == pytest.approx(float(pitches[1]))


def test_what_was_left_out_enlarged_or_changed_is_said(
    prepared: tuple[Path, PosedReport], faces: list[FaceSample]
) -> None:
    out, report = prepared
    listed = left_out(out)
    assert listed.pop("torn.jpg").startswith("unreadable: ")
    assert listed == {"none.png": "no face found"}
    assert (report.photos, report.faces, report.grey, report.transparent) == (COUNT + 3, COUNT + 1, 1, 1)
    told = report.summary()
    for words in (
        "left out 2 (1 ",
        "1 no face found",
        "1 with several faces, of which the largest",
        "1 grey",
        "1 with transparency",
        "--yaw-std 0.",
        "--fov-degrees 12.6",
    ):
        assert words in told, told
    # The larger of two faces is the one that stands alone in another photo.
    cameras = read_poses(out).cameras
    apart = [angle_between(cameras[LARGEST][:3, :3], cameras[f"{n:02}.png"][:3, :3]) for n in (3, 4)]
    assert math.degrees(apart[1]) < 3 < math.degrees(apart[0])
    assert read_image(out / "poses.sheet.png").shape[0] == 3
    assert not list(out.rglob(".writing*")) and not (out / "unfinished").exists()


class _Stop(BaseException):
    pass


def stop_after(count: int) -> Callable[..., object]:
    """A progress that ends the run after so many photos."""

    @contextmanager
    def progress(*_: object) -> Iterator[Callable[[], None]]:
        done = 0

        def step() -> None:
            nonlocal done
            done += 1
            if done == count:
                raise _Stop

        yield step

    return progress


@pytest.fixture
def few(photos: Path, tmp_path: Path) -> Path:
    """A folder of five photos, one of them without a face."""
    folder = tmp_path / "few"
    folder.mkdir()
    for name in ("00.png", "01.png", "05.png", "06.png", "none.png"):
        shutil.copy(photos / name, folder / name)
    return folder


def test_an_interrupted_run_goes_on_and_ends_the_same(few: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    run(few, whole, workers=2)
    with pytest.raises(_Stop):
        run(few, out, progress=stop_after(3))
    with pytest.raises(DataError, match="run the same command again"):
        open_data(out)
    # Killed while a line was written, and between the images and the line of a photo that is gone by now.
    journal = out / ".prepared" / "photos.jsonl"
    shutil.copy(out / "00.png", out / "gone.png")
    row = {"photo": "gone.png", "digest": "", "image": "gone.png"}
    journal.write_text(journal.read_text() + json.dumps(row) + '\n{"photo": "06.p')
    assert run(few, out).skipped == 3
    assert content(out) == content(whole)
    # Nothing is left to do; other cameras need no new images.
    assert run(few, out, PosedOptions(resolution=SIDE, coefficients=True, radius=2.7)).skipped == 5
    assert read_poses(out).radius == pytest.approx(2.7)


def test_a_full_disk_loses_nothing(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, left = tmp_path / "out", [3]

    def full(path: Path, data: bytes, **options: bool) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        write_bytes(path, data, **options)

    monkeypatch.setattr(posed_files, "write_bytes", full)
    with pytest.raises(
        LineamentError, match=r"No space left.*: free some space .* run the same command again"
    ):
        run(few, out)
    left[0] = 99
    assert run(few, out).skipped == 1


def test_faces_that_the_models_do_not_believe_are_left_out(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="no face of"):
        run(few, tmp_path / "head", PosedOptions(resolution=SIDE, max_head_error=1e-4))
    assert re.match(r"pose not sure: .* 0\.\d+ off any head", left_out(tmp_path / "head")["00.png"])
    monkeypatch.setattr(Model, "uncertainty_limit", 0.0)
    with pytest.raises(DataError, match="no face of"):
        run(few, tmp_path / "points")
    assert left_out(tmp_path / "points")["00.png"].endswith("model is not sure enough of 1 detections")


def test_photos_that_change_or_go_and_images_that_are_lost(few: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(few, out)
    before = content(out)
    (few / "00.png").unlink()
    shutil.copy(few / "05.png", few / "01.png")
    (out / "06-mirrored.png").unlink()
    report = run(few, out)
    assert (report.skipped, report.faces) == (2, 3)
    after = content(out)
    assert "00.png" not in after and "coeffs/00-mirrored.mat" not in after
    assert after["01.png"] == before["05.png"] and after["06-mirrored.png"] == before["06-mirrored.png"]
    assert set(read_poses(out).cameras) == {
        f"{name}{side}.png" for name in ("01", "05", "06") for side in ("", "-mirrored")
    }


def test_what_is_there_already_is_kept_or_refused(few: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(LineamentError, match="is not empty and was not written by"):
        run(few, out)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    (out / "mine.txt").unlink()
    run(few, out)
    other = PosedOptions(resolution=32, mirrored=False)
    with pytest.raises(LineamentError, match=r"resolution 64 -> 32.* --overwrite"):
        run(few, out, other)
    (out / "mine.txt").write_text("mine")
    run(few, out, other, overwrite=True)
    images, beside = {"00.png", "01.png", "05.png", "06.png"}, {"dataset.json", "faces.csv", "left_out.csv"}
    assert content(out).keys() == images | beside | {"poses.sheet.png", "mine.txt"}
    (few.parent / "file").write_text("")
    with pytest.raises(LineamentError, match="is a file"):
        run(few, few.parent / "file")


def test_photos_of_one_name_and_hidden_ones_get_names_of_their_own(few: Path, tmp_path: Path) -> None:
    Image.open(few / "05.png").convert("RGB").save(few / "00.jpg")
    Image.open(few / "05.png").convert("RGB").save(few / "00-mirrored.bmp")
    out = tmp_path / "out"
    assert run(few, out).faces == 6
    assert len(read_poses(out).cameras) == len(open_data(out)) == 12


def test_a_folder_without_a_face_is_said(tmp_path: Path) -> None:
    write_image(tmp_path / "photos" / "none.png", torch.full((3, 99, 99), 0.4))
    with pytest.raises(DataError, match=r"no face of .* can be used: 1 photos were left out"):
        run(tmp_path / "photos", tmp_path / "out")
    assert left_out(tmp_path / "out") == {"none.png": "no face found"}
    with pytest.raises(DataError, match="run the same command again"):
        open_data(tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--for", "gmpi"], "needs --resolution, a power of two"),
        (["--for", "gmpi", "--resolution", "100"], "power of two from 16 to 1024, not 100"),
        (["--for", "gmpi", "--resolution", "64", "--crop", "fabrec"], "--crop: not for --for gmpi"),
        (["--for", "gmpi", "--resolution", "64", "--fov-degrees", "180"], "between 0 and 180, not 180"),
        (["--for", "gmpi", "--resolution", "64", "--radius", "0"], "--radius 0 "),
        (["--resolution", "64"], "--resolution: for --for gmpi alone"),
    ],
)
def test_impossible_options_are_refused_before_anything_is_written(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["data", "prepare", "folder", str(few), "--out", str(tmp_path / "out"), *words]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_prepared_folder_is_what_gmpi_is_trained_on(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From photos to a trained step by the command line; what was estimated is what the training takes."""
    out = tmp_path / "out"
    words = ["data", "prepare", "folder", str(few), "--for", "gmpi", "--resolution", "16", "--out", str(out)]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "4 faces, each also mirrored, of 5 photos" in told
    small = "--resolution 16 --channel-base 64 --channel-max 4 --latent 4 --planes 4 --steps 1 --batch-size 2"
    small += " --lights none --figures-every 0"
    train = ["train", "gmpi-folder", "--pose", str(out), "--data", str(out), "--run", str(tmp_path / "run")]
    assert main([*train, *small.split()]) == 0
    said = capsys.readouterr()
    assert told[told.index("--near") :].splitlines()[0] in said.out + said.err
