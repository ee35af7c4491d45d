"""The pinhole camera in closed form: each focal length, the principal point, the rotation, the shift, the depth."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lineament.geometry.camera import Camera
from lineament.geometry.rotation import matrix_from_pose


def camera(rotation: Tensor | None = None, shift: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Camera:
    """200 px wide focal length across, 300 down, the axis through (31, 47)."""
    moved = torch.eye(4, dtype=torch.float64)
    if rotation is not None:
        moved[:3, :3] = rotation
    moved[:3, 3] = torch.tensor(shift, dtype=torch.float64)
    inner = torch.tensor([[200.0, 0.0, 31.0], [0.0, 300.0, 47.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    return Camera(inner, moved, 64, 96)


def seen(view: Camera, *point: float) -> list[float]:
    return view.project(torch.tensor(point, dtype=torch.float64)).tolist()


def test_a_point_is_divided_by_its_depth():
    # x: 31 + 200 * 10 / 500; y: 47 + 300 * -20 / 500.
    assert seen(camera(), 10.0, -20.0, 500.0) == pytest.approx([35.0, 35.0, 500.0])
    assert seen(camera(), 10.0, -20.0, 250.0) == pytest.approx([39.0, 23.0, 250.0])
    # The axis goes through the principal point at every depth.
    assert seen(camera(), 0.0, 0.0, 7.0) == pytest.approx([31.0, 47.0, 7.0])


def test_the_shift_is_added_in_the_frame_of_the_camera():
    # Half a metre in front of a head that stands at the origin.
    assert seen(camera(shift=(5.0, 10.0, 500.0)), 0.0, 0.0, 0.0) == pytest.approx([33.0, 53.0, 500.0])
    assert seen(camera(shift=(0.0, 0.0, 500.0)), 0.0, 0.0, -100.0)[2] == pytest.approx(400.0)


def test_the_rotation_acts_on_columns_before_the_shift():
    # A quarter turn about the axis of the camera takes x (right) to y (down).
    quarter = matrix_from_pose(torch.tensor([0.0, 0.0, torch.pi / 2], dtype=torch.float64))
    view = camera(quarter, (0.0, 0.0, 1000.0))
    assert seen(view, 10.0, 0.0, 0.0) == pytest.approx([31.0, 50.0, 1000.0])
    assert seen(view, 0.0, 10.0, 0.0) == pytest.approx([29.0, 47.0, 1000.0])
    # Positive yaw turns the nose to the image right and away from straight ahead.
    yawed = camera(matrix_from_pose(torch.tensor([0.4, 0.0, 0.0], dtype=torch.float64)), (0.0, 0.0, 1000.0))
    x, y, depth = seen(yawed, 0.0, 0.0, -100.0)
    assert x > 31.0 and y == pytest.approx(47.0)
    assert depth == pytest.approx(1000.0 - 100.0 * float(torch.cos(torch.tensor(0.4))))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), away=st.floats(0.1, 10.0))
def test_points_of_one_ray_share_a_pixel_and_a_batch_is_its_points(seed: int, away: float):
    generator = torch.Generator().manual_seed(seed)
    pose = torch.randn(3, generator=generator, dtype=torch.float64)
    view = camera(matrix_from_pose(pose), (3.0, -4.0, 900.0))
    points = 60 * torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    found = view.project(points)
    turn, shift = view.world_to_camera[:3, :3], view.world_to_camera[:3, 3]
    inside = points @ turn.T + shift
    torch.testing.assert_close(found[..., 2], inside[..., 2])
    # Back to the world through the pixel: the same ray at another distance.
    again = (away * inside - shift) @ turn
    torch.testing.assert_close(view.project(again)[..., :2], found[..., :2])
    torch.testing.assert_close(view.project(points[1, 3]), found[1, 3])


def test_single_points_stay_in_single_precision_and_gradients_reach_them():
    points = torch.tensor([[1.0, 2.0, 800.0]], requires_grad=True)
    found = camera().project(points)
    assert found.dtype == torch.float32
    found[..., 0].sum().backward()
    # d (f x / z): f / z, 0, -f x / z^2.
    assert points.grad is not None
    assert points.grad[0].tolist() == pytest.approx([200 / 800, 0.0, -200 / 800**2])


def test_what_lies_behind_has_no_positive_depth():
    assert seen(camera(shift=(0.0, 0.0, 500.0)), 0.0, 0.0, -600.0)[2] == pytest.approx(-100.0)
