"""Training of the AIGN baselines: with batch norms, and with spectral norms, in the adversary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lineament.data.keypoint_depth import collect, keypoint_record
from lineament.data.sample import FaceSample, FaceSource
from lineament.errors import DataError
from lineament.evaluation.depth import score_pairs
from lineament.methods.depthnet.aign import MAP_SIZE, Aign, AignPredictor, SpectralCritic
from lineament.methods.depthnet.loss import gradient_penalty
from lineament.methods.depthnet.model import CRITIC_WIDTHS, Critic
from lineament.methods.depthnet.recipe import draw_pairs, published_adam
from lineament.training.context import StepContext
from lineament.training.recipe import Batch, Recipe, RecipeConfig


@dataclass(frozen=True)
class AignConfig(RecipeConfig):
    """What can be set when training AIGN."""

    # Faces of one step.
    batch_size: int = 32
    # 100 epochs of 3DFAW's 13,671 training faces.
    steps: int = 42_800
    # Spectral norms in the adversary in place of batch norms.
    spectral: bool = False
    # Weight of the projection's error beside the adversary's loss.
    projection_weight: float = 100.0
    # Weight of the adversary's gradient penalty; 0 leaves it out.
    penalty: float = 0.0
    # Side of the heat maps in pixels, a multiple of 16.
    map_size: int = MAP_SIZE
    # Units of the adversary's hidden layers.
    critic_widths: tuple[int, ...] = CRITIC_WIDTHS
    # Learning rate of Adam, for the network and the adversary.
    learning_rate: float = 2e-4
    # Faces used by an evaluation during training.
    evaluate_count: int = 225


class AignRecipe(Recipe[AignConfig, FaceSample]):
    """3-D points of a face from its keypoints, against an adversary on 3-D points.

    The published loss takes a cross-entropy of raw scores, which fails; here it is the cross-entropy of logits.
    """

    name = "depthnet-aign.exp1.lamb100"
    method = "depthnet"
    config_class = AignConfig

    def networks(self) -> dict[str, nn.Module]:
        """The network ``generator`` and the adversary ``critic``."""
        c = self.config
        critic: nn.Module = (SpectralCritic if c.spectral else Critic)(widths=c.critic_widths)
        return {"generator": Aign(size=c.map_size), "critic": critic}

    def optimisers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """The published Adam for each network."""
        return {
            name: published_adam(network, self.config.learning_rate) for name, network in networks.items()
        }

    def item(self, sample: FaceSample, generator: torch.Generator) -> Batch:
        """Keypoints and depths."""
        keypoints, depth = keypoint_record(sample)
        if depth is None:
            raise DataError(
                f"{sample.id} has no depths, which AIGN needs: train on 3dfaw-keypoints or synthetic-keypoints."
            )
        return {"keypoints": keypoints, "depth": depth}

    def step(self, networks: dict[str, nn.Module], batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """One step of the network, of the adversary, and of its penalty."""
        c = self.config
        critic, keypoints = networks["critic"], batch["keypoints"]
        points, projected = networks["generator"](keypoints)
        adversarial = _says(critic(points), real=True)
        projection = (projected - keypoints).abs().mean()
        context.update(adversarial + c.projection_weight * projection, "generator")
        real = torch.cat([keypoints.transpose(1, 2), batch["depth"][:, None]], dim=1)  # [B, 3, K]: x, y, z
        difference = _says(critic(points.detach()), real=False) + _says(critic(real), real=True)
        context.update(difference, "critic")
        values = {"adversarial": adversarial, "projection": projection, "critic": difference}
        if c.penalty:
            values["penalty"] = gradient_penalty(critic, real)
            context.update(c.penalty * values["penalty"], "critic")
        loss = adversarial + c.projection_weight * projection
        return {"loss": loss.detach(), **{name: value.detach() for name, value in values.items()}}

    def predictor(
        self,
        networks: dict[str, nn.Module],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> AignPredictor:
        """Depths of keypoints."""
        return AignPredictor(networks["generator"], device=device, dtype=dtype)

    def evaluate(self, networks: dict[str, nn.Module], source: FaceSource) -> dict[str, float]:
        """Keypoint error over all ordered pairs and DepthCorr over single faces."""
        faces = collect(source, self.config.evaluate_count)
        if len(faces) < 2 or faces.depth is None:
            return {}
        scores = score_pairs(self.predictor(networks), faces)
        return {"keypoint_error": scores.keypoint_error()[0], "depth_corr": scores.depth_corr()}

    def figures(self, networks: dict[str, nn.Module], source: FaceSource, folder: Path) -> list[Path]:
        """True against predicted depth of a few faces; keypoint errors."""
        return draw_pairs(self.predictor(networks), collect(source, self.config.evaluate_count), folder)


def _says(scores: Tensor, *, real: bool) -> Tensor:
    """Cross-entropy of raw scores ``[B, 1]`` with all faces being real, or none."""
    return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, float(real)))
