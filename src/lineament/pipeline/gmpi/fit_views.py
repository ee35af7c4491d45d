"""Images of one scene with camera poses: read from a folder, or drawn of the scan of a head."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lineament.data.images import encode_image, list_images, read_image
from lineament.eight_bit import to_uint8
from lineament.errors import DataError, UsageError
from lineament.files import write_bytes
from lineament.geometry.multiplane import SphereCameras
from lineament.geometry.sphere_camera import invert_rigid
from lineament.methods.gmpi.datasets import SCENES, Scene, eg3d_labels
from lineament.methods.gmpi.fitting import PosedViews, scene_of_views
from lineament.methods.gmpi.pose_formats import DATASET_JSON, stem, write_dataset_json
from lineament.methods.gmpi.pose_labels import estimate_scene, on_scene, read_poses
from lineament.progress import Progress, silent
from lineament.synthetic.head_scan import read_head_scan

# Depths and masks of drawn views.
TRUTH_NAME = "truth.npz"
LEAST_SIDE, LARGEST_SIDE = 16, 1024
_SHARE_HELD_BACK = 1 / 3


@dataclass(frozen=True)
class Truth:
    """What is known of drawn views.

    Attributes:
        depth: ``[N, S, S]`` along the optical axis; 0 where the head is not.
        mask: ``[N, S, S]`` where the head is.
    """

    depth: Tensor
    mask: Tensor


@dataclass(frozen=True)
class FolderOfViews:
    """A folder of views, as it is fitted.

    Attributes:
        views: All images, in the order of their names.
        scene: That holds their cameras.
        held_back: Indices of the views that are not fitted to.
        truth: Of drawn views; None of others.
    """

    views: PosedViews
    scene: Scene
    held_back: list[int]
    truth: Truth | None

    @property
    def fitted(self) -> list[int]:
        """Indices of the views that are fitted to."""
        return [index for index in range(len(self.views.names)) if index not in set(self.held_back)]


def draw_views(
    scan: Path, folder: Path, count: int, side: int, seed: int, progress: Progress = silent
) -> Path:
    """Draw views of the scan of a head from cameras spread as those of GMPI's FFHQ.

    Writes PNGs, ``dataset.json`` and, last, the true depths and masks. A folder that has them is left as it is.

    Raises:
        DataError: If the scan cannot be read.
    """
    if (folder / TRUTH_NAME).is_file():
        return folder
    scene = SCENES["ffhq256"]
    cameras = SphereCameras(
        scene.fov, scene.centre_z, scene.radius, scene.poses.yaw_range, scene.poses.pitch_range
    )
    head = read_head_scan(scan, cameras)
    yaw, pitch = scene.poses.sample(count, torch.Generator().manual_seed(seed))
    labels, depths, masks = {}, [], []
    with progress("drawing views", count, "views") as advance:
        for index in range(count):
            one = slice(index, index + 1)
            seen = head.see(cameras, yaw[one], pitch[one], side)
            name = f"view{index:04d}.png"
            write_bytes(folder / name, encode_image(to_uint8(seen.image[0]), "png", name), durable=False)
            camera = invert_rigid(cameras.poses(yaw[one], pitch[one]))
            labels[name] = eg3d_labels(camera, centre_z=scene.centre_z, fov=scene.fov)[0].tolist()
            depths.append(seen.depth)
            masks.append(seen.mask)
            advance()
    write_dataset_json(folder / DATASET_JSON, labels)
    data = io.BytesIO()
    np.savez_compressed(data, depth=torch.cat(depths).numpy(), mask=torch.cat(masks).numpy())
    write_bytes(folder / TRUTH_NAME, data.getvalue())
    return folder


def read_views(
    folder: Path,
    pose: Path | None = None,
    *,
    resolution: int | None = None,
    held_back: int | None = None,
    near: float | None = None,
    far: float | None = None,
) -> FolderOfViews:
    """Read images of one scene and their poses.

    Args:
        folder: Images, square and of one size.
        pose: File or folder of poses; those in the folder when None.
        resolution: Side to which images are made smaller; None: theirs.
        held_back: Number of views that are held back, evenly spread over the names; None: a third.
        near: z of the first plane, counted from cameras on the sphere; None: as the angle of view tells.
        far: z of the last plane, likewise.

    Raises:
        DataError: If there are no images or poses, or they do not fit together.
        UsageError: If a number is impossible.
    """
    paths = list_images(folder)
    names = [path.relative_to(folder).as_posix() for path in paths]
    poses = read_poses(pose or folder)
    found = {name: poses.cameras.get(name, poses.cameras.get(stem(name))) for name in names}
    lacking = [name for name, camera in found.items() if camera is None]
    if lacking:
        raise DataError(
            f"{pose or folder} has no pose of {len(lacking)} of the {len(names)} images of {folder} ({lacking[0]}): "
            "give the poses of these images."
        )
    cameras = torch.stack([camera for camera in found.values() if camera is not None])
    count = round(_SHARE_HELD_BACK * len(names)) if held_back is None else held_back
    if not 0 <= count <= len(names) - 2:
        raise UsageError(
            f"--held-back {count} of {len(names)} views leaves fewer than 2 to fit to: give fewer, or more images."
        )
    images = _read(paths, resolution)
    estimate = estimate_scene(poses) | {k: v for k, v in (("near", near), ("far", far)) if v is not None}
    scene = scene_of_views(cameras, estimate, images.shape[-1])
    to_world = invert_rigid(on_scene(cameras, scene).double())
    spread = [round((k + 0.5) * len(names) / count - 0.5) for k in range(count)]
    return FolderOfViews(
        PosedViews(images, to_world, names), scene, spread, _truth(folder, len(names), images.shape[-1])
    )


def _read(paths: list[Path], resolution: int | None) -> Tensor:
    images: list[Tensor] = []
    first = 0
    for path in paths:
        image = read_image(path)
        height, width = image.shape[1:]
        side = resolution or height
        first = first or height
        if height != width or height != first:
            raise DataError(
                f"{path} is {width} x {height}: views must be square and of one size; cut them, for example with "
                "`lineament data prepare folder DIR --for gmpi`."
            )
        if not LEAST_SIDE <= side <= min(height, LARGEST_SIDE):
            raise UsageError(
                f"views of {height} px cannot be fitted at {side} px: --resolution must lie between {LEAST_SIDE} and "
                f"{min(height, LARGEST_SIDE)}."
            )
        if side != height:
            image = F.interpolate(image[None], (side, side), mode="area")[0]
        images.append(to_uint8(image))
    return torch.stack(images)


def _truth(folder: Path, count: int, side: int) -> Truth | None:
    path = folder / TRUTH_NAME
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            depth = torch.from_numpy(file["depth"].astype(np.float32))
            mask = torch.from_numpy(file["mask"].astype(np.float32))
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as true depths ({error}): remove it.") from error
    if depth.ndim != 3 or depth.shape != mask.shape or len(depth) != count:
        raise DataError(f"{path} holds depths of {len(depth)} views, the folder {count} images: remove it.")
    if depth.shape[-1] != side:
        depth, mask = (
            F.interpolate(each[:, None], (side, side), mode="area")[:, 0] for each in (depth, mask)
        )
    return Truth(depth, mask == 1)


def folder_digest(folder: Path) -> str:
    """Digest of the names and sizes of a folder's images and of its poses, as far as they lie in it."""
    import hashlib

    paths = [*list_images(folder), folder / DATASET_JSON]
    lines = [[path.relative_to(folder).as_posix(), path.stat().st_size] for path in paths if path.is_file()]
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:16]
