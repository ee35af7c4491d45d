"""A multiplane image fitted to images of one scene with known cameras, by gradient descent through the renderer.

What is learnt are the logits of the colour image, of the background and of the opacities of the planes, first on few
texels, then on more: each level starts from the one before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lineament.errors import DataError, UsageError
from lineament.geometry.multiplane import MultiplaneImage, SphereCameras
from lineament.geometry.pose_distribution import PoseDistribution
from lineament.geometry.sphere_camera import angles_on_sphere
from lineament.methods.gmpi.datasets import Scene
from lineament.methods.gmpi.planes import make_planes
from lineament.methods.gmpi.renderer import Mpi, Renderer
from lineament.ops.mpi_composite import Composite
from lineament.training.schedules import cosine_down

# Share of the steps at each level, and how much coarser its textures and images are.
LEVELS = ((0.45, 4), (0.3, 2), (0.25, 1))
# A level below this side is left out.
_LEAST_SIDE = 16
# Adam's rates of opacities and colours; a level ends at this share of them.
_ALPHA_RATE, _COLOUR_RATE, _LAST_RATE = 0.1, 0.03, 0.1
# Light that all planes but the last let through at first.
_FIRST_LIGHT = 0.05
# Share of the light behind which planes count as hidden.
STOP = 1e-3


@dataclass(frozen=True)
class PosedViews:
    """Images of one scene and the cameras that saw them.

    Attributes:
        images: ``[N, 3, S, S]`` uint8.
        cameras: ``[N, 4, 4]`` float64 camera-to-world, on the sphere of the scene.
        names: Of the images.

    Raises:
        DataError: If their numbers differ, or images are not square.
    """

    images: Tensor
    cameras: Tensor
    names: list[str]

    def __post_init__(self) -> None:
        count, *shape = self.images.shape
        if not count or shape[0] != 3 or shape[1] != shape[2] or len(self.cameras) != count:
            raise DataError(
                f"views need images [N, 3, S, S] with a camera each, got {list(self.images.shape)} and "
                f"{len(self.cameras)} cameras."
            )

    def take(self, indices: list[int]) -> PosedViews:
        """Some of them."""
        return PosedViews(self.images[indices], self.cameras[indices], [self.names[k] for k in indices])


@dataclass(frozen=True)
class FitSettings:
    """How a multiplane image is fitted.

    Attributes:
        planes: Their number.
        steps: Steps of gradient descent, all levels together.
        batch: Views of a step.
        seed: Of the order in which views are seen.
    """

    planes: int = 64
    steps: int = 600
    batch: int = 4
    seed: int = 0

    def check(self) -> None:
        """Raise ``UsageError`` on an impossible number."""
        for name, value, least, most in (
            ("planes", self.planes, 2, 512),
            ("steps", self.steps, 1, 100_000),
            ("batch", self.batch, 1, 256),
        ):
            if not least <= value <= most:
                raise UsageError(f"--{name} must lie between {least} and {most}, not {value}.")


class MultiplaneFit:
    """A fit under way.

    Args:
        views: What it is fitted to.
        scene: Planes and cameras; its resolution is the side of the textures.
        settings: How.

    Attributes:
        step: Steps done.
        error: Mean squared error of the last step; NaN before.
    """

    def __init__(self, views: PosedViews, scene: Scene, settings: FitSettings) -> None:
        settings.check()
        self.views = views
        self.settings = settings
        self.renderer = Renderer(scene, make_planes(scene, settings.planes))
        self.step = 0
        self.error = math.nan
        self._sides = [side for _, side in self._plan()]
        self._level = 0
        self._start(None)

    def _plan(self) -> list[tuple[int, int]]:
        """Step at which each level ends, and its side."""
        whole, total, done, plan = self.renderer.scene.resolution, self.settings.steps, 0.0, []
        for share, factor in LEVELS:
            done += share
            if factor == 1 or whole // factor >= _LEAST_SIDE:
                plan.append((round(total * done), whole // factor))
        return plan

    def _start(self, before: list[Tensor] | None) -> None:
        """Begin a level, from the textures of the one before or from fog."""
        side = self._sides[self._level]
        if before is None:
            count = self.settings.planes - 1
            alpha = 1 - _FIRST_LIGHT ** (1 / count)
            mean = (self.views.images.float().mean((0, 2, 3)) / 255).clamp(0.02, 0.98)
            colour = torch.logit(mean)[:, None, None].expand(3, side, side)
            before = [torch.full((count, side, side), math.log(alpha / (1 - alpha))), colour, colour]
        # The outermost texels lie on the borders of the planes at every level.
        self._textures = [
            F.interpolate(each[None], (side, side), mode="bilinear", align_corners=True)[0].clone()
            for each in before
        ]
        for each in self._textures:
            each.requires_grad_()
        groups = [
            {"params": self._textures[:1], "lr": _ALPHA_RATE, "first": _ALPHA_RATE},
            {"params": self._textures[1:], "lr": _COLOUR_RATE, "first": _COLOUR_RATE},
        ]
        self._adam = torch.optim.Adam(groups, betas=(0.9, 0.95), eps=1e-8)
        self._images = F.interpolate(self.views.images.float() / 255, (side, side), mode="area")

    @property
    def done(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.settings.steps

    @property
    def side(self) -> int:
        """Texels of a side at the level that is fitted now."""
        return self._sides[self._level]

    def advance(self) -> float:
        """Do a step; returns the mean squared error of its views before it."""
        plan = self._plan()
        while self.step >= plan[self._level][0] and self._level + 1 < len(plan):
            self._level += 1
            self._start([each.detach() for each in self._textures])
        begun = plan[self._level - 1][0] if self._level else 0
        share = (self.step - begun) / max(plan[self._level][0] - begun, 1)
        for group in self._adam.param_groups:
            group["lr"] = group["first"] * cosine_down(share, _LAST_RATE)
        chosen = self._chosen()
        seen = self._see(self.views.cameras[chosen], STOP)
        error = (seen.image - self._images[chosen]).square()
        self._adam.zero_grad(set_to_none=True)
        # A sum over pixels keeps gradients of single texels far above Adam's epsilon.
        error.sum().backward()
        self._adam.step()
        self.step += 1
        self.error = float(error.detach().mean())
        return self.error

    def _chosen(self) -> list[int]:
        """The views of this step: each is seen once before any is seen again, in an order that the seed decides."""
        count = len(self.views.names)
        chosen = []
        for place in range(self.step * self.settings.batch, (self.step + 1) * self.settings.batch):
            rounds, index = divmod(place, count)
            generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + rounds)
            chosen.append(int(torch.randperm(count, generator=generator)[index]))
        return chosen

    def _mpi(self) -> Mpi:
        alpha, colour, background = (each.sigmoid() for each in self._textures)
        last = torch.ones_like(alpha[:1])
        return Mpi(torch.cat([alpha, last])[None], colour[None], background[None])

    @torch.no_grad()
    def see(self, cameras: Tensor) -> Composite:
        """What cameras ``[V, 4, 4]`` (camera-to-world) see of it so far; images in 0..1, exact."""
        return self._see(cameras, 0.0)

    def _see(self, cameras: Tensor, stop: float) -> Composite:
        seen = self.renderer.render_cameras(self._mpi(), cameras, self.side, outside="clamp", stop=stop)
        return Composite((seen.image + 1) / 2, seen.depth[:, 0], seen.opacity[:, 0])

    @torch.no_grad()
    def image(self, **facts: object) -> MultiplaneImage:
        """The multiplane image so far, with textures of the level that is fitted now."""
        mpi, scene = self._mpi(), self.renderer.scene
        assert mpi.background is not None
        cameras = SphereCameras(
            scene.fov, scene.centre_z, scene.radius, scene.poses.yaw_range, scene.poses.pitch_range
        )
        return MultiplaneImage(
            mpi.colour[0], mpi.background[0], mpi.alpha[0], self.renderer.planes, cameras, facts
        )

    def state(self) -> dict[str, object]:
        """All that :meth:`restore` needs to go on."""
        textures = [each.detach() for each in self._textures]
        return {
            "step": self.step,
            "level": self._level,
            "textures": textures,
            "adam": self._adam.state_dict(),
        }

    def restore(self, state: dict[str, object]) -> None:
        """Go on where another fit of the same views and settings stood."""
        self.step, self._level = int(state["step"]), int(state["level"])  # type: ignore[call-overload]
        self._start(list(state["textures"]))  # type: ignore[call-overload]
        self._adam.load_state_dict(state["adam"])  # type: ignore[arg-type]


def scene_of_views(cameras: Tensor, estimate: dict[str, float], resolution: int) -> Scene:
    """The scene whose range of poses holds all cameras.

    Args:
        cameras: ``[N, 4, 4]`` world-to-camera that look at the origin.
        estimate: near, far, fov_degrees and radius, as :func:`lineament.methods.gmpi.pose_labels.estimate_scene` has
            them.
        resolution: Texels of a side.
    """
    middles, halves = [], []
    for angle in angles_on_sphere(cameras, centre_z=0.0):
        low, high = float(angle.min()), float(angle.max())
        middles.append((low + high) / 2)
        halves.append((high - low) / 2)
    poses = PoseDistribution(halves[0], halves[1], 1.0, middles[0], middles[1], "uniform")
    radius = estimate["radius"]
    return Scene(
        estimate["near"], estimate["far"], estimate["fov_degrees"], radius, radius, poses, resolution
    )
