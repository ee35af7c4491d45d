"""Training descriptors on, on another data set: the recipes `dve-finetune` and, as published, `dve-finetune-300w` etc.

The published fine-tuning starts from CelebA descriptors, uses the training images of the target without their labels,
and always normalises descriptors in the loss, also where the base was trained on raw ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from lineament.methods.dve.base import descriptor_base
from lineament.methods.dve.recipe import DveConfig, DveRecipe
from lineament.training.base_run import INHERIT, Inherited


@dataclass(frozen=True)
class FineTuneConfig(DveConfig):
    """What can be set when fine-tuning; network, dimensions, exchange and view are taken over from the base run."""

    # Run directory of the descriptors to start from, trained here or made by `lineament import dve`.
    base: str = ""
    # Network; the base's.
    backbone: Inherited[
        Literal["smallnet", "hourglass", "hourglass-gn", "hourglass-scaled", "hourglass-gn-scaled", "unet"]
    ] = INHERIT
    # Dimensions of a descriptor; the base's.
    channels: Inherited[int] = INHERIT
    # Show the network only the luma of images; as the base.
    luma: Inherited[bool] = INHERIT
    # Exchange descriptors with another face before matching; None does as the base did.
    exchange: Inherited[bool] = INHERIT
    # Side in pixels of the image that is warped; None takes the base's.
    image_size: Inherited[int] = INHERIT
    # Pixels cut off each side after the warp; None takes the base's.
    crop: Inherited[int] = INHERIT
    # Side of what the network sees, in sides of the face box; None takes the base's.
    view: Inherited[float] = INHERIT
    # How far below the middle of the face box that view is centred, in sides of the box; None takes the base's.
    view_shift: Inherited[float] = INHERIT
    # Give descriptors the length 20 in the loss.
    normalize: bool = True
    # Learning rate of the biases of the convolutions; 0 uses that of the rest.
    bias_learning_rate: float = 0.0
    # Epochs after which the published schedule multiplies the rate by 0.1.
    milestones: tuple[int, ...] = (30, 40)


class FineTuneRecipe(DveRecipe):
    """Dense descriptors trained on, without labels, on the images they will be used on."""

    name = "dve-finetune"
    config_class = FineTuneConfig
    base_kind = descriptor_base(exchange=True)

    def networks(self) -> dict[str, nn.Module]:
        """The networks of the base, with its weights."""
        networks = super().networks()
        self.take_base_weights(networks, networks)
        return networks
