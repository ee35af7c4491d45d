"""The portrait world: images that the crop `ffhq` leaves as they are, seen by cameras as GMPI draws them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lineament.cli.main import main
from lineament.faces.crops import named_crop
from lineament.geometry.rotation import angle_between, matrix_from_pose
from lineament.methods.gmpi.pose_labels import estimate_scene, read_poses
from lineament.synthetic.folder import SyntheticFolder
from lineament.synthetic.scene import NATURAL_NOD, PORTRAIT, draw_view, head_rotation
from lineament.synthetic.source import SyntheticFaces

SIZE = 64


@pytest.fixture(scope="module")
def portraits() -> SyntheticFaces:
    return SyntheticFaces(seed=5, count=40, size=SIZE, options=PORTRAIT)


def test_the_crop_ffhq_of_an_image_is_the_image(portraits: SyntheticFaces) -> None:
    points = torch.tensor([[0.0, 0.0], [SIZE - 1.0, 0.0], [20.0, 50.0]], dtype=torch.float64)
    for index in range(8):
        crop = named_crop("ffhq", landmarks=portraits[index].landmarks, scheme="68", size=SIZE)
        torch.testing.assert_close(crop.apply(points), points, rtol=0, atol=1e-4)


def test_cameras_aim_at_the_middle_and_have_the_angle_of_view(portraits: SyntheticFaces) -> None:
    for index in range(8):
        camera = portraits[index].camera
        assert camera is not None
        middle = (SIZE - 1) / 2
        assert float((camera.intrinsics[:2, 2] - middle).abs().max()) < 0.3
        fov = 2 * math.degrees(math.atan(SIZE / 2 / float(camera.intrinsics[0, 0])))
        # The crop grows a little where perspective or a turn makes the face look longer.
        assert 11.0 < fov < 13.5


def test_the_frontal_face_has_the_angle_of_view_exactly() -> None:
    frontal = SyntheticFaces(
        seed=5, count=8, size=SIZE, options=PORTRAIT, max_yaw=0.0, max_pitch=0.0, fov=0.01
    )
    camera = frontal[2].camera
    assert camera is not None
    # The natural nod shortens the face; at 0.6 degrees there is no perspective.
    found = 2 * math.atan(SIZE / 2 / float(camera.intrinsics[0, 0]))
    assert 0.01 * math.cos(2 * NATURAL_NOD) < found <= 0.01 * 1.06


def test_the_pose_is_that_of_the_camera(portraits: SyntheticFaces) -> None:
    rolls = []
    for index in range(8):
        sample = portraits[index]
        assert sample.camera is not None and sample.pose is not None
        seen = sample.camera.world_to_camera[:3, :3]
        assert float(angle_between(matrix_from_pose(sample.pose), seen)) < 1e-3
        drawn = torch.from_numpy(head_rotation(portraits.scene(index).view)).float()
        # The crop turns the image and nothing else.
        torch.testing.assert_close(seen[2], drawn[2], rtol=0, atol=1e-5)
        rolls.append(float(sample.pose[2]))
    assert max(abs(roll) for roll in rolls) > 1e-3


def test_poses_are_normal_within_their_limits() -> None:
    rng = np.random.default_rng(0)
    poses = np.array([draw_view(rng, PORTRAIT).pose for _ in range(4000)]) - [0.0, NATURAL_NOD, 0.0]
    assert np.all(np.abs(poses) <= [0.578, 0.254, 0.0])
    # A normal distribution that is cut off at two standard deviations has 0.880 of them.
    np.testing.assert_allclose(poses.std(0)[:2], [0.880 * 0.289, 0.880 * 0.127], rtol=0.04)
    np.testing.assert_allclose(poses.mean(0)[:2], 0, atol=0.02)


def test_a_folder_with_poses_is_one_that_gmpi_reads(tmp_path: Path) -> None:
    words = ["--world", "portrait", "--count", "6", "--size", "16", "--sensor", "0", "--workers", "1"]
    out = tmp_path / "faces"
    assert main(["data", "synth", *words, "--poses", "--out", str(out)]) == 0
    poses, drawn = read_poses(out / "images"), SyntheticFolder(out)
    assert len(poses.cameras) == 6
    for index in range(6):
        camera = drawn[index].camera
        assert camera is not None
        found = poses.cameras[f"{index:07d}.png"]
        torch.testing.assert_close(found[:3, :3].float(), camera.world_to_camera[:3, :3], rtol=0, atol=1e-5)
        torch.testing.assert_close(found[:3, 3], torch.tensor([0.0, 0.0, 1.0], dtype=found.dtype))
    scene = estimate_scene(poses)
    assert (scene["fov_degrees"], scene["radius"], scene["near"], scene["far"]) == (12.6, 1.0, 0.95, 1.12)
    assert scene["mean_pitch"] == pytest.approx(NATURAL_NOD, abs=0.15)


def test_poses_of_a_world_of_many_angles_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "synth", "--count", "2", "--poses", "--out", str(tmp_path / "faces")]) == 2
    assert "give --world portrait" in capsys.readouterr().err
    assert not (tmp_path / "faces").exists()
