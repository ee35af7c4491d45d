"""The same networks taught by labels alone: the recipe `fabrec-supervised`, what few-shot results are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lineament.errors import UsageError
from lineament.methods.fabrec.base import RANDOM_BASE
from lineament.methods.fabrec.recipe_landmarks import LandmarkConfig, LandmarkRecipe
from lineament.training.recipe import Batch, Update
from lineament.training.registry import register_recipe


@dataclass(frozen=True)
class SupervisedConfig(LandmarkConfig):
    """What can be set when training from labels alone; nothing is frozen and nothing taken over."""

    base: str = RANDOM_BASE
    tune_encoder: bool = True
    # Learning rate of all networks.
    encoder_rate: float = 1e-3
    schedule: str = "one-cycle"  # type: ignore[assignment]

    def __post_init__(self) -> None:
        """Raise ``UsageError`` where a base is named."""
        if self.base != RANDOM_BASE:
            raise UsageError(f"fabrec-supervised starts from nothing: leave --base {self.base} out.")


@register_recipe
class SupervisedRecipe(LandmarkRecipe):
    """A plain heatmap network: encoder, decoder and transfer layers, all of them taught by the labels."""

    name = "fabrec-supervised"
    summary = "the same networks from labels alone, without an autoencoder: the baseline"
    config_class = SupervisedConfig
    presets: ClassVar[dict[str, dict[str, Any]]] = {"tiny": LandmarkRecipe.presets["tiny"]}

    def networks(self) -> dict[str, nn.Module]:
        """Encoder, decoder and transfer layers; what only pictures need stays frozen."""
        networks = super().networks()
        decoder = networks["decoder"]
        used = ("fc.", "conv1.", "bn1.", *(f"layer{n}." for n in range(1, self.config.layout.transfers + 1)))
        for name, parameter in decoder.named_parameters():
            parameter.requires_grad_(name.startswith(used))
        return networks

    def optimisers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """One AdamW for all of it."""
        c = self.config
        parameters = [
            {"params": [p for p in networks[name].parameters() if p.requires_grad], "lr": rate}
            for name, rate in (
                ("encoder", c.encoder_rate),
                ("decoder", c.encoder_rate),
                ("transfer", c.learning_rate),
            )
        ]
        return {"all": torch.optim.AdamW(parameters, weight_decay=1e-4)}

    def step(self, networks: dict[str, nn.Module], batch: Batch, update: Update) -> dict[str, Tensor]:
        """One step; normalisation uses the statistics of the batch, as networks from nothing need it."""
        images = self.pictures(batch)
        x1 = networks["decoder"](networks["encoder"](images), picture=False).x1
        loss = self.loss(networks["transfer"](x1, networks["decoder"]), batch)
        update(loss)
        return {"loss": loss.detach()}
