"""Camera poses of a source's images: found in a file of any format, matched by name, mirrored, and their spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from lineament.data.sample import FaceSource
from lineament.data.subset import Subset
from lineament.errors import DataError
from lineament.geometry.sphere_camera import angles_on_sphere, camera_position
from lineament.methods.gmpi.datasets import SCENES, Scene, normalised_pose
from lineament.methods.gmpi.pose_formats import (
    DATASET_JSON,
    PoseFile,
    read_coefficients,
    read_dataset_json,
    read_table,
    stem,
)
from lineament.methods.gmpi.published_layout import read_pose_table

# Share of the angles that lie within the range of the cameras that are drawn.
_WITHIN = 0.95
# The nearest plane of the widest angle of view, in radii.
_NEAREST = 0.05
_LEAST_TRUNCATION, _LARGEST_TRUNCATION = 1.0, 3.0


def read_poses(path: Path) -> PoseFile:
    """Read camera poses, the format found by what is there.

    Args:
        path: EG3D's ``dataset.json``, or a folder or zip archive with one; a folder of Deep3DFaceRecon's ``.mat``
            files; or a table, CSV or the ``poses.parquet`` of ``lineament data prepare``.

    Raises:
        DataError: If there is none, or it cannot be read.
    """
    if path.is_dir():
        inside = path / DATASET_JSON
        return read_dataset_json(inside) if inside.is_file() else read_coefficients(path)
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise DataError(f"{path} is no file of poses: it cannot be read ({error.strerror}).") from error
    if start.startswith(b"PK\x03\x04"):
        return read_dataset_json(path)
    if start.startswith(b"PAR1"):
        return read_pose_table(path)
    if start.startswith(b"MATLAB"):
        raise DataError(f"{path} holds the pose of one image: give its folder, {path.parent}.")
    is_json = start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"{", b"["))
    return read_dataset_json(path) if is_json or path.suffix.lower() == ".json" else read_table(path)


def match_poses(poses: PoseFile, source: FaceSource, path: str) -> tuple[FaceSource, dict[str, Tensor]]:
    """Find the pose of every image.

    Args:
        poses: What the file says.
        source: The images.
        path: Of the file, for messages.

    Returns:
        The images but for those that the file says have no pose, and the camera of each, by its id.

    Raises:
        DataError: If an image has none and the file does not say so, or none is left; images are counted, the first is
            named.
    """
    by_stem = {name: camera for name, camera in poses.cameras.items() if stem(name) == name}
    # Lists of failures name images with their ending, by their path or by their last part.
    failed = {each for name in poses.failed for each in (name, stem(name))}
    kept: list[int] = []
    missing: list[str] = []
    cameras: dict[str, Tensor] = {}
    for index, name in enumerate(_names(source)):
        last = name.rpartition("/")[2]
        if not failed.isdisjoint((name, stem(name), last, stem(last))):
            continue
        camera = poses.cameras.get(name, by_stem.get(stem(name)))
        if camera is None:
            missing.append(name)
            continue
        kept.append(index)
        cameras[name] = camera
    if missing:
        raise DataError(
            f"{path} has no pose of {len(missing)} of the {len(source)} images of {source.name} ({missing[0]}): give "
            "the poses of these images, or --pose none."
        )
    if not kept:
        raise DataError(
            f"{path} says of every image of {source.name} that it has no pose: give another file."
        )
    return (source if len(kept) == len(source) else Subset(source, kept, source.name)), cameras


def level(cameras: Tensor, pitch: float) -> Tensor:
    """Turn the world about its x axis so that cameras ``[..., 4, 4]`` of this mean pitch (radians) have the mean 0."""
    turn = torch.eye(4, dtype=cameras.dtype)
    turn[1:3, 1:3] = turn.new_tensor(
        [[math.cos(pitch), math.sin(pitch)], [-math.sin(pitch), math.cos(pitch)]]
    )
    return cameras @ turn


def on_scene(cameras: Tensor, scene: Scene) -> Tensor:
    """Cameras ``[..., 4, 4]`` that look at the origin, moved to the sphere of a scene; float32."""
    shift = torch.eye(4, dtype=cameras.dtype)
    shift[2, 3] = -scene.centre_z
    return normalised_pose(cameras @ shift, scene).float()


def mean_pitch(cameras: Tensor) -> float:
    """Pitch in radians of the middle of cameras ``[N, 4, 4]`` that look at the origin."""
    away = camera_position(cameras)
    middle = (away / away.norm(dim=-1, keepdim=True)).mean(0)
    return math.atan2(-float(middle[1]), -float(middle[2]))


def estimate_scene(
    poses: PoseFile | None, radius: float | None = None, fov_degrees: float | None = None
) -> dict[str, float]:
    """Fields of a scene, estimated from poses; those of the paper's FFHQ where they tell nothing, or there are none.

    The planes reach as far before and behind the middle as those of FFHQ do, measured by the width that is seen there.
    Spreads are root mean squares about yaw 0 and the mean pitch; the range holds 95 % of the angles.

    Args:
        poses: Of the images; None where they are not known.
        radius: Distance of the cameras, where it is given.
        fov_degrees: Their angle of view, likewise.

    Returns:
        near, far, fov_degrees, radius, mean_pitch, yaw_std, pitch_std, truncation, to four digits.
    """
    usual = SCENES["ffhq256"]
    radius = radius or (poses and poses.radius) or usual.radius
    fov = fov_degrees or (poses and poses.fov_degrees) or usual.fov_degrees
    wider = math.tan(math.radians(fov) / 2) / math.tan(usual.fov / 2)
    spread = {
        "mean_pitch": 0.0,
        "yaw_std": usual.poses.yaw_std,
        "pitch_std": usual.poses.pitch_std,
        "truncation": usual.poses.truncation,
    }
    if poses is not None:
        spread = _spread(torch.stack([*poses.cameras.values()]))
    scene = {
        "near": radius * max(1 - wider * (usual.radius - usual.near) / usual.radius, _NEAREST),
        "far": radius * (1 + wider * (usual.far - usual.radius) / usual.radius),
        "fov_degrees": fov,
        "radius": radius,
        **spread,
    }
    return {name: float(f"{value:.4g}") for name, value in scene.items()}


def mirrored(world_to_camera: Tensor) -> Tensor:
    """The camera ``[..., 4, 4]`` that sees the mirror image of a scene that is its own mirror image."""
    signs = world_to_camera.new_tensor([-1.0, 1.0, 1.0, 1.0])
    return signs[:, None] * world_to_camera * signs


def _spread(cameras: Tensor) -> dict[str, float]:
    pitch = mean_pitch(cameras)
    angles = angles_on_sphere(level(cameras, pitch), centre_z=0.0)
    stds = [float(angle.square().mean().sqrt()) for angle in angles]
    reach = [angle.abs() / std for angle, std in zip(angles, stds, strict=True) if std > 0]
    within = float(torch.cat(reach).quantile(_WITHIN)) if reach else SCENES["ffhq256"].poses.truncation
    return {
        "mean_pitch": pitch,
        "yaw_std": stds[0],
        "pitch_std": stds[1],
        "truncation": min(max(within, _LEAST_TRUNCATION), _LARGEST_TRUNCATION),
    }


def _names(source: FaceSource) -> Sequence[str]:
    # Sources that are no files may not know their samples' names before they read them.
    known = getattr(source, "id_of", None)
    return [str(known(index)) if known else source[index].id for index in range(len(source))]
