"""Rotations of a head: pose angles, matrices, axis-angle, and the angle between two rotations.

Pose = (yaw, pitch, roll) in radians; ``R = Rz(roll) @ Rx(pitch) @ Ry(yaw)`` acts on column vectors of the head frame (x
to the image right when frontal, y down, z into the head; docs/conventions.md). Seen in the image of a face that
looks along -z at the camera:

* positive yaw turns the face towards the image right,
* positive pitch makes it look down (the nose moves to +y),
* positive roll turns it clockwise.

Rx and Rz are the usual right-handed matrices; Ry carries the opposite sign, because a right-handed turn about a y axis
that points down would move the nose to the image left.

That is the order ``"zxy"`` of the product. Data sets with known head poses (300W-LP, AFLW2000-3D and those that follow
them) multiply ``Rx(pitch) @ Ry(yaw) @ Rz(roll)``, here the order ``"xyz"``; the signs are the same, and so is the pose
of a face that turns about one axis only.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Order = Literal["zxy", "xyz"]


def matrix_from_pose(pose: Tensor, order: Order = "zxy") -> Tensor:
    """Build rotation matrices from yaw, pitch and roll.

    Args:
        pose: ``[..., 3]`` yaw, pitch, roll in radians.
        order: Of the product of the three rotations.

    Returns:
        ``[..., 3, 3]`` matrices that act on column vectors of the head frame.
    """
    cos_yaw, cos_pitch, cos_roll = torch.cos(pose).unbind(-1)
    sin_yaw, sin_pitch, sin_roll = torch.sin(pose).unbind(-1)
    one, zero = torch.ones_like(cos_yaw), torch.zeros_like(cos_yaw)
    about_y = _matrix(cos_yaw, zero, -sin_yaw, zero, one, zero, sin_yaw, zero, cos_yaw)
    about_x = _matrix(one, zero, zero, zero, cos_pitch, -sin_pitch, zero, sin_pitch, cos_pitch)
    about_z = _matrix(cos_roll, -sin_roll, zero, sin_roll, cos_roll, zero, zero, zero, one)
    return about_x @ about_y @ about_z if order == "xyz" else about_z @ about_x @ about_y


def pose_from_matrix(rotation: Tensor, order: Order = "zxy") -> Tensor:
    """Read yaw, pitch and roll off rotation matrices; the inverse of :func:`matrix_from_pose`.

    Where the middle of the three turns by 90 degrees (gimbal lock) only the two others together are determined; roll is
    then returned as 0.

    Args:
        rotation: ``[..., 3, 3]`` rotation matrices.
        order: Of the product of the three rotations.

    Returns:
        ``[..., 3]`` yaw, pitch, roll in -pi..pi; the middle one of the order (pitch of zxy, yaw of xyz) in -pi/2..pi/2.
    """
    if order == "xyz":
        return _pose_xyz(rotation)
    sin_pitch = rotation[..., 2, 1].clamp(-1.0, 1.0)
    cos_pitch = torch.hypot(rotation[..., 0, 1], rotation[..., 1, 1])
    pitch = torch.atan2(sin_pitch, cos_pitch)
    locked = cos_pitch < 1e-6
    yaw = torch.where(
        locked,
        torch.atan2(-rotation[..., 0, 2], rotation[..., 0, 0]),
        torch.atan2(rotation[..., 2, 0], rotation[..., 2, 2]),
    )
    roll = torch.where(locked, torch.zeros_like(yaw), torch.atan2(-rotation[..., 0, 1], rotation[..., 1, 1]))
    return torch.stack([yaw, pitch, roll], dim=-1)


def _pose_xyz(rotation: Tensor) -> Tensor:
    cos_yaw = torch.hypot(rotation[..., 1, 2], rotation[..., 2, 2])
    yaw = torch.atan2(-rotation[..., 0, 2], cos_yaw)
    locked = cos_yaw < 1e-6
    pitch = torch.where(
        locked,
        torch.atan2(rotation[..., 2, 1], rotation[..., 1, 1]),
        torch.atan2(-rotation[..., 1, 2], rotation[..., 2, 2]),
    )
    roll = torch.atan2(-rotation[..., 0, 1], rotation[..., 0, 0])
    return torch.stack([yaw, pitch, torch.where(locked, torch.zeros_like(roll), roll)], dim=-1)


def matrix_from_axis_angle(vector: Tensor) -> Tensor:
    """Exponential map (Rodrigues): rotation about ``vector`` by its length in radians.

    Differentiable everywhere, the zero vector included.

    Args:
        vector: ``[..., 3]`` axis times angle.

    Returns:
        ``[..., 3, 3]`` rotation matrices (right-handed).
    """
    squared = (vector * vector).sum(-1)
    small = squared < 1e-8
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    # Taylor series where sin(x)/x and (1-cos(x))/x^2 lose their digits.
    first = torch.where(small, 1 - squared / 6, torch.sin(angle) / angle)
    second = torch.where(small, 0.5 - squared / 24, (1 - torch.cos(angle)) / safe)
    cross = cross_matrix(vector)
    identity = torch.eye(3, dtype=vector.dtype, device=vector.device)
    return identity + first[..., None, None] * cross + second[..., None, None] * (cross @ cross)


def axis_angle_from_matrix(rotation: Tensor) -> Tensor:
    """Logarithm map: the axis times the angle (0..pi) of rotation matrices.

    Args:
        rotation: ``[..., 3, 3]`` rotation matrices.

    Returns:
        ``[..., 3]`` axis-angle vectors; at exactly pi either of the two axes.
    """
    w, xyz = _quaternion(rotation)
    sine = xyz.norm(dim=-1)
    half = torch.atan2(sine, w)
    scale = torch.where(sine < 1e-7, torch.full_like(sine, 2.0), 2 * half / sine.clamp_min(1e-12))
    return xyz * scale[..., None]


def angle_between(first: Tensor, second: Tensor) -> Tensor:
    """Geodesic angle between rotations.

    Args:
        first: ``[..., 3, 3]`` rotation matrices.
        second: ``[..., 3, 3]`` rotation matrices.

    Returns:
        ``[...]`` angle in radians, 0..pi.
    """
    return axis_angle_from_matrix(first.transpose(-1, -2) @ second).norm(dim=-1)


def cross_matrix(vector: Tensor) -> Tensor:
    """Return the matrix of the cross product: ``cross_matrix(v) @ u = v x u``; ``[..., 3] -> [..., 3, 3]``."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return _matrix(zero, -z, y, z, zero, -x, -y, x, zero)


