"""The five data sets of the paper: where their planes and cameras are, and the layouts of their camera poses.

World frame as in :mod:`lineament.geometry.sphere_camera`: x right, y down, z away from the viewer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lineament.errors import DataError, UsageError, unknown_name
from lineament.geometry.pose_distribution import PoseDistribution
from lineament.geometry.sphere_camera import intrinsics_from_fov, invert_rigid, move_to_sphere

# Distance between Deep3DFaceRecon's camera and its face.
_DEEP3D_DISTANCE = 10.0


@dataclass(frozen=True)
class Scene:
    """Where planes and cameras are.

    Attributes:
        near: z of the nearest plane.
        far: z of the last plane.
        fov_degrees: Full angle of view of the square image.
        centre_z: z of the point that all cameras look at.
        radius: Distance of the cameras from that point.
        poses: Distribution of the cameras.
        resolution: Pixels of a side of images and planes.

    Raises:
        UsageError: If the planes are not in front of each other, or an angle or length is impossible.
    """

    near: float
    far: float
    fov_degrees: float
    centre_z: float
    radius: float
    poses: PoseDistribution
    resolution: int

    def __post_init__(self) -> None:
        if not 0 < self.near < self.far:
            raise UsageError(f"planes need 0 < near < far, got near={self.near} and far={self.far}.")
        if not (0 < self.fov_degrees < 180 and self.radius > 0 and self.resolution > 0):
            raise UsageError(
                f"fov_degrees={self.fov_degrees} must lie between 0 and 180, radius={self.radius} and "
                f"resolution={self.resolution} above 0."
            )

    @property
    def fov(self) -> float:
        """Full angle of view in radians."""
        return math.radians(self.fov_degrees)


def _scene(
    resolution: int,
    near: float,
    far: float,
    fov: float,
    centre: float,
    yaw: float,
    pitch: float,
    truncation: float,
) -> Scene:
    return Scene(near, far, fov, centre, centre, PoseDistribution(yaw, pitch, truncation), resolution)


SCENES = {
    "ffhq256": _scene(256, 0.95, 1.12, 12.6, 1.0, 0.289, 0.127, 2),
    "ffhq512": _scene(512, 0.95, 1.12, 12.6, 1.0, 0.289, 0.127, 2),
    "ffhq1024": _scene(1024, 0.95, 1.12, 12.6, 1.0, 0.289, 0.127, 2),
    "afhqcat": _scene(512, 2.55, 2.80, 13.39, 2.7, 0.19, 0.15, 3),
    "metfaces": _scene(1024, 0.95, 1.12, 12.6, 1.0, 0.339, 0.133, 2),
}


# Published networks of StyleGAN2-ADA that the paper began with.
BASE_FILES = {
    "ffhq256": "ffhq-res256-mirror-paper256-noaug.pkl",
    "ffhq512": "ffhq-res512-mirror-stylegan2-noaug.pkl",
    "ffhq1024": "ffhq-res1024-mirror-stylegan2-noaug.pkl",
    "afhqcat": "afhqcat.pkl",
    "metfaces": "metfaces.pkl",
}


def scene_of(name: str) -> Scene:
    """The scene of a data set.

    Raises:
        UsageError: If the name is unknown.
    """
    if name not in SCENES:
        raise unknown_name("data set", name, SCENES)
    return SCENES[name]


def deep3d_world_to_camera(angle: Tensor, translation: Tensor, *, centre_z: float) -> Tensor:
    """Cameras from coefficients of Deep3DFaceRecon, at the distance that these say.

    :func:`normalised_pose` brings them onto the sphere; only direction and rotation are left then, roll included.

    Args:
        angle: ``[..., 3]`` its rotations of the face about x, y and z, radians.
        translation: ``[..., 3]``.
        centre_z: z of the point that cameras look at; the face's origin is put there.

    Returns:
        ``[..., 4, 4]`` world-to-camera in double precision.

    Raises:
        DataError: If the last sizes are not 3.
    """
    if angle.shape[-1:] != (3,) or translation.shape != angle.shape:
        raise DataError(
            f"angles and translations must both be [..., 3], got {list(angle.shape)} and {list(translation.shape)}."
        )
    angle, translation = angle.double(), translation.double()
    # Its frame has y up and z towards the viewer.
    flip = torch.diag(angle.new_tensor([1.0, -1.0, -1.0, 1.0]))
    face = torch.eye(4, dtype=torch.float64).repeat(*angle.shape[:-1], 1, 1)
    x, y, z = (_turn(angle[..., axis], axis) for axis in range(3))
    face[..., :3, :3] = z @ y @ x
    face[..., :3, 3] = translation
    return flip @ _along_z(-_DEEP3D_DISTANCE) @ face @ flip @ _along_z(-centre_z)


def eg3d_world_to_camera(labels: Tensor, *, centre_z: float) -> Tensor:
    """Cameras from the labels of EG3D's ``dataset.json``, at the distance that these say.

    Args:
        labels: ``[..., 25]`` or ``[..., 16]``: camera-to-world row by row (world y up and z towards the viewer, camera
            y down and z ahead), then intrinsics, which are not used.
        centre_z: z of the point that cameras look at; the labels' origin is put there.

    Returns:
        ``[..., 4, 4]`` world-to-camera in double precision.

    Raises:
        DataError: If there are fewer than 16 numbers, or the matrix cannot be inverted.
    """
    if labels.shape[-1] < 16:
        raise DataError(f"a label of EG3D holds 25 numbers, got {labels.shape[-1]}: check dataset.json.")
    camera_to_world = labels[..., :16].double().unflatten(-1, (4, 4))
    inverse, failed = torch.linalg.inv_ex(camera_to_world)
    if bool(failed.any()):
        raise DataError(
            "a camera matrix of dataset.json has no inverse: its first 16 numbers must be a rigid 4 x 4."
        )
    flip = torch.diag(inverse.new_tensor([1.0, -1.0, -1.0, 1.0]))
    return inverse @ flip @ _along_z(-centre_z)


def eg3d_labels(world_to_camera: Tensor, *, centre_z: float, fov: float) -> Tensor:
    """Labels of EG3D's ``dataset.json``; the inverse of :func:`eg3d_world_to_camera`.

    Args:
        world_to_camera: ``[..., 4, 4]`` rigid, at the distance that the labels are to say.
        centre_z: z of the point that cameras look at, which becomes the labels' origin.
        fov: Full angle of view in radians.

    Returns:
        ``[..., 25]`` in double precision: camera-to-world row by row, then intrinsics over the side of the image.
    """
    camera_to_world = invert_rigid(world_to_camera.double())
    flip = torch.diag(camera_to_world.new_tensor([1.0, -1.0, -1.0, 1.0]))
    placed = flip @ _along_z(-centre_z) @ camera_to_world
    # Adding 0 makes every -0 a 0, which files show.
    return torch.cat(
        [placed.flatten(-2) + 0.0, intrinsics_from_fov(fov, 1).flatten().expand(*placed.shape[:-2], 9)], -1
    )


def mirrored_eg3d_labels(labels: Tensor) -> Tensor:
    """Labels ``[..., 25]`` of the mirror images: the same numbers, those that change sides with the other sign."""
    flip = labels.new_tensor([-1.0, 1.0, 1.0, 1.0])
    signs = labels.new_ones(labels.shape[-1])
    signs[: flip.numel() ** 2] = torch.outer(flip, flip).flatten()
    return labels * signs + 0.0


def deep3d_coefficients(world_to_camera: Tensor, *, centre_z: float) -> tuple[Tensor, Tensor]:
    """Angles and translations of Deep3DFaceRecon; the inverse of :func:`deep3d_world_to_camera`.

    Args:
        world_to_camera: ``[..., 4, 4]`` rigid; its distance is not kept, for that of Deep3DFaceRecon's camera is fixed.
        centre_z: z of the point that cameras look at.

    Returns:
        ``angle`` and ``translation`` ``[..., 3]`` in double precision.
    """
    moved = move_to_sphere(world_to_camera.double(), radius=_DEEP3D_DISTANCE, centre_z=centre_z)
    flip = torch.diag(moved.new_tensor([1.0, -1.0, -1.0, 1.0]))
    face = _along_z(_DEEP3D_DISTANCE) @ flip @ moved @ _along_z(centre_z) @ flip
    # R = Rz Ry Rx.
    x = torch.atan2(face[..., 2, 1], face[..., 2, 2])
    y = torch.atan2(-face[..., 2, 0], torch.hypot(face[..., 0, 0], face[..., 1, 0]))
    z = torch.atan2(face[..., 1, 0], face[..., 0, 0])
    return torch.stack([x, y, z], -1), face[..., :3, 3]


def normalised_pose(world_to_camera: Tensor, scene: Scene) -> Tensor:
    """Put cameras ``[..., 4, 4]`` (world-to-camera) onto the scene's sphere; rotations stay."""
    return move_to_sphere(world_to_camera, radius=scene.radius, centre_z=scene.centre_z)


def deep3d_labels(angle: Tensor) -> tuple[Tensor, Tensor]:
    """Yaw and pitch ``[...]`` as the published data readers report them: they leave the translation out."""
    return -angle[..., 1], angle[..., 0]


def _along_z(distance: float) -> Tensor:
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[2, 3] = distance
    return matrix


def _turn(angle: Tensor, axis: int) -> Tensor:
    """Right-handed rotation ``[..., 3, 3]`` about x, y or z."""
    matrix = torch.zeros(*angle.shape, 3, 3, dtype=angle.dtype)
    after, last = (axis + 1) % 3, (axis + 2) % 3
    matrix[..., axis, axis] = 1
    matrix[..., after, after] = matrix[..., last, last] = torch.cos(angle)
    matrix[..., last, after] = torch.sin(angle)
    matrix[..., after, last] = -torch.sin(angle)
    return matrix
