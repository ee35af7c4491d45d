"""People that an evaluation looks at from several sides.

They are drawn by a generator, or synthetic heads whose truth is known, which are seen alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from lineament.capabilities import MultiplaneGenerator
from lineament.evaluation.generated import Draws, in_eight_bits
from lineament.geometry.multiplane import SphereCameras
from lineament.geometry.pose_distribution import PoseDistribution
from lineament.heads.model import HeadModel
from lineament.synthetic.scene import NATURAL_NOD, SceneOptions, View, with_view
from lineament.synthetic.source import SyntheticFaces, to_sample

# Longest side at which people are looked at: the published evaluation's.
LONGEST = 224
# Camera to each side from which a person must be the same.
SIDEWAYS = math.radians(20)
# Views of a person, in this order.
FRONT, DRAWN, LEFT, RIGHT = range(4)
# From where it is asked who somebody is: from both sides, or from two cameras of the training's spread, as published.
Sides = Literal["fixed", "random"]
# The world of synthetic people, and how they are seen: as faces of FFHQ, the image about so many millimetres across.
_WORLD, _FRAMING, _ACROSS = 77, 0.6, 300.0
# Seeds of further cameras are those from this on.
_OTHERS = 2**40


@dataclass(frozen=True)
class PersonViews:
    """One person, seen from the front, from a camera of the training's spread, and from two more.

    Attributes:
        images: ``[4, 3, S, S]`` in 0..1, in 8 bits.
        depth: ``[4, S, S]`` along the optical axis; 0 where there is none.
        yaw: ``[4]`` of the cameras, radians, positive to the right.
        pitch: ``[4]`` likewise, positive up.
        cameras: What sees them; None where depths have another unit.
    """

    images: Tensor
    depth: Tensor
    yaw: Tensor
    pitch: Tensor
    cameras: SphereCameras | None = None


class People(Protocol):
    """People by their numbers, each always the same."""

    @property
    def side(self) -> int:
        """Pixels of a side of their images."""
        ...

    @property
    def sideways(self) -> float:
        """Yaw of the cameras at the sides, radians."""
        ...

    def __call__(self, number: int) -> PersonViews:
        """Look at one."""
        ...


@dataclass(frozen=True)
class DrawnPeople:
    """What a generator of multiplane images draws.

    Attributes:
        draws: The multiplane images.
        sides: What the last two views are.
    """

    draws: Draws
    sides: Sides = "fixed"

    @property
    def cameras(self) -> SphereCameras:
        """From where they are seen."""
        assert isinstance(self.draws.generator, MultiplaneGenerator)
        return self.draws.generator.cameras

    @property
    def side(self) -> int:
        """Pixels of a side: those of the textures, 224 at most."""
        return min(self.draws.generator.resolution, LONGEST)

    @property
    def sideways(self) -> float:
        """20 degrees, or what the planes are large enough for."""
        middle = self.cameras.middle[0]
        return min(SIDEWAYS, *(abs(limit - middle) for limit in self.cameras.yaw_limits))

    def __call__(self, number: int) -> PersonViews:
        """Look at one."""
        generator = self.draws.generator
        assert isinstance(generator, MultiplaneGenerator)
        image, yaw, pitch = self.draws.multiplane(number)
        yaws, pitches = _cameras(
            self.cameras.middle, (yaw, pitch), generator.poses, self.sideways, self.sides, number
        )
        seen = image.render(yaws, pitches, self.side)
        images = in_eight_bits(seen.image.cpu(), "nearest")
        return PersonViews(images, seen.depth.cpu(), yaws, pitches, self.cameras)


@dataclass(frozen=True)
class SyntheticPeople:
    """Heads of a parametric model with hair, clothes and light, seen as generated people are.

    Attributes:
        head: The model.
        side: Pixels of a side.
        poses: Spread of the cameras.
        fov: Angle of view, radians.
        sideways: Yaw of the cameras at the sides, radians.
        sides: What the last two views are.
    """

    head: HeadModel
    side: int
    poses: PoseDistribution
    fov: float
    sideways: float = SIDEWAYS
    sides: Sides = "fixed"

    @property
    def world(self) -> SyntheticFaces:
        """Where they live; drawn without flaws of a sensor."""
        still = SceneOptions(grey=0.0, sensor=0.0)
        return SyntheticFaces(_WORLD, 10**6, self.side, self.head, options=still)

    def __call__(self, number: int) -> PersonViews:
        """Look at one; depths are millimetres."""
        world = self.world
        scene = world.scene(number)
        drawn = self.poses.sample(1, torch.Generator().manual_seed(number))
        yaws, pitches = _cameras((0.0, 0.0), drawn, self.poses, self.sideways, self.sides, number)
        first = View((0.0, NATURAL_NOD, 0.0), _ACROSS / 2 / math.tan(self.fov / 2), _FRAMING, (0.0, 0.0))
        scene = with_view(scene, first)
        images, depths = [], []
        for yaw, pitch in zip(yaws.tolist(), pitches.tolist(), strict=True):
            # A camera to the right sees the face turned to the left, one above sees it looking down.
            turned = with_view(scene, replace(first, pose=(-yaw, NATURAL_NOD + pitch, 0.0)))
            sample = to_sample(str(number), turned, world.renderer.render_view(turned, self.side))
            assert sample.depth is not None
            images.append(in_eight_bits(sample.image, "nearest"))
            depths.append(sample.depth)
        return PersonViews(torch.stack(images), torch.stack(depths), yaws, pitches)


def _cameras(
    middle: tuple[float, float],
    drawn: tuple[Tensor, Tensor],
    poses: PoseDistribution,
    sideways: float,
    sides: Sides,
    number: int,
) -> tuple[Tensor, Tensor]:
    """Yaw and pitch ``[4]`` of the views."""
    yaw, pitch = middle
    if sides == "random":
        others = poses.sample(2, torch.Generator().manual_seed(_OTHERS + number))
    else:
        others = torch.tensor([yaw - sideways, yaw + sideways]), torch.tensor([pitch, pitch])
    yaws, pitches = (
        torch.cat([torch.tensor([straight]), one, two])
        for straight, one, two in zip(middle, drawn, others, strict=True)
    )
    return yaws, pitches


def convex_hull_mask(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """``[H, W]`` bool, True at pixel centres within the convex hull of points ``[N, 2]``."""
    from scipy.spatial import ConvexHull

    rows, columns = np.mgrid[:height, :width]
    planes = ConvexHull(points).equations
    sides = planes[:, 0, None, None] * columns + planes[:, 1, None, None] * rows + planes[:, 2, None, None]
    return np.asarray((sides <= 0).all(0))
