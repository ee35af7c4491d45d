"""Training descriptors on, on another data set: the recipes `dve-finetune` and, as published, `dve-finetune-300w` etc.

The published fine-tuning starts from CelebA descriptors, uses the training pictures of the target without their labels,
and always normalises descriptors in the loss, also where the base was trained on raw ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import nn

from lineament.methods.dve.base import RANDOM_BASE, base_fields, load_base
from lineament.methods.dve.recipe import DveConfig, DveRecipe
from lineament.training.registry import register_recipe
from lineament.training.variants import register_variant

FROM_BASE = ("backbone", "channels", "luma", "exchange", "image_size", "crop", "view", "view_shift")
EPOCHS = 50
# Titles, training pictures, and folders (as the packed data sets unpack) of the targets.
TARGETS = {
    "300w": ("300-W", 3_148, "data/300w"),
    "aflw-m": ("AFLW_M", 10_122, "data/aflw-mtfl"),
    "aflw-r": ("AFLW_R", 10_122, "data/aflw"),
}


@dataclass(frozen=True)
class FineTuneConfig(DveConfig):
    """What can be set when fine-tuning; network, dimensions, exchange and view are taken over from the base run."""

    # Run directory of the descriptors to start from, trained here or made by `lineament import dve`.
    base: str = ""
    # Filled from the base run.
    channels: int = 0
    normalize: bool = True
    bias_learning_rate: float = 0.0
    milestones: tuple[int, ...] = (30, 40)


@register_recipe
class FineTuneRecipe(DveRecipe):
    """Dense descriptors trained on, without labels, on the pictures they will be used on."""

    name = "dve-finetune"
    summary = "descriptors fine-tuned on your own unlabelled pictures (--base RUN)"
    config_class = FineTuneConfig
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {**DveRecipe.presets["tiny"], "base": RANDOM_BASE, "channels": 3},
    }

    def __init__(self, config: FineTuneConfig) -> None:
        # A resumed or loaded run gets its weights from its own checkpoint: the base may be gone by then.
        fresh = not config.channels
        if fresh:
            config = replace(config, **base_fields(config.base, self.name, FROM_BASE))
        super().__init__(config)
        self._weights_from = config.base if fresh and config.base != RANDOM_BASE else ""

    def networks(self) -> dict[str, nn.Module]:
        """The networks of the base, with its weights."""
        networks = super().networks()
        if self._weights_from:
            load_base(networks["descriptor"], self._weights_from)
        return networks


def _target(key: str) -> None:
    title, pictures, folder = TARGETS[key]
    # The published loaders dropped the rest of each epoch.
    steps, hourglass_steps = pictures // 32, pictures // 16
    hourglass: dict[str, Any] = {
        "batch_size": 16,
        "steps": EPOCHS * hourglass_steps,
        "steps_per_epoch": hourglass_steps,
    }
    if key == "aflw-r":
        hourglass |= {"steps": 2 * EPOCHS * hourglass_steps, "milestones": (60, 80)}
    tiny = {**FineTuneRecipe.presets["tiny"], "protocol": "", "faithful": False}
    register_variant(
        FineTuneRecipe,
        f"dve-finetune-{key}",
        f"descriptors fine-tuned on {title} without its labels, as published (--base RUN)",
        {"tiny": tiny, "hourglass": hourglass},
        globals(),
        default_data=f"{key}:{folder}",
        protocol=key,
        faithful=True,
        schedule="published",
        steps=EPOCHS * steps,
        steps_per_epoch=steps,
    )


for _key in TARGETS:
    _target(_key)
