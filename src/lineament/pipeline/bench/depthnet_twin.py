"""Plain twins of the steps and the scoring of DepthNets: what the published code does, in its order.

The linear system is filled by element with gradients; each loss has a backward pass and each set of scores a pass of
the critic of its own; the penalty is differentiated twice by autograd; Adam goes from tensor to tensor; pairs are
scored one at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lineament.methods.depthnet.loss import critic_loss, generator_loss, gradient_penalty, keypoint_loss
from lineament.methods.depthnet.model import Critic, DepthNet, LearntAffineDepthNet, critic_input, transfer


def plain_fit(source: Tensor, depth: Tensor, target: Tensor) -> Tensor:
    """The 2 K x 8 system filled by element, inverted in single precision; result ``[B, 2, 4]``."""
    batch, count = depth.shape
    system = torch.zeros(batch, 2 * count, 8)
    for b in range(batch):
        for k in range(count):
            for row, column in ((2 * k, 0), (2 * k + 1, 3)):
                system[b, row, column] = source[b, k, 0]
                system[b, row, column + 1] = source[b, k, 1]
                system[b, row, column + 2] = depth[b, k]
            system[b, 2 * k, 6] = 1.0
            system[b, 2 * k + 1, 7] = 1.0
    across = system.transpose(1, 2)
    m = (torch.inverse(across @ system) @ (across @ target.reshape(batch, -1, 1)))[..., 0]
    return torch.stack([m[:, [0, 1, 2, 6]], m[:, [3, 4, 5, 7]]], dim=1)


def plain_adam(network: nn.Module) -> torch.optim.Adam:
    """Adam from tensor to tensor."""
    return torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999), foreach=False, fused=False)


def plain_step(batch: dict[str, Tensor], *, learnt: bool, critic: bool) -> Callable[[], object]:
    """A training step on sources and targets; with a critic also on its penalty of weight 0.1.

    Args:
        batch: ``keypoints [2 B, K, 2]`` and ``depth [2 B, K]``, sources first.
        learnt: The network predicts the affine map.
        critic: Train a critic too.
    """
    network = LearntAffineDepthNet() if learnt else DepthNet()
    judge = Critic()
    optimiser, judge_optimiser = plain_adam(network), plain_adam(judge)
    source, target = batch["keypoints"].chunk(2)
    real = critic_input(batch["depth"].chunk(2)[0], source)

    def step() -> None:
        optimiser.zero_grad()
        depth, matrix = network(source, target)
        matrix = plain_fit(source, depth, target) if matrix is None else matrix
        losses = [keypoint_loss(transfer(matrix, source, depth), target)]
        losses[0].backward(retain_graph=critic)
        if critic:
            losses.append(generator_loss(judge(critic_input(depth, source))))
            losses[1].backward()
        optimiser.step()
        if critic:
            judge_optimiser.zero_grad()
            losses.append(critic_loss(judge(real), judge(critic_input(depth.detach(), source))))
            losses[2].backward()
            judge_optimiser.step()
            losses.append(gradient_penalty(judge, real))
            judge_optimiser.zero_grad()
            (0.1 * losses[3]).backward()
            judge_optimiser.step()

    return step


def plain_pair(network: DepthNet, source: Tensor, target: Tensor) -> Callable[[], object]:
    """Score of one pair, keypoints ``[1, K, 2]`` each."""

    @torch.no_grad()
    def score() -> Tensor:
        depth = network(source, target)[0]
        return keypoint_loss(transfer(plain_fit(source, depth, target), source, depth), target)

    return score
