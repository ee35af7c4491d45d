"""What can be set when learning landmarks on a trained autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lineament.methods.fabrec.base import FabrecConfig
from lineament.methods.fabrec.heatmaps import SIGMA


@dataclass(frozen=True)
class LandmarkConfig(FabrecConfig):
    """What can be set when learning landmarks; sizes and networks are taken over from the base run."""

    # Faces of one step; fewer labels than that are repeated, each time moved anew.
    batch_size: int = 10
    # Optimiser steps in all.
    steps: int = 2000
    # Steps between two checkpoints; 0 writes one only at the end.
    checkpoint_every: int = 500
    # Train on so many labelled faces only; 0 takes all of them.
    labels: int = 0
    # Which ones: the first of the data, as published, or a random draw that depends on the seed.
    pick: str = "first"
    # Landmark scheme to learn; labels are converted to it where they can be.
    scheme: str = "68"
    # Tune the encoder too; with fewer than 50 labels this gains little and may overfit.
    tune_encoder: bool = False
    # Learning rate of the transfer layers.
    learning_rate: float = 1e-3
    # Learning rate of the encoder.
    encoder_rate: float = 2e-5
    # Standard deviation of the target heatmaps in pixels of a 128 px heatmap.
    sigma: float = SIGMA
    # Heatmaps: exact (drawn and read below a pixel), or paper.
    heatmaps: str = "exact"
    # Let the encoder's maps reach the heatmaps past the code (ours).
    lateral: bool = False
    # What heatmaps learn: squared differences, as published, or the place of the landmark as a distribution.
    loss: Literal["squared", "cross-entropy"] = "squared"
    # Published level of random moves, 0 to 7; 6 is that of the paper, 8 is ours.
    augmentation: int = 6
    # Probability of a mirrored image; its landmarks change sides as the scheme says.
    mirror: float = 0.5
    # Change light, contrast, colour and sharpness at random.
    looks: bool = False
    # Learning rates over time: constant as published, or a tenth of the steps up and along a cosine to zero.
    schedule: Literal["constant", "warmup-cosine"] = "constant"
    # Average with the prediction for the mirrored image.
    flip_tta: bool = True
    # Labelled faces used by an evaluation during training.
    evaluate_count: int = 64

    @property
    def heatmap_sigma(self) -> float:
        """Standard deviation of the target heatmaps in pixels of the heatmaps of these networks."""
        return self.sigma * self.layout.heatmap / 128
