"""A DepthNet that trains in minutes: keypoints in a frame of their own, and each depth told its own truth.

The published critic shows the network what depths look like, but never which depth belongs to which face, although it
needs the depths of the training faces for that. Here the same depths are used face by face, and the keypoint loss is
measured in sizes of the target, so that neither loss drowns the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lineament.data.keypoint_depth import SCHEME, keypoint_record
from lineament.data.sample import FaceSample
from lineament.errors import DataError, UsageError
from lineament.faces.schemes import mirror_values, scheme
from lineament.methods.depthnet.loss import keypoint_loss
from lineament.methods.depthnet.model import FramedDepthNet, find_affine, framed, transfer
from lineament.methods.depthnet.recipe import DepthNetConfig, DepthNetRecipe, split_pairs
from lineament.training.recipe import Batch, Update
from lineament.training.registry import register_recipe


@dataclass(frozen=True)
class ModernDepthNetConfig(DepthNetConfig):
    """What can be set when training the modern DepthNet."""

    steps: int = 6000
    # Weight of the depth's squared error, in squared face sizes, beside the keypoint error in the same unit.
    depth_weight: float = 1.0
    # Weight of the keypoint error in squared sizes of the target.
    keypoint_weight: float = 10.0
    # Probability of a mirrored face.
    mirror: float = 0.5
    # Learning rate of Adam at the start; it falls to zero along a cosine.
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        """Raise ``UsageError`` where fields contradict each other."""
        if self.solve != "fixed" or self.critic:
            raise UsageError(
                "the modern recipe solves in closed form without a critic: leave solve and critic out."
            )
        if self.batch_size % 2 or self.batch_size < 4:
            raise UsageError(
                f"a batch holds sources and targets: give an even batch size, not {self.batch_size}."
            )


@register_recipe
class ModernDepthNetRecipe(DepthNetRecipe):
    """Depth of a face's keypoints from paired depths and another face's keypoints."""

    name = "depthnet-modern"
    summary = "depth from keypoints: framed faces, supervised depths, minutes of training"
    config_class = ModernDepthNetConfig
    config: ModernDepthNetConfig
    presets: ClassVar[dict[str, dict[str, Any]]] = DepthNetRecipe.presets

    def networks(self) -> dict[str, nn.Module]:
        """The network ``generator``."""
        return {"generator": FramedDepthNet(self.config.widths)}

    def schedules(
        self, optimisers: dict[str, torch.optim.Optimizer]
    ) -> dict[str, torch.optim.lr_scheduler.LRScheduler]:
        """Cosine to zero."""
        steps = max(1, self.config.steps)
        return {"generator": torch.optim.lr_scheduler.CosineAnnealingLR(optimisers["generator"], steps)}

    def item(self, sample: FaceSample, generator: torch.Generator) -> Batch:
        """Keypoints and depths, mirrored with some probability."""
        keypoints, depth = keypoint_record(sample)
        if depth is None:
            raise DataError(
                f"{sample.id} has no depths, which {self.name} needs: train on 3dfaw-keypoints or synthetic-keypoints."
            )
        if float(torch.rand([], generator=generator)) < self.config.mirror:
            order = list(scheme(SCHEME).mirror)
            keypoints = keypoints[order] * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0])
            depth = mirror_values(depth, SCHEME)
        return {"keypoints": keypoints, "depth": depth}

    def step(self, networks: dict[str, nn.Module], batch: Batch, update: Update) -> dict[str, Tensor]:
        """One step of the network."""
        c = self.config
        source, target, true = split_pairs(batch)
        assert true is not None
        depth, _ = networks["generator"](source, target)
        matrix = find_affine("fixed", source, depth, target)
        size = framed(target)[1]
        keypoint = keypoint_loss(transfer(matrix, source, depth) / size, target / size)
        # Where the depth's zero lies is the data set's business: both are compared about their means.
        difference = (depth - depth.mean(1, keepdim=True)) - (true - true.mean(1, keepdim=True))
        supervised = (difference / framed(source)[1][:, 0]).square().mean()
        loss = c.keypoint_weight * keypoint + c.depth_weight * supervised
        update(loss)
        return {"loss": loss.detach(), "keypoint": keypoint.detach(), "depth": supervised.detach()}
