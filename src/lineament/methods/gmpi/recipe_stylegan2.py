"""Training of a StyleGAN2 from images alone: the recipe `stylegan2`.

Karras et al., "Analyzing and improving the image quality of StyleGAN" (CVPR 2020), with the augmentation and the
settings of their "Training generative adversarial networks with limited data" (NeurIPS 2020, appendix C).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from lineament.data.sample import FaceSource
from lineament.errors import DataError, UsageError
from lineament.methods.gmpi.augment import PARTS, adjust_probability, augment, draw_augmentation
from lineament.methods.gmpi.discriminator import Discriminator
from lineament.methods.gmpi.generator import StyleGAN2Generator
from lineament.methods.gmpi.image_recipe import (
    LOW_PRECISIONS,
    ImageConfig,
    ImageRecipe,
    published_channel_base,
)
from lineament.methods.gmpi.loss import (
    discriminator_loss,
    draw_crossovers,
    generator_loss,
    half_life_decay,
    lazy_adam,
    mixed_styles,
    path_length_loss,
    path_lengths,
    squared_gradient,
)
from lineament.methods.gmpi.predictor import StyleGAN2Predictor
from lineament.training.base_run import INHERIT, Inherited
from lineament.training.context import EVALUATED_AVERAGE, AverageSpec, StepContext
from lineament.training.recipe import Batch, Need, Origin

# Images shown in all of the published trainings.
PUBLISHED_IMAGES = 25_000_000
# Decays of Adam (published).
BETAS = (0.0, 0.99)
# The path length is measured on this share of a batch (published: half).
PATH_SHARE = 2
# Steps between two adjustments of the augmentation's probability (published).
ADJUST_EVERY = 4


@dataclass(frozen=True)
class StyleGAN2Config(ImageConfig):
    """What can be set when training StyleGAN2; None takes what was published for the resolution."""

    # Side of the images in pixels: a power of two from 16 to 1024.
    resolution: int = 256
    # Images of one step; None takes 64, at 1024 px 32.
    batch_size: Inherited[int] = INHERIT
    # Optimiser steps in all; None takes 25 million images.
    steps: Inherited[int] = INHERIT
    # Parts that each pass over a batch is done in to save memory; every update still sees the whole batch.
    split: int = 1
    # Learning rate of Adam without the correction for lazy regularisation; None takes 0.0025, at 1024 px 0.002.
    learning_rate: Inherited[float] = INHERIT
    # Channels of a block times its resolution; None takes 32768, up to 256 px 16384.
    channel_base: Inherited[int] = INHERIT
    # Most channels of a block.
    channel_max: int = 512
    # Length of the latents z and w.
    latent: int = 512
    # Layers from z to w.
    mapping_layers: int = 8
    # Images whose spread the discriminator compares (minibatch standard deviation).
    std_group: int = 4
    # Largest magnitude of a layer's output; 0 does not bound it. Published: 256 with float16, else unbounded.
    conv_clamp: float = 0.0
    # What the four largest resolutions are computed in; the rest stays in float32.
    low_precision: Literal["none", "bfloat16", "float16"] = "none"
    # Weight of R1; None takes 1, 0.5 and 2 at 256, 512 and 1024 px, less in proportion to the pixels below.
    gamma: Inherited[float] = INHERIT
    # Steps between two R1 penalties.
    r1_every: int = 16
    # Weight of the path length penalty.
    path_weight: float = 2.0
    # Steps between two path length penalties; 0 leaves them out.
    path_every: int = 4
    # Share of images made of two latents.
    style_mixing: float = 0.9
    # What the discriminator sees: its probability adapted to how well it knows the real images, fixed, or as it is.
    augment: Literal["adaptive", "fixed", "none"] = "adaptive"
    # Kinds of changes: blit, geometry, colour.
    augment_parts: tuple[str, ...] = PARTS
    # Mean sign of scores of real images that the probability is adapted to.
    augment_target: float = 0.6
    # Images in which the probability may go from 0 to 1.
    augment_images: int = 500_000
    # The fixed probability.
    augment_probability: float = 0.2
    # Images in which the moving average forgets half; None takes 20,000, at 1024 px 10,000. --ema-decay replaces it.
    average_images: Inherited[int] = INHERIT
    # That number is at most this share of the images seen; 0 leaves it as it is.
    average_ramp: float = 0.05
    # Steps between two checkpoints; 0 writes one only at the end.
    checkpoint_every: int = 1000
    # Steps between two grids of samples; 0 draws them only at the end.
    figures_every: int = 2000
    # Images used by an evaluation during training.
    evaluate_count: int = 64


def published(config: StyleGAN2Config) -> tuple[StyleGAN2Config, tuple[str, ...]]:
    """Fill in the fields that are None as published for the resolution; names of those that were."""
    large, pixels = config.resolution >= 1024, (config.resolution / 256) ** 2
    batch = config.batch_size if config.batch_size is not None else 32 if large else 64
    values: dict[str, Any] = {
        "batch_size": batch,
        "steps": PUBLISHED_IMAGES // max(batch, 1),
        "learning_rate": 0.002 if large else 0.0025,
        "channel_base": published_channel_base(config.resolution),
        "gamma": {512: 0.5, 1024: 2.0}.get(config.resolution, pixels),
        "average_images": 10_000 if large else 20_000,
    }
    absent = {name: value for name, value in values.items() if getattr(config, name) is None}
    return replace(config, **absent), tuple(absent)


class StyleGAN2Recipe(ImageRecipe[StyleGAN2Config]):
    """A generator of images like those of a folder, and the discriminator that taught it."""

    name = "stylegan2"
    method = "gmpi"
    config_class = StyleGAN2Config
    needs = (
        Need(("path_weight",), lambda c: c.path_every > 0, "path length penalties (--path-every 4)"),
        Need(
            ("augment_target", "augment_images"),
            lambda c: c.augment == "adaptive",
            "adaptive augmentation (--augment adaptive)",
        ),
        Need(("augment_probability",), lambda c: c.augment == "fixed", "--augment fixed"),
        Need(("augment_parts",), lambda c: c.augment != "none", "augmentation (--augment adaptive)"),
        Need(("average_images", "average_ramp"), lambda c: c.ema_decay == 0, "--ema-decay 0"),
    )

    def __init__(self, config: StyleGAN2Config, origin: Origin | None = None) -> None:
        config, filled = published(config)
        if origin and origin.start is not None:
            same = {name: getattr(config, name) for name in filled if getattr(origin.start, name) is None}
            origin = replace(origin, start=replace(origin.start, **same))
        super().__init__(config, origin)
        self.inherited += filled
        self._check()

    def _check(self) -> None:
        c = self.config
        least = {"split": 1, "channel_max": 1, "channel_base": c.resolution, "latent": 1, "mapping_layers": 1}
        least |= {"std_group": 1, "r1_every": 1, "path_every": 0, "evaluate_count": 1, "augment_images": 1}
        self.check_numbers(least | {"average_images": 1})
        if not (c.learning_rate > 0 and min(c.gamma, c.path_weight, c.conv_clamp, c.average_ramp) >= 0):
            raise UsageError(
                "the learning rate is above 0; gamma, path weight, clamp and average ramp are 0 or more."
            )
        if not (0 <= c.style_mixing <= 1 and 0 <= c.augment_probability <= 1 and -1 <= c.augment_target <= 1):
            raise UsageError(
                "style mixing and the augmentation's probability lie in 0..1 and its target in -1..1, not "
                f"{c.style_mixing:g}, {c.augment_probability:g} and {c.augment_target:g}."
            )
        unknown = sorted(set(c.augment_parts) - set(PARTS))
        if unknown:
            raise UsageError(f"augment parts are {', '.join(PARTS)}, not {unknown[0]!r}.")
        if c.split > c.batch_size:
            raise UsageError(f"a batch of {c.batch_size} cannot be split in {c.split}: lower --split.")
        list(self._parts(c.batch_size))

    def networks(self) -> dict[str, nn.Module]:
        """Generator and discriminator."""
        c = self.config
        shared: dict[str, Any] = {
            "channel_base": c.channel_base,
            "channel_max": c.channel_max,
            "conv_clamp": c.conv_clamp or None,
            "low_precision": LOW_PRECISIONS[c.low_precision],
        }
        generator = StyleGAN2Generator(
            c.resolution, z_dim=c.latent, w_dim=c.latent, mapping_layers=c.mapping_layers, **shared
        )
        return {
            "generator": generator,
            "discriminator": Discriminator(c.resolution, std_group=c.std_group, **shared),
        }

    def optimisers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """One Adam for each network, adjusted to how often it is regularised."""
        c = self.config
        every = {"generator": c.path_every, "discriminator": c.r1_every}
        return {
            name: lazy_adam(network.parameters(), c.learning_rate, BETAS, every[name])
            for name, network in networks.items()
        }

    def averages(self, networks: dict[str, nn.Module]) -> dict[str, AverageSpec]:
        """The generator's moving average, which draws all that is looked at."""
        c = self.config
        given = super().averages(networks).get(EVALUATED_AVERAGE)

        def decay(step: int) -> float:
            if given:
                return given.decay(step)
            seen = step * c.batch_size
            return half_life_decay(c.average_images, seen, c.batch_size, c.average_ramp)

        return {EVALUATED_AVERAGE: AverageSpec(("generator",), decay)}

    def state(self) -> dict[str, Tensor]:
        """Moving mean of path lengths; the augmentation's probability, and what it is adapted by."""
        c = self.config
        first = c.augment_probability if c.augment == "fixed" else 0.0
        return {
            "path_mean": torch.zeros(()),
            "augment_probability": torch.tensor(first),
            "real_signs": torch.zeros(()),
        }

    def step(self, networks: dict[str, nn.Module], batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """One step in the published order: generator, its path length, discriminator, its R1."""
        c = self.config
        real = batch["image"].float() / 127.5 - 1
        self._adapt(context)
        probability = float(context.state["augment_probability"])
        values = {"generator": self._train_generator(networks, len(real), probability, context)}
        if c.path_every and context.step % c.path_every == 0:
            values["path_length"] = self._regularise_generator(networks, len(real), context)
        values |= self._train_discriminator(networks, real, probability, context)
        if context.step % c.r1_every == 0:
            values["r1"] = self._regularise_discriminator(networks, real, probability, context)
        values["augment_probability"] = context.state["augment_probability"].clone()
        return {"loss": values["generator"] + values["discriminator"], **values}

    def _parts(self, count: int) -> Iterator[slice]:
        """Cut a batch of ``count`` images into the parts of a pass."""
        size = -(-count // self.config.split)
        for start in range(0, count, size):
            part = min(size, count - start)
            if part % min(self.config.std_group, part):
                raise UsageError(
                    f"{part} images of a pass cannot be compared in groups of {self.config.std_group}: choose a batch "
                    "size and split that leave a multiple of it to each process, or another --std-group."
                )
            yield slice(start, start + part)

    def _adapt(self, context: StepContext) -> None:
        """Adjust the probability by the signs of the last steps, which are averaged over processes by now."""
        c, state = self.config, context.state
        if c.augment != "adaptive" or context.step == 0 or context.step % ADJUST_EVERY:
            return
        sign = float(state["real_signs"]) / ADJUST_EVERY
        before, images = float(state["augment_probability"]), ADJUST_EVERY * c.batch_size
        after = adjust_probability(before, sign, c.augment_target, images, c.augment_images)
        state["augment_probability"].fill_(after)
        state["real_signs"].zero_()

    def _augmented(self, images: Tensor, probability: float, context: StepContext) -> Tensor:
        parts = self.config.augment_parts if self.config.augment != "none" else ()
        return augment(images, draw_augmentation(len(images), probability, context.generator, parts))

    def _styles(self, generator: StyleGAN2Generator, count: int, context: StepContext) -> Tensor:
        """Styles of ``count`` new latents, some of two."""
        latents = torch.randn(2, count, self.config.latent, generator=context.generator)
        place = draw_crossovers(count, generator.num_ws, self.config.style_mixing, context.generator)
        first, second = latents.to(generator.mapping.w_avg.device)
        styles = generator.styles(first)
        if bool((place == generator.num_ws).all()):
            return styles
        return mixed_styles(styles, generator.styles(second), place)

    def _train_generator(
        self, networks: dict[str, nn.Module], count: int, probability: float, context: StepContext
    ) -> Tensor:
        generator, update = _generator(networks), context.update
        update.zero("generator")
        losses = []
        for part in self._parts(count):
            share = (part.stop - part.start) / count
            fake = generator.images(self._styles(generator, part.stop - part.start, context))
            scores = networks["discriminator"](self._augmented(fake, probability, context))
            losses.append(share * generator_loss(scores))
            update.backward(losses[-1], "generator")
        update.step("generator")
        return torch.stack(losses).detach().sum()

    def _regularise_generator(
        self, networks: dict[str, nn.Module], count: int, context: StepContext
    ) -> Tensor:
        c, generator, update = self.config, _generator(networks), context.update
        update.zero("generator")
        mean, lengths = context.state["path_mean"], []
        count = max(1, count // PATH_SHARE)
        for start in range(0, count, -(-count // c.split)):
            images = min(-(-count // c.split), count - start)
            styles = self._styles(generator, images, context)
            fake = generator.images(styles)
            found = path_lengths(fake, styles, torch.randn_like(fake))
            loss, _ = path_length_loss(found, mean)
            # Every pass counts for the steps that had none.
            update.backward(c.path_weight * c.path_every * images / count * loss, "generator")
            lengths.append(found.detach())
        update.step("generator")
        context.state["path_mean"] = path_length_loss(torch.cat(lengths), mean)[1]
        return torch.cat(lengths).mean()

    def _train_discriminator(
        self, networks: dict[str, nn.Module], real: Tensor, probability: float, context: StepContext
    ) -> dict[str, Tensor]:
        generator, discriminator, update = _generator(networks), networks["discriminator"], context.update
        update.zero("discriminator")
        sums: dict[str, Tensor] = {}
        for part in self._parts(len(real)):
            images = real[part]
            share = len(images) / len(real)
            with torch.no_grad():
                fake = generator.images(self._styles(generator, len(images), context))
            fakes = discriminator(self._augmented(fake, probability, context))
            reals = discriminator(self._augmented(images, probability, context))
            loss = discriminator_loss(reals, fakes)
            update.backward(share * loss, "discriminator")
            found = {"discriminator": loss, "real_score": reals.mean(), "fake_score": fakes.mean()}
            found["real_sign"] = reals.sign().mean()
            for name, value in found.items():
                sums[name] = sums.get(name, 0) + share * value.detach()
        update.step("discriminator")
        context.state["real_signs"] += sums["real_sign"]
        return sums

    def _regularise_discriminator(
        self, networks: dict[str, nn.Module], real: Tensor, probability: float, context: StepContext
    ) -> Tensor:
        c, update = self.config, context.update
        update.zero("discriminator")
        penalties = []
        for part in self._parts(len(real)):
            images = real[part].detach().requires_grad_()
            scores = networks["discriminator"](self._augmented(images, probability, context))
            penalty = squared_gradient(scores, images) * (len(images) / len(real))
            update.backward(0.5 * c.gamma * c.r1_every * penalty, "discriminator")
            penalties.append(penalty.detach())
        update.step("discriminator")
        return torch.stack(penalties).sum()

    def predictor(
        self,
        networks: dict[str, nn.Module],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> StyleGAN2Predictor:
        """Images of latents."""
        return StyleGAN2Predictor(networks["generator"], device, dtype)

    @torch.no_grad()
    def evaluate(self, networks: dict[str, nn.Module], source: FaceSource) -> dict[str, float]:
        """Mean scores of validation images and of generated ones, without augmentation.

        Where the discriminator knows the training images by heart, the scores of others fall towards the generated.
        """
        c, discriminator = self.config, networks["discriminator"]
        images = []
        for index in range(min(len(source), c.evaluate_count)):
            try:
                images.append(self.square(source[index]).image)
            except DataError:
                # It is reported by name when it is trained on or checked.
                continue
        if not images:
            return {}
        generator = _generator(networks)
        latents = torch.randn(len(images), c.latent, generator=torch.Generator().manual_seed(0))
        device = generator.mapping.w_avg.device
        real, fake = [], []
        for image, latent in zip(torch.stack(images).split(8), latents.split(8), strict=True):
            real.append(discriminator(2 * image.to(device) - 1))
            fake.append(discriminator(generator(latent.to(device), noise_mode="const")))
        scores = {"real_score": torch.cat(real).mean(), "fake_score": torch.cat(fake).mean()}
        return {f"validation_{name}": float(value) for name, value in scores.items()}

    def figures(self, networks: dict[str, nn.Module], source: FaceSource, folder: Path) -> list[Path]:
        """Grids of images of latents that are always the same, and of such nearer to the mean."""
        from lineament.methods.gmpi.figures import sample_figures

        return sample_figures(self.predictor(networks), folder)


def _generator(networks: dict[str, nn.Module]) -> StyleGAN2Generator:
    return cast(StyleGAN2Generator, networks["generator"])
