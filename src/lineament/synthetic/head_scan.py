"""A textured scan of a head, seen by cameras on a sphere: images, depths and masks with exact poses.

A scan is a folder with ``head.npz`` and an albedo map, ``albedo*.jpg`` or ``.png``. The former holds ``vertices``
``[V, 3]`` (y up, the face looks to +z), ``faces`` ``[F, 3]``, ``uv`` ``[T, 2]`` (origin at the bottom left) and
``faces_uv`` ``[F, 3]``.
"""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lineament.data.images import read_image
from lineament.errors import DataError
from lineament.geometry.multiplane import SphereCameras
from lineament.geometry.sphere_camera import invert_rigid
from lineament.heads.normals import vertex_normals
from lineament.ops.barycentrics import barycentrics
from lineament.ops.interpolate import interpolate
from lineament.ops.rasterize import rasterize
from lineament.ops.sample_texture import sample_texture, screen_derivative

MESH_NAME = "head.npz"
# Where eyes and mouth of the scan by Lee Perry-Smith are, found by `face-68` in its front view. Its crop of FFHQ's
# alignment has its middle a tenth of the way from the eyes to the mouth, and twice the eyes' distance as half side.
EYES, MOUTH = ((-0.729, 1.633, 1.936), (0.462, 1.632, 1.942)), (-0.074, 0.350, 2.291)
# Light: from everywhere, and from above the left shoulder; it stays with the head, so that all views agree.
_AMBIENT, _DIRECTED, _SUN = 0.62, 0.55, (-0.4, 0.55, 0.75)
_GREY = 0.55
# Samples of a pixel along each side.
_SAMPLES = 2


class Sights(NamedTuple):
    """What cameras see of a scan.

    Attributes:
        image: ``[V, 3, S, S]`` in 0..1, the head before plain grey.
        depth: ``[V, S, S]`` along the optical axis; 0 where the head is not.
        mask: ``[V, S, S]`` where all samples of a pixel are the head's.
    """

    image: Tensor
    depth: Tensor
    mask: Tensor


@dataclass(frozen=True)
class HeadScan:
    """A scan, placed before cameras.

    Attributes:
        corners: ``[3 F, 3]`` float64, those of triangle k in rows 3 k to 3 k + 2, in the world of
            :mod:`lineament.geometry.sphere_camera`: y down, z away.
        uv: ``[3 F, 2]`` float32, origin at the upper left.
        light: ``[3 F, 1]`` how bright each corner is.
        albedo: ``[3, H, W]`` in 0..1.
    """

    corners: Tensor
    uv: Tensor
    light: Tensor
    albedo: Tensor

    def see(self, cameras: SphereCameras, yaw: Tensor, pitch: Tensor, size: int) -> Sights:
        """See it from cameras on the sphere.

        Args:
            cameras: The sphere and the angle of view.
            yaw: ``[V]`` radians.
            pitch: ``[V]`` radians.
            size: Pixels of a side.
        """
        poses = cameras.poses(yaw, pitch)
        return Sights(*map(torch.cat, zip(*(self._see(cameras, pose, size) for pose in poses), strict=True)))

    def _see(self, cameras: SphereCameras, to_world: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
        fine = _SAMPLES * size
        to_camera = invert_rigid(to_world)
        faces = torch.arange(len(self.corners), dtype=torch.int32).view(-1, 3)
        points = self.corners @ to_camera[:3, :3].mT + to_camera[:3, 3]
        flat = points @ cameras.intrinsics(fine, fine).mT
        pixels = torch.cat([flat[:, :2] / flat[:, 2:], points[:, 2:]], 1).float()[None]
        index = rasterize(pixels, faces, fine, fine)
        depth, bary = barycentrics(pixels, faces, index)
        light = interpolate(self.light[None], faces, index, bary)
        uv = interpolate(self.uv[None], faces, index, bary)
        change = screen_derivative(self.uv[None], pixels, faces, index, bary)
        colour = sample_texture(self.albedo[None], uv, align_corners=False, index=index, uv_derivative=change)
        there = (index >= 0)[:, None].float()
        image = (colour * light).clamp(0, 1) * there + _GREY * (1 - there)
        share = F.avg_pool2d(there, _SAMPLES)
        mean = F.avg_pool2d(depth.view(1, 1, fine, fine) * there, _SAMPLES) / share.clamp(min=1e-6)
        return F.avg_pool2d(image, _SAMPLES), mean[:, 0], share[:, 0] == 1


def is_head_scan(path: Path) -> bool:
    """Whether a folder holds a scan."""
    return (path / MESH_NAME).is_file()


def read_head_scan(folder: Path, cameras: SphereCameras) -> HeadScan:
    """Read a scan and place it so that the camera in front sees it as FFHQ's alignment would cut it.

    Raises:
        DataError: If a file is missing or damaged.
    """
    path = folder / MESH_NAME
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: np.asarray(file[name]) for name in ("vertices", "faces", "uv", "faces_uv")}
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as the scan of a head ({error}).") from error
    maps = sorted(each for each in folder.glob("albedo*") if each.suffix.lower() in (".jpg", ".png"))
    if not maps:
        raise DataError(f"{folder} has no albedo map (albedo*.jpg or .png) for its {MESH_NAME}.")
    for name, corners in (("faces", "vertices"), ("faces_uv", "uv")):
        ids = found[name]
        if ids.ndim != 2 or ids.shape[1] != 3 or not 0 <= ids.min() <= ids.max() < len(found[corners]):
            raise DataError(f"{path}: {name} must be [F, 3] rows of {corners}.")
    vertices = found["vertices"].astype(np.float64)
    faces, faces_uv = (
        torch.from_numpy(found[name].astype(np.int64)).flatten() for name in ("faces", "faces_uv")
    )
    sun = np.asarray(_SUN) / np.linalg.norm(_SUN)
    light = _AMBIENT + _DIRECTED * np.clip(vertex_normals(vertices, found["faces"]) @ sun, 0, None)
    uv = torch.from_numpy(found["uv"]).float()[faces_uv]
    return HeadScan(
        _placed(torch.from_numpy(vertices), cameras)[faces],
        torch.stack([uv[:, 0], 1 - uv[:, 1]], 1),
        torch.from_numpy(light).float()[faces, None],
        read_image(maps[0]),
    )


def _placed(vertices: Tensor, cameras: SphereCameras) -> Tensor:
    eyes, mouth = vertices.new_tensor(EYES), vertices.new_tensor(MOUTH)
    middle, across = eyes.mean(0), float((eyes[1] - eyes[0])[:2].norm())
    centre = torch.cat([(middle + 0.1 * (mouth - middle))[:2], middle[2:]])
    half = max(2.0 * across, 1.8 * float((mouth - middle)[:2].norm()))
    scale = cameras.radius * math.tan(cameras.fov / 2) / half
    flipped = (vertices - centre) * vertices.new_tensor([1.0, -1.0, -1.0])
    return flipped * scale + vertices.new_tensor([0.0, 0.0, cameras.centre_z])
