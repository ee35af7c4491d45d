"""The recipes of this method and their presets."""

from __future__ import annotations

from lineament.training.registry import register_variant

HERE = "lineament.methods.gmpi"

register_variant(
    "stylegan2",
    method="gmpi",
    recipe=f"{HERE}.recipe_stylegan2:StyleGAN2Recipe",
    summary="StyleGAN2 with adaptive augmentation from a folder of images (the base of GMPI)",
    presets={
        "tiny": {
            "resolution": 16,
            "resize": True,
            "channel_base": 128,
            "channel_max": 8,
            "latent": 8,
            "mapping_layers": 2,
            "steps": 2,
            "batch_size": 4,
            "std_group": 2,
            "evaluate_count": 2,
        },
        # What is None follows the resolution: --resolution 256, 512 or 1024.
        "paper": {},
        # Small faces on two cores: thin networks, few images, quicker averages and augmentation.
        "cpu64": {
            "resolution": 64,
            "resize": True,
            "channel_base": 2048,
            "channel_max": 128,
            "latent": 128,
            "mapping_layers": 4,
            "batch_size": 16,
            "steps": 8000,
            "learning_rate": 2.5e-3,
            "gamma": 0.1,
            "augment_images": 100_000,
            "average_images": 5000,
            "checkpoint_every": 500,
            "figures_every": 1000,
        },
    },
)

register_variant(
    "gmpi-folder",
    method="gmpi",
    recipe=f"{HERE}.recipe:GMPIRecipe",
    summary="GMPI (multiplane images of many planes) from a folder of images, on a StyleGAN2 (--base RUN)",
    presets={
        "tiny": {
            "resolution": 16,
            "resize": True,
            "channel_base": 128,
            "channel_max": 8,
            "latent": 8,
            "mapping_layers": 2,
            "planes": 4,
            "steps": 2,
            "batch_size": 2,
            "views": 2,
        },
    },
)
