"""The recipes of this method and their presets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lineament.training.registry import RANDOM_BASE, register_variant

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
        # Small faces on one core in an hour: thin networks, few images. What slows the first hundred thousand images
        # down (path lengths, style mixing, augmentation) is left out; a discriminator that is so far ahead needs a
        # larger weight of R1.
        "cpu64": {
            "resolution": 64,
            "resize": True,
            "channel_base": 1024,
            "channel_max": 128,
            "latent": 128,
            "mapping_layers": 4,
            "batch_size": 16,
            "steps": 8000,
            "learning_rate": 2.5e-3,
            "gamma": 1.0,
            "path_every": 0,
            "style_mixing": 0.0,
            "augment": "none",
            "average_images": 5000,
            "checkpoint_every": 250,
            "figures_every": 500,
        },
    },
)

# Thin networks and few planes, for tests.
TINY: dict[str, Any] = {
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
}

register_variant(
    "gmpi-folder",
    method="gmpi",
    recipe=f"{HERE}.recipe:GMPIRecipe",
    summary="GMPI (multiplane images of many planes) from a folder of images, on a StyleGAN2 (--base RUN)",
    presets={
        "tiny": TINY,
        # On the `cpu64` of stylegan2, on one core in half an hour: half of the planes, a lower weight of R1 for the few
        # pixels, and lights that come in early and without black images.
        "cpu64": {
            "resize": True,
            "planes": 16,
            "batch_size": 8,
            "steps": 4500,
            "r1_weight": 0.5,
            "lights": "smooth",
            "lights_after": 500,
            "checkpoint_every": 250,
            "figures_every": 500,
        },
    },
)


@dataclass(frozen=True)
class Curriculum:
    """Images, poses and parts of a step on one GPU, as published for a data set.

    Attributes:
        images: Reader, and the file or folder where the published program looks for them.
        poses: Its file or folder of poses.
        batch: Images, and the parts that they are made and learnt in.
        token: The same for the variant `plane-token`; None where it was never trained.
        view_batch: Multiplane images whose views are chosen at once.
    """

    images: tuple[str, str]
    poses: str
    batch: tuple[int, int]
    token: tuple[int, int] | None
    view_batch: int


# By data set; planes and cameras are in datasets.py.
CURRICULA = {
    "ffhq256": Curriculum(("ffhq", "ffhq256x256.zip"), "ffhq256_deep3dface_coeffs", (8, 1), (4, 1), 4),
    "ffhq512": Curriculum(("ffhq", "ffhq512x512.zip"), "ffhq512_deep3dface_coeffs", (4, 1), (4, 2), 2),
    "ffhq1024": Curriculum(("ffhq", "ffhq1024x1024.zip"), "ffhq1024_deep3dface_coeffs", (4, 2), (4, 2), 1),
    "afhqcat": Curriculum(
        ("afhqcat", "afhq_v2_train_cat_512"), "afhq_v2_train_cat_512/dataset.json", (4, 1), None, 2
    ),
    "metfaces": Curriculum(
        ("metfaces", "metfaces1024x1024_xflip"), "metfaces_xflip_deep3dface_coeffs", (4, 2), None, 1
    ),
}
# Folder of the published program that images and poses are in.
PLACE = "runtime_dataset"
# Of the paper's trainings; a recipe without a preset has the images of one.
GPUS = 8


def _presets(curriculum: Curriculum) -> dict[str, dict[str, Any]]:
    return {
        "tiny": {**TINY, "base": RANDOM_BASE, "pose": "none"},
        "paper": {"batch_size": GPUS * curriculum.batch[0], "low_precision": "float16"},
    }


for data_set, curriculum in CURRICULA.items():
    register_variant(
        f"gmpi-{data_set}",
        method="gmpi",
        recipe=f"{HERE}.recipe_published:PublishedGMPIRecipe",
        summary=f"GMPI as published for {data_set}, on a StyleGAN2 (--base RUN or FILE.pkl)",
        defaults={"data_set": data_set},
        data=f"{curriculum.images[0]}:{PLACE}/{curriculum.images[1]}",
        presets=_presets(curriculum),
    )
