"""The recipes of this method as data: the cells of the published tables, their presets, and `dve-modern`."""

from __future__ import annotations

from typing import Any

from lineament.training.registry import RANDOM_BASE, register_variant

HERE = "lineament.methods.dve"
DESCRIPTORS, FINE_TUNING, LANDMARKS = (
    f"{HERE}.recipe:DveRecipe",
    f"{HERE}.recipe_finetune:FineTuneRecipe",
    f"{HERE}.recipe_landmarks:LandmarkRecipe",
)

# Passes of the published runs through their data.
EPOCHS, FINE_TUNING_EPOCHS, LANDMARK_EPOCHS, LIMITED_EPOCHS = 100, 50, 300, 50
# Steps of an epoch of CelebA (about 162,500 images) in batches of 32.
CELEBA_EPOCH = 5077
BATCH = 32
TINY: dict[str, Any] = {"steps": 2, "batch_size": 2, "image_size": 36, "crop": 6, "evaluate_count": 4}
# Minutes on two cores: small images, strong changes of appearance, exchange once descriptors have formed.
QUICK: dict[str, Any] = {
    "steps": 1000,
    "batch_size": 8,
    "image_size": 60,
    "crop": 10,
    "normalize": True,
    "warmup": 0.7,
    "learning_rate": 2e-3,
    "schedule": "cosine",
    "mirror": 0.5,
    "grey": 0.5,
    "gamma": 0.4,
    "light": 0.2,
    "blur": 0.3,
}


def _descriptors(backbone: str, channels: int, exchange: bool, **changed: Any) -> None:
    """One cell of the published grid."""
    words = "" if exchange else " without exchange (the paper's baseline)"
    paper = {
        "protocol": "celeba",
        "loader": "paper",
        "schedule": "paper",
        "steps": EPOCHS * changed.get("steps_per_epoch", CELEBA_EPOCH),
    }
    register_variant(
        f"dve-{backbone}-{channels}d" + ("" if exchange else "-dense"),
        method="dve",
        recipe=DESCRIPTORS,
        summary=f"{channels}-d descriptors from unlabelled faces, {backbone}{words}",
        defaults={"backbone": backbone, "channels": channels, "exchange": exchange, **changed},
        # The hourglass halves its input five times.
        presets={
            "tiny": {**TINY, "crop": 2} if backbone == "hourglass" else TINY,
            "quick": QUICK,
            "paper": paper,
        },
    )


for _channels in (3, 16, 32, 64):
    for _exchange in (True, False):
        _descriptors("smallnet", _channels, _exchange)
_descriptors(
    "hourglass",
    64,
    True,
    image_size=136,
    crop=20,
    batch_size=16,
    normalize=True,
    bias_learning_rate=0.0,
    milestones=(50,),
    steps_per_epoch=2 * CELEBA_EPOCH,
)

# Not published: for short training. The loss without exchange comes first and stays as one half: until descriptors have
# formed, which takes longer than short runs last, exchange alone teaches little. docs/methods/dve.md has it measured
# against the published recipe at equal steps.
register_variant(
    "dve-modern",
    method="dve",
    recipe=DESCRIPTORS,
    summary="64-d descriptors from unlabelled faces, for short training: U-Net on larger images",
    defaults={
        "backbone": "unet",
        "channels": 64,
        "exchange": True,
        "warmup": 0.4,
        "dense_share": 0.5,
        "steps": 4000,
        "batch_size": 8,
        "image_size": 88,
        "crop": 12,
        "luma": True,
        "normalize": True,
        "loss_points": 256,
        "mirror": 0.5,
        "gamma": 0.4,
        "light": 0.2,
        "blur": 0.3,
        "optimiser": "adamw",
        "learning_rate": 2e-3,
        "bias_learning_rate": 0.0,
        "weight_decay": 1e-4,
        "schedule": "one-cycle",
    },
    presets={"tiny": TINY, "quick": {"steps": 1000}},
)

# Titles, training images, and folders (as the packed data sets unpack) of the targets of the published fine-tuning.
TARGETS = {
    "300w": ("300-W", 3_148, "data/300w"),
    "aflw-m": ("AFLW_M", 10_122, "data/aflw-mtfl"),
    "aflw-r": ("AFLW_R", 10_122, "data/aflw"),
}
_FINE_TUNING_TINY = {**TINY, "base": RANDOM_BASE, "channels": 3}
register_variant(
    "dve-finetune",
    method="dve",
    recipe=FINE_TUNING,
    summary="descriptors fine-tuned on your own unlabelled images (--base RUN)",
    presets={"tiny": _FINE_TUNING_TINY},
)


