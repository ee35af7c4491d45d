"""The recipes of this method as data."""

from __future__ import annotations

from typing import Any

from lineament.training.registry import RANDOM_BASE, register_variant

HERE = "lineament.methods.fabrec"
# Faces of the published epochs of the autoencoder, each taken once a step.
EPOCH = 42836
_SIZES: dict[str, Any] = {"size": 64, "width": 4, "code": 8, "steps": 2, "batch_size": 2, "evaluate_count": 2}
_PAPER = {"resampling": "paper", "value_range": "paper", "steps": EPOCH}

register_variant(
    "fabrec-ae",
    method="fabrec",
    recipe=f"{HERE}.recipe:AutoencoderRecipe",
    summary="adversarial autoencoder of unlabelled faces (3FabRec)",
    presets={
        "tiny": _SIZES,
        # The published schedule, an epoch each; --base names the run of the stage before.
        "paper-stage1": {**_PAPER, "gan_from": -1, "structure_from": -1},
        "paper-stage2": {**_PAPER, "structure_from": -1},
        "paper-stage3": _PAPER,
        # A quarter of an hour on two cores: thin networks whose codes begin as principal components, all three stages
        # in one run, faster rates.
        "small": {
            "size": 64,
            "width": 16,
            "code": 96,
            "linear": True,
            "linear_decoder": True,
            "batch_size": 16,
            "steps": 4000,
            "gan_from": 3000,
            "structure_from": 50,
            "window": 11,
            "scales": 3,
            "learning_rate": 1e-3,
            "discriminator_rate": 1e-4,
            "beta": 0.5,
            "augmentation": 8,
            "looks": True,
            "schedule": "warmup-cosine",
            "figures_every": 2000,
            "evaluate_every": 1000,
        },
    },
)

_LANDMARKS_TINY = {**_SIZES, "base": RANDOM_BASE}
register_variant(
    "fabrec-landmarks",
    method="fabrec",
    recipe=f"{HERE}.recipe_landmarks:LandmarkRecipe",
    summary="landmark heatmaps from a few labels on a trained autoencoder (--base RUN)",
    presets={
        "tiny": _LANDMARKS_TINY,
        # Whole-pixel heatmaps, no mirrored look, batches of 40, flips as the only augmentation.
        "paper": {
            "heatmaps": "paper",
            "resampling": "paper",
            "flip_tta": False,
            "batch_size": 40,
            "augmentation": 0,
        },
    },
)
register_variant(
    "fabrec-modern",
    method="fabrec",
    recipe=f"{HERE}.recipe_modern:ModernLandmarkRecipe",
    summary="landmark heatmaps in a few hundred steps, starting from an autoencoder (--base RUN)",
    presets={"tiny": _LANDMARKS_TINY},
)
register_variant(
    "fabrec-supervised",
    method="fabrec",
    recipe=f"{HERE}.recipe_modern:SupervisedRecipe",
    summary="the networks of fabrec-modern from labels alone, without an autoencoder: the baseline",
    presets={
        "tiny": _LANDMARKS_TINY,
        # What the published head learns by, taught to networks that start from nothing.
        "plain": {
            "lateral": False,
            "loss": "squared",
            "sigma": 7.0,
            "augmentation": 6,
            "looks": False,
            "schedule": "constant",
            "learning_rate": 1e-3,
            "encoder_rate": 1e-3,
        },
    },
)
