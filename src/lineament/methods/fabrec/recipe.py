"""Training of the autoencoder from unlabelled faces: the recipe `fabrec-ae`, in three stages or in one run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor, nn

from lineament.data.sample import FaceSample, FaceSource
from lineament.errors import UsageError
from lineament.methods.fabrec.augment import (
    corrupted_and_clean,
    level,
    sample_affine,
    sample_photometric_and_noise,
)
from lineament.methods.fabrec.base import AUTOENCODER_BASE, FabrecConfig, code_noise
from lineament.methods.fabrec.crop import region_side
from lineament.methods.fabrec.loss import (
    WINDOW,
    Range,
    discriminator_loss,
    generator_adversarial_loss,
    pixel_loss,
    reconstruction_loss,
    structural_loss,
)
from lineament.methods.fabrec.model import normalise_images
from lineament.methods.fabrec.predictor import AutoencoderPredictor
from lineament.training.context import StepContext, Update
from lineament.training.recipe import Batch, Need, Origin, Recipe
from lineament.training.schedules import rate_schedules

# Steps between two updates of the code discriminator, and between two code losses of the encoder (published).
CODE_DISCRIMINATOR_EVERY, CODE_LOSS_EVERY = 4, 2
# Weight of generated faces in the losses of the image discriminator where they take part.
MIX_SHARE = 0.25

NETWORKS = ("encoder", "decoder", "code_discriminator", "image_discriminator")


@dataclass(frozen=True)
class AutoencoderConfig(FabrecConfig):
    """What can be set when training the autoencoder; the defaults are the published third stage, all losses on."""

    # Faces of one step.
    batch_size: int = 50
    # Optimiser steps in all.
    steps: int = 43000
    # Steps between two checkpoints; 0 writes one only at the end.
    checkpoint_every: int = 1000
    # Steps at the beginning without the image discriminator; a negative number leaves it out altogether.
    gan_from: int = 0
    # Steps at the beginning without the structural loss; a negative number leaves it out altogether.
    structure_from: int = 0
    # Let the image discriminator also judge faces decoded from mixtures of two codes.
    mixes: bool = False
    # Learning rate of Adam for encoder, decoder and code discriminator.
    learning_rate: float = 2e-5
    # Learning rate of the image discriminator.
    discriminator_rate: float = 1e-5
    # First decay of Adam (its second is 0.999).
    beta: float = 0.0
    # Steps between two updates of the image discriminator.
    discriminator_every: int = 2
    # Steps after which the published counters of updates begin again; 0 never begins again.
    steps_per_epoch: int = 0
    # Range of the values in the structural loss: unit, or paper (guessed from the darkest pixel).
    value_range: str = "unit"
    # Side in pixels of the structural loss's window; half of it is not judged at each border.
    window: int = WINDOW
    # Sizes of the image at which the structural loss is taken: full, half, quarter ...; published is 1.
    scales: int = 1
    # Published level of random moves, 0 to 7; level 8 is ours.
    augmentation: int = 4
    # Probability of a mirrored image.
    mirror: float = 0.5
    # Change light, contrast and colour at random, and show the encoder blurred and noisy images of clear ones.
    looks: bool = False
    # Learning rates over time: constant as published, or a tenth of the steps up and along a cosine to zero.
    schedule: Literal["constant", "warmup-cosine"] = "constant"
    # Images used by an evaluation during training.
    evaluate_count: int = 64


class AutoencoderRecipe(Recipe[AutoencoderConfig, FaceSample]):
    """An adversarial autoencoder of faces, learnt without labels."""

    name = "fabrec-ae"
    method = "fabrec"
    config_class = AutoencoderConfig
    base_kind = AUTOENCODER_BASE
    needs = (
        Need(
            ("mixes", "discriminator_rate", "discriminator_every"),
            lambda c: 0 <= c.gan_from < c.steps,
            "the image discriminator (--gan-from 0 or more, below the steps)",
        ),
        Need(
            ("value_range", "window", "scales"),
            lambda c: 0 <= c.structure_from < c.steps,
            "the structural loss (--structure-from 0 or more, below the steps)",
        ),
    )

    def __init__(self, config: AutoencoderConfig, origin: Origin | None = None) -> None:
        super().__init__(config, origin)
        self.spread = level(config.augmentation)
        if config.value_range not in ("unit", "paper"):
            raise UsageError(f"value_range is unit or paper, not {config.value_range!r}.")

    @property
    def judged(self) -> bool:
        """Whether the image discriminator takes part at any time."""
        return self.config.gan_from >= 0

    def networks(self) -> dict[str, nn.Module]:
        """Encoder, decoder and both discriminators."""
        networks = self.config.layout.autoencoder()
        # A base with landmarks has no discriminators.
        self.take_base_weights(networks, NETWORKS, optional=NETWORKS[2:])
        networks["image_discriminator"].requires_grad_(self.judged)
        return networks

    def optimisers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """One Adam for each network."""
        c = self.config
        rates = dict.fromkeys(NETWORKS, c.learning_rate) | {"image_discriminator": c.discriminator_rate}
        names = NETWORKS if self.judged else NETWORKS[:-1]
        return {
            name: torch.optim.Adam(
                networks[name].parameters(), lr=rates[name], betas=(c.beta, 0.999), fused=True
            )
            for name in names
        }

    def schedules(
        self, optimisers: dict[str, torch.optim.Optimizer]
    ) -> dict[str, torch.optim.lr_scheduler.LRScheduler]:
        """As the config says, the same for all networks."""
        return rate_schedules(optimisers, self.config.schedule, self.config.steps)

    def item(self, sample: FaceSample, generator: torch.Generator) -> Batch:
        """Crop and move one face; draw the normal code that its own is compared with."""
        c = self.config
        view = c.view
        move = sample_affine(self.spread, region_side(c.size), generator, c.mirror)
        image = view.image(sample.image, view.region(sample), move)
        batch = {"image": image, "noise": code_noise(c.code, generator)}
        if c.looks:
            batch["look"], batch["grain"] = sample_photometric_and_noise(c.size, generator)
        return batch

    def step(self, networks: dict[str, nn.Module], batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """One step in the published order: code discriminator, image discriminator, then encoder and decoder."""
        c, update, done = self.config, context.update, context.step
        turn = done % c.steps_per_epoch if c.steps_per_epoch else done
        judge_images = self.judged and done >= c.gan_from
        structural = 0 <= c.structure_from <= done
        update.zero()
        shown = images = batch["image"]
        if c.looks:
            shown, images = corrupted_and_clean(images, batch["look"], batch["grain"])
        shown, images = normalise_images(shown), normalise_images(images)
        codes = networks["encoder"](shown)
        values: dict[str, Tensor] = {}
        judge = networks["code_discriminator"]
        if turn % CODE_DISCRIMINATOR_EVERY == 0:
            loss = discriminator_loss(judge(batch["noise"]), judge(codes.detach()))
            update.backward(loss, "code_discriminator")
            update.step("code_discriminator")
            values["code_discriminator"] = loss
        # The published code runs this loss backward by itself; gradients add up, so one pass with the others does.
        code_loss = generator_adversarial_loss(judge(codes)) if turn % CODE_LOSS_EVERY == 0 else None
        decoded: Tensor = networks["decoder"](codes).image
        pixels = pixel_loss(images, decoded)
        structure = self._structure(images, decoded) if structural else None
        loss = reconstruction_loss(pixels, structure)
        if judge_images:
            mixed = networks["decoder"](mix_codes(codes.detach())).image if c.mixes else None
            if turn % c.discriminator_every == 0:
                values["image_discriminator"] = self._judge(networks, images, decoded, mixed, update)
            deception = generator_adversarial_loss(networks["image_discriminator"](decoded))
            if mixed is not None:
                other = generator_adversarial_loss(networks["image_discriminator"](mixed))
                deception = (1 - MIX_SHARE) * deception + MIX_SHARE * other
            loss = loss + deception
            values["deception"] = deception
        values |= {"loss": loss, "pixels": pixels}
        if structure is not None:
            values["structure"] = structure
        if code_loss is not None:
            values["code"] = code_loss
            loss = loss + code_loss
        update.backward(loss, "encoder", "decoder")
        update.step("encoder", "decoder")
        return {key: value.detach() for key, value in values.items()}

    def _structure(self, images: Tensor, decoded: Tensor) -> Tensor:
        c = self.config
        return structural_loss(images, decoded, cast(Range, c.value_range), c.window, c.scales)

    def _judge(
        self,
        networks: dict[str, nn.Module],
        images: Tensor,
        decoded: Tensor,
        mixed: Tensor | None,
        update: Update,
    ) -> Tensor:
        """Update the image discriminator."""
        judge = networks["image_discriminator"]
        real = judge(images)
        loss = discriminator_loss(real, judge(decoded.detach()))
        if mixed is not None:
            other = discriminator_loss(real, judge(mixed.detach()))
            loss = (1 - MIX_SHARE) * loss + MIX_SHARE * other
        update.backward(loss, "image_discriminator")
        update.step("image_discriminator")
        return loss

    def predictor(
        self,
        networks: dict[str, nn.Module],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> AutoencoderPredictor:
        """Reconstructions of faces."""
        return AutoencoderPredictor(self.config.view, networks, device, dtype)

    def evaluate(self, networks: dict[str, nn.Module], source: FaceSource) -> dict[str, float]:
        """Pixel error (0 to 255) and 1 - SSIM of reconstructions of validation faces."""
        from lineament.methods.fabrec.evaluate import reconstruction_errors

        count = min(len(source), self.config.evaluate_count)
        return reconstruction_errors(networks, source, self.config.view, range(count))

    def figures(self, networks: dict[str, nn.Module], source: FaceSource, folder: Path) -> list[Path]:
        """Reconstructions, random samples, interpolations, maps of the structural error."""
        from lineament.methods.fabrec.figures import autoencoder_figures

        return autoencoder_figures(networks, source, self.config.view, self.config.code, folder)


def mix_codes(codes: Tensor) -> Tensor:
    """Random points on the lines between each code of a batch ``[B, code]`` and another of it."""
    other = codes[torch.randperm(len(codes), device=codes.device)]
    return codes + (other - codes) * torch.rand(len(codes), 1, device=codes.device, dtype=codes.dtype)
