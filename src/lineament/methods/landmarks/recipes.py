"""The recipe of this method and its presets."""

from __future__ import annotations

from lineament.training.registry import register_variant

register_variant(
    "landmarks",
    method="landmarks",
    recipe="lineament.methods.landmarks.recipe:LandmarksRecipe",
    summary="landmarks from drawn or few labels and unlabelled photos (semi-supervised, made for CPUs)",
    presets={
        "tiny": {
            "size": 32,
            "widths": (4, 6, 8, 10),
            "blocks": (1, 1, 1),
            "features": 8,
            "steps": 2,
            "batch_size": 4,
            "borrowed": 2,
            "evaluate_count": 2,
        },
        # From nothing: drawn faces by the ten thousand, and unlabelled photos.
        "full": {
            "steps": 16000,
            "batch_size": 36,
            "evaluate_every": 2000,
            "checkpoint_every": 1000,
        },
        # The same for one large GPU with 16 cores beside it, five minutes of its eight: a seventh of the steps, each
        # of seven times as many faces, about twice as many images in all.
        "gpu": {
            "steps": 4500,
            "batch_size": 256,
            "learning_rate": 4e-3,
            "ema_decay": 0.996,
            "evaluate_every": 1500,
            "checkpoint_every": 1500,
        },
        # Places all over the face, on a run of the full preset (--base): about 20 minutes on two cores.
        "dense": {
            "scheme": "400-dense",
            "points_at_once": 128,
            "steps": 4000,
            "batch_size": 36,
            "head_first": 0.1,
            "backbone_rate": 1e-3,
            "evaluate_every": 1000,
            "checkpoint_every": 500,
        },
    },
)
