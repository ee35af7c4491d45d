"""Exponential moving average of the weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class MovingAverage:
    """A second copy of the networks whose weights follow the trained ones slowly.

    After step ``t`` (counted from 1) ``average = d * average + (1 - d) * weight`` with
    ``d = min(decay, (1 + t) / (10 + t))``: the ramp keeps the first random weights from staying in a short run.
    Buffers (running statistics) are copied as they are.

    Args:
        networks: The trained networks by name.
        decay: Decay per step, in 0..1 without 1.
    """

    def __init__(self, networks: dict[str, nn.Module], decay: float) -> None:
        if not 0.0 < decay < 1.0:
            raise ValueError(f"decay must lie between 0 and 1, not {decay}")
        self.decay = decay
        self.networks = {
            name: copy.deepcopy(network).requires_grad_(False) for name, network in networks.items()
        }
        for network in self.networks.values():
            network.eval()

    @torch.no_grad()
    def update(self, networks: dict[str, nn.Module], step: int) -> None:
        """Move towards ``networks`` after optimiser step ``step``, counted from 1."""
        weight = 1.0 - ramped(self.decay, step)
        for name, network in networks.items():
            follow(self.networks[name], network, weight)


def ramped(decay: float, step: int) -> float:
    """Decay after step ``step``, counted from 1: ``min(decay, (1 + step) / (10 + step))``."""
    return min(decay, (1.0 + step) / (10.0 + step))


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, weight: float) -> None:
    """Move the weights of ``average`` towards those of ``network`` by the share ``weight``; copy its buffers."""
    for slow, fast in zip(average.parameters(), network.parameters(), strict=True):
        slow.lerp_(fast.to(slow.dtype), weight)
    for kept, current in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(current)
