"""The recipe `boxshape`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from boxshape.model import BoxShape
from boxshape.predictor import ShapePredictor
from lineament.data.face_box import sample_box
from lineament.data.sample import FaceSample
from lineament.errors import DataError
from lineament.faces.schemes import convert_points, scheme
from lineament.training.context import StepContext
from lineament.training.recipe import Batch, Recipe, RecipeConfig


@dataclass(frozen=True)
class BoxShapeConfig(RecipeConfig):
    """What can be set."""

    steps: int = 60
    # Landmark scheme to learn.
    scheme: str = "5"
    # Learning rate.
    learning_rate: float = 0.02


class BoxShapeRecipe(Recipe[BoxShapeConfig, FaceSample]):
    """The mean shape of labelled faces."""

    method = "boxshape"
    config_class = BoxShapeConfig

    def networks(self) -> dict[str, nn.Module]:
        """The shape."""
        return {"shape": BoxShape(len(scheme(self.config.scheme)))}

    def optimisers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Adam."""
        return {"shape": torch.optim.Adam(networks["shape"].parameters(), self.config.learning_rate)}

    def item(self, sample: FaceSample, generator: torch.Generator) -> Batch:
        """A box and its landmarks."""
        if sample.landmarks is None or sample.scheme is None:
            raise DataError(f"{sample.id} has no landmarks.")
        points = convert_points(sample.landmarks.float(), sample.scheme, self.config.scheme)
        return {"box": sample_box(sample).float(), "points": points}

    def step(self, networks: dict[str, nn.Module], batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """One step towards the landmarks."""
        sides = (batch["box"][:, 2:] - batch["box"][:, :2]).amax(1)[:, None, None]
        loss = ((networks["shape"](batch["box"]) - batch["points"]) / sides).abs().mean()
        context.update(loss)
        return {"loss": loss.detach(), "done": torch.tensor(float(context.step))}

    def predictor(
        self,
        networks: dict[str, nn.Module],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> ShapePredictor:
        """Landmarks."""
        return ShapePredictor(networks["shape"], self.config.scheme)
