"""Finds the multiplane image of a generator that shows a given face: styles, camera, then weights.

First one style w for all layers, then one for each (W+; Abdal et al., "Image2StyleGAN", ICCV 2019), then the weights
around them (Roich et al., "Pivotal tuning for latent-based editing of real images", TOG 2022). The camera is refined
throughout, by differences of the pixels' error between cameras beside it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lineament.errors import DataError, UsageError
from lineament.methods.gmpi.generator import GMPIGenerator
from lineament.methods.gmpi.predictor import GMPIPredictor
from lineament.methods.gmpi.renderer import Mpi, Renderer
from lineament.training.schedules import cosine_down

STAGES = ("w", "w-plus", "tuning")
# Adam's rates of styles, weights and angles (radians); each stage ends at this share of its own.
_RATES, _POSE_RATE, _LAST_RATE = {"w": 0.05, "w-plus": 0.03, "tuning": 0.002}, 0.004, 0.1
# Radians to each side at which the error is compared.
_STEP = 0.01
# Styles whose spread the first stage is measured by.
_STYLES = 1000
# How strongly opacities are kept while weights are tuned: what a single view does not tell stays as learnt.
_KEEP_ALPHA = 1.0


@dataclass(frozen=True)
class ProjectSettings:
    """How a face is projected.

    Attributes:
        w_steps: Steps with one style for all layers.
        w_plus_steps: Steps with a style for each.
        tuning_steps: Steps with the weights.
        feature_weight: Of the error of features beside that of pixels.
        style_weight: Of how far styles are from the mean, in standard deviations.
    """

    w_steps: int = 200
    w_plus_steps: int = 200
    tuning_steps: int = 200
    feature_weight: float = 0.1
    style_weight: float = 0.001

    @property
    def ends(self) -> list[int]:
        """Step at which each stage ends."""
        return [
            self.w_steps,
            self.w_steps + self.w_plus_steps,
            self.w_steps + self.w_plus_steps + self.tuning_steps,
        ]

    def check(self) -> None:
        """Raise ``UsageError`` on an impossible number."""
        for name, steps in zip(("w", "w-plus", "tuning"), self._steps(), strict=True):
            if not 0 <= steps <= 100_000:
                raise UsageError(f"--{name}-steps must lie between 0 and 100000, not {steps}.")
        if not (0 <= self.feature_weight < math.inf and 0 <= self.style_weight < math.inf):
            raise UsageError("--feature-weight and --style-weight must not be negative.")

    def _steps(self) -> tuple[int, int, int]:
        return self.w_steps, self.w_plus_steps, self.tuning_steps


class FixedStyles(nn.Module):
    """Takes the place of a mapping network: the same styles for every latent.

    Args:
        ws: ``[num_ws, w_dim]``.
    """

    w_avg: Tensor

    def __init__(self, ws: Tensor) -> None:
        super().__init__()
        self.register_buffer("ws", ws.detach().clone())
        self.register_buffer("w_avg", ws.detach().mean(0))

    def forward(self, z: Tensor, truncation_psi: float = 1.0, truncation_cutoff: int | None = None) -> Tensor:
        """``ws [B, num_ws, w_dim]`` of latents ``[B, ...]``; there is nothing to truncate."""
        ws: Tensor = self.get_buffer("ws").expand(len(z), -1, -1)
        return ws


class Projection:
    """A projection under way.

    Args:
        predictor: Of the run; it stays as it is.
        target: ``[3, R, R]`` in 0..1, cut as the run's images.
        pitch_yaw: ``[2]`` camera to begin with, radians.
        settings: How.
        features: Makes features ``[B, C, h, w]`` of images ``[B, 3, R, R]`` in 0..1; None: pixels alone count.
        weight: ``[R, R]`` how much each pixel counts; None: all alike.

    Attributes:
        step: Steps done.
        pitch_yaw: ``[2]`` the camera.
        error: Mean squared error of the pixels in the last step.

    Raises:
        DataError: If the target has another size.
    """

    def __init__(
        self,
        predictor: GMPIPredictor,
        target: Tensor,
        pitch_yaw: Tensor,
        settings: ProjectSettings,
        features: Callable[[Tensor], Tensor] | None = None,
        weight: Tensor | None = None,
    ) -> None:
        settings.check()
        side = predictor.resolution
        if tuple(target.shape) != (3, side, side):
            raise DataError(
                f"a face of {[3, side, side]} is projected into this run, not {list(target.shape)}."
            )
        self.settings = settings
        self.generator: GMPIGenerator = copy.deepcopy(predictor.generator).eval()
        self.renderer: Renderer = predictor.renderer
        self.target = target[None]
        self._weight = torch.ones(side, side) if weight is None else weight
        self._features = features
        with torch.no_grad():
            latents = torch.randn(_STYLES, self.generator.z_dim, generator=torch.Generator().manual_seed(0))
            drawn = self.generator.mapping(latents)[:, 0]
            self._mean, self._spread = drawn.mean(0), drawn.std(0).clamp(min=1e-6)
            self._wanted = None if features is None else features(self.target)
        # Styles are moved in units of their spread.
        self.styles = torch.zeros(1, len(self._mean))
        self.pitch_yaw = self._within(pitch_yaw.detach().float().clone())
        self._alpha: Tensor | None = None
        self.step, self.error = 0, math.nan
        self._stage = -1
        self._enter(self._stage_at(0))

    def _stage_at(self, step: int) -> int:
        return next((k for k, end in enumerate(self.settings.ends) if step < end), len(STAGES) - 1)

    def _enter(self, stage: int) -> None:
        if stage == self._stage:
            return
        self._stage = stage
        styles = self.styles.detach()
        if stage > 0:
            styles = styles.expand(self.generator.num_ws, -1).clone()
        self.styles = styles.requires_grad_(stage < 2)
        self.generator.requires_grad_(stage == 2)
        self.generator.mapping.requires_grad_(False)
        if stage == 2 and self._alpha is None:
            with torch.no_grad():
                self._alpha = self._draw().alpha
        learnt: list[Tensor] = [self.styles] if stage < 2 else list(self.generator.synthesis.parameters())
        self.pitch_yaw.requires_grad_()
        groups: list[dict[str, Any]] = [
            {"params": learnt, "first": _RATES[STAGES[stage]]},
            {"params": [self.pitch_yaw], "first": _POSE_RATE},
        ]
        self._adam = torch.optim.Adam(groups, betas=(0.9, 0.99))

    @property
    def ws(self) -> Tensor:
        """``[num_ws, w_dim]`` styles of the layers."""
        ws: Tensor = (self._mean + self._spread * self.styles).expand(self.generator.num_ws, -1)
        return ws

    @property
    def done(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.settings.ends[-1]

    def _draw(self) -> Mpi:
        return Mpi(*self.generator.synthesis(self.ws[None], self.generator.plane_depths, noise_mode="const"))

    def _see(self, mpi: Mpi, pitch_yaw: Tensor) -> Tensor:
        seen = self.renderer.render(mpi, pitch_yaw, outside="clamp")
        return (seen.image + 1) / 2

    def _pixels(self, images: Tensor) -> Tensor:
        """Weighted mean squared error ``[V]`` of images."""
        each = (images - self.target).square().mean(1) * self._weight
        return each.sum((1, 2)) / self._weight.sum().clamp(min=1e-6)

    def advance(self) -> float:
        """Do a step; returns the mean squared error of the pixels before it."""
        self._enter(self._stage_at(self.step))
        ends = self.settings.ends
        begun = ends[self._stage - 1] if self._stage else 0
        share = (self.step - begun) / max(ends[self._stage] - begun, 1)
        for group in self._adam.param_groups:
            group["lr"] = group["first"] * cosine_down(share, _LAST_RATE)
        mpi = self._draw()
        image = self._see(mpi, self.pitch_yaw.detach()[None])
        pixels = self._pixels(image)[0]
        loss = pixels + self.settings.style_weight * self.styles.square().mean()
        if self._features is not None and self._wanted is not None and self.settings.feature_weight > 0:
            difference = (self._features(image) - self._wanted).square().mean()
            loss = loss + self.settings.feature_weight * difference
        if self._alpha is not None:
            loss = loss + _KEEP_ALPHA * (mpi.alpha - self._alpha).square().mean()
        self._adam.zero_grad(set_to_none=True)
        loss.backward()
        self.pitch_yaw.grad = self._pose_gradient(Mpi(*(each.detach() for each in mpi_parts(mpi))))
        self._adam.step()
        with torch.no_grad():
            self.pitch_yaw.copy_(self._within(self.pitch_yaw))
        self.step += 1
        self.error = float(pixels.detach())
        return self.error

    @torch.no_grad()
    def _pose_gradient(self, mpi: Mpi) -> Tensor:
        shifts = torch.tensor([[_STEP, 0.0], [-_STEP, 0.0], [0.0, _STEP], [0.0, -_STEP]])
        errors = self._pixels(self._see(mpi, self.pitch_yaw.detach() + shifts))
        return torch.stack([errors[0] - errors[1], errors[2] - errors[3]]) / (2 * _STEP)

    def _within(self, pitch_yaw: Tensor) -> Tensor:
        poses = self.renderer.scene.poses
        low, high = (torch.tensor(each) for each in zip(poses.pitch_range, poses.yaw_range, strict=True))
        return pitch_yaw.clamp(low, high)

    def result(self) -> GMPIPredictor:
        """What draws the projected face: whatever the latent, and with any number of planes that the run can draw."""
        generator = copy.deepcopy(self.generator).requires_grad_(False)
        generator.mapping = FixedStyles(self.ws)  # type: ignore[assignment]
        return GMPIPredictor(generator.eval(), self.renderer)

    def state(self) -> dict[str, Any]:
        """All that :meth:`restore` needs to go on."""
        return {
            "step": self.step,
            "stage": self._stage,
            "styles": self.styles.detach(),
            "pitch_yaw": self.pitch_yaw.detach(),
            "alpha": self._alpha,
            "weights": self.generator.state_dict(),
            "adam": self._adam.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where another projection of the same face into the same run stood."""
        self.step = int(state["step"])
        self.styles, self.pitch_yaw = state["styles"].clone(), state["pitch_yaw"].clone()
        self._alpha = state["alpha"]
        self.generator.load_state_dict(state["weights"])
        self._stage = -1
        self._enter(int(state["stage"]))
        self._adam.load_state_dict(state["adam"])


def mpi_parts(mpi: Mpi) -> tuple[Tensor, Tensor, Tensor]:
    """Alpha, colour and background of a multiplane image that has one."""
    assert mpi.background is not None
    return mpi.alpha, mpi.colour, mpi.background
