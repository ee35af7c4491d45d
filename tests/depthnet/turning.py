"""The astronaut, a head, and pictures with marks for the tests of turning."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from skimage import data
from torch import Tensor

from lineament.faces.labels import read_keypoints
from lineament.geometry.rotation import matrix_from_pose
from lineament.heads.load import load_head
from lineament.heads.model import HeadModel

KEYPOINTS = Path(__file__).with_name("astronaut.landmarks.json")
MARKED = (36, 45, 48, 54, 57)  # outer eye corners, mouth corners, lower lip


@cache
def astronaut() -> Tensor:
    """``[3, 512, 512]``."""
    return torch.from_numpy(data.astronaut()).permute(2, 0, 1).float() / 255


@cache
def keypoints() -> Tensor:
    """Its 68 points ``[68, 2]``, marked by hand."""
    points = read_keypoints(KEYPOINTS, "68").faces[0].landmarks
    assert points is not None
    return points


@cache
def head() -> HeadModel:
    return load_head("builtin")


def seen_head(pose_degrees: tuple[float, float, float], scale: float, seed: int) -> tuple[Tensor, Tensor]:
    """Landmarks ``[68, 3]`` (pixels, depth in pixels) of a person drawn at random, and the rotation."""
    rng = np.random.default_rng(seed)
    identity = 0.7 * rng.standard_normal((1, len(head().identity))).astype(np.float32)
    expression = np.zeros((1, 0), np.float32)
    rotation = matrix_from_pose(torch.deg2rad(torch.tensor(pose_degrees, dtype=torch.float64)))
    vertices = scale * torch.from_numpy(head().vertices(identity, expression)).double() @ rotation.T
    placed = vertices + torch.tensor([200.0, 180.0, 0.0])
    return torch.from_numpy(head().landmarks(placed.float().numpy(), "68")[0]).double(), rotation


def marked(image: Tensor, points: Tensor, radius: float = 2.0) -> Tensor:
    """The picture in grey, with a saturated green disc on each point ``[K, 2]``."""
    grey = image.mean(0, keepdim=True).expand(3, -1, -1).clone()
    y, x = torch.meshgrid(*(torch.arange(side).float() for side in image.shape[1:]), indexing="ij")
    for px, py in points.tolist():
        disc = (x - px) ** 2 + (y - py) ** 2 <= radius**2
        grey[:, disc] = torch.tensor([0.0, 1.0, 0.0])[:, None]
    return grey


def mark_near(picture: Tensor, place: Tensor, reach: float) -> Tensor:
    """Centre ``[2]`` of the green within ``reach`` pixels of ``place``."""
    green = (picture[1] - picture[0]).clamp(min=0)
    y, x = torch.meshgrid(*(torch.arange(side).float() for side in green.shape), indexing="ij")
    weight = green * ((x - place[0]) ** 2 + (y - place[1]) ** 2 <= reach**2)
    assert float(weight.sum()) > 0.5, f"no mark near {place.tolist()}"
    return torch.stack([(x * weight).sum(), (y * weight).sum()]) / weight.sum()
