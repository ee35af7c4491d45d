"""Model and recipe of the toy method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lineament.data.sample import FaceSample
from lineament.training.context import StepContext
from lineament.training.recipe import Recipe, RecipeConfig


@dataclass(frozen=True)
class BrightnessConfig(RecipeConfig):
    """What can be set."""

    # Channels of the hidden layer.
    width: int = 4
    # Learning rate at the start; it falls to zero over the steps.
    rate: float = 0.1


class Brightness(nn.Module):
    """One number for each picture ``[B, 3, H, W]``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, width, 1), nn.Linear(width, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Brightness ``[B, 1]``."""
        return self.last(self.first(images).relu().mean((2, 3)))


class BrightnessRecipe(Recipe[BrightnessConfig, FaceSample]):
    """Regression on the mean of the pixels."""

    method = "brightness"
    config_class = BrightnessConfig

    def networks(self) -> dict[str, nn.Module]:
        """The one network."""
        return {"brightness": Brightness(self.config.width)}

    def optimisers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Plain descent."""
        return {"brightness": torch.optim.SGD(networks["brightness"].parameters(), self.config.rate)}

    def item(self, sample: FaceSample, generator: torch.Generator) -> dict[str, Any]:
        """The picture with a little noise."""
        noise = torch.randn(sample.image.shape, generator=generator)
        return {"image": sample.image + 0.01 * noise}

    def step(self, networks: dict[str, nn.Module], batch: Any, context: StepContext) -> dict[str, Tensor]:
        """A step whose size depends on how far training is."""
        target = batch["image"].mean((1, 2, 3))[:, None]
        loss = (networks["brightness"](batch["image"]) - target).square().mean()
        context.update((1 - context.share) * loss)
        return {"loss": loss.detach(), "steps_before": torch.tensor(float(context.step))}