def _matrix(*entries: Tensor) -> Tensor:
    """Stack nine ``[...]`` entries, row by row, into ``[..., 3, 3]``."""
    return torch.stack(entries, dim=-1).unflatten(-1, (3, 3))


def _quaternion(rotation: Tensor) -> tuple[Tensor, Tensor]:
    """Unit quaternion (w >= 0) of rotation matrices, by the largest of its four candidates (Shepperd)."""
    m = rotation
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    candidates = torch.stack(
        [
            torch.stack(
                [
                    1 + trace,
                    m[..., 2, 1] - m[..., 1, 2],
                    m[..., 0, 2] - m[..., 2, 0],
                    m[..., 1, 0] - m[..., 0, 1],
                ],
                -1,
            ),
            torch.stack(
                [
                    m[..., 2, 1] - m[..., 1, 2],
                    1 + 2 * m[..., 0, 0] - trace,
                    m[..., 0, 1] + m[..., 1, 0],
                    m[..., 0, 2] + m[..., 2, 0],
                ],
                -1,
            ),
            torch.stack(
                [
                    m[..., 0, 2] - m[..., 2, 0],
                    m[..., 0, 1] + m[..., 1, 0],
                    1 + 2 * m[..., 1, 1] - trace,
                    m[..., 1, 2] + m[..., 2, 1],
                ],
                -1,
            ),
            torch.stack(
                [
                    m[..., 1, 0] - m[..., 0, 1],
                    m[..., 0, 2] + m[..., 2, 0],
                    m[..., 1, 2] + m[..., 2, 1],
                    1 + 2 * m[..., 2, 2] - trace,
                ],
                -1,
            ),
        ],
        dim=-2,
    )  # [..., 4 candidates, 4]
    best = candidates.diagonal(dim1=-2, dim2=-1).argmax(-1)
    chosen = candidates.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    chosen = chosen / chosen.norm(dim=-1, keepdim=True)
    chosen = torch.where(chosen[..., :1] < 0, -chosen, chosen)
    return chosen[..., 0], chosen[..., 1:]
