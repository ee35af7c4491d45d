"""The published landmark regressors, one recipe per data set, and the runs with few annotations on AFLW_M."""

from __future__ import annotations

from typing import Any

from lineament.methods.dve.recipe_landmarks import LandmarkRecipe
from lineament.training.variants import register_variant

BATCH = 32
EPOCHS, LIMITED_EPOCHS = 300, 50
# Recipe -> title, protocol, scheme, training pictures, folder (as the packed data sets unpack).
SETS: dict[str, tuple[str, str, str, int, str]] = {
    "mafl": ("MAFL", "celeba", "5", 19_000, "data/celeba"),
    "300w": ("300-W", "300w", "68", 3_148, "data/300w"),
    "aflw-m": ("AFLW_M", "aflw-m", "5", 10_122, "data/aflw-mtfl"),
    "aflw-r": ("AFLW_R", "aflw-r", "5", 10_122, "data/aflw"),
}
# Annotated pictures of the published limited runs.
ANNOTATIONS = (1, 5, 10, 20)
# One unmoved, unchanged view of each picture; the answer of one view.
PLAIN: dict[str, Any] = {
    "fit": "published",
    "batch_size": BATCH,
    "faithful": True,
    "look": False,
    "grey": 0.0,
    "mirror": 0.0,
    "box_jitter": 0.0,
    "views": 1,
    "mirrored_look": False,
}
NO_WARP = {"warp_translation": 0.0, "warp_scale": 0.0, "warp_rotation": 0.0, "warp_kernel": 0.0}
LIMITED_WARP = {"warp_translation": 0.02, "warp_scale": 0.02, "warp_rotation": 2.0, "warp_kernel": 0.0005}
TINY = {**LandmarkRecipe.presets["tiny"], "protocol": "", "labels": 0, "intermediate": 6}


def _landmarks(key: str) -> None:
    title, protocol, scheme, pictures, folder = SETS[key]
    epoch = pictures // BATCH
    register_variant(
        LandmarkRecipe,
        f"dve-landmarks-{key}",
        f"the published landmark regressor on {title} (--base RUN)",
        {"tiny": TINY},
        globals(),
        default_data=f"{key}:{folder}",
        protocol=protocol,
        scheme=scheme,
        schedule="published",
        steps=EPOCHS * epoch,
        steps_per_epoch=epoch,
        checkpoint_every=epoch,
        **PLAIN,
        **NO_WARP,
    )


def _limited(annotations: int) -> None:
    title, protocol, scheme, pictures, folder = SETS["aflw-m"]
    pictures_of = "picture of" if annotations == 1 else "pictures of"
    epoch = pictures // BATCH
    register_variant(
        LandmarkRecipe,
        f"dve-landmarks-aflw-m-{annotations}",
        f"the published landmark regressor on {annotations} annotated {pictures_of} {title} (--base RUN --seed N)",
        {"tiny": TINY},
        globals(),
        default_data=f"aflw-m:{folder}",
        labels=annotations,
        learning_rate=1e-2,
        protocol=protocol,
        scheme=scheme,
        steps=LIMITED_EPOCHS * epoch,
        steps_per_epoch=epoch,
        checkpoint_every=epoch,
        **PLAIN,
        **LIMITED_WARP,
    )


for _key in SETS:
    _landmarks(_key)
for _count in ANNOTATIONS:
    _limited(_count)
