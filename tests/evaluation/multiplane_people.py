"""A generator of multiplane images whose people are synthetic heads, or photos of them on a wall."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from lineament.evaluation.people import FRONT, SyntheticPeople
from lineament.geometry.multiplane import MultiplaneImage, SphereCameras
from lineament.geometry.pose_distribution import PoseDistribution
from lineament.heads.load import load_head

SIDE, FOV = 64, math.radians(12.6)
POSES = PoseDistribution(0.289, 0.127, 2.0)


class HeadGenerator:
    """Multiplane images of synthetic heads.

    Args:
        flat: Paint the heads on the last plane.
    """

    latent_size, resolution, any_planes = 4, SIDE, True

    def __init__(self, flat: bool = False, planes: int = 24) -> None:
        self.flat, self.poses = flat, POSES
        z = torch.linspace(0.95, 1.12, planes)
        # Each plane fills what the camera sees of it, the last one more.
        sides = 2 * math.tan(FOV / 2) * z
        sides[-1] *= 2
        self.planes = torch.stack([z, sides, sides], 1)
        self.cameras = SphereCameras(FOV, 1.0, 1.0, POSES.yaw_range, POSES.pitch_range)
        self.people = SyntheticPeople(load_head("builtin"), SIDE, POSES, FOV)

    def multiplane(self, latent: Tensor, planes: int | None = None, psi: float = 1.0) -> MultiplaneImage:
        person = self.people(int(latent.abs().sum() * 1000) % 1000)
        image, depth = person.images[FRONT], person.depth[FRONT]
        z = self.planes[:, 0]
        known = depth > 0
        # From the tip of the nose on; 300 mm are the width of the image.
        behind = (depth - depth[known].min()) / 300 * float(self.planes[0, 1])
        surface = torch.where(known, z[0] + behind, z[-1])
        alpha = (surface <= z[:, None, None] + 1e-6).float()
        if self.flat:
            alpha[:-1] = 0
        alpha[-1] = 1
        # On the last plane, which is twice as large, the background is stretched.
        return MultiplaneImage(image, image, alpha, self.planes, self.cameras)

    def opacities(self, latent: Tensor, planes: int, psi: float = 1.0, batch: int = 32) -> Iterator[Tensor]:
        raise NotImplementedError
