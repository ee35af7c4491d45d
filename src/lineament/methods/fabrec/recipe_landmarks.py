"""Landmarks from a handful of labels on a trained autoencoder: the recipe `fabrec-landmarks`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from lineament.data.sample import FaceSample, FaceSource
from lineament.data.subset import Subset
from lineament.errors import DataError, UsageError
from lineament.evaluation.landmarks import score_landmarks
from lineament.faces.schemes import as_scheme, convert_points, scheme, scheme_word
from lineament.methods.fabrec.augment import (
    corrupted_and_clean,
    level,
    sample_affine,
    sample_photometric_and_noise,
)
from lineament.methods.fabrec.base import AUTOENCODER_BASE
from lineament.methods.fabrec.crop import region_side
from lineament.methods.fabrec.heatmaps import Style, draw_heatmaps
from lineament.methods.fabrec.landmark_config import LandmarkConfig
from lineament.methods.fabrec.loss import heatmap_cross_entropy, heatmap_loss
from lineament.methods.fabrec.model import heatmaps_of, normalise_images
from lineament.methods.fabrec.predictor import LandmarkPredictor
from lineament.training.context import StepContext
from lineament.training.recipe import Batch, Need, Origin, Recipe
from lineament.training.schedules import rate_schedules


class LandmarkRecipe(Recipe[LandmarkConfig, FaceSample]):
    """Interleaved transfer layers on a frozen decoder."""

    name = "fabrec-landmarks"
    method = "fabrec"
    config_class = LandmarkConfig
    base_kind = replace(AUTOENCODER_BASE, required=True)
    needs = (
        Need(("pick",), lambda c: c.labels > 0, "a number of labels (--labels N)"),
        Need(("encoder_rate",), lambda c: c.tune_encoder, "a tuned encoder (--tune-encoder)"),
    )
    best_metric = "landmark_error_percent"

    def __init__(self, config: LandmarkConfig, origin: Origin | None = None) -> None:
        # The run keeps the content of a scheme file, which may be gone by the time it is used.
        super().__init__(replace(config, scheme=scheme_word(config.scheme)), origin)
        self.spread = level(config.augmentation)
        self.landmarks = scheme(config.scheme)
        # Says what is wrong with the crop before anything is written.
        self.view = self.config.view
        if config.loss not in ("squared", "cross-entropy"):
            raise UsageError(f"loss is squared or place, not {config.loss!r}.")
        if config.heatmaps not in ("exact", "paper"):
            raise UsageError(f"heatmaps is exact or paper, not {config.heatmaps!r}.")
        if config.pick not in ("first", "random"):
            raise UsageError(f"pick is first or random, not {config.pick!r}.")
        if config.labels < 0:
            raise UsageError(f"labels is a number of faces, or 0 for all of them, not {config.labels}.")

    def networks(self) -> dict[str, nn.Module]:
        """Encoder, frozen decoder, and the transfer layers."""
        c = self.config
        parts = c.layout.autoencoder()
        networks: dict[str, nn.Module] = {
            "encoder": parts["encoder"],
            "decoder": parts["decoder"],
            "transfer": c.layout.transfer(len(self.landmarks), c.lateral),
        }
        # A base with other landmarks has some of the transfer layers, an autoencoder none.
        self.take_base_weights(networks, networks, optional=("transfer",))
        networks["decoder"].requires_grad_(False)
        networks["encoder"].requires_grad_(c.tune_encoder)
        return networks

    def optimisers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Adam for the transfer layers, and a slower one for a tuned encoder."""
        c = self.config
        optimisers: dict[str, torch.optim.Optimizer] = {
            "transfer": torch.optim.Adam(networks["transfer"].parameters(), lr=c.learning_rate, fused=True)
        }
        if c.tune_encoder:
            optimisers["encoder"] = torch.optim.Adam(
                networks["encoder"].parameters(), lr=c.encoder_rate, fused=True
            )
        return optimisers

    def schedules(
        self, optimisers: dict[str, torch.optim.Optimizer]
    ) -> dict[str, torch.optim.lr_scheduler.LRScheduler]:
        """As the config says, the same for both networks."""
        return rate_schedules(optimisers, self.config.schedule, self.config.steps)

    def training_source(self, source: FaceSource) -> FaceSource:
        """All labelled faces, or the few of a few-shot run.

        Raises:
            DataError: If there are fewer faces, or they have no landmarks or landmarks of another scheme. Only the
                first is looked at, before anything is written.
        """
        c = self.config
        if c.mirror:
            self.landmarks.require_mirror()
        self._check_labels(source)
        if not c.labels:
            return source
        if c.labels > len(source):
            raise DataError(
                f"{c.labels} labelled faces are asked for, but {source.name} holds {len(source)}: lower --labels."
            )
        chosen = list(range(c.labels))
        if c.pick == "random":
            order = torch.randperm(len(source), generator=torch.Generator().manual_seed(c.seed))
            chosen = sorted(order[: c.labels].tolist())
        return Subset(source, chosen, f"{source.name}[{c.pick} {c.labels}]")

    def _check_labels(self, source: FaceSource) -> None:
        first = source[0]
        if first.landmarks is None or first.scheme is None:
            raise DataError(
                f"{first.id} of {source.name} has no landmarks: fabrec-landmarks learns from labelled faces only."
            )
        try:
            convert_points(first.landmarks.double(), first.scheme, self.landmarks)
        except UsageError as error:
            found = as_scheme(first.scheme).name
            raise DataError(
                f"{source.name} is labelled in scheme {found}, which cannot be turned into the scheme "
                f"{self.landmarks.name} to be learnt: give --scheme {found}, or its yaml file."
            ) from error

    def item(self, sample: FaceSample, generator: torch.Generator) -> Batch:
        """Crop and move one labelled face."""
        c = self.config
        if sample.landmarks is None or sample.scheme is None:
            raise DataError(
                f"{sample.id} has no landmarks: fabrec-landmarks learns from labelled faces only."
            )
        points = convert_points(sample.landmarks.double(), sample.scheme, self.landmarks)
        view = c.view
        region = view.region(sample)
        move = sample_affine(self.spread, region_side(c.size), generator, c.mirror)
        image = view.image(sample.image, region, move)
        placed = view.points(points, self.landmarks, region, move)
        # Hidden landmarks are learnt too where a label says where they are, as published: they are asked for as well.
        known = torch.isfinite(placed).all(-1)
        batch = {"image": image, "points": placed.float(), "known": known}
        if c.looks:
            batch["look"], batch["grain"] = sample_photometric_and_noise(c.size, generator)
        return batch

    def images(self, batch: Batch) -> Tensor:
        """What the encoder is shown of a batch: mean-free ``[B, 3, S, S]``."""
        images: Tensor = batch["image"]
        if self.config.looks:
            images, _ = corrupted_and_clean(images, batch["look"], batch["grain"])
        return normalise_images(images)

    def targets(self, points: Tensor) -> Tensor:
        """Target heatmaps ``[B, K, h, h]`` of landmarks ``[B, K, 2]`` in pixels of the image."""
        c = self.config
        return draw_heatmaps(points, c.size, c.layout.heatmap, c.heatmap_sigma, cast(Style, c.heatmaps))

    def loss(self, heatmaps: Tensor, batch: Batch) -> Tensor:
        """Loss of heatmaps ``[B, K, h, h]`` of a batch."""
        known = batch["known"] if "known" in batch else torch.isfinite(batch["points"]).all(-1)
        points = batch["points"].masked_fill(~known[..., None], torch.nan)
        measure = heatmap_cross_entropy if self.config.loss == "cross-entropy" else heatmap_loss
        return measure(heatmaps, self.targets(points), known)

    def step(self, networks: dict[str, nn.Module], batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """One step; all normalisation uses its running statistics, as published."""
        c = self.config
        networks["encoder"].eval()
        networks["decoder"].eval()
        images = self.images(batch)
        loss = self.loss(heatmaps_of(networks, images, frozen=not c.tune_encoder), batch)
        context.update(loss, *(("transfer", "encoder") if c.tune_encoder else ("transfer",)))
        return {"loss": loss.detach()}

    def predictor(
        self,
        networks: dict[str, nn.Module],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> LandmarkPredictor:
        """Landmarks and reconstructions of the faces of images."""
        return LandmarkPredictor(self.config, networks, device, dtype)

    def evaluate(self, networks: dict[str, nn.Module], source: FaceSource) -> dict[str, float]:
        """Landmark error in % of the inter-ocular distance on validation faces, cropped by their boxes."""
        count = min(len(source), self.config.evaluate_count)
        scores = score_landmarks(self.predictor(networks), source, range(count))
        return {} if scores is None else {"landmark_error_percent": 100 * scores.mean}

    def figures(self, networks: dict[str, nn.Module], source: FaceSource, folder: Path) -> list[Path]:
        """Five tiles per face: input, reconstruction, heatmaps, landmarks in both."""
        from lineament.methods.fabrec.figures import landmark_figures

        return landmark_figures(self.predictor(networks), source, folder)
