"""Training of GMPI from a folder of images: the recipe `gmpi-folder`.

Zhao et al., "Generative multiplane images" (ECCV 2022): a StyleGAN2 that is trained on with an alpha for each of many
planes and, where poses are known, a discriminator that sees them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from lineament.data.sample import FaceSample, FaceSource
from lineament.data.subset import digest
from lineament.errors import UsageError
from lineament.geometry.pose_distribution import PoseDistribution
from lineament.interop.settings_file import read_settings_file
from lineament.methods.gmpi.alpha import resolve_variant
from lineament.methods.gmpi.datasets import BASE_FILES, Scene
from lineament.methods.gmpi.discriminator import Discriminator, load_unconditional
from lineament.methods.gmpi.generator import GMPIGenerator
from lineament.methods.gmpi.image_recipe import (
    LOW_PRECISIONS,
    ImageConfig,
    ImageRecipe,
    published_channel_base,
)
from lineament.methods.gmpi.lighting import LightRenderer, LightSettings
from lineament.methods.gmpi.planes import normalised_depths
from lineament.methods.gmpi.pose_labels import (
    estimate_scene,
    level,
    match_poses,
    mirrored,
    on_scene,
    read_poses,
)
from lineament.methods.gmpi.predictor import GMPIPredictor
from lineament.methods.gmpi.published_settings import training_fields
from lineament.methods.gmpi.renderer import Renderer
from lineament.methods.gmpi.stylegan2_legacy import read_base
from lineament.methods.gmpi.train_step import (
    LIGHTS_AFTER,
    StepSettings,
    average_specs,
    choose_views,
    clipped_adam,
    draw_latents,
    draw_views,
    train_discriminator,
    train_generator,
)
from lineament.progress import say
from lineament.training.base_run import INHERIT, BaseKind, Inherited, has_base_run
from lineament.training.context import EVALUATED_AVERAGE, AverageSpec, StepContext
from lineament.training.recipe import Batch, Need, Origin
from lineament.training.run import Run

NO_POSES = "none"
SCENE_FIELDS = ("near", "far", "fov_degrees", "radius", "mean_pitch", "yaw_std", "pitch_std", "truncation")
# Side of the images where neither a base nor the user says it.
RESOLUTION = 256
_MIRRORED = "#mirrored"


@dataclass(frozen=True)
class GMPIConfig(ImageConfig):
    """What can be set when training GMPI; None takes the base's, in fields of the scene what the poses tell."""

    # Run of stylegan2 or published file (.pkl) to begin with; without one, or with random, all weights are random.
    base: str = ""
    # Camera poses: dataset.json, a folder of .mat files, or a table of name, yaw, pitch, roll; none: poses are drawn as
    # those of the scene and the discriminator sees none.
    pose: str = NO_POSES
    # Side of the images in pixels: a power of two from 16 to 1024.
    resolution: Inherited[int] = INHERIT
    # Channels of a block times its resolution; without a base 16384 up to 256 px, 32768 above.
    channel_base: Inherited[int] = INHERIT
    # Most channels of a block.
    channel_max: Inherited[int] = INHERIT
    # Length of the latents z and w.
    latent: Inherited[int] = INHERIT
    # Layers from z to w.
    mapping_layers: Inherited[int] = INHERIT
    # Largest magnitude of a layer's output, 0 does not bound it; without a base 256.
    conv_clamp: Inherited[float] = INHERIT
    # What the four largest resolutions are computed in; the rest stays in float32.
    low_precision: Literal["none", "bfloat16", "float16"] = "none"
    # How alpha comes about: plane-depth, plane-token, none, predicted-depth, or a published pair of names.
    variant: str = "plane-depth"
    # Planes of a multiplane image.
    planes: int = 32
    # z of the nearest plane; this and the next seven are estimated from the poses where they are not given.
    near: Inherited[float] = INHERIT
    # z of the last plane.
    far: Inherited[float] = INHERIT
    # Full angle of view in degrees.
    fov_degrees: Inherited[float] = INHERIT
    # Distance of the cameras from the point that they look at, which is also that point's z.
    radius: Inherited[float] = INHERIT
    # Mean pitch of the file's cameras, radians: the world is turned by it, which makes it 0.
    mean_pitch: Inherited[float] = INHERIT
    # Standard deviation of the cameras' yaw, radians.
    yaw_std: Inherited[float] = INHERIT
    # That of their pitch.
    pitch_std: Inherited[float] = INHERIT
    # Range of both in standard deviations.
    truncation: Inherited[float] = INHERIT
    # Learn the mirror image of each image too, with the mirrored pose.
    mirror: bool = False
    # Images of one step.
    batch_size: int = 8
    # Optimiser steps in all.
    steps: int = 5000
    # Parts that images are made and learnt in, to save memory.
    split: int = 1
    # Multiplane images whose views are chosen at once.
    view_batch: int = 4
    # Views of which the generator learns from the least real one.
    views: int = 4
    # Learning rate of Adam.
    learning_rate: float = 0.002
    # Weight of R1.
    r1_weight: float = 10.0
    # Largest norm of a gradient; 0 leaves it as it is.
    clip: float = 10.0
    # How lights come in: black-in as published, smooth, or none.
    lights: Literal["black-in", "smooth", "none"] = "black-in"
    # Steps before images are lit.
    lights_after: int = LIGHTS_AFTER
    # Steps between two grids of samples; 0 draws them only at the end.
    figures_every: int = 500


