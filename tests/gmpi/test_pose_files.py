"""Files of camera poses: read by content, written in the published layouts, matched to images, refused."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path

import pytest
import scipy.io
import torch
from torch import Tensor

from lineament.data.images import write_image
from lineament.data.readers.folder import open_folder
from lineament.errors import DataError
from lineament.geometry.pose_distribution import PoseDistribution
from lineament.geometry.rotation import matrix_from_pose
from lineament.geometry.sphere_camera import angles_on_sphere
from lineament.methods.gmpi.datasets import SCENES, eg3d_labels, mirrored_eg3d_labels
from lineament.methods.gmpi.pose_formats import PoseFile, write_coefficients, write_dataset_json
from lineament.methods.gmpi.pose_labels import (
    estimate_scene,
    level,
    match_poses,
    mean_pitch,
    mirrored,
    on_scene,
    read_poses,
)

SCENE = SCENES["ffhq256"]


def cameras_of(pose: Tensor, distance: float = 1.0) -> Tensor:
    """Cameras that see heads of these poses, the head in the origin."""
    cameras = torch.eye(4, dtype=torch.float64).repeat(len(pose), 1, 1)
    cameras[:, :3, :3] = matrix_from_pose(pose.double())
    cameras[:, 2, 3] = distance
    return cameras


POSES = torch.tensor([[0.3, 0.1, -0.2], [-0.5, -0.2, 0.1], [0.0, 0.0, 0.0], [1.2, 0.3, 0.5]])
TRUTH = cameras_of(POSES)


def images(folder: Path, *names: str) -> Path:
    for name in names:
        write_image(folder / name, torch.rand(3, 16, 16))
    return folder


def test_coefficients_are_written_with_all_keys_and_read_back(tmp_path: Path):
    for number, camera in enumerate(TRUTH):
        write_coefficients(tmp_path / "00000" / f"img{number}.mat", camera, torch.ones(68, 2))
    content = scipy.io.loadmat(tmp_path / "00000" / "img0.mat")
    shapes = {key: value.shape for key, value in content.items() if not key.startswith("__")}
    sizes = {"id": 80, "exp": 64, "tex": 80, "angle": 3, "gamma": 27, "trans": 3}
    assert shapes == {**{key: (1, size) for key, size in sizes.items()}, "lm68": (1, 68, 2)}
    found = read_poses(tmp_path)
    read = torch.stack([found.cameras[f"00000/img{number}"] for number in range(4)])
    assert float((on_scene(read, SCENE) - on_scene(TRUTH, SCENE)).abs().max()) < 1e-4


def test_labels_are_written_and_read_back_and_mirrored_exactly(tmp_path: Path):
    labels = eg3d_labels(cameras_of(POSES, 2.7), centre_z=0.0, fov=0.3)
    twice = torch.cat([labels, mirrored_eg3d_labels(labels)])
    write_dataset_json(tmp_path / "dataset.json", {f"{n}.png": row for n, row in enumerate(twice.tolist())})
    assert "-0.0," not in (tmp_path / "dataset.json").read_text()
    found = read_poses(tmp_path)
    assert found.radius == pytest.approx(2.7) and found.fov_degrees == pytest.approx(math.degrees(0.3))
    read = torch.stack([found.cameras[f"{number}.png"] for number in range(8)])
    with zipfile.ZipFile(tmp_path / "cats.zip", "w") as archive:
        archive.write(tmp_path / "dataset.json", "dataset.json")
    packed = read_poses(tmp_path / "cats.zip").cameras
    assert all(torch.equal(packed[name], camera) for name, camera in found.cameras.items())
    torch.testing.assert_close(read[:4], cameras_of(POSES, 2.7), rtol=0, atol=1e-12)
    torch.testing.assert_close(read[4:], mirrored(read[:4]), rtol=0, atol=1e-12)
    # Bit for bit the numbers of the other side.
    assert torch.equal(mirrored_eg3d_labels(twice[4:]), labels)


@pytest.mark.parametrize(
    "text",
    [
        "name,yaw,pitch,roll\n0.png,17.5,-3,2\n1.png,-10,0,\n2.png,,,\n",
        "\ufeffname;yaw;pitch;roll\n0.png;17,5;-3,0;2\n1.png;-10;0;0\n2.png;;;\n",
        "Roll\tPitch\tYaw\tImage\n2\t-3\t17.5\t.\\0.png\n0\t0\t-10\t1.png\n\t\t\t2.png\n",
    ],
)
def test_tables_of_angles_are_read(tmp_path: Path, text: str):
    (tmp_path / "poses.csv").write_text(text, encoding="utf-8")
    found = read_poses(tmp_path / "poses.csv")
    expected = cameras_of(torch.tensor([[17.5, -3, 2], [-10, 0, 0]]).deg2rad())
    assert list(found.cameras) == ["0.png", "1.png"] and found.failed == {"2.png"}
    torch.testing.assert_close(torch.stack([*found.cameras.values()]), expected, rtol=0, atol=1e-7)
    # A face turned to the image right is seen by a camera on the left of it; one that looks down from above.
    yaw, pitch = angles_on_sphere(expected, centre_z=0.0)
    assert yaw.rad2deg().tolist() == pytest.approx([-17.5, 10.0])
    assert pitch.rad2deg().tolist() == pytest.approx([-3.0, 0.0], abs=1e-6)


def test_images_find_their_poses_and_failures_are_left_out(tmp_path: Path):
    source = open_folder(images(tmp_path / "photos", "a.png", "b.jpg", "c_xflip.png"))
    for number, name in enumerate(("a", "b", "c_xflip")):
        write_coefficients(tmp_path / "set" / "coeffs" / f"{name}.mat", TRUTH[number])
    (tmp_path / "set" / "fail_list.txt").write_text("c_xflip.png\r\n\n")
    for place in (tmp_path / "set", tmp_path / "set" / "coeffs"):
        kept, cameras = match_poses(read_poses(place), source, str(place))
        assert list(cameras) == ["a.png", "b.jpg"] and len(kept) == 2
        torch.testing.assert_close(cameras["b.jpg"][:3, :3], TRUTH[1, :3, :3], rtol=0, atol=1e-6)
    poses = PoseFile({"a.png": TRUTH[0], "b.png": TRUTH[1]}, frozenset({"c_xflip.png"}))
    with pytest.raises(DataError, match=r"no pose of 1 of the 3 images .* \(b.jpg\)"):
        match_poses(poses, source, "poses.csv")
    with pytest.raises(DataError, match="says of every image"):
        match_poses(PoseFile({"z.png": TRUTH[0]}, frozenset("abc") | {"c_xflip.png"}), source, "p")


def test_what_is_no_file_of_poses_is_refused(tmp_path: Path):
    good = eg3d_labels(TRUTH, centre_z=0.0, fov=0.3).tolist()
    scaled = [[2 * value for value in good[0][:12]], good[0][12:]]
    files: dict[str, tuple[str | bytes, str]] = {
        "short.json": (json.dumps({"labels": [["a.png", good[0][:9]]]}), "not 25 numbers .a.png."),
        "twice.json": (json.dumps({"labels": [["a.png", good[0]]] * 2}), "names a.png twice"),
        "scaled.json": (
            json.dumps({"labels": [["a.png", scaled[0] + scaled[1]]]}),
            "camera of a.png is no rotation",
        ),
        "null.json": ('{"labels": null}', "its labels are null, as in archives without cameras"),
        "torn.zip": (b"PK\3\4 torn", "is no file of poses"),
        "words.csv": ("name,yaw,pitch\na.png,left,0\n", "yaw in line 2 is 'left'"),
        "far.csv": ("name,yaw,pitch\na.png,400,0\n", "no angle of -180 to 180"),
        "cells.csv": ("name,yaw,pitch\na.png,1\n", "line 2 has 2 cells, the header has 3"),
        "head.csv": ("file,x,y\na.png,1,2\n", "is no file of poses: give EG3D's dataset.json"),
        "none.csv": ("name,yaw,pitch\na.png,,\n", "holds no pose"),
        "bytes.csv": (b"\0\1\2", "not a text file"),
        "folder/one.mat": (b"MATLAB 5.0 MAT-file, torn", "one.mat cannot be read as coefficients"),
    }
    for name, (content, words) in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(DataError, match=words):
            read_poses(path.parent if path.suffix == ".mat" else path)
    with pytest.raises(DataError, match="give its folder"):
        read_poses(tmp_path / "folder" / "one.mat")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no dataset.json and no .mat file"):
        read_poses(tmp_path / "empty")


def test_the_scene_is_estimated_from_poses():
    drawn = PoseDistribution(0.2, 0.1, 2.0)
    yaw, pitch = drawn.sample(4000, torch.Generator().manual_seed(0))
    cameras = cameras_of(torch.stack([-yaw, pitch + 0.15, torch.zeros(4000)], -1), 2.7)
    found = estimate_scene(PoseFile(dict(zip(map(str, range(4000)), cameras, strict=True)), radius=2.7))
    assert found["mean_pitch"] == pytest.approx(0.15, abs=0.01)
    # Those of what was drawn, which is narrower than before it was cut off at two deviations.
    assert found["yaw_std"] == pytest.approx(float(yaw.std()), rel=0.03)
    assert found["pitch_std"] == pytest.approx(float(pitch.std()), rel=0.06)
    assert 1.8 < found["truncation"] < 2.2
    assert (found["near"], found["far"]) == (pytest.approx(2.7 * 0.95), pytest.approx(2.7 * 1.12))
    assert abs(mean_pitch(level(cameras, found["mean_pitch"]))) < 1e-4
    usual = estimate_scene(None)
    assert [usual[name] for name in ("near", "far", "fov_degrees", "yaw_std")] == [0.95, 1.12, 12.6, 0.289]
    wide = estimate_scene(None, fov_degrees=2 * 12.6)
    assert wide["near"] < 0.9 and wide["far"] > 1.24
    assert estimate_scene(None, fov_degrees=170)["near"] > 0
