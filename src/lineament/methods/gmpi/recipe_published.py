"""The trainings of GMPI's paper: `gmpi-ffhq256`, `gmpi-ffhq512`, `gmpi-ffhq1024`, `gmpi-afhqcat` and `gmpi-metfaces`.

They are :class:`~lineament.methods.gmpi.recipe.GMPIRecipe` with the planes, cameras, batches and parts of batches that
were published for a data set. A base and poses must be given.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from lineament.errors import UsageError
from lineament.methods.gmpi.alpha import resolve_variant
from lineament.methods.gmpi.datasets import BASE_FILES, scene_of
from lineament.methods.gmpi.recipe import NO_POSES, GMPIConfig, GMPIRecipe
from lineament.methods.gmpi.recipes import CURRICULA, GPUS, PLACE
from lineament.training.base_run import INHERIT, Inherited, has_base_run
from lineament.training.recipe import Origin


@dataclass(frozen=True)
class PublishedConfig(GMPIConfig):
    """What can be set when training GMPI as published; None takes what was published for the data set."""

    # Whose planes, cameras and batches are taken where they are not given.
    data_set: Literal["ffhq256", "ffhq512", "ffhq1024", "afhqcat", "metfaces"] = "ffhq256"
    # Camera poses: a folder of .mat files, or dataset.json; none: poses are drawn as those of the data set and the
    # discriminator sees none.
    pose: str = ""
    # z of the nearest plane; this and the next seven are the data set's where they are not given.
    near: Inherited[float] = INHERIT
    # Images of one step, over all processes together; None takes those of one GPU: 8 at 256 px, else 4.
    batch_size: Inherited[int] = INHERIT
    # Parts that images are made and learnt in, to save memory; None takes 1, at 1024 px 2.
    split: Inherited[int] = INHERIT
    # Multiplane images whose views are chosen at once; None takes 4, 2 and 1 at 256, 512 and 1024 px.
    view_batch: Inherited[int] = INHERIT


def published(config: PublishedConfig) -> dict[str, Any]:
    """The fields of a config that are None and what was published for its data set and variant.

    Raises:
        UsageError: If there is no such data set or variant.
    """
    scene, curriculum = scene_of(config.data_set), CURRICULA[config.data_set]
    batch, split = (_by_token(config) and curriculum.token) or curriculum.batch
    values: dict[str, Any] = {
        "near": scene.near,
        "far": scene.far,
        "fov_degrees": scene.fov_degrees,
        "radius": scene.radius,
        "mean_pitch": 0.0,
        "yaw_std": scene.poses.yaw_std,
        "pitch_std": scene.poses.pitch_std,
        "truncation": float(scene.poses.truncation),
        "conv_clamp": 256.0,
        "batch_size": batch,
        "split": split,
        "view_batch": curriculum.view_batch,
    }
    if not has_base_run(config):
        values["resolution"] = scene.resolution
    return {name: value for name, value in values.items() if getattr(config, name) is None}


def _by_token(config: PublishedConfig) -> bool:
    return resolve_variant(config.variant).name == "plane-token"


class PublishedGMPIRecipe(GMPIRecipe):
    """Multiplane images of one of the paper's data sets, from a published StyleGAN2 on."""

    name = "gmpi-ffhq256"
    config_class = PublishedConfig
    config: PublishedConfig
    base_kind = replace(GMPIRecipe.base_kind, required=True)

    def __init__(self, config: PublishedConfig, origin: Origin | None = None) -> None:
        filled = published(config)
        super().__init__(replace(config, **filled), origin)
        self.inherited += tuple(filled)
        c = self.config
        wanted = scene_of(c.data_set).resolution
        if c.resolution != wanted and config.resolution is None:
            raise UsageError(
                f"the base {c.base} makes images of {c.resolution} px, {self.name} learns {wanted} px: give another, "
                f"such as {BASE_FILES[c.data_set]}, or --resolution {c.resolution}."
            )
        if not c.pose:
            raise UsageError(
                f"{self.name} learns with the camera poses of its images: give --pose, which the published program has "
                f"in {PLACE}/{CURRICULA[c.data_set].poses}, or --pose {NO_POSES} to do without."
            )
        curriculum = CURRICULA[c.data_set]
        tokens, others = curriculum.token or curriculum.batch, curriculum.batch
        if (
            self.preset == "paper"
            and _by_token(c)
            and tokens[0] < others[0]
            and c.batch_size == GPUS * others[0]
        ):
            raise UsageError(
                f"the paper learnt tokens from {GPUS * tokens[0]} images a step, other variants from {c.batch_size}: "
                f"give --batch-size {GPUS * tokens[0]}."
            )