def _target(key: str) -> None:
    title, images, folder = TARGETS[key]
    # The published loaders dropped the rest of each epoch.
    steps, hourglass_steps = images // BATCH, images // 16
    hourglass: dict[str, Any] = {
        "batch_size": 16,
        "steps": FINE_TUNING_EPOCHS * hourglass_steps,
        "steps_per_epoch": hourglass_steps,
    }
    if key == "aflw-r":
        hourglass |= {"steps": 2 * FINE_TUNING_EPOCHS * hourglass_steps, "milestones": (60, 80)}
    register_variant(
        f"dve-finetune-{key}",
        method="dve",
        recipe=FINE_TUNING,
        summary=f"descriptors fine-tuned on {title} without its labels, as published (--base RUN)",
        defaults={
            "protocol": key,
            "loader": "paper",
            "schedule": "paper",
            "steps": FINE_TUNING_EPOCHS * steps,
            "steps_per_epoch": steps,
        },
        data=f"{key}:{folder}",
        presets={"tiny": {**_FINE_TUNING_TINY, "protocol": "", "loader": "batched"}, "hourglass": hourglass},
    )


for _key in TARGETS:
    _target(_key)

_LANDMARKS_TINY: dict[str, Any] = {
    "base": RANDOM_BASE,
    "steps": 2,
    "batch_size": 2,
    "backbone": "smallnet",
    "channels": 3,
    "image_size": 36,
    "crop": 6,
    "view": 1.2,
}
register_variant(
    "dve-landmarks",
    method="dve",
    recipe=LANDMARKS,
    summary="landmarks from a few labelled faces on frozen descriptors (--base RUN)",
    presets={
        "tiny": _LANDMARKS_TINY,
        "paper": {
            "fit": "paper",
            "steps": 3000,
            "batch_size": BATCH,
            "look": False,
            "mirror": 0.0,
            "box_jitter": 0.0,
        },
    },
)

# The published regressors. Recipe -> title, protocol, scheme, training images, folder.
SETS: dict[str, tuple[str, str, str, int, str]] = {
    "mafl": ("MAFL", "celeba", "5", 19_000, "data/celeba"),
    "300w": ("300-W", "300w", "68", 3_148, "data/300w"),
    "aflw-m": ("AFLW_M", "aflw-m", "5", 10_122, "data/aflw-mtfl"),
    "aflw-r": ("AFLW_R", "aflw-r", "5", 10_122, "data/aflw"),
}
# Annotated images of the published limited runs on AFLW_M.
LIMITED = (1, 5, 10, 20)
# One unmoved, unchanged view of each image; the answer of one view.
_PLAIN: dict[str, Any] = {
    "fit": "paper",
    "batch_size": BATCH,
    "loader": "paper",
    "look": False,
    "grey": 0.0,
    "mirror": 0.0,
    "box_jitter": 0.0,
    "views": 1,
    "flip_tta": False,
}
_NO_WARP = {"warp_translation": 0.0, "warp_scale": 0.0, "warp_rotation": 0.0, "warp_kernel": 0.0}
_LIMITED_WARP = {
    "warp_translation": 0.02,
    "warp_scale": 0.02,
    "warp_rotation": 2.0,
    "warp_kernel": 0.0005,
}


def _regressor(name: str, key: str, words: str, epochs: int, **changed: Any) -> None:
    _, protocol, scheme, images, folder = SETS[key]
    epoch = images // BATCH
    register_variant(
        name,
        method="dve",
        recipe=LANDMARKS,
        summary=f"the published landmark regressor on {words}",
        defaults={
            **_PLAIN,
            "protocol": protocol,
            "scheme": scheme,
            "steps": epochs * epoch,
            "steps_per_epoch": epoch,
            "checkpoint_every": epoch,
            **changed,
        },
        data=f"{key}:{folder}",
        presets={"tiny": {**_LANDMARKS_TINY, "protocol": "", "labels": 0, "intermediate": 6}},
    )


for _key, (_title, *_) in SETS.items():
    _regressor(
        f"dve-landmarks-{_key}",
        _key,
        f"{_title} (--base RUN)",
        LANDMARK_EPOCHS,
        schedule="paper",
        **_NO_WARP,
    )
for _count in LIMITED:
    _images = "image of" if _count == 1 else "images of"
    _regressor(
        f"dve-landmarks-aflw-m-{_count}",
        "aflw-m",
        f"{_count} annotated {_images} {SETS['aflw-m'][0]} (--base RUN --seed N)",
        LIMITED_EPOCHS,
        labels=_count,
        learning_rate=1e-2,
        **_LIMITED_WARP,
    )
