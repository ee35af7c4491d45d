"""Training of DepthNets on pairs of unrelated faces; ``recipes.py`` has the published experiments under their names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lineament.data.keypoint_depth import KeypointSet, collect, keypoint_record
from lineament.data.sample import FaceSample, FaceSource
from lineament.errors import DataError, UsageError
from lineament.evaluation.depth import score_pairs
from lineament.methods.depthnet.critic_step import critic_losses, penalty
from lineament.methods.depthnet.loss import keypoint_loss
from lineament.methods.depthnet.model import (
    CRITIC_WIDTHS,
    WIDTHS,
    Critic,
    Solve,
    build_network,
    critic_input,
    find_affine,
    transfer,
)
from lineament.methods.depthnet.predictor import DepthPredictor
from lineament.training.context import StepContext
from lineament.training.recipe import Batch, Need, Recipe, RecipeConfig

# 100 epochs of 3DFAW's 13,671 training faces in batches of 32 pairs.
PUBLISHED_STEPS = 42_800


@dataclass(frozen=True)
class DepthNetConfig(RecipeConfig):
    """What can be set when training a DepthNet; the defaults are those of the published runs."""

    # Faces of one step: the first half are sources, the second half their targets.
    batch_size: int = 64
    # Optimiser steps in all.
    steps: int = PUBLISHED_STEPS
    # How the affine map is found: fixed (closed form), detached (no gradient through its depths), damped (Tikhonov),
    # legacy (damped, with the columns of the oldest runs), learnt (predicted).
    solve: Solve = "fixed"
    # Damping of the ways damped and legacy.
    sigma: float = 0.0
    # Train a critic on the depths; the training faces must then have depths.
    critic: bool = False
    # Weight of the critic's gradient penalty; 0 leaves it out.
    penalty: float = 0.0
    # Weight of the keypoint loss beside the critic's.
    keypoint_weight: float = 1.0
    # Absolute instead of squared keypoint errors.
    absolute: bool = False
    # Steps between two uses of the critic's loss by the network.
    critic_every: int = 1
    # Units of the network's hidden layers.
    widths: tuple[int, ...] = WIDTHS
    # Units of the critic's hidden layers.
    critic_widths: tuple[int, ...] = CRITIC_WIDTHS
    # Learning rate of Adam, for the network and the critic.
    learning_rate: float = 2e-4
    # Weight decay, for the network and the critic.
    weight_decay: float = 0.0
    # Faces used by an evaluation during training; all their ordered pairs are scored.
    evaluate_count: int = 225

    def __post_init__(self) -> None:
        """Raise ``UsageError`` where fields contradict each other."""
        if self.batch_size % 2 or self.batch_size < 4:
            raise UsageError(
                f"a batch holds sources and targets: give an even batch size of 4 or more, not {self.batch_size}."
            )
        if (self.solve in ("damped", "legacy")) != (self.sigma > 0):
            raise UsageError(
                f"sigma belongs to solve damped and legacy: solve {self.solve} and sigma {self.sigma:g} do not fit."
            )


def published_adam(network: nn.Module, learning_rate: float, weight_decay: float = 0.0) -> torch.optim.Adam:
    """Adam with the betas of the published runs (0.5 and 0.999)."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return torch.optim.Adam(
        trained, lr=learning_rate, betas=(0.5, 0.999), weight_decay=weight_decay, fused=True
    )


