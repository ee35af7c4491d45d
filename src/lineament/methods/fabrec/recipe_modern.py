"""Landmarks in a few hundred steps, not published: `fabrec-modern`, and `fabrec-supervised` without an autoencoder.

The published head learns for tens of thousands of steps on frozen networks. Here the autoencoder is only where learning
starts: everything is taught, the encoder's maps reach the heatmaps past the code, and the loss is about places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from lineament.errors import UsageError
from lineament.methods.fabrec.base import RANDOM_BASE
from lineament.methods.fabrec.model import heatmaps_of
from lineament.methods.fabrec.recipe_landmarks import LandmarkConfig, LandmarkRecipe
from lineament.training.recipe import Batch, Update
from lineament.training.registry import register_recipe


@dataclass(frozen=True)
class ModernLandmarkConfig(LandmarkConfig):
    """What can be set when all networks learn from labels."""

    steps: int = 600
    lateral: bool = True
    loss: Literal["squared", "place"] = "place"
    tune_encoder: bool = True
    # Learning rate of the transfer layers.
    learning_rate: float = 2e-3
    # Learning rate of encoder and decoder.
    encoder_rate: float = 2e-3
    augmentation: int = 8
    looks: bool = True
    schedule: Literal["constant", "one-cycle"] = "one-cycle"


@register_recipe
class ModernLandmarkRecipe(LandmarkRecipe):
    """Heatmaps from encoder, decoder, lateral and transfer layers, all of them taught by the labels."""

    name = "fabrec-modern"
    summary = "landmark heatmaps in a few hundred steps, starting from an autoencoder (--base RUN)"
    config_class = ModernLandmarkConfig
    presets: ClassVar[dict[str, dict[str, Any]]] = {"tiny": LandmarkRecipe.presets["tiny"]}

    def networks(self) -> dict[str, nn.Module]:
        """Encoder, decoder and transfer layers; what only pictures need stays frozen."""
        networks = super().networks()
        stages = range(1, self.config.layout.transfers + 1)
        used = ("fc.", "conv1.", "bn1.", *(f"layer{number}." for number in stages))
        for name, parameter in networks["decoder"].named_parameters():
            parameter.requires_grad_(name.startswith(used))
        return networks

    def optimisers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """One AdamW for all of it."""
        c = self.config
        rates = {"encoder": c.encoder_rate, "decoder": c.encoder_rate, "transfer": c.learning_rate}
        groups = [
            {"params": [p for p in networks[name].parameters() if p.requires_grad], "lr": rate}
            for name, rate in rates.items()
        ]
        return {"all": torch.optim.AdamW(groups, weight_decay=1e-4)}

    def step(self, networks: dict[str, nn.Module], batch: Batch, update: Update) -> dict[str, Tensor]:
        """One step; normalisation uses the statistics of the batch."""
        loss = self.loss(heatmaps_of(networks, self.pictures(batch)), batch)
        update(loss)
        return {"loss": loss.detach()}


@dataclass(frozen=True)
class SupervisedConfig(ModernLandmarkConfig):
    """The same without an autoencoder."""

    base: str = RANDOM_BASE

    def __post_init__(self) -> None:
        """Raise ``UsageError`` where a base is named."""
        if self.base != RANDOM_BASE:
            raise UsageError(f"fabrec-supervised starts from nothing: leave --base {self.base} out.")


@register_recipe
class SupervisedRecipe(ModernLandmarkRecipe):
    """The same networks taught by the labels alone, which few-shot results are compared with."""

    name = "fabrec-supervised"
    summary = "the networks of fabrec-modern from labels alone, without an autoencoder: the baseline"
    config_class = SupervisedConfig
