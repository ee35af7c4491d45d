"""Camera poses of a folder's images, in EG3D's ``dataset.json``."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from lineament.data.sample import FaceSource
from lineament.errors import DataError
from lineament.methods.gmpi.datasets import Scene, eg3d_world_to_camera, normalised_pose


def read_poses(path: Path, scene: Scene) -> dict[str, Tensor]:
    """Read ``{"labels": [[name, 25 numbers], ...]}``.

    Args:
        path: The file.
        scene: Onto whose sphere the cameras are put.

    Returns:
        ``[4, 4]`` float32 from world to camera by name of the image, which is its path within the folder.

    Raises:
        DataError: If the file cannot be read or holds something else.
    """
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))["labels"]
        names = [str(name) for name, _ in labels]
        numbers = torch.tensor([values[:16] for _, values in labels], dtype=torch.float64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no file of poses ({error}): give EG3D's dataset.json, with 25 numbers for each image."
        ) from error
    if numbers.ndim != 2 or numbers.shape[1] != 16 or not bool(numbers.isfinite().all()):
        raise DataError(f"{path} holds no pose, or one that is not 25 finite numbers: make the file anew.")
    cameras = normalised_pose(eg3d_world_to_camera(numbers, centre_z=scene.centre_z), scene).float()
    return dict(zip(names, cameras, strict=True))


def check_poses(poses: dict[str, Tensor], source: FaceSource, path: str) -> None:
    """Ask that every image has a pose.

    Raises:
        DataError: If not; it counts those without one and names the first.
    """
    # Sources that are no files may not know their samples' names before they read them.
    known = getattr(source, "id_of", None)
    names = [str(known(index)) if known else source[index].id for index in range(len(source))]
    missing = [name for name in names if name not in poses]
    if missing:
        raise DataError(
            f"{path} has no pose of {len(missing)} of the {len(source)} images of {source.name} ({missing[0]}): give "
            "the poses of these images, or --pose none."
        )


def mirrored(world_to_camera: Tensor) -> Tensor:
    """The camera ``[..., 4, 4]`` that sees the mirror image of a scene that is its own mirror image."""
    signs = world_to_camera.new_tensor([-1.0, 1.0, 1.0, 1.0])
    return signs[:, None] * world_to_camera * signs