def split_pairs(batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
    """Source and target keypoints ``[B, K, 2]`` and the sources' true depths ``[B, K]`` of a batch of 2 B faces."""
    source, target = batch["keypoints"].chunk(2)
    depth = batch["depth"].chunk(2)[0] if "depth" in batch else None
    return source, target, depth


class DepthNetRecipe(Recipe[DepthNetConfig, FaceSample]):
    """Depth of a face's keypoints, learnt by carrying them over to another face's."""

    name = "depthnet-exp1.lamb1.sd5.nogan.sigma0.fixm"
    method = "depthnet"
    config_class = DepthNetConfig
    needs = (
        Need(
            ("penalty", "keypoint_weight", "critic_every", "critic_widths"),
            lambda c: c.critic,
            "a critic (--critic)",
        ),
    )

    def networks(self) -> dict[str, nn.Module]:
        """The network ``generator`` and, with a critic, ``critic``."""
        c = self.config
        networks: dict[str, nn.Module] = {"generator": build_network(c.solve, widths=c.widths)}
        if c.critic:
            critic = Critic(widths=c.critic_widths)
            # It cancels from the difference of two scores: without decay it would never move.
            critic.disc[-1].bias.requires_grad_(c.weight_decay > 0)
            networks["critic"] = critic
        return networks

    def optimisers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """The published Adam for each network."""
        c = self.config
        return {
            name: published_adam(network, c.learning_rate, c.weight_decay)
            for name, network in networks.items()
        }

    def item(self, sample: FaceSample, generator: torch.Generator) -> Batch:
        """Keypoints and, for a critic, depths."""
        keypoints, depth = keypoint_record(sample)
        if not self.config.critic:
            return {"keypoints": keypoints}
        if depth is None:
            raise DataError(
                f"{sample.id} has no depths, which a critic needs: train on 3dfaw-keypoints or synthetic-keypoints, or "
                "take a recipe without one (nogan)."
            )
        return {"keypoints": keypoints, "depth": depth}

    def step(self, networks: dict[str, nn.Module], batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """One step of the network, then of the critic, then of the critic's penalty, in the published order."""
        c = self.config
        source, target, real_depth = split_pairs(batch)
        network = networks["generator"]
        depth, learnt = network(source, target)
        matrix = find_affine(c.solve, source, depth, target, sigma=c.sigma, learnt=learnt)
        keypoint = keypoint_loss(transfer(matrix, source, depth), target, absolute=c.absolute)
        loss = c.keypoint_weight * keypoint
        values = {"keypoint": keypoint}
        if c.critic:
            # Scored in every step: the critic's batch norms follow these scores too.
            assert real_depth is not None
            critic, real = networks["critic"], critic_input(real_depth, source)
            losses = critic_losses(critic, real, critic_input(depth, source))
            values |= {"adversarial": losses.adversarial, "critic": losses.difference}
            if context.step % c.critic_every == 0:
                loss = loss + losses.adversarial
        context.update(loss, "generator")
        if c.critic:
            context.update(losses.difference, "critic")
            # The two scores whose difference that is.
            values["critic_fake"] = -losses.adversarial
            values["critic_real"] = values["critic_fake"] - losses.difference
            if c.penalty:
                weighted = penalty(critic, real, c.penalty)
                context.update(weighted, "critic")
                values["penalty"] = weighted / c.penalty
        return {"loss": loss.detach(), **{name: value.detach() for name, value in values.items()}}

    def predictor(
        self,
        networks: dict[str, nn.Module],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> DepthPredictor:
        """Depths of keypoints."""
        return DepthPredictor(
            networks["generator"], self.config.solve, self.config.sigma, device=device, dtype=dtype
        )

    def evaluate(self, networks: dict[str, nn.Module], source: FaceSource) -> dict[str, float]:
        """Keypoint error and, where depths are known, DepthCorr, over all ordered pairs."""
        return measure_pairs(self.predictor(networks), collect(source, self.config.evaluate_count))

    def figures(self, networks: dict[str, nn.Module], source: FaceSource, folder: Path) -> list[Path]:
        """True against predicted depth of a few faces; keypoint errors."""
        return draw_pairs(self.predictor(networks), collect(source, self.config.evaluate_count), folder)


def measure_pairs(predictor: DepthPredictor, faces: KeypointSet) -> dict[str, float]:
    """Keypoint error and, where depths are known, DepthCorr, over all ordered pairs of faces."""
    if len(faces) < 2:
        return {}
    scores = score_pairs(predictor, faces)
    measured = {"keypoint_error": scores.keypoint_error()[0]}
    if faces.depth is not None:
        measured["depth_corr"] = scores.depth_corr()
    return measured


def draw_pairs(predictor: DepthPredictor, faces: KeypointSet, folder: Path) -> list[Path]:
    """True against predicted depth of a few faces, and keypoint errors; nothing where depths are not known."""
    from lineament.evaluation.depth_figures import training_figures  # loads the plotting library

    if faces.depth is None or len(faces) < 2:
        return []
    return training_figures(predictor, faces, folder)