def _holds_stylegan2(run: Run) -> bool:
    return run.method == "gmpi" and run.recipe == "stylegan2"


class GMPIRecipe(ImageRecipe[GMPIConfig]):
    """A generator of multiplane images like the images of a folder, and the discriminator that taught it."""

    name = "gmpi-folder"
    method = "gmpi"
    config_class = GMPIConfig
    base_kind = BaseKind(
        wanted="a StyleGAN2",
        give="a run of stylegan2, trained or made by `lineament import stylegan2 FILE`, or FILE itself: "
        + ", ".join(BASE_FILES.values()),
        accepts=_holds_stylegan2,
        defaults={
            "resolution": RESOLUTION,
            "channel_base": 16384,
            "channel_max": 512,
            "latent": 512,
            "mapping_layers": 8,
            "conv_clamp": 256.0,
        },
        # It bounds what layers give, whatever their weights.
        free=("conv_clamp",),
        read_file=read_base,
    )
    training_only = ("discriminator",)
    needs = (
        Need(("lights_after",), lambda c: c.lights != "none", "lights (--lights black-in)"),
        # A run of drawn poses has the value 0.
        Need(("mean_pitch",), lambda c: c.pose != NO_POSES or not c.mean_pitch, "camera poses (--pose FILE)"),
    )

    def __init__(self, config: GMPIConfig, origin: Origin | None = None) -> None:
        alone: dict[str, Any] = {}
        if not has_base_run(config) and config.channel_base is None:
            alone["channel_base"] = published_channel_base(config.resolution or RESOLUTION)
        super().__init__(replace(config, **alone), origin)
        self.inherited += tuple(alone)
        c = self.config
        least = {"channel_base": c.resolution, "channel_max": 1, "latent": 1, "mapping_layers": 1}
        least |= {"planes": 2, "split": 1, "view_batch": 1, "views": 1, "lights_after": 0}
        self.check_numbers(least)
        if not (c.learning_rate > 0 and min(c.r1_weight, c.clip, c.conv_clamp) >= 0):
            raise UsageError("the learning rate is above 0; weight of R1, clip and clamp are 0 or more.")
        resolve_variant(c.variant)
        self._file = None
        self.estimated: dict[str, float] = {}
        if any(getattr(c, name) is None for name in SCENE_FIELDS):
            # A run that was made before a field was there had the value of no estimate; its poses may be gone.
            restored = origin is not None and origin.restored
            self._file = None if c.pose == NO_POSES or restored else read_poses(Path(c.pose))
            found = estimate_scene(self._file, c.radius, c.fov_degrees)
            fields: dict[str, Any] = {name: found[name] for name in SCENE_FIELDS if getattr(c, name) is None}
            self.estimated = fields
            self.config = c = replace(c, **fields)
        poses = PoseDistribution(c.yaw_std, c.pitch_std, c.truncation)
        scene = Scene(c.near, c.far, c.fov_degrees, c.radius, c.radius, poses, c.resolution)
        with torch.device("cpu"):
            self.renderer = Renderer(scene, c.planes)
            self.depths: list[float] = normalised_depths(self.renderer.planes).tolist()
        self.poses: dict[str, Tensor] = {}

    @classmethod
    def fields_of_settings(cls, path: Path) -> dict[str, Any]:
        """The variant that ``gmpi.yml`` or ``config.pth`` names; other ways to train than this recipe's are refused."""
        return training_fields(read_settings_file(path), path)

    def networks(self) -> dict[str, nn.Module]:
        """Generator and discriminator, as the base has them where there is one."""
        c = self.config
        shared: dict[str, Any] = {
            "channel_base": c.channel_base,
            "channel_max": c.channel_max,
            "conv_clamp": c.conv_clamp or None,
            "low_precision": LOW_PRECISIONS[c.low_precision],
        }
        sizes: dict[str, Any] = {"z_dim": c.latent, "w_dim": c.latent, "mapping_layers": c.mapping_layers}
        generator = GMPIGenerator(c.resolution, self.depths, variant=c.variant, **sizes, **shared)
        pose_dim = 0 if c.pose == NO_POSES else 16
        # Groups of one: a score hangs on no other image.
        discriminator = Discriminator(c.resolution, pose_dim=pose_dim, std_group=1, **shared)
        networks: dict[str, nn.Module] = {"generator": generator, "discriminator": discriminator}
        base = self.take_base_weights(networks, ("generator",), optional=("generator",))
        if base is not None:
            trained = base.load_networks()
            if "discriminator" not in trained:
                raise UsageError(
                    f"the base run {c.base} has no discriminator to go on with: give another --base."
                )
            load_unconditional(discriminator, trained["discriminator"].state_dict())
        return networks

    def optimisers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """One Adam for each network, which clips its gradient."""
        c = self.config
        return {
            name: clipped_adam(net.parameters(), c.learning_rate, c.clip) for name, net in networks.items()
        }

    def averages(self, networks: dict[str, nn.Module]) -> dict[str, AverageSpec]:
        """The generator's two moving averages; ``--ema-decay`` replaces the decay of the one that is evaluated."""
        given = super().averages(networks).get(EVALUATED_AVERAGE)
        specs = average_specs()
        if given:
            specs[EVALUATED_AVERAGE] = AverageSpec(("generator",), given.decay)
        return specs

    def state(self) -> dict[str, Tensor]:
        """How often lights were used."""
        return {"light_calls": torch.zeros(())}

    def training_source(self, source: FaceSource) -> FaceSource:
        """The images that have a pose, where poses are known; what was estimated and left out is said.

        Raises:
            DataError: If the poses cannot be read, or do not say of an image that it has none.
        """
        c = self.config
        if self.estimated:
            told = " ".join(f"--{name.replace('_', '-')} {value:g}" for name, value in self.estimated.items())
            origin = "as the paper has them for FFHQ" if c.pose == NO_POSES else f"estimated from {c.pose}"
            say(f"{origin}: {told}.")
        if c.pose != NO_POSES:
            poses = self._file or read_poses(Path(c.pose))
            usable, cameras = match_poses(poses, source, c.pose)
            if len(usable) < len(source):
                say(f"{c.pose} has no pose for {len(source) - len(usable)} images, which are left out.")
            if len(poses.cameras) > len(source):
                say(
                    f"{c.pose} has {len(poses.cameras)} poses; those of no image of {source.name} are not used."
                )
            placed = on_scene(level(torch.stack([*cameras.values()]), c.mean_pitch), self.renderer.scene)
            self.poses = dict(zip(cameras, placed, strict=True))
            source = usable
        return super().training_source(source)

    def read_beside(self, source: FaceSource) -> str:
        """Words that change with the poses: a training whose poses were changed is not the same training."""
        if not self.poses:
            return ""
        return f" {digest(*self.poses, str(torch.stack([*self.poses.values()]).tolist()))}"

    def item(self, sample: FaceSample, generator: torch.Generator) -> Batch:
        """The image in 8 bits, and its camera ``[4, 4]`` from world to camera where poses are known."""
        batch = super().item(sample, generator)
        if self.config.pose != NO_POSES:
            camera = self.poses[sample.id.removesuffix(_MIRRORED)]
            batch["camera"] = mirrored(camera) if sample.id.endswith(_MIRRORED) else camera
        return batch

    def step(self, networks: dict[str, nn.Module], batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """One step in the published order: discriminator, choice of views, generator."""
        c, update, renderer, draws = self.config, context.update, self.renderer, context.generator
        real = batch["image"].float() / 127.5 - 1
        count = len(real)
        cameras = batch["camera"] if "camera" in batch else torch.eye(4).expand(count, 4, 4)
        settings = StepSettings(c.r1_weight, c.views, c.split, -(-count // c.view_batch))
        lights = self._lights(context)
        latents = draw_latents(count, c.latent, draws).to(real.device)
        judged = train_discriminator(
            networks,
            update,
            renderer,
            real,
            cameras,
            latents[0],
            draw_views(renderer, count, draws),
            settings,
            lights=lights,
            draws=draws,
        )
        candidates = draw_views(renderer, count * c.views, draws).view(count, c.views, 2)
        chosen = choose_views(networks, renderer, latents[1], candidates, settings)
        loss, _ = train_generator(
            networks, update, renderer, latents[1], chosen.pitch_yaw, settings, lights=lights, draws=draws
        )
        if lights is not None:
            context.state["light_calls"].fill_(lights.calls)
        return {
            "loss": loss + judged.logistic,
            "generator": loss,
            "discriminator": judged.logistic,
            "r1": judged.r1,
            "real_score": judged.real.mean(),
            "fake_score": judged.fake.mean(),
        }

    def _lights(self, context: StepContext) -> LightRenderer | None:
        c, scene = self.config, self.renderer.scene
        if c.lights == "none" or context.step <= c.lights_after:
            return None
        return LightRenderer(
            self.renderer.planes,
            radius=scene.radius,
            centre_z=scene.centre_z,
            settings=LightSettings(ramp=c.lights),
            calls=round(float(context.state["light_calls"])),
        )

    def predictor(
        self,
        networks: dict[str, nn.Module],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> GMPIPredictor:
        """Images and depths of latents from any camera of the scene."""
        return GMPIPredictor(cast(GMPIGenerator, networks["generator"]), self.renderer, device, dtype)

    def figures(self, networks: dict[str, nn.Module], source: FaceSource, folder: Path) -> list[Path]:
        """Grids of always the same latents: colour, depth, and each from three yaws."""
        from lineament.methods.gmpi.figures import multiplane_figures

        return multiplane_figures(self.predictor(networks), folder)
