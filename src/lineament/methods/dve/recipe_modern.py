"""The recipe `dve-modern`: descriptors for short training, not published.

The loss without exchange comes first and stays as one half: until descriptors have formed, which takes longer than
short runs last, exchange alone teaches little. ``docs/methods/dve.md`` has it measured against the published recipe
at equal steps.
"""

from __future__ import annotations

from lineament.methods.dve.recipe import DveRecipe
from lineament.training.variants import register_variant

register_variant(
    DveRecipe,
    "dve-modern",
    "64-d descriptors from unlabelled faces, for short training: U-Net on larger pictures",
    {"tiny": DveRecipe.presets["tiny"], "quick": {"steps": 1000}},
    globals(),
    backbone="unet",
    channels=64,
    exchange=True,
    warmup=0.4,
    dense_share=0.5,
    steps=4000,
    batch_size=8,
    image_size=88,
    crop=12,
    luma=True,
    normalize=True,
    loss_points=256,
    mirror=0.5,
    gamma=0.4,
    light=0.2,
    blur=0.3,
    optimiser="adamw",
    learning_rate=2e-3,
    bias_learning_rate=0.0,
    weight_decay=1e-4,
    schedule="one-cycle",
)
