"""Losses of DepthNets: transformed keypoints, and the critic with its penalty (Moniz et al., sections 3.1 and 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def keypoint_loss(predicted: Tensor, target: Tensor, *, absolute: bool = False) -> Tensor:
    """Mean squared (or absolute) error over all coordinates of ``[B, K, 2]`` (equation 2)."""
    difference = predicted - target
    return difference.abs().mean() if absolute else difference.square().mean()


def generator_loss(fake: Tensor) -> Tensor:
    """What the critic's scores ``[B, 1]`` of predicted depths cost the network (Wasserstein form)."""
    return -fake.mean()


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Difference of the critic's mean scores ``[B, 1]``, which it widens."""
    return fake.mean() - real.mean()


def gradient_penalty(critic: nn.Module, real: Tensor) -> Tensor:
    """Squared norm of the critic's gradient at real inputs, averaged over the batch: zero-centred, real inputs only.

    Args:
        critic: Scores inputs; batch norms see ``real`` once more.
        real: ``[B, 3, K]``.
    """
    points = real.detach().requires_grad_()
    # A sum over the batch, as published: through train-mode batch norm one sample's score depends on the others.
    (gradient,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    return gradient.flatten(1).square().sum(1).mean()
