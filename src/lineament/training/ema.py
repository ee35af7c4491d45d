"""Exponential moving averages of weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn

from lineament.training.context import AverageSpec


class MovingAverage:
    """A second copy of networks whose weights follow the trained ones slowly; buffers are copied as they are.

    Args:
        networks: The trained networks by name; those that the declaration names are copied.
        spec: Which networks, how slowly, and in which mode.
    """

    def __init__(self, networks: Mapping[str, nn.Module], spec: AverageSpec) -> None:
        self.spec = spec
        self.networks: dict[str, nn.Module] = {}
        for name in spec.networks:
            self.networks[name] = copy.deepcopy(networks[name]).requires_grad_(False).train(spec.train)

    def update(self, networks: Mapping[str, nn.Module], step: int) -> None:
        """Move towards ``networks`` after optimiser step ``step``, counted from 1."""
        weight = 1.0 - self.spec.decay(step)
        for name, network in self.networks.items():
            ema_update(network, networks[name], weight)


def ramped(decay: float, step: int) -> float:
    """Decay after step ``step``, counted from 1: ``min(decay, (1 + step) / (10 + step))``.

    The ramp keeps the first random weights from staying in a short run.
    """
    return min(decay, (1.0 + step) / (10.0 + step))


@torch.no_grad()
def ema_update(average: nn.Module, network: nn.Module, weight: float) -> None:
    """Move the weights of ``average`` towards those of ``network`` by the share ``weight``; copy its buffers."""
    for slow, fast in zip(average.parameters(), network.parameters(), strict=True):
        slow.lerp_(fast.to(slow.dtype), weight)
    for kept, current in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(current)
