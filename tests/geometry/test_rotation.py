"""Rotations: the documented signs, round trips, and agreement with the exponential map."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lineament.geometry.rotation import (
    angle_between,
    axis_angle_from_matrix,
    cross_matrix,
    matrix_from_axis_angle,
    matrix_from_pose,
    pose_from_matrix,
)

NOSE = torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64)
angle = st.floats(-3.1, 3.1, allow_nan=False)
steep = st.floats(-1.5, 1.5, allow_nan=False)


def pose(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> torch.Tensor:
    return torch.tensor([yaw, pitch, roll], dtype=torch.float64)


def test_signs_are_those_of_the_picture() -> None:
    right = matrix_from_pose(pose(yaw=0.3)) @ NOSE
    assert right[0] > 0 and right[1].abs() < 1e-12
    down = matrix_from_pose(pose(pitch=0.3)) @ NOSE
    assert down[1] > 0 and down[0].abs() < 1e-12
    # Clockwise on a screen whose y points down: image right goes towards the bottom.
    clockwise = matrix_from_pose(pose(roll=0.3)) @ torch.tensor([1.0, 0, 0], dtype=torch.float64)
    assert clockwise[1] > 0 and clockwise[2].abs() < 1e-12


def test_order_is_yaw_first_roll_last() -> None:
    together = matrix_from_pose(pose(0.4, -0.3, 0.2))
    apart = (
        matrix_from_pose(pose(roll=0.2)) @ matrix_from_pose(pose(pitch=-0.3)) @ matrix_from_pose(pose(0.4))
    )
    torch.testing.assert_close(together, apart)


@given(yaw=angle, pitch=steep, roll=angle)
@settings(max_examples=60, deadline=None)
def test_pose_round_trip_and_proper_rotation(yaw: float, pitch: float, roll: float) -> None:
    given_pose = pose(yaw, pitch, roll)
    rotation = matrix_from_pose(given_pose)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64))
    assert torch.linalg.det(rotation).item() == pytest.approx(1.0)
    torch.testing.assert_close(pose_from_matrix(rotation), given_pose, atol=1e-7, rtol=0)


def test_gimbal_lock_still_gives_the_same_matrix() -> None:
    rotation = matrix_from_pose(pose(0.5, math.pi / 2, 0.2))
    again = matrix_from_pose(pose_from_matrix(rotation))
    torch.testing.assert_close(again, rotation, atol=1e-6, rtol=0)


def test_the_other_order_is_roll_first_pitch_last() -> None:
    together = matrix_from_pose(pose(0.4, -0.3, 0.2), "xyz")
    one, two, three = (matrix_from_pose(each) for each in (pose(pitch=-0.3), pose(0.4), pose(roll=0.2)))
    torch.testing.assert_close(together, one @ two @ three)
    # A turn about one axis is the same in both.
    assert float((together - matrix_from_pose(pose(0.4, -0.3, 0.2))).abs().max()) > 0.05
    torch.testing.assert_close(matrix_from_pose(pose(0.4), "xyz"), matrix_from_pose(pose(0.4)))


@given(yaw=steep, pitch=angle, roll=angle)
@settings(max_examples=60, deadline=None)
def test_pose_round_trip_in_the_other_order(yaw: float, pitch: float, roll: float) -> None:
    rotation = matrix_from_pose(pose(yaw, pitch, roll), "xyz")
    torch.testing.assert_close(pose_from_matrix(rotation, "xyz"), pose(yaw, pitch, roll), atol=1e-7, rtol=0)
    locked = matrix_from_pose(pose(math.copysign(math.pi / 2, yaw), pitch, roll), "xyz")
    again = matrix_from_pose(pose_from_matrix(locked, "xyz"), "xyz")
    torch.testing.assert_close(again, locked, atol=1e-6, rtol=0)


@given(x=angle, y=angle, z=angle)
@settings(max_examples=60, deadline=None)
def test_axis_angle_is_the_matrix_exponential_and_inverts(x: float, y: float, z: float) -> None:
    vector = torch.tensor([x, y, z], dtype=torch.float64)
    rotation = matrix_from_axis_angle(vector)
    torch.testing.assert_close(rotation, torch.linalg.matrix_exp(cross_matrix(vector)), atol=1e-9, rtol=0)
    torch.testing.assert_close(
        matrix_from_axis_angle(axis_angle_from_matrix(rotation)), rotation, atol=1e-9, rtol=0
    )


@pytest.mark.parametrize("length", [0.0, 1e-9, 1e-5, math.pi - 1e-7, math.pi])
def test_axis_angle_at_its_awkward_lengths(length: float) -> None:
    vector = torch.tensor([[0.6, 0.0, 0.8], [1.0, 0.0, 0.0]], dtype=torch.float64) * length
    recovered = axis_angle_from_matrix(matrix_from_axis_angle(vector))
    torch.testing.assert_close(recovered.norm(dim=-1), vector.norm(dim=-1), atol=1e-7, rtol=0)
    if length < 3:
        torch.testing.assert_close(recovered, vector, atol=1e-9, rtol=1e-9)


def test_axis_angle_has_finite_gradients_at_zero() -> None:
    vector = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(matrix_from_axis_angle, (vector,))


def test_angle_between_is_the_turn_from_one_to_the_other() -> None:
    start = matrix_from_pose(torch.tensor([[0.2, 0.1, -0.3], [0.0, 0.0, 0.0]], dtype=torch.float64))
    turn = matrix_from_axis_angle(torch.tensor([0.0, 0.7, 0.0], dtype=torch.float64))
    torch.testing.assert_close(angle_between(start, start @ turn), torch.full((2,), 0.7, dtype=torch.float64))


@pytest.mark.parametrize("axis", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.6, 0.0, -0.8)])
@pytest.mark.parametrize("length", [0.0, 1e-8, 3e-8, 1e-6, 1e-3])
def test_small_turns_keep_their_size(axis: tuple[float, float, float], length: float) -> None:
    """Across the switch from the quotient to its limit, and to second order: relative, not absolute, errors."""
    vector = length * torch.tensor(axis, dtype=torch.float64)
    turned = matrix_from_axis_angle(vector)
    torch.testing.assert_close(axis_angle_from_matrix(turned), vector, atol=1e-22, rtol=1e-7)
    cross = cross_matrix(vector)
    # The second-order term by itself: what is left of the symmetric part.
    second = 0.5 * (turned + turned.T) - torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(second, 0.5 * cross @ cross, atol=3e-16, rtol=1e-5)


def test_the_second_derivative_at_zero_is_that_of_the_exponential() -> None:
    vector = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(matrix_from_axis_angle, (vector,))
    (first,) = torch.autograd.grad(matrix_from_axis_angle(vector)[0, 0], vector, create_graph=True)
    (second,) = torch.autograd.grad(first[1], vector)
    # R_00 of a turn about y is its cosine.
    assert second.tolist() == pytest.approx([0.0, -1.0, 0.0])
