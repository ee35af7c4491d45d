"""Cameras on a sphere and the distributions of their angles: closed forms and properties."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lineament.errors import UsageError
from lineament.geometry.pose_distribution import PoseDistribution
from lineament.geometry.sphere_camera import (
    angles_on_sphere,
    camera_on_sphere,
    camera_position,
    intrinsics_from_fov,
    invert_rigid,
    move_to_sphere,
)

angles = st.floats(-1.4, 1.4)


def test_the_camera_in_the_middle_is_the_identity():
    camera = camera_on_sphere(torch.zeros(1), torch.zeros(1), radius=2.7, centre_z=2.7)
    assert torch.equal(camera[0], torch.eye(4, dtype=torch.float64))


def test_positive_yaw_is_to_the_right_and_positive_pitch_above():
    camera = camera_on_sphere(torch.tensor([0.3, 0.0]), torch.tensor([0.0, 0.3]), radius=1.0, centre_z=1.0)
    right, above = camera[:, :3, 3]
    assert right[0] == pytest.approx(math.sin(0.3)) and right[1] == 0
    assert above[1] == pytest.approx(-math.sin(0.3)) and above[0] == 0  # y points down


@settings(deadline=None, max_examples=50)
@given(yaw=st.floats(-3.1, 3.1), pitch=angles, radius=st.floats(0.1, 9), centre=st.floats(-3, 9))
def test_cameras_look_at_the_centre_and_their_angles_come_back(yaw, pitch, radius, centre):
    camera = camera_on_sphere(
        *(torch.tensor([a], dtype=torch.float64) for a in (yaw, pitch)), radius=radius, centre_z=centre
    )[0]
    rotation, position = camera[:3, :3], camera[:3, 3]
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64))
    assert torch.det(rotation) == pytest.approx(1.0)
    seen = invert_rigid(camera) @ torch.tensor([0, 0, centre, 1], dtype=torch.float64)
    torch.testing.assert_close(seen, torch.tensor([0, 0, radius, 1], dtype=torch.float64))
    torch.testing.assert_close(camera_position(invert_rigid(camera)), position)
    back = angles_on_sphere(invert_rigid(camera), centre_z=centre)
    assert [float(each) for each in back] == pytest.approx([yaw, pitch], abs=1e-9)
    # No roll: the camera's right is level.
    assert rotation[1, 0] == pytest.approx(0, abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), radius=st.floats(0.5, 5))
def test_moving_to_the_sphere_keeps_rotation_and_direction(seed, radius):
    generator = torch.Generator().manual_seed(seed)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
    pose[:3, 3] = torch.randn(3, generator=generator, dtype=torch.float64)
    moved = move_to_sphere(pose, radius=radius, centre_z=1.5)
    centre = torch.tensor([0, 0, 1.5], dtype=torch.float64)
    before, after = camera_position(pose) - centre, camera_position(moved) - centre
    assert torch.equal(moved[:3, :3], pose[:3, :3])
    torch.testing.assert_close(after, radius * before / before.norm())
    torch.testing.assert_close(move_to_sphere(moved, radius=radius, centre_z=1.5), moved)


def test_intrinsics_send_the_borders_of_the_view_to_the_borders_of_the_image():
    matrix = intrinsics_from_fov(math.radians(40), 64)
    edge = matrix @ torch.tensor([math.tan(math.radians(20)), 0, 1], dtype=torch.float64)
    assert edge[0] == pytest.approx(64) and edge[1] == pytest.approx(32)


@pytest.mark.parametrize("kind", ["truncated_gaussian", "uniform"])
def test_draws_stay_in_the_range(kind):
    poses = PoseDistribution(0.3, 0.1, 1.0, yaw_mean=0.2, pitch_mean=-0.1, kind=kind)
    yaw, pitch = poses.sample(5000, torch.Generator().manual_seed(3))
    for values, (low, high) in ((yaw, poses.yaw_range), (pitch, poses.pitch_range)):
        assert low - 1e-6 <= float(values.min()) and float(values.max()) <= high + 1e-6
        assert float(values.min()) < low + 0.05 * (high - low)
        assert float(values.mean()) == pytest.approx((low + high) / 2, abs=0.02)


def test_draws_have_the_standard_deviation_of_a_truncated_normal():
    from scipy.stats import truncnorm

    yaw, _ = PoseDistribution(0.289, 0.127).sample(50_000, torch.Generator().manual_seed(1))
    assert float(yaw.std()) == pytest.approx(0.289 * truncnorm(-2, 2).std(), rel=0.02)
    free, _ = PoseDistribution(0.289, 0.127, kind="gaussian").sample(50_000, torch.Generator().manual_seed(1))
    assert float(free.std()) == pytest.approx(0.289, rel=0.02) and float(free.abs().max()) > 0.7


def test_a_standard_deviation_of_zero_gives_the_mean():
    poses = PoseDistribution(0.0, 0.1, yaw_mean=0.25)
    assert poses.sample(7)[0].tolist() == pytest.approx([0.25] * 7)


def test_a_seed_gives_the_same_poses_and_the_next_draw_others():
    poses = PoseDistribution(0.3, 0.1)
    generator = torch.Generator().manual_seed(5)
    first, second = poses.sample(4, generator), poses.sample(4, generator)
    again = poses.sample(4, torch.Generator().manual_seed(5))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], second[0])


def test_paths_run_through_the_range():
    poses = PoseDistribution(0.3, 0.1, 2.0, pitch_mean=0.05)
    yaw, pitch = poses.path(5)
    assert yaw.tolist() == pytest.approx([-0.6, -0.3, 0, 0.3, 0.6]) and set(pitch.tolist()) == {
        pitch[0].item()
    }
    yaw, pitch = poses.path(3, "pitch")
    assert pitch.tolist() == pytest.approx([-0.15, 0.05, 0.25]) and not yaw.any()


def test_impossible_distributions_are_refused():
    with pytest.raises(UsageError, match="did you mean 'gaussian'"):
        PoseDistribution(0.3, 0.1, kind="gausian")
    with pytest.raises(UsageError, match="must not be negative"):
        replace(PoseDistribution(0.3, 0.1), yaw_std=-1)
    with pytest.raises(UsageError, match="choose one of pitch, yaw"):
        PoseDistribution(0.3, 0.1).path(3, "roll")
