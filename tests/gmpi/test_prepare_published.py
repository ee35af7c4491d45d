"""FFHQ and MetFaces in the published layout: landmarks, poses, lists; what is there is read, and nothing is lost."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import scipy.io
import torch
from tests.gmpi.old_deep3d import published_weights, small_network
from torch import Tensor

from lineament.cli.main import main
from lineament.data.images import encode_image, read_image, write_image
from lineament.data.registry import open_source
from lineament.data.sample import FaceSample
from lineament.errors import DataError, LineamentError, UsageError
from lineament.faces.deep3d_alignment import align_image, find_window
from lineament.faces.detection import Detection, detect_faces
from lineament.faces.schemes import convert_points
from lineament.geometry.rotation import matrix_from_pose, pose_from_matrix
from lineament.methods.gmpi.deep3d import predict_coefficients
from lineament.methods.gmpi.pose_labels import match_poses, mirrored, read_poses
from lineament.methods.gmpi.published_layout import (
    published_layout,
    read_fail_list,
    read_landmarks,
    write_fail_list,
    write_landmarks,
)
from lineament.pipeline.prepare import published, published_files
from lineament.pipeline.prepare.options import PosedOptions, PrepareOptions
from lineament.pipeline.prepare.published_options import PublishedOptions
from lineament.pipeline.prepare.published_run import PublishedReport, prepare_published
from lineament.synthetic.source import SyntheticFaces

SIDE, COUNT = 160, 8
NONE, TORN = "00000/img00000008.png", "00000/img00000009.png"
NAMES = [f"00000/img{index:08d}.png" for index in range(COUNT)]
OWN = PublishedOptions()
PAPER = PublishedOptions(preset="paper")


@pytest.fixture(scope="module")
def faces() -> list[FaceSample]:
    source = SyntheticFaces(seed=11, count=COUNT, size=SIDE, head="builtin", sensor=0.3)
    return [source[index] for index in range(COUNT)]


@pytest.fixture(scope="module")
def archive(faces: list[FaceSample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Faces of known poses, an image without a face, and one that is torn."""
    path = tmp_path_factory.mktemp("ffhq") / "ffhq.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, face in zip(NAMES, faces, strict=True):
            file.writestr(name, encode_image(face.image, "png", name))
        file.writestr(NONE, encode_image(torch.full((3, SIDE, SIDE), 0.4), "png", NONE))
        file.writestr(TORN, encode_image(faces[0].image, "png", TORN)[:3000])
        file.writestr("dataset.json", '{"labels": null}')
    return path


