"""Landmarks in a few hundred steps, not published: `fabrec-modern`, and `fabrec-supervised` without an autoencoder.

The published head learns for tens of thousands of steps on frozen networks. Here the autoencoder is only where learning
starts: everything is taught, the encoder's maps reach the heatmaps past the code, and the loss is about places. Faces
without labels take part in it too (``consistency.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from lineament.data.sample import FaceSample, FaceSource
from lineament.data.semi_supervised import UNLABELLED, SemiSupervisedSource, labelled_part
from lineament.errors import UsageError
from lineament.methods.fabrec.augment import sample_affine, sample_photometric_and_noise
from lineament.methods.fabrec.consistency import pseudo_labels
from lineament.methods.fabrec.crop import region_side
from lineament.methods.fabrec.landmark_config import LandmarkConfig
from lineament.methods.fabrec.loss import consistency_loss
from lineament.methods.fabrec.model import heatmaps_of, normalise_images
from lineament.methods.fabrec.recipe_landmarks import LandmarkRecipe
from lineament.training.context import AverageSpec, StepContext
from lineament.training.ema import ramped
from lineament.training.recipe import Batch, Need, Origin
from lineament.training.registry import RANDOM_BASE
from lineament.training.sources import open_joined

# Name of the moving average that teaches; its networks, and how slowly it follows them.
TEACHER = "teacher"
TAUGHT, TEACHER_DECAY = ("encoder", "decoder", "transfer"), 0.98
# Shares of the steps: unlabelled faces take part from the first on, with their whole weight from the second on.
RISE = (0.3, 0.6)


@dataclass(frozen=True)
class ModernLandmarkConfig(LandmarkConfig):
    """What can be set when all networks learn from labels."""

    # Optimiser steps in all.
    steps: int = 750
    # Faces of one step; with --unlabelled half of them are unlabelled.
    batch_size: int = 20
    # Faces without labels, named as for --data: their landmarks must move with the image. Labels stay unseen.
    unlabelled: tuple[str, ...] = ()
    # Weight of the unlabelled faces in the loss.
    consistency: float = 1.0
    # Let the encoder's maps reach the heatmaps past the code.
    lateral: bool = True
    # What heatmaps learn: squared differences, as published, or the place of the landmark as a distribution.
    loss: Literal["squared", "cross-entropy"] = "cross-entropy"
    # Standard deviation of the target heatmaps in pixels of a 128 px heatmap.
    sigma: float = 3.5
    # Tune the encoder too.
    tune_encoder: bool = True
    # Learning rate of the transfer layers.
    learning_rate: float = 2e-3
    # Learning rate of encoder and decoder.
    encoder_rate: float = 2e-3
    # Published level of random moves, 0 to 7; 8 is ours.
    augmentation: int = 8
    # Change light, contrast, colour and sharpness at random.
    looks: bool = True
    # Learning rates over time: constant, or warmup-cosine (a tenth of the steps up, the rest down to zero).
    schedule: Literal["constant", "warmup-cosine"] = "warmup-cosine"


class ModernLandmarkRecipe(LandmarkRecipe):
    """Heatmaps from encoder, decoder, lateral and transfer layers, all of them taught by the labels."""

    name = "fabrec-modern"
    config_class = ModernLandmarkConfig
    needs = (
        Need(("pick",), lambda c: c.labels > 0, "a number of labels (--labels N)"),
        Need(("consistency",), lambda c: bool(c.unlabelled), "unlabelled faces (--unlabelled DATA)"),
    )

    config: ModernLandmarkConfig

    def __init__(
        self,
        config: ModernLandmarkConfig,
        origin: Origin | None = None,
        *,
        unlabelled: FaceSource | None = None,
    ) -> None:
        if unlabelled is not None and not config.unlabelled:
            config = replace(config, unlabelled=(unlabelled.name,))
        super().__init__(config, origin)
        self._unlabelled = unlabelled
        if config.consistency < 0:
            raise UsageError(f"consistency is a weight of 0 or more, not {config.consistency}.")
        if self.semi_supervised and config.resampling != "exact":
            raise UsageError(
                "--unlabelled faces need --resampling exact: published moves cannot be undone exactly."
            )

    @property
    def semi_supervised(self) -> bool:
        """Whether unlabelled faces take part."""
        return bool(self.config.unlabelled)

    def networks(self) -> dict[str, nn.Module]:
        """Encoder, decoder and transfer layers; what only images need stays frozen."""
        networks = super().networks()
        stages = range(1, self.config.layout.transfers + 1)
        used = ("fc.", "conv1.", "bn1.", *(f"layer{number}." for number in stages))
        for name, parameter in networks["decoder"].named_parameters():
            parameter.requires_grad_(name.startswith(used))
        return networks

    def averages(self, networks: dict[str, nn.Module]) -> dict[str, AverageSpec]:
        """With unlabelled faces, their teacher; it normalises with the statistics of the batch, as its pupil does."""
        averages = super().averages(networks)
        if self.semi_supervised:
            averages[TEACHER] = AverageSpec(TAUGHT, lambda step: ramped(TEACHER_DECAY, step), train=True)
        return averages

    def optimisers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """One AdamW for all of it."""
        c = self.config
        rates = {"encoder": c.encoder_rate, "decoder": c.encoder_rate, "transfer": c.learning_rate}
        groups = [
            {"params": [p for p in networks[name].parameters() if p.requires_grad], "lr": rate}
            for name, rate in rates.items()
        ]
        return {"all": torch.optim.AdamW(groups, weight_decay=1e-4, fused=True)}

    def training_source(self, source: FaceSource) -> FaceSource:
        """The labelled faces, semi_supervised by the unlabelled ones where there are any."""
        labelled = super().training_source(source)
        if not self.semi_supervised:
            return labelled
        if self._unlabelled is not None:
            return SemiSupervisedSource(labelled, self._unlabelled)
        return SemiSupervisedSource(labelled, open_joined(self.config.unlabelled))

    def item(self, sample: FaceSample, generator: torch.Generator) -> Batch:
        """Crop and move one face; of an unlabelled one the unmoved image too, which the teacher sees."""
        if not self.semi_supervised:
            return super().item(sample, generator)
        size = self.config.size
        taught: Batch = {
            "plain": torch.zeros(3, size, size),
            "clean_to_augmented": torch.eye(2, 3),
            "mirrored": False,
        }
        if UNLABELLED not in sample.meta:
            return {**super().item(sample, generator), **taught, "unlabelled": False}
        return {**self._unlabelled_item(sample, generator), "unlabelled": True}

    def _unlabelled_item(self, sample: FaceSample, generator: torch.Generator) -> Batch:
        c, view, count = self.config, self.view, len(self.landmarks)
        region = view.region(sample)
        move = sample_affine(self.spread, region_side(c.size), generator, c.mirror)
        batch = {
            "image": view.image(sample.image, region, move),
            "points": torch.zeros(count, 2),
            "known": torch.zeros(count, dtype=torch.bool),
            "plain": view.image(sample.image, region),
            "clean_to_augmented": view.clean_to_augmented(region, move).float(),
            "mirrored": move.mirror,
        }
        if c.looks:
            batch["look"], batch["grain"] = sample_photometric_and_noise(c.size, generator)
        return batch

    def step(self, networks: dict[str, nn.Module], batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """One step; normalisation uses the statistics of the batch."""
        heatmaps = heatmaps_of(networks, self.images(batch))
        loss = self._labelled_loss(heatmaps, batch)
        values = {"loss": loss}
        if self.semi_supervised:
            weight = self._weight(context.share)
            if weight > 0:
                values["consistency"] = self._consistency(context.averages[TEACHER], heatmaps, batch)
                loss = loss + weight * values["consistency"]
        context.update(loss)
        return {name: value.detach() for name, value in values.items()}

    def _labelled_loss(self, heatmaps: Tensor, batch: Batch) -> Tensor:
        """Loss of the labelled faces of a batch; 0 where chance drew none."""
        if not self.semi_supervised:
            return self.loss(heatmaps, batch)
        labelled = ~batch["unlabelled"]
        if not bool(labelled.any()):
            return 0 * heatmaps.sum()
        return self.loss(heatmaps[labelled], {name: batch[name][labelled] for name in ("points", "known")})

    def _weight(self, share: float) -> float:
        """Weight of unlabelled faces after a share of the steps: none before the first labels are learnt."""
        return self.config.consistency * min(1.0, max(0.0, (share - RISE[0]) / (RISE[1] - RISE[0])))

    def _consistency(self, teacher: Mapping[str, nn.Module], heatmaps: Tensor, batch: Batch) -> Tensor:
        """Loss of the unlabelled faces of a batch, whose landmarks the teacher finds in their unmoved images."""
        unlabelled = batch["unlabelled"]
        # Processes that train together normalise together: the teacher must see something in every one of them.
        chosen = unlabelled if bool(unlabelled.any()) else slice(1)
        with torch.no_grad():
            scores = heatmaps_of(dict(teacher), normalise_images(batch["plain"][chosen]))
            points, weights = pseudo_labels(
                scores,
                batch["clean_to_augmented"][chosen],
                batch["mirrored"][chosen],
                self.landmarks,
                self.config.size,
            )
        return consistency_loss(heatmaps[chosen], self.targets(points), weights * unlabelled[chosen, None])

    def evaluate(self, networks: dict[str, nn.Module], source: FaceSource) -> dict[str, float]:
        """As without unlabelled faces; without validation data on the labelled ones."""
        return super().evaluate(networks, labelled_part(source))

    def figures(self, networks: dict[str, nn.Module], source: FaceSource, folder: Path) -> list[Path]:
        """As without unlabelled faces; without validation data of the labelled ones."""
        return super().figures(networks, labelled_part(source), folder)


@dataclass(frozen=True)
class SupervisedConfig(ModernLandmarkConfig):
    """The same without an autoencoder."""

    # Untrained networks; nothing else is possible here.
    base: str = RANDOM_BASE
    # Faces of one step.
    batch_size: int = 10

    def __post_init__(self) -> None:
        """Raise ``UsageError`` where a base or unlabelled faces are named."""
        if self.unlabelled:
            raise UsageError("fabrec-supervised learns from labels alone: leave --unlabelled out.")
        if self.base != RANDOM_BASE:
            raise UsageError(f"fabrec-supervised starts from nothing: leave --base {self.base} out.")


class SupervisedRecipe(ModernLandmarkRecipe):
    """The same networks taught by the labels alone, which few-shot results are compared with."""

    name = "fabrec-supervised"
    config_class = SupervisedConfig
