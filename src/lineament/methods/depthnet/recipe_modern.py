"""A DepthNet that trains in a minute: each face told its own depth, and the target used as a second view of it.

The published critic shows the network what depths look like, but never which depth belongs to which face, although it
needs the depths of the training faces for that. Here the same depths are used face by face. What the target adds is
not learnt but solved for (two_view.py), so it does not have to be traded for the depth during training.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lineament.data.keypoint_depth import collect, keypoint_record
from lineament.data.sample import FaceSample, FaceSource
from lineament.errors import DataError, UsageError
from lineament.methods.depthnet.loss import keypoint_loss
from lineament.methods.depthnet.model import find_affine, transfer
from lineament.methods.depthnet.predictor import DepthPredictor
from lineament.methods.depthnet.recipe import draw_pairs, measure_pairs
from lineament.methods.depthnet.two_view import TwoViewDepthNet, upright
from lineament.training.context import StepContext
from lineament.training.recipe import Batch, Recipe, RecipeConfig
from lineament.training.schedules import rate_schedules


@dataclass(frozen=True)
class ModernDepthNetConfig(RecipeConfig):
    """What can be set when training the modern DepthNet."""

    # Faces of one step: each half are the other's targets.
    batch_size: int = 64
    # Optimiser steps in all.
    steps: int = 2000
    # Damping of the depth's correction by the target (two_view.py); inf leaves each face its own depth.
    damping: float = 0.02
    # Weight of the keypoint error, in squared sizes of the target, beside the depth's in squared sizes of the source.
    # Depths that are known determine the keypoints: by default it is left out.
    keypoint_weight: float = 0.0
    # Units of the network's hidden layers.
    widths: tuple[int, ...] = (512, 512, 256)
    # Learning rate of Adam at the start; it falls to zero along a cosine.
    learning_rate: float = 1e-3
    # Weight decay.
    weight_decay: float = 0.0
    # Faces used by an evaluation during training; all their ordered pairs are scored.
    evaluate_count: int = 225

    def __post_init__(self) -> None:
        """Raise ``UsageError`` where fields contradict each other."""
        if self.batch_size % 2 or self.batch_size < 4:
            raise UsageError(
                f"a batch holds sources and targets: give an even batch size, not {self.batch_size}."
            )
        if not self.damping > 0 or self.keypoint_weight < 0:
            raise UsageError(
                f"the damping must be above 0 and the keypoint weight not below, not {self.damping:g} and "
                f"{self.keypoint_weight:g}."
            )


class ModernDepthNetRecipe(Recipe[ModernDepthNetConfig, FaceSample]):
    """Depth of a face's keypoints from its true depths, corrected by another face's keypoints."""

    name = "depthnet-modern"
    method = "depthnet"
    config_class = ModernDepthNetConfig

    def networks(self) -> dict[str, nn.Module]:
        """The network ``generator``."""
        return {"generator": TwoViewDepthNet(self.config.widths, self.config.damping)}

    def optimisers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Adam with the framework's betas and decay apart from the gradient."""
        c = self.config
        parameters = networks["generator"].parameters()
        return {
            "generator": torch.optim.AdamW(
                parameters, lr=c.learning_rate, weight_decay=c.weight_decay, fused=True
            )
        }

    def schedules(
        self, optimisers: dict[str, torch.optim.Optimizer]
    ) -> dict[str, torch.optim.lr_scheduler.LRScheduler]:
        """Cosine to zero."""
        return rate_schedules(optimisers, "cosine", self.config.steps)

    def item(self, sample: FaceSample, generator: torch.Generator) -> Batch:
        """Keypoints and depths."""
        keypoints, depth = keypoint_record(sample)
        if depth is None:
            raise DataError(
                f"{sample.id} has no depths, which {self.name} needs: train on 3dfaw-keypoints or synthetic-keypoints."
            )
        return {"keypoints": keypoints, "depth": depth}

    def step(self, networks: dict[str, nn.Module], batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """One step of the network; every face is a source, and each half of the batch the other's targets."""
        c = self.config
        source, true = batch["keypoints"], batch["depth"]
        network: Any = networks["generator"]
        own = network.own_depth(source)
        # Where the depth's zero lies is the data set's business: both are compared about their means.
        difference = (own - own.mean(1, keepdim=True)) - (true - true.mean(1, keepdim=True))
        loss = (difference / upright(source)[1][:, 0]).square().mean()
        values = {"depth": loss.detach()}
        if c.keypoint_weight:
            target = source.roll(len(source) // 2, 0)
            depth = network.corrected(source, own, target)
            size = upright(target)[1]
            carried = transfer(find_affine("fixed", source, depth, target), source, depth)
            keypoint = keypoint_loss(carried / size, target / size)
            loss = loss + c.keypoint_weight * keypoint
            values["keypoint"] = keypoint.detach()
        context.update(loss)
        return {"loss": loss.detach(), **values}

    def predictor(
        self,
        networks: dict[str, nn.Module],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> DepthPredictor:
        """Depths of keypoints."""
        return DepthPredictor(networks["generator"], device=device, dtype=dtype)

    def evaluate(self, networks: dict[str, nn.Module], source: FaceSource) -> dict[str, float]:
        """Keypoint error and DepthCorr over all ordered pairs."""
        return measure_pairs(self.predictor(networks), collect(source, self.config.evaluate_count))

    def figures(self, networks: dict[str, nn.Module], source: FaceSource, folder: Path) -> list[Path]:
        """True against predicted depth of a few faces; keypoint errors."""
        return draw_pairs(self.predictor(networks), collect(source, self.config.evaluate_count), folder)