def run(images: Path, out: Path, options: PublishedOptions = OWN, **more: object) -> PublishedReport:
    data_set = "ffhq" if images.suffix == ".zip" else "metfaces"
    return prepare_published(data_set, images, out, PrepareOptions(), options, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def prepared(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PublishedReport]:
    out = tmp_path_factory.mktemp("runtime") / "runtime_dataset"
    return out, run(archive, out)


def content(out: Path) -> dict[str, bytes]:
    files = [path for path in out.rglob("*") if path.is_file() and ".prepared" not in path.parts]
    # .mat files tell when they were written in their first 116 bytes.
    return {
        path.relative_to(out).as_posix(): path.read_bytes()[116 * (path.suffix == ".mat") :] for path in files
    }


def test_the_published_layout_is_written(prepared: tuple[Path, PublishedReport]):
    out, report = prepared
    assert (report.images, report.done, report.read, report.skipped) == (COUNT + 2, COUNT, 0, 0)
    poses = f"ffhq{SIDE}_deep3dface_coeffs"
    stems = [name.removesuffix(".png") for name in NAMES]
    expected = {f"{poses}/{name}.mat" for name in stems}
    expected |= {f"yunet_ffhq_{SIDE}/detections/results/{name}.txt" for name in stems}
    expected |= {f"{poses}/fail_list.txt", f"yunet_ffhq_{SIDE}/detections/fail_list.txt"}
    assert set(content(out)) == expected | {f"{poses}/poses.parquet", f"{poses}/left_out.csv"}
    assert (out / poses / "fail_list.txt").read_text() == f"{NONE}\n{TORN}\n"
    lines = (out / f"yunet_ffhq_{SIDE}/detections/results/{stems[0]}.txt").read_text().splitlines()
    assert len(lines) == 5 and all(len(line.split("\t")) == 2 for line in lines)
    left_out = (out / poses / "left_out.csv").read_text()
    assert f"{NONE},no face found" in left_out and f"{TORN},unreadable: " in left_out
    told = report.summary()
    assert (
        f"{COUNT} of {COUNT + 2} images have poses" in told
        and "left out 2 (1 no face found, 1 unreadable)" in told
    )
    shapes = {
        key: value.shape
        for key, value in scipy.io.loadmat(out / poses / f"{stems[0]}.mat").items()
        if key[0] != "_"
    }
    sizes = {"id": 80, "exp": 64, "tex": 80, "angle": 3, "gamma": 27, "trans": 3}
    assert shapes == {**{key: (1, size) for key, size in sizes.items()}, "lm68": (1, 68, 2)}


def test_landmarks_and_poses_are_those_of_the_heads_that_were_drawn(
    prepared: tuple[Path, PublishedReport], faces: list[FaceSample]
):
    layout = prepared[1].layout
    poses = read_poses(layout.poses)
    apart, off = [], []
    for name, face in zip(NAMES, faces, strict=True):
        assert face.pose is not None and face.landmarks is not None
        found = pose_from_matrix(poses.cameras[name.removesuffix(".png")][:3, :3])
        apart.append((found - pose_from_matrix(matrix_from_pose(face.pose.double()))).abs().rad2deg())
        true = convert_points(face.landmarks, "68", "5")
        off.append(
            (read_landmarks(layout.landmarks(name)) - true).norm(dim=1).mean() / (true[1] - true[0]).norm()
        )
    yaw, pitch, _ = torch.stack(apart).median(0).values.tolist()
    assert yaw < 3 and pitch < 3, (yaw, pitch)
    assert float(torch.stack(off).median()) < 0.15


def test_the_table_and_the_files_tell_the_same_cameras_and_train(
    prepared: tuple[Path, PublishedReport], archive: Path
):
    layout = prepared[1].layout
    files, table = read_poses(layout.poses), read_poses(layout.table)
    assert set(table.cameras) == set(NAMES) and table.failed == {NONE, TORN} == files.failed
    for name, camera in table.cameras.items():
        torch.testing.assert_close(camera, files.cameras[name.removesuffix(".png")], rtol=0, atol=1e-12)
    source = open_source("ffhq", archive)
    for poses in (files, table):
        kept, cameras = match_poses(poses, source, "poses")
        assert len(kept) == len(cameras) == COUNT
    rows = pq.read_table(layout.table).to_pylist()
    for row in rows[:COUNT]:
        three = pose_from_matrix(table.cameras[row["name"]][:3, :3]).rad2deg()
        assert [row["yaw"], row["pitch"], row["roll"]] == pytest.approx(three.tolist(), abs=1e-9)
        assert row["made_by"] == "head fit" and 0 < row["head_error"] < 0.08 and len(row["points"]) == 10


def test_a_second_run_does_nothing_and_workers_change_nothing(
    prepared: tuple[Path, PublishedReport], archive: Path, tmp_path: Path
):
    out, _ = prepared
    again = run(archive, out)
    assert (again.skipped, again.done) == (COUNT + 2, COUNT)
    run(archive, tmp_path, workers=2)
    assert content(tmp_path) == content(out)


@pytest.mark.parametrize("moment", ["landmarks", "pose", "line"])
def test_a_run_that_is_killed_goes_on_and_ends_as_one_that_was_not(
    prepared: tuple[Path, PublishedReport],
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
):
    write, count = published_files.write_coefficient_file, 0

    def end(*arguments: object, **named: object) -> None:
        nonlocal count
        count += 1
        if (count, moment) in ((3, "landmarks"), (4, "line")):
            raise KeyboardInterrupt
        write(*arguments, **named)  # type: ignore[arg-type]
        if count == 3 and moment == "pose":
            raise KeyboardInterrupt

    monkeypatch.setattr(published_files, "write_coefficient_file", end)
    with pytest.raises(KeyboardInterrupt):
        run(archive, tmp_path)
    monkeypatch.undo()
    journal = next(tmp_path.rglob("images.jsonl"))
    layout = published_layout("ffhq", SIDE, tmp_path, "yunet")
    if moment == "line":
        # As if the third image's line was torn, before the fourth.
        lines = journal.read_text().splitlines(keepends=True)
        for path in (layout.pose(NAMES[3]), layout.landmarks(NAMES[3])):
            path.unlink(missing_ok=True)
        journal.write_text("".join(lines[:-1])[:-30])
    report = run(archive, tmp_path)
    assert (report.skipped, report.read) == (2, 0)
    assert content(tmp_path) == content(prepared[0])
    # All of it is known to be this program's.
    run(archive, tmp_path, overwrite=True)
    assert content(tmp_path) == content(prepared[0])


def test_a_full_disk_is_one_sentence_and_loses_nothing(
    prepared: tuple[Path, PublishedReport], archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(path: Path, points: Tensor) -> None:
        if path.name == "img00000002.txt":
            raise OSError(28, "No space left on device")
        write_landmarks(path, points)

    monkeypatch.setattr(published_files, "write_landmarks", full)
    with pytest.raises(
        LineamentError, match=r"No space left on device.: free some space .* where it stopped"
    ):
        run(archive, tmp_path)
    monkeypatch.undo()
    assert run(archive, tmp_path).skipped == 2 and content(tmp_path) == content(prepared[0])
    (tmp_path / "file").write_text("mine")
    with pytest.raises(LineamentError, match="is a file"):
        run(archive, tmp_path / "file")
    settings = next(tmp_path.rglob("settings.json"))
    settings.write_text("torn")
    with pytest.raises(DataError, match=r"settings.json is damaged .* --overwrite"):
        run(archive, tmp_path)


def test_files_that_are_gone_and_images_that_changed_are_done_again(
    prepared: tuple[Path, PublishedReport], archive: Path, faces: list[FaceSample], tmp_path: Path
):
    shutil.copytree(prepared[0], tmp_path / "out")
    layout = run(archive, tmp_path / "out").layout
    layout.pose(NAMES[1]).unlink()
    layout.landmarks(NAMES[2]).unlink()
    report = run(archive, tmp_path / "out")
    assert report.skipped == COUNT and content(tmp_path / "out") == content(prepared[0])
    changed = tmp_path / "ffhq.zip"
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name in (NAMES[3], NONE):
                data = encode_image(faces[5].image, "png", name)
            new.writestr(name, data)
    report = run(changed, tmp_path / "out")
    assert (report.skipped, report.done) == (COUNT, COUNT + 1)
    for name in (NAMES[3], NONE):
        assert layout.pose(name).read_bytes()[116:] == layout.pose(NAMES[5]).read_bytes()[116:]
    assert read_fail_list(layout.unposed) == [TORN] == read_fail_list(layout.undetected)


def test_other_settings_are_refused_and_overwrite_starts_again(
    prepared: tuple[Path, PublishedReport], archive: Path, tmp_path: Path
):
    shutil.copytree(prepared[0], tmp_path / "out")
    other = PrepareOptions(min_face=500.0)
    with pytest.raises(LineamentError, match=r"other settings \(min_face 20.0 -> 500.0\)"):
        prepare_published("ffhq", archive, tmp_path / "out", other, PublishedOptions())
    assert content(tmp_path / "out") == content(prepared[0])
    with pytest.raises(DataError, match="no image of ffhq/all can be used"):
        prepare_published("ffhq", archive, tmp_path / "out", other, PublishedOptions(), overwrite=True)
    assert not list((tmp_path / "out").rglob("*.mat"))


def test_what_another_program_left_is_read_and_stays(
    prepared: tuple[Path, PublishedReport], archive: Path, tmp_path: Path
):
    """Landmarks in whole pixels, a list with repeated names as reruns leave it, and coefficients."""
    layout = prepared[1].layout
    theirs = published_layout("ffhq", SIDE, tmp_path, "yunet")
    whole = read_landmarks(layout.landmarks(NAMES[0])).round()
    write_landmarks(theirs.landmarks(NAMES[0]), whole)
    text = theirs.landmarks(NAMES[0]).read_text().replace(".000", "")
    theirs.landmarks(NAMES[0]).write_text(text)
    # The whole name before the ending is read, too.
    other = theirs.results / f"{NAMES[1]}.txt"
    write_landmarks(other, read_landmarks(layout.landmarks(NAMES[1])))
    theirs.undetected.write_text(f"{NAMES[2]}\n\n{NAMES[2]}\nelsewhere/img.png\n")
    theirs.pose(NAMES[3]).parent.mkdir(parents=True)
    shutil.copy(layout.pose(NAMES[4]), theirs.pose(NAMES[3]))
    before = content(tmp_path)
    report = run(archive, tmp_path)
    assert (report.read, report.done) == (2, COUNT - 1)
    after = content(tmp_path)
    kept = set(before) - {theirs.undetected.relative_to(tmp_path).as_posix()}
    assert all(after[name] == before[name] for name in kept)
    assert not (theirs.results / NAMES[1]).with_suffix(".txt").is_file()
    assert read_fail_list(theirs.undetected) == [NAMES[2], NONE, TORN, "elsewhere/img.png"]
    assert read_fail_list(theirs.unposed) == [NAMES[2], NONE, TORN]
    poses = read_poses(theirs.table)
    assert torch.equal(poses.cameras[NAMES[3]], read_poses(layout.table).cameras[NAMES[4]])
    rows = {row["name"]: row for row in pq.read_table(theirs.table).to_pylist()}
    assert rows[NAMES[0]]["points"] == whole.flatten().tolist() and rows[NAMES[3]]["made_by"] == "read"
    # Starting again leaves theirs.
    run(archive, tmp_path, overwrite=True)
    assert all(content(tmp_path)[name] == before[name] for name in kept)


@pytest.mark.parametrize(
    "text", ["", "1\t2\n", "a\tb\n" * 5, "nan\t1\n" * 5, "1\t2\t3\n" * 5, "1\t2\n" * 6, "\0\xff"]
)
def test_damaged_files_of_another_program_are_named(archive: Path, tmp_path: Path, text: str):
    results = tmp_path / f"mtcnn_ffhq_{SIDE}" / "detections" / "results" / "00000"
    results.mkdir(parents=True)
    for index in range(5):
        (results / f"img{index:08d}.txt").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"img00000000.txt .* \(and 2 more\)"):
        run(archive, tmp_path, PAPER)


def test_the_paper_has_mtcnn_and_its_first_detection_and_the_network(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    detected = run(archive, tmp_path, PAPER)
    assert detected.poses == "none" and "give --deep3d" in detected.summary()
    layout = detected.layout
    assert layout.detections.name == f"mtcnn_ffhq_{SIDE}" and not layout.poses.exists()
    source = open_source("ffhq", archive)
    first = detect_faces(source[0].image, "mtcnn", min_face=20, upright="off")[0][0]
    assert first.points is not None
    assert float((read_landmarks(layout.landmarks(NAMES[0])) - first.points).abs().max()) < 1e-3
    network = small_network(monkeypatch)
    weights = tmp_path / "epoch_20.pth"
    torch.save({"net_recon": published_weights(network.state_dict())}, weights)
    report = run(archive, tmp_path, PublishedOptions("paper", weights))
    found = [name for name in NAMES if layout.landmarks(name).is_file()]
    assert len(found) >= COUNT - 1 and report.done == len(found)
    points = read_landmarks(layout.landmarks(found[-1]))
    image = source[NAMES.index(found[-1])].image
    expected = predict_coefficients(network, align_image(image, find_window(points, (SIDE, SIDE)))[None])
    file = scipy.io.loadmat(layout.pose(found[-1]))
    for key, value in expected.items():
        torch.testing.assert_close(torch.from_numpy(file[key]), value, rtol=1e-4, atol=1e-5)
    assert pq.read_table(layout.table)["made_by"].to_pylist().count("deep3d") == len(found)
    with pytest.raises(UsageError, match="--preset paper has values of its own for --detector"):
        prepare_published("ffhq", archive, tmp_path, PrepareOptions(detector="lbp"), PAPER)


def test_which_of_several_faces_counts(archive: Path, monkeypatch: pytest.MonkeyPatch):
    small, large = (
        Detection(torch.tensor([0.0, 0.0, side, side]), score, torch.full((5, 2), side))
        for side, score in ((20.0, 0.9), (50.0, 0.8))
    )

    def detect(images: Sequence[Tensor], *_: object, **__: object) -> list[list[Detection]]:
        return [[small, large] for _ in images]

    monkeypatch.setattr(published, "detect_faces", detect)
    for preset, face in ((None, large), ("paper", small)):
        options = PublishedOptions(preset)  # type: ignore[arg-type]
        finder = published.PoseFinder(
            open_source("ffhq", archive), PrepareOptions(), options, PosedOptions(), {}
        )
        monkeypatch.setattr(finder, "_fit", lambda *_: None)
        found = finder([0])[0].points
        assert found is not None and face.points is not None and torch.equal(found, face.points.double())


@pytest.fixture
def paintings(faces: list[FaceSample], tmp_path: Path) -> Path:
    folder = tmp_path / "metfaces"
    for index in range(3):
        write_image(folder / f"{index:05d}-00.png", faces[index].image)
    return folder


def test_metfaces_gets_flips_once_and_poses_of_both(paintings: Path, tmp_path: Path):
    report = run(paintings, tmp_path)
    folder = tmp_path / f"metfaces{SIDE}x{SIDE}_xflip"
    assert (report.flips, report.images, report.done) == (3, 6, 6)
    assert report.layout.coefficients == tmp_path / "metfaces_xflip_deep3dface_coeffs" / "coeffs"
    for name in ("00000-00", "00001-00"):
        image = read_image(folder / f"{name}.png")
        assert torch.equal(image.flip(2), read_image(folder / f"{name}_xflip.png"))
        assert (folder / f"{name}.png").read_bytes() == (paintings / f"{name}.png").read_bytes()
    poses = read_poses(report.layout.poses)
    for index in range(3):
        own, other = (poses.cameras[f"{index:05d}-00{end}"] for end in ("", "_xflip"))
        angles = (pose_from_matrix(mirrored(own)[:3, :3]) - pose_from_matrix(other[:3, :3])).abs().rad2deg()
        assert float(angles.max()) < 6
    assert report.layout.unposed.read_text() == "\n"
    before = content(tmp_path)
    # The folder that was made, in place: a second run changes nothing and flips no flips.
    for place in (paintings, folder):
        again = run(place, tmp_path)
        assert (again.flips, again.skipped) == (0, 6) and content(tmp_path) == before
    kept, _ = match_poses(poses, open_source("metfaces", folder, flips="needed"), "poses")
    assert len(kept) == 6


def test_a_painting_that_cannot_be_read_is_left_out_by_name(paintings: Path, tmp_path: Path):
    (paintings / "00002-00.png").write_bytes(b"torn")
    report = run(paintings, tmp_path)
    assert report.done == 4 and report.images == 5
    assert read_fail_list(report.layout.unposed) == ["00002-00.png"]
    (paintings / "00001-00.jpg").write_bytes((paintings / "00001-00.png").read_bytes())
    with pytest.raises(DataError, match="differ in their endings alone"):
        run(paintings, tmp_path)


def test_lists_of_failures_are_never_empty_files(tmp_path: Path):
    write_fail_list(tmp_path / "fail_list.txt", [])
    assert (tmp_path / "fail_list.txt").read_bytes() == b"\n"
    assert read_fail_list(tmp_path / "fail_list.txt") == [] == read_fail_list(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["ffhq", "{zip}", "--crop", "fabrec"], 2, "--crop: changes nothing for ffhq"),
        (["ffhq", "{zip}", "--for", "gmpi"], 2, "--for: changes nothing for ffhq"),
        (["ffhq", "{zip}", "--split", "val"], 2, "--split: changes nothing"),
        (
            ["ffhq", "{zip}", "--preset", "paper", "--max-head-error", "0.1"],
            2,
            "--max-head-error: changes nothing",
        ),
        (["ffhq", "{zip}", "--detector", "lbp"], 2, "lbp gives no landmarks"),
        (["ffhq", "{zip}", "--deep3d", "{zip}"], 1, "cannot be read as a checkpoint"),
        (["ffhq", "{zip}", "--deep3d", "nowhere.pth"], 1, "no such file"),
        (["ffhq", "nowhere.zip"], 1, "there is no nowhere.zip"),
        (["metfaces", "nowhere"], 1, "there is no folder nowhere"),
        (["metfaces", "{zip}"], 1, "MetFaces is a folder"),
        (["folder", "{zip}", "--preset", "paper"], 2, "--preset: for ffhq and metfaces alone"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    archive: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    message: str,
):
    arguments = [word.replace("{zip}", str(archive)) for word in words]
    assert main(["data", "prepare", *arguments, "--out", str(tmp_path / "out")]) == code
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").rglob("*.mat"))
